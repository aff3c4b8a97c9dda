//! Code shared by the integration tests, the fault injection, the simulation and the bench: the
//! gateway as a process, clients, and a disk in memory.

pub mod client;
pub mod echo;
pub mod gateway;
pub mod mem_disk;
pub mod program;
pub mod runner;
pub mod websocket;

/// Returns true once in `times` on average.
pub fn once_in(random: &mut fastrand::Rng, times: usize) -> bool {
    random.usize(..times) == 0
}
