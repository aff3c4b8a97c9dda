//! The two protocols, and which of them a connection speaks.

/// The protocol that a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Dialect {
    /// Protocol 3, as OpenClaw 2026.1.29 has it.
    V3,
    /// Protocol 4, as OpenClaw 2026.9.6 has it.
    V4,
}

impl Dialect {
    /// The protocol's number.
    pub const fn number(self) -> u32 {
        match self {
            Dialect::V3 => 3,
            Dialect::V4 => 4,
        }
    }

    /// The highest dialect inside the client's range.
    pub const fn negotiate(min: u32, max: u32) -> Option<Dialect> {
        if min <= 4 && 4 <= max {
            Some(Dialect::V4)
        } else if min <= 3 && 3 <= max {
            Some(Dialect::V3)
        } else {
            None
        }
    }
}
