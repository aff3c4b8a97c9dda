//! WebSockets that end before a connect request: causes, messages and hints.

listed_enum! {
    /// End of a WebSocket on which no connect request was received.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum NoConnect {
        /// The time for the handshake passed.
        Timeout,
        /// The client ended the connection.
        Left,
        /// The first message was too large, or no text of the WebSocket protocol.
        InvalidMessage,
    }
}

impl NoConnect {
    /// Code in `gatelet explain --last`.
    pub const CODE: &'static str = "NO_CONNECT_REQUEST";

    /// Returns the name in `/metrics`.
    pub const fn name(self) -> &'static str {
        match self {
            NoConnect::Timeout => "timeout",
            NoConnect::Left => "left",
            NoConnect::InvalidMessage => "invalid message",
        }
    }

    /// Returns the message for the log and `gatelet explain --last`.
    pub const fn message(self) -> &'static str {
        match self {
            NoConnect::Timeout => "no connect request came",
            NoConnect::Left => "the client left before it sent a connect request",
            NoConnect::InvalidMessage => {
                "the first message is too large or not of the WebSocket protocol"
            }
        }
    }

    /// Returns what to do.
    pub const fn hint(self) -> &'static str {
        match self {
            NoConnect::Timeout | NoConnect::Left => {
                "check that the program is a client of the OpenClaw gateway protocol, version 3 or 4, and \
                 that a proxy in between passes on messages of WebSockets in both directions"
            }
            NoConnect::InvalidMessage => {
                "check which program connects; a client sends a connect request of at most 64 KiB first"
            }
        }
    }
}
