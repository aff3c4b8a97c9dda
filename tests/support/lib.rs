//! Code shared by the integration tests, the fault injection, the simulation and the bench: the
//! gateway as a process, clients, and a disk in memory.

pub mod client;
pub mod echo;
pub mod gateway;
pub mod mem_disk;
pub mod program;
pub mod runner;
pub mod temp_dir;
pub mod websocket;

/// Returns a number from the environment.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Returns true once in `times` on average.
pub fn once_in(random: &mut fastrand::Rng, times: usize) -> bool {
    random.usize(..times) == 0
}
