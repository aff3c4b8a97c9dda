//! gatelet: a gateway that admits by proof, not by address. `src/ARCHITECTURE.md` is the map.

#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod dashboard;
pub mod gate;
pub mod rpc;
pub mod server;
pub mod store;
pub mod wire;
