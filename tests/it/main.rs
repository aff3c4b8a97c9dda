//! Integration tests: one binary, one module per behaviour.

mod admission;
mod cli_files;
mod client;
mod config_load;
mod config_rpc;
mod control_ui;
mod durable;
#[path = "../bench/echo.rs"]
mod echo;
mod empty;
mod floods;
mod gate_commands;
mod gate_no_std;
mod gate_policy;
mod gate_policy_spec;
mod gateway;
mod guesses;
mod heads;
mod lifecycle;
mod logs;
mod matrix;
mod mem_disk;
mod metrics;
mod node_host;
mod nodes;
mod numbers;
mod owner;
mod program;
mod relay;
mod relay_faults;
mod relay_load;
mod relay_more;
mod replay;
mod reports;
mod runner;
mod scopes;
mod sizes;
mod start;
mod store_crash;
mod store_images;
mod store_start;
mod strangers;
mod timing;
mod transcripts;
mod transcripts_relay;
mod walk;
#[allow(dead_code, reason = "the client's side of it is for the bench")]
#[path = "../bench/websocket.rs"]
mod websocket;
mod wire_json;
mod wire_session;
