//! The source of `src/gate`, compiled without the standard library and without an allocator.
//!
//! `#[path]` is intended here: the package must compile exactly the files of gatelet.

#![no_std]
#![forbid(unsafe_code)]

#[path = "../../../src/gate/mod.rs"]
pub mod gate;
