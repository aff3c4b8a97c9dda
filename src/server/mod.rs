//! Sockets and time: all code that waits, and the gateway state.
//!
//! All tasks run on one thread ([`runtime`]) and change one [`gateway::Gateway`] through
//! [`shared::Shared::dispatch`]. Other threads wait for system events, write to the disk and, when
//! needed, verify signatures and read files. Admission is decided in `gate`, not here.
//!
//! A file imports only files of its own line and of the lines above it, and never in a circle:
//!
//! | files | content |
//! |---|---|
//! | `error`, `os/`, `turns`, `runtime` | the system: clock, log, signals, tasks and timers |
//! | other files of `net/` | sockets, frames, send queues, without the gateway state |
//! | `addresses` | addresses at which the gateway is reached |
//! | `runtime_config`, `start_context`, `config_file` | configuration in force, and its file |
//! | `gateway/` | the gateway state; it knows send queues and the write queue, but no sockets |
//! | `shared` | handle to the gateway state, clock and other threads |
//! | `http/` | responses to plain requests |
//! | `net/connection`, `net/listener` | connections, from accept to close |
//! | `run`, `windows_service` | start and stop |

mod addresses;
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
pub mod turns;
#[cfg(windows)]
mod windows_service;

pub use addresses::Addresses;
pub use error::StartError;
pub use os::host_info::{command, family, load_average, machine_name, memory, number, Shell};
pub use os::logger::timestamp;
pub use os::signals::Stop;
pub use run::{commit, run, Page};
pub use runtime::{lock, start_thread};
#[cfg(windows)]
pub use windows_service::run_service;
