//! The integration tests: one binary, a module per behaviour.

mod cli_files;
mod config_load;
mod gate_no_std;
mod gate_policy;
mod gate_policy_spec;
mod mem_disk;
mod store_crash;
mod store_images;
mod store_start;
mod wire_json;
