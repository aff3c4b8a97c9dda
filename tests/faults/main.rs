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

/// Returns a number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}"))
    })
}

/// Random numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    /// Returns the generator of run `run`, different for each run.
    fn of(run: u64) -> Random {
        Random(number("FAULTS_SEED", 1) ^ (run << 32))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
