//! Services of the operating system: clocks, log, signals, systemd and facts about the host.

pub mod clock;
pub(super) mod descriptors;
pub(super) mod host_info;
pub(super) mod hourly_warnings;
pub(super) mod line_limit;
mod log_file;
pub(super) mod logger;
#[cfg(windows)]
pub(super) mod service_manager;
pub(super) mod signals;
pub(super) mod systemd;
