//! What is known about a connection when the gate decides: plain values, already read, checked and compared.

use super::device::Provenance;
use super::ids::{DeviceId, PublicKey, Role, Roles};
use super::refusal::Refusal;
use super::scopes::Scopes;

pub use super::dialect::Dialect;

/// What the gateway is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Starting,
    Running,
    Stopping,
}

/// What the Host header names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host {
    Absent,
    /// `localhost`, 127.0.0.0/8 or ::1.
    Loopback,
    /// A name or address that is ours: an address literal that is private or the one the client reached, `*.local`,
    /// `*.ts.net`, the machine's own name, the host of `gateway.publicOrigin`.
    Served,
    /// Any other name: perhaps rebound to us by somebody's DNS.
    Foreign,
}

/// How the Origin header stands to Host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Not a browser.
    Absent,
    /// Stands in `gateway.controlUi.allowedOrigins`, or is `gateway.publicOrigin`.
    Listed,
    /// Same host and port as Host.
    Same,
    /// A loopback origin for a loopback Host, on another port or under another loopback name.
    LoopbackPair,
    /// Anything else, `null` and unreadable ones too.
    Foreign,
}

/// The device that was presented, and what its signature is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// No device was presented.
    Absent,
    /// The key signed our nonce.
    Valid { id: DeviceId, key: PublicKey },
    /// It did not; the refusal says how. Never one of another rule.
    Invalid(Refusal),
}

/// A secret that was presented or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Secret {
    Absent,
    Wrong,
    /// Too many wrong guesses came before it: neither the password nor the setup code was looked at.
    Throttled,
    Right,
}

/// A device token that was presented or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceToken {
    Absent,
    Wrong,
    /// It is the one of this generation.
    Right(u32),
}

/// A setup code that was presented or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    Absent,
    Wrong,
    Right(Grant),
}

/// What a setup code gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    pub roles: Roles,
    pub scopes: Scopes,
}

/// A user for whom a trusted proxy or Tailscale vouches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Identity {
    Absent,
    Refused,
    Right,
}

/// Everything the gate knows about a connection that asks to come in.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub phase: Phase,
    /// One more admitted connection fits.
    pub room: bool,
    pub min_protocol: u32,
    pub max_protocol: u32,
    /// `None`: a role that nobody knows.
    pub role: Option<Role>,
    /// The client calls itself the Control UI. With an Origin, any client counts as a browser.
    pub control_ui: bool,
    /// The socket's peer is loopback and no proxy header is present.
    pub local: bool,
    pub host: Host,
    pub origin: Origin,
    pub proof: Proof,
    /// Shared token or password.
    pub secret: Secret,
    pub device_token: DeviceToken,
    pub code: Code,
    pub identity: Identity,
    /// The device's key stands in `gateway.pairing.authorizedKeys`.
    pub authorized_key: bool,
    /// The client's address stands in `gateway.nodes.pairing.autoApproveCidrs`, and no untrusted proxy names it.
    pub cidr: bool,
    /// The scopes it asks for, as sent.
    pub requested: Scopes,
}

/// How clients prove that they belong here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthMode {
    None,
    Token,
    Password,
    TrustedProxy,
}

impl AuthMode {
    /// The word of the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            AuthMode::None => "none",
            AuthMode::Token => "token",
            AuthMode::Password => "password",
            AuthMode::TrustedProxy => "trusted-proxy",
        }
    }
}

/// What happens to a new device that holds the shared secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PairingMode {
    /// It is paired at once.
    Token,
    /// It waits for the owner.
    Strict,
}

impl PairingMode {
    /// The word of the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            PairingMode::Token => "token",
            PairingMode::Strict => "strict",
        }
    }
}

/// The part of the configuration that decides.
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
    /// What holds with no configuration at all.
    pub const DEFAULT: Policy = Policy {
        auth: AuthMode::Token,
        pairing: PairingMode::Token,
        auto_approve_local: false,
        allow_insecure_auth: false,
        disable_device_auth: false,
        host_origin_fallback: false,
    };
}

/// How an admitted client proved itself: `auth.method` of hello (protocol 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    None,
    Token,
    Password,
    /// The device's own key or token.
    Device,
    SetupCode,
    TrustedProxy,
}

impl Method {
    /// The protocol's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Method::None => "none",
            Method::Token => "token",
            Method::Password => "password",
            Method::Device => "device-token",
            Method::SetupCode => "bootstrap-token",
            Method::TrustedProxy => "trusted-proxy",
        }
    }
}

/// Why an admitted connection is remembered nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unremembered {
    /// It has no device.
    NoDevice,
    /// `auth.mode: none` proves nothing worth remembering.
    AuthNone,
    /// The table is full and nothing in it gives way.
    TableFull,
}

/// A pairing that admission makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pairing {
    pub provenance: Provenance,
    pub roles: Roles,
    pub scopes: Scopes,
}
