//! Integration tests: one binary, one module per behaviour.

mod cli;
mod client;
mod config;
#[path = "../bench/echo.rs"]
mod echo;
mod gateway;
mod handshake;
mod http;
mod json;
mod mem_disk;
mod no_std;
mod nodes;
mod program;
mod rpc;
mod runner;
mod store;
#[allow(dead_code, reason = "the client's side of it is for the bench")]
#[path = "../bench/websocket.rs"]
mod websocket;
