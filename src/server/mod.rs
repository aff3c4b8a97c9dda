//! Sockets and time: all code that waits, and the gateway state.
//!
//! All tasks run on one thread ([`runtime`]) and change one [`gateway::Gateway`] through
//! [`shared::Shared::happen`]. Other threads wait for system events, write to the disk and, when
//! needed, verify signatures and read files. Admission is decided in `gate`, not here.

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
