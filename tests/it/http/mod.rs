//! Plain HTTP: request heads, the Control UI, metrics.

mod control_ui;
mod metrics;
mod no_connect;
mod page;
mod rejected_upgrades;
mod request_heads;
