//! Plain HTTP: request heads, the Control UI, metrics.

mod control_ui;
mod metrics;
mod page;
mod request_heads;
