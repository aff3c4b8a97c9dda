//! Protocol versions 3 and 4, and their negotiation.

/// Protocol version of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Protocol {
    /// Protocol 3, as of OpenClaw 2026.1.29.
    V3,
    /// Protocol 4, as of OpenClaw 2026.9.6.
    V4,
}

impl Protocol {
    /// Returns the number of the protocol version.
    pub const fn number(self) -> u32 {
        match self {
            Protocol::V3 => 3,
            Protocol::V4 => 4,
        }
    }

    /// Returns the highest supported version in the client's range `min..=max`.
    pub const fn negotiate(min: u32, max: u32) -> Option<Protocol> {
        if min <= 4 && 4 <= max {
            Some(Protocol::V4)
        } else if min <= 3 && 3 <= max {
            Some(Protocol::V3)
        } else {
            None
        }
    }
}
