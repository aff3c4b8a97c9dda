//! gatelet: a gateway that admits clients by proof, not by address. `src/ARCHITECTURE.md` describes
//! the modules.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::print_stderr,
        clippy::print_stdout,
        clippy::too_many_lines
    )
)]

#[allow(clippy::print_stderr, clippy::print_stdout)] // commands print their results
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
