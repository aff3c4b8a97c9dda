//! The integration tests: one binary, a module per behaviour.

mod cli_files;
mod client;
mod config_load;
mod config_rpc;
mod durable;
#[path = "../bench/echo.rs"]
mod echo;
mod empty;
mod gate_commands;
mod gate_no_std;
mod gate_policy;
mod gate_policy_spec;
mod gateway;
mod lifecycle;
mod logs;
mod matrix;
mod mem_disk;
mod node_host;
mod nodes;
mod program;
mod relay;
mod relay_faults;
mod relay_load;
mod relay_more;
mod reports;
mod runner;
mod scopes;
mod start;
mod store_crash;
mod store_images;
mod store_start;
mod transcripts;
mod transcripts_relay;
mod walk;
mod wire_json;
mod wire_session;
