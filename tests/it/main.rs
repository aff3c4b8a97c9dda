//! The integration tests: one binary, a module per behaviour.

mod cli_files;
mod client;
mod config_load;
mod durable;
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
mod program;
mod relay;
mod reports;
mod runner;
mod start;
mod store_crash;
mod store_images;
mod store_start;
mod transcripts;
mod walk;
mod wire_json;
mod wire_session;
