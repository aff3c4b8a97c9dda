//! TCP listener, connections, WebSocket and send queues.

pub mod connection;
mod frame_meter;
pub mod frame_stream;
pub mod listener;
mod port_owner;
pub mod send_queue;
pub mod websocket;
