//! The pairing table on disk.

mod crash;
pub mod durability;
mod images;
mod start;
