//! Sockets and time: everything that waits, and the gateway's one owner.
//!
//! One thread for all tasks ([`runtime`]), one [`gateway::Gateway`] that all connections enter through [`shared::Shared::happen`];
//! beside it a thread that waits for the system's events, one for the disk and, under load, one for signatures. `server` decides
//! nothing about admission; `gate` does.

mod admit;
mod apply;
pub mod attempt;
mod bearer;
mod busy;
mod calls;
pub mod commits;
pub mod config_file;
pub mod connection;
mod conns;
pub mod evidence;
mod files;
mod frame_meter;
pub mod frame_stream;
pub mod gateway;
mod guesses;
pub mod here;
pub mod listen;
mod log_file;
mod logger;
mod machine;
mod metrics;
mod notify;
pub mod outbox;
pub mod ports;
mod refuse;
mod relay;
mod routes;
mod run;
pub mod runtime;
#[cfg(windows)]
mod service;
pub mod setup;
pub mod shared;
pub mod socket;
mod stop;

pub use listen::far_address;
pub use logger::timestamp;
pub use machine::{command, family, load_average, machine_name, memory, number};
pub use run::{commit, run, Page, StartError};
pub use runtime::{lock, start_thread};
#[cfg(windows)]
pub use service::run_service;
pub use stop::Stop;
