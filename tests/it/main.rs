//! Integration tests: one binary, one module per behaviour.

mod cli;
mod config;
mod handshake;
mod http;
mod json;
mod no_std;
mod nodes;
mod owner;
mod rpc;
mod store;
