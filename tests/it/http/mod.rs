//! Plain HTTP: request heads, the Control UI, metrics.

mod control_ui;
mod metrics;
mod page;
mod rejected_upgrades;
mod request_heads;
