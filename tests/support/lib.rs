//! Code shared by the integration tests, the fault injection, the simulation and the bench: the
//! gateway as a process, clients, and a disk in memory.

#![forbid(unsafe_code)]
#![allow(clippy::new_without_default, reason = "a new device or directory is no default")]

pub mod attacks;
pub mod client;
pub mod echo;
pub mod gateway;
pub mod mem_disk;
pub mod program;
pub mod runner;
pub mod rust_source;
pub mod temp_dir;
pub mod websocket;

use std::sync::atomic::{AtomicBool, Ordering};

/// Returns a number from the environment.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Sets the flag when dropped, so that threads end although the test panics.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Returns true once in `times` on average.
pub fn once_in(random: &mut fastrand::Rng, times: usize) -> bool {
    random.usize(..times) == 0
}
