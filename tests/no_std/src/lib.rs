//! The gate and nothing else: no standard library, no allocator.

#![no_std]
#![forbid(unsafe_code)]

#[path = "../../../src/gate/mod.rs"]
pub mod gate;
