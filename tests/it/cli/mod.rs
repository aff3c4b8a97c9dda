//! Commands of the binary, and start and stop.

mod files;
mod first_use;
mod logs;
mod nodes;
mod running;
mod start;
