//! A client's connection attempt: the data that it sent and the observed facts, parsed, bounded in
//! size and owned.

use std::net::IpAddr;

use crate::gate::budget::Holder;
use crate::gate::facts::{AuthMode, DeviceProof, Host, Identity, Origin, Protocol, SecretCheck};
use crate::gate::ids::Role;
use crate::gate::limits;
use crate::gate::net::Via;
use crate::gate::pairing_requests::About;
use crate::gate::rate_limit::CredentialKind;
use crate::gate::scopes::Scopes;
use crate::gate::setup_codes::CodeText;
use crate::gate::text::{clip, Text};
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

impl ClientInfo {
    /// Returns a short name of the path from the client to the gateway, for logs and displays.
    pub(in crate::server) fn via_name(&self) -> &'static str {
        match (self.via, self.local) {
            (_, true) => "local",
            (Via::Direct, _) => "direct",
            (Via::TrustedProxy, _) => "proxy",
            (Via::UntrustedProxy, _) => "untrusted-proxy",
        }
    }
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
    pub signed_without_nonce: Option<u64>,
    /// Kind of the credential that is subject to the rate limiter, if any.
    pub credential_kind: Option<CredentialKind>,
    /// Whether the rate limiter rejected the attempt. The shared secret and setup code are then not
    /// checked.
    pub is_rate_limited: bool,
}

impl PresentedCredentials {
    /// Iterates over the token and the password that were sent and are not empty.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &String> {
        [&self.token, &self.password].into_iter().flatten().filter(|text| !text.is_empty())
    }

    /// Returns the text that may be a setup code: the bootstrap token or, in token mode, a token
    /// that is not the shared secret and has the form of a code. In the other modes such a text may
    /// be a typed password.
    pub(super) fn setup_code(&self, auth: AuthMode, secret: SecretCheck) -> Option<&str> {
        let may_be_code = auth == AuthMode::Token && secret != SecretCheck::Right;
        let typed = self.token.as_deref().filter(|_| may_be_code);
        let typed = typed.filter(|text| CodeText::parse(text).is_some());
        self.bootstrap_token.as_deref().or(typed)
    }
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
    pub client_info: ClientInfo,
    /// Device time minus gateway time in milliseconds, if they differ by more than
    /// [`limits::CLOCK_SKEW_MS`].
    pub clock_skew: Option<i64>,
}

impl Attempt {
    /// Returns the protocol version for responses, whether the client is admitted or not.
    pub(super) fn protocol(&self) -> Protocol {
        Protocol::negotiate(self.min_protocol, self.max_protocol).unwrap_or(Protocol::V4)
    }

    /// Returns the display name of the client, or its client id if it sent none.
    pub(super) fn client_name(&self) -> Text<{ limits::NAME_LEN }> {
        if self.about.name.is_empty() {
            clip(&self.about.client_id)
        } else {
            self.about.name.clone()
        }
    }

    /// Returns the client in whose name the attempt uses shared resources.
    pub(super) fn holder(&self) -> Holder {
        match self.device_proof {
            DeviceProof::Valid { id, .. } => Holder::Device(id),
            DeviceProof::Absent | DeviceProof::Invalid(_) => Holder::Keyless,
        }
    }

    /// Returns the id of the proven device key; empty without a valid device_proof.
    pub(super) fn device_text(&self) -> String {
        match self.device_proof {
            DeviceProof::Valid { id, .. } => id.to_string(),
            DeviceProof::Absent | DeviceProof::Invalid(_) => String::new(),
        }
    }
}
