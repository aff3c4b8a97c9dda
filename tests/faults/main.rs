//! Real faults on the real program (`GATELET_BIN` names another one) with real files: killed
//! processes, disks that are full, read-only or broken, a state directory that disappears, no
//! descriptor left, a wrong clock, and a compressed day of use.
//!
//! `cargo test --test faults` is the short form and takes a minute. The long forms:
//!
//!     FAULTS_ROUNDS=2000 cargo test --test faults kills::        # ten minutes of kill -9
//!     SOAK_SECONDS=1200 cargo test --test faults soak:: -- --nocapture
//!
//! `FAULTS_SEED` is the seed of their random numbers. Disks are mounted in mount namespaces of the
//! tests: that takes root and loop devices, as CI has them. A power cut that loses unsynced data
//! cannot be caused by a process; tests/it/store/crash.rs simulates it.

mod clocks;
mod descriptors;
mod disks;
mod kills;
mod memory;
mod soak;

use fastrand::Rng;
use support::number;

/// Returns the random generator of run `run`, different for each run.
fn random(run: u64) -> Rng {
    Rng::with_seed(number("FAULTS_SEED").unwrap_or(1) ^ (run << 32))
}
