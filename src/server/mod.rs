//! Sockets and time: all code that waits, and the gateway state.
//!
//! All tasks run on one thread ([`runtime`]) and change one [`gateway::Gateway`] through
//! [`shared::Shared::happen`]. Other threads wait for system events, write to the disk and, when
//! needed, verify signatures and read files. Admission is decided in `gate`, not here.

pub mod config_file;
mod error;
pub mod gateway;
mod http;
pub mod net;
pub mod os;
mod run;
pub mod runtime;
pub mod runtime_config;
pub mod shared;
pub mod start_context;
#[cfg(windows)]
mod windows_service;

pub use error::StartError;
pub use net::bind::far_address;
pub use os::host_info::{command, family, load_average, machine_name, memory, number};
pub use os::logger::timestamp;
pub use os::signals::Stop;
pub use run::{commit, run, Page};
pub use runtime::{lock, start_thread};
#[cfg(windows)]
pub use windows_service::run_service;
