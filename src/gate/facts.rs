//! Input of an admission decision: facts about one connection as plain values, already parsed,
//! verified and compared.

use super::device::Provenance;
use super::ids::{DeviceId, PublicKey, Role, Roles};
use super::refusal::Refusal;
use super::scopes::Scopes;

pub use super::protocol::Protocol;

/// Phase of the gateway process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Running,
    Stopping,
}

/// Classification of the Host header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host {
    Absent,
    /// `localhost`, 127.0.0.0/8 or ::1.
    Loopback,
    /// A name or address of this gateway: an address literal that is private, in 100.64.0.0/10, or
    /// the one the client reached; `*.local`; `*.ts.net`; the host name of the machine; the host of
    /// `gateway.publicOrigin`.
    Served,
    /// Any other name, possibly pointed at this gateway by DNS rebinding.
    Foreign,
}

/// Relation of the Origin header to the Host header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// No Origin header: not a browser.
    Absent,
    /// Entry in `gateway.controlUi.allowedOrigins`, or equal to `gateway.publicOrigin`.
    Listed,
    /// Same host and port as the Host header.
    Same,
    /// Loopback origin with a loopback Host, on another port or under another loopback name.
    LoopbackPair,
    /// Any other origin that `gateway.controlUi.allowedOrigins` can contain.
    Foreign,
    /// Text that cannot be listed: `null`, `file://`, and malformed origins.
    Opaque,
}

/// Device identity and result of its signature check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceProof {
    /// No device presented.
    Absent,
    /// Valid signature of the device's key. It covers the nonce of this connection, unless a local
    /// client signed without a nonce (version 1).
    Valid { id: DeviceId, key: PublicKey },
    /// Signature check failed with this refusal, which always belongs to
    /// [`Rule::Proof`](super::refusal::Rule::Proof).
    Invalid(Refusal),
}

/// Result of checking the shared secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecretCheck {
    Absent,
    Wrong,
    /// Not checked because of too many failed attempts of the device.
    RateLimited,
    /// Not checked because the queue of attempts is full; this covers both the password and the
    /// setup code.
    QueueFull,
    Right,
}

/// Result of checking the device token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceToken {
    Absent,
    Wrong,
    /// Valid token of this generation.
    Right(u32),
}

/// Result of checking the setup code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    Absent,
    Wrong,
    Right(Grant),
}

/// Roles and scopes granted by a setup code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    pub roles: Roles,
    pub scopes: Scopes,
}

/// Result of checking the user identity asserted by a trusted proxy or Tailscale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Identity {
    Absent,
    Refused,
    Right,
}

/// All facts about a connection that requests admission.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub phase: Phase,
    /// Whether one more admitted connection fits.
    pub has_capacity: bool,
    pub min_protocol: u32,
    pub max_protocol: u32,
    /// Requested role; `None` if it is unknown.
    pub role: Option<Role>,
    /// Whether the client identifies itself as the Control UI. Any client with an Origin header is
    /// treated as a browser as well.
    pub control_ui: bool,
    /// Whether the socket's peer is loopback and no proxy header is present.
    pub local: bool,
    pub host: Host,
    pub origin: Origin,
    pub device_proof: DeviceProof,
    /// Shared token or password.
    pub secret: SecretCheck,
    pub device_token: DeviceToken,
    pub code: Code,
    pub identity: Identity,
    /// Whether the device's key is listed in `gateway.pairing.authorizedKeys`.
    pub authorized_key: bool,
    /// Whether the client's address is in `gateway.nodes.pairing.autoApproveCidrs`; always `false`
    /// if an untrusted peer sent proxy headers.
    pub cidr: bool,
    /// Requested scopes, as sent.
    pub requested: Scopes,
}

/// Authentication mode (`gateway.auth.mode`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthMode {
    None,
    Token,
    Password,
    TrustedProxy,
}

impl AuthMode {
    /// Returns the name of the mode in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            AuthMode::None => "none",
            AuthMode::Token => "token",
            AuthMode::Password => "password",
            AuthMode::TrustedProxy => "trusted-proxy",
        }
    }
}

/// Pairing mode: treatment of a new device with the shared secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PairingMode {
    /// Pair the device at once.
    Token,
    /// Create a pending request for the owner.
    Strict,
}

impl PairingMode {
    /// Returns the name of the mode in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            PairingMode::Token => "token",
            PairingMode::Strict => "strict",
        }
    }
}

/// Configuration options that affect admission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    pub auth: AuthMode,
    pub pairing: PairingMode,
    /// `gateway.nodes.pairing.autoApproveLocal`
    pub auto_approve_local: bool,
    /// `gateway.controlUi.allowInsecureAuth`
    pub allow_insecure_auth: bool,
    /// `gateway.controlUi.dangerouslyDisableDeviceAuth`
    pub disable_device_auth: bool,
    /// `gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback`
    pub host_origin_fallback: bool,
}

impl Policy {
    /// Policy of an empty configuration.
    pub const DEFAULT: Policy = Policy {
        auth: AuthMode::Token,
        pairing: PairingMode::Token,
        auto_approve_local: false,
        allow_insecure_auth: false,
        disable_device_auth: false,
        host_origin_fallback: false,
    };
}

/// Authentication method of an admitted client: `auth.method` of hello (protocol 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthMethod {
    None,
    Token,
    Password,
    /// Key or token of the device.
    Device,
    SetupCode,
    TrustedProxy,
}

impl AuthMethod {
    /// Returns the name of the method in the protocol.
    pub const fn name(self) -> &'static str {
        match self {
            AuthMethod::None => "none",
            AuthMethod::Token => "token",
            AuthMethod::Password => "password",
            AuthMethod::Device => "device-token",
            AuthMethod::SetupCode => "bootstrap-token",
            AuthMethod::TrustedProxy => "trusted-proxy",
        }
    }
}

/// Reason for admitting a connection without storing a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unremembered {
    /// The client presented no device.
    NoDevice,
    /// `auth.mode: none`: the client proved nothing worth storing.
    AuthNone,
    /// The pairing table is full and has no evictable entry.
    TableFull,
}

/// Pairing to be stored on admission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PairingSource {
    pub provenance: Provenance,
    pub roles: Roles,
    pub scopes: Scopes,
}
