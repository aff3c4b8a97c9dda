//! Network: sockets, connections, WebSockets and send queues.

pub mod bind;
mod client_session;
pub mod connection;
pub mod frame_budget;
mod frame_meter;
mod frame_queue;
pub mod frame_stream;
pub mod listener;
mod port_owner;
pub mod pre_auth;
pub mod send_pool;
pub mod send_queue;
pub mod websocket;
