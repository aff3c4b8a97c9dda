//! The gate: who is let in, as what, and why. Pure decisions over plain values.
//!
//! This module uses `core` and `heapless` only and builds under `no_std` without `alloc`; a test crate proves it. It never
//! reads a clock, a file, a socket or randomness, never logs, never allocates, and imports nothing else of ours.

pub mod device;
pub mod ids;
pub mod limits;
pub mod scopes;
pub mod text;
