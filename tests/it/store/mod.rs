//! The pairing table on disk.

mod crash;
mod durability;
mod images;
mod start;
