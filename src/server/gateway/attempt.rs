//! A client's connection attempt: the data that it sent and the observed facts, parsed, bounded in
//! size and owned.

use std::net::IpAddr;

use crate::gate::facts::{DeviceProof, Host, Identity, Origin};
use crate::gate::ids::Role;
use crate::gate::limits;
use crate::gate::net::Via;
use crate::gate::pairing_requests::About;
use crate::gate::rate_limit::CredentialKind;
use crate::gate::scopes::Scopes;
use crate::gate::text::Text;
use crate::rpc::Declared;

/// Network addresses and request headers of a connection, for the decision and for the log.
#[derive(Clone, Debug)]
pub struct ClientInfo {
    /// Address of the socket's peer. IPv4-mapped IPv6 is converted to IPv4.
    pub peer: IpAddr,
    /// Client address reported by a trusted proxy; without one, the peer.
    pub client: IpAddr,
    pub via: Via,
    /// Whether the peer is a loopback address and no proxy header is present.
    pub local: bool,
    /// Host header, shortened and limited to the characters of names and addresses.
    pub host_text: String,
    /// Origin header, shortened and limited to the characters of names and addresses.
    pub origin_text: String,
    pub host: Host,
    pub origin: Origin,
    pub identity: Identity,
    /// Whether `autoApproveCidrs` contains the client address. False behind an untrusted proxy.
    pub cidr: bool,
}

/// Credentials that the client sent, and facts that limit what they prove. Has no `Debug`, so that
/// secrets are never printed.
#[derive(Default)]
pub struct PresentedCredentials {
    pub token: Option<String>,
    pub password: Option<String>,
    pub device_token: Option<String>,
    pub bootstrap_token: Option<String>,
    /// Time of the signature by the device's clock, in milliseconds since 1970, if the signature
    /// does not cover the gateway's nonce.
    pub signed_alone: Option<u64>,
    /// Kind of the credential that is subject to the rate limiter, if any.
    pub guess: Option<CredentialKind>,
    /// Whether the rate limiter rejected the attempt. The shared secret and setup code are then not
    /// checked.
    pub unread: bool,
}

/// Data of one attempt that the gateway state needs for its decision.
pub struct Attempt {
    /// Id of the connect request, repeated in the response.
    pub request: String,
    pub min_protocol: u32,
    pub max_protocol: u32,
    /// Requested role; `None` if the protocol has no such role.
    pub role: Option<Role>,
    pub control_ui: bool,
    pub requested: Scopes,
    pub device_proof: DeviceProof,
    pub presented: PresentedCredentials,
    pub about: About,
    pub version: Text<{ limits::PLATFORM_LEN }>,
    pub model: Text<{ limits::PLATFORM_LEN }>,
    pub instance: Text<{ limits::NAME_LEN }>,
    /// Declared capabilities and commands, if the role is `node`.
    pub node: Option<Box<Declared>>,
    pub seen: ClientInfo,
    /// Device time minus gateway time in milliseconds, if they differ by more than
    /// [`limits::CLOCK_SKEW_MS`].
    pub clock_off: Option<i64>,
}
