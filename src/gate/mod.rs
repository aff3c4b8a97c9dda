//! Admission decisions: whether a client is admitted, in which role, and by which rule. Pure
//! functions over plain values.
//!
//! This module uses only `core`, `heapless` and `subtle` and builds under `no_std` without `alloc`;
//! a test crate verifies it. It never reads a clock, a file, a socket or randomness, never logs,
//! never allocates, and imports nothing from the rest of the crate.

/// Defines an enum and `ALL`, the list of its values in order.
macro_rules! listed_enum {
    (
        $(#[$attribute:meta])*
        pub enum $name:ident { $($(#[$note:meta])* $value:ident $(= $number:expr)?,)* }
    ) => {
        $(#[$attribute])*
        pub enum $name { $($(#[$note])* $value $(= $number)?,)* }

        impl $name {
            /// All values, in order.
            pub const ALL: [$name; [$($name::$value),*].len()] = [$($name::$value),*];
        }
    };
}

pub mod budget;
pub mod commands;
pub mod commands_known;
pub mod device;
pub mod facts;
pub mod ids;
pub mod limits;
pub mod net;
pub mod no_connect;
pub mod origin;
pub mod pairing_requests;
pub mod policy;
pub mod protocol;
pub mod rate_limit;
pub mod refusal;
pub mod scopes;
pub mod session;
pub mod setup_codes;
pub mod signature;
pub mod surface;
pub mod table;
pub mod text;
