//! gatelet: a gateway that admits by proof, not by address. `src/ARCHITECTURE.md` is the map.

#![forbid(unsafe_code)]

pub mod gate;
