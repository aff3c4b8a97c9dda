//! Attacks by admitted clients on the real program (`GATELET_BIN` names another one): what they
//! cost in memory, bytes and connections, and that the others are still answered. An attack is a
//! function of `tests/support/attacks.rs`; a test of this program is an attack, observers, and a
//! verdict. Counts and bytes are strict. Times are compared in `tests/bench`; here a client only
//! has to be answered within [`ANSWERED`].
//!
//!     cargo test --test abuse                       # the short form: a minute and a half
//!     ABUSE_SECONDS=3600 cargo test --test abuse machine:: -- --nocapture
//!
//! One test runs at a time, so that attacks do not disturb each other.

mod answers;
mod connections;
mod crowd;
mod frames;
mod machine;
mod pools;
mod presence;
mod requests;
mod site;
mod writes;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use support::number;

const MIB: u64 = 1024 * 1024;
/// Most memory of the gateway under any attack.
const MEMORY: u64 = 128 * MIB;
/// Time within which a client is answered under an attack.
const ANSWERED: Duration = Duration::from_secs(10);
/// Connections of one device as operator and as node.
const CONNECTIONS_OF_ONE: u64 = 32;
const CONNECTIONS_OF_A_NODE: u64 = 2;
/// Most bytes that one client causes to be written in a minute.
const WRITTEN: u64 = 50_000;

/// Returns the time of one attack; `ABUSE_SECONDS` is the time of all of them.
fn time_of_one(attacks: usize) -> Duration {
    match number("ABUSE_SECONDS") {
        Some(seconds) => Duration::from_secs(seconds) / attacks as u32,
        None => Duration::from_millis(1500),
    }
}

/// Returns whether the long form runs.
fn is_long() -> bool {
    number("ABUSE_SECONDS").is_some()
}

/// Waits until no other test runs.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}
