//! Nodes: approval, invokes between operators and nodes, and `gatelet node run`.

mod commands;
mod disconnects;
mod frame_sizes;
mod host;
pub mod invoke;
pub mod load;
mod other_methods;
mod send_queues;
mod shares;
mod transcripts;
