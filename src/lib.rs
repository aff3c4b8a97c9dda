//! gatelet: a gateway that admits clients by proof, not by address. `src/ARCHITECTURE.md` describes
//! the modules.

#![forbid(unsafe_code)]

pub mod cli;
pub mod client;
pub mod config;
pub mod dashboard;
pub mod gate;
mod node;
pub mod qr;
pub mod rpc;
pub mod server;
pub mod store;
pub mod wire;
