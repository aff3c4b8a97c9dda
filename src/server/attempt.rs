//! A client's attempt to come in: what it sent and what was seen of it, read, bounded and owned.

use std::net::IpAddr;

use crate::gate::facts::{Host, Identity, Origin, Proof};
use crate::gate::ids::Role;
use crate::gate::limits;
use crate::gate::net::Via;
use crate::gate::pending::About;
use crate::gate::scopes::Scopes;
use crate::gate::text::Text;
use crate::gate::throttle::Guess;
use crate::rpc::Declared;

/// Where a connection comes from, for the decision and for the log.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The socket's other end, folded.
    pub peer: IpAddr,
    /// The client behind it, if a trusted proxy says so, else the peer.
    pub client: IpAddr,
    pub via: Via,
    /// The peer is loopback and no proxy header is present.
    pub local: bool,
    /// The Host header as it came, cut short.
    pub host_text: String,
    /// The Origin header as it came, cut short.
    pub origin_text: String,
    pub host: Host,
    pub origin: Origin,
    pub identity: Identity,
    /// The client's address stands in `autoApproveCidrs`.
    pub cidr: bool,
}

/// The secrets that were sent, and what makes them less than proof. Has no `Debug`: nothing may print them.
#[derive(Default)]
pub struct Presented {
    pub token: Option<String>,
    pub password: Option<String>,
    pub device_token: Option<String>,
    pub bootstrap_token: Option<String>,
    /// When the signature was made by the device's clock, if it is not over our nonce.
    pub signed_alone: Option<u64>,
    /// What they may be guesses at.
    pub guess: Option<Guess>,
    /// There was no turn for that guess.
    pub unread: bool,
}

/// Everything about one attempt that the owner needs to decide.
pub struct Attempt {
    /// The id of the connect request, to be echoed.
    pub request: String,
    pub min_protocol: u32,
    pub max_protocol: u32,
    /// `None`: no role of the protocol.
    pub role: Option<Role>,
    pub control_ui: bool,
    pub requested: Scopes,
    pub proof: Proof,
    pub presented: Presented,
    pub about: About,
    pub version: Text<{ limits::PLATFORM_LEN }>,
    pub model: Text<{ limits::PLATFORM_LEN }>,
    pub instance: Text<{ limits::NAME_LEN }>,
    /// What it offers, if it comes as a node.
    pub node: Option<Box<Declared>>,
    pub seen: Seen,
    /// The device's clock less ours, in milliseconds, if it is off by more than the protocol's window.
    pub clock_off: Option<i64>,
}
