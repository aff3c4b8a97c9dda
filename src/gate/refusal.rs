//! Refusals and close reasons: the only place with their codes and texts.
//!
//! Error codes, messages, close codes and `details.code` are those that clients of protocol 3
//! (OpenClaw 2026.1.29) and protocol 4 (2026.9.6) recognize; the hints are this gateway's own. A
//! hint is a template: `{gatelet}` is the command for this deployment, `{list}` is `devices` or
//! `nodes`, `{request}` a request id, `{device}` a device, `{origin}` the Origin header as
//! received.

use core::fmt;

use super::protocol::Protocol;

/// Admission rule that determined a verdict. The numbers are those of the README and of
/// `gatelet explain`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Rule {
    Frame,
    Protocol,
    Role,
    Origin,
    Proof,
    Credential,
    KnownDevice,
    StaleToken,
    SharedSecret,
    SetupCode,
    AuthorizedKey,
    Cidr,
    Revoked,
    NoDevice,
    Identity,
    Capacity,
}

impl Rule {
    /// All rules, ordered by number.
    pub const ALL: [Rule; 16] = [
        Rule::Frame,
        Rule::Protocol,
        Rule::Role,
        Rule::Origin,
        Rule::Proof,
        Rule::Credential,
        Rule::KnownDevice,
        Rule::StaleToken,
        Rule::SharedSecret,
        Rule::SetupCode,
        Rule::AuthorizedKey,
        Rule::Cidr,
        Rule::Revoked,
        Rule::NoDevice,
        Rule::Identity,
        Rule::Capacity,
    ];

    /// Returns number and name, as in `7.3 new device, shared secret`.
    pub const fn title(self) -> &'static str {
        match self {
            Rule::Frame => "1 frame",
            Rule::Protocol => "2 protocol",
            Rule::Role => "3 role",
            Rule::Origin => "4 origin",
            Rule::Proof => "5 device proof",
            Rule::Credential => "6 credential",
            Rule::KnownDevice => "7.1 known device",
            Rule::StaleToken => "7.2 known device, stale token",
            Rule::SharedSecret => "7.3 new device, shared secret",
            Rule::SetupCode => "7.4 setup code",
            Rule::AuthorizedKey => "7.5 authorized key",
            Rule::Cidr => "7.6 approved without a person (autoApproveCidrs, autoApproveLocal)",
            Rule::Revoked => "7.7 revoked device",
            Rule::NoDevice => "7.8 no device",
            Rule::Identity => "7.9 vouched identity, or auth.mode none",
            Rule::Capacity => "8 capacity",
        }
    }

    /// Returns the number alone, as in `7.3`.
    pub fn number(self) -> &'static str {
        let title = self.title();
        &title[..title.find(' ').unwrap_or(title.len())]
    }
}

/// Value of `error.code` in the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorCode {
    InvalidRequest,
    NotPaired,
    Unavailable,
    /// Protocol 4 only; protocol 3 uses `INVALID_REQUEST` instead.
    Forbidden,
}

impl ErrorCode {
    /// Returns the name on the wire in that protocol version.
    pub const fn name(self, protocol: Protocol) -> &'static str {
        match (self, protocol) {
            (ErrorCode::NotPaired, _) => "NOT_PAIRED",
            (ErrorCode::Unavailable, _) => "UNAVAILABLE",
            (ErrorCode::Forbidden, Protocol::V4) => "FORBIDDEN",
            (ErrorCode::InvalidRequest | ErrorCode::Forbidden, _) => "INVALID_REQUEST",
        }
    }
}

/// Reason for not admitting a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Refusal {
    // the client's frame
    InvalidFrame,
    NotConnect,
    InvalidConnect,
    ProtocolMismatch,
    InvalidRole,
    // the origin of the page
    OriginForeign,
    HostForeign,
    HostNotLoopback,
    // the device proof
    DeviceIdMismatch,
    SignatureExpired,
    NonceRequired,
    NonceMismatch,
    SignatureInvalid,
    PublicKeyInvalid,
    // the credential
    TokenMissing,
    TokenMismatch,
    PasswordMissing,
    PasswordMismatch,
    RateLimited,
    DeviceTokenMismatch,
    SetupCodeInvalid,
    SetupCodeRole,
    IdentityMissing,
    IdentityRefused,
    AuthNoneNotLocal,
    // the owner's decision
    PairingRequired,
    RoleUpgrade,
    DeviceRevoked,
    DeviceRequired,
    ControlUiDeviceRequired,
    // the state of the gateway
    TableFull,
    TableUnavailable,
    TooManyConnections,
    Starting,
    Stopping,
}

/// Codes and texts of one refusal.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    pub error: ErrorCode,
    /// Value of `details.code`.
    pub code: &'static str,
    /// WebSocket close code.
    pub close: u16,
    /// Message and close reason for a protocol 3 client.
    pub v3: &'static str,
    /// Message and close reason for a protocol 4 client.
    pub v4: &'static str,
    /// Value of `details.recommendedNextStep`, from the list that protocol 4 clients recognize;
    /// empty if none.
    pub next: &'static str,
    /// Milliseconds after which a retry can succeed; 0 if waiting alone does not help.
    pub retry_ms: u32,
    /// Instruction for the user; a template, see the module documentation.
    pub hint: &'static str,
}

impl Refusal {
    /// All refusals.
    pub const ALL: [Refusal; 35] = [
        Refusal::InvalidFrame,
        Refusal::NotConnect,
        Refusal::InvalidConnect,
        Refusal::ProtocolMismatch,
        Refusal::InvalidRole,
        Refusal::OriginForeign,
        Refusal::HostForeign,
        Refusal::HostNotLoopback,
        Refusal::DeviceIdMismatch,
        Refusal::SignatureExpired,
        Refusal::NonceRequired,
        Refusal::NonceMismatch,
        Refusal::SignatureInvalid,
        Refusal::PublicKeyInvalid,
        Refusal::TokenMissing,
        Refusal::TokenMismatch,
        Refusal::PasswordMissing,
        Refusal::PasswordMismatch,
        Refusal::RateLimited,
        Refusal::DeviceTokenMismatch,
        Refusal::SetupCodeInvalid,
        Refusal::SetupCodeRole,
        Refusal::IdentityMissing,
        Refusal::IdentityRefused,
        Refusal::AuthNoneNotLocal,
        Refusal::PairingRequired,
        Refusal::RoleUpgrade,
        Refusal::DeviceRevoked,
        Refusal::DeviceRequired,
        Refusal::ControlUiDeviceRequired,
        Refusal::TableFull,
        Refusal::TableUnavailable,
        Refusal::TooManyConnections,
        Refusal::Starting,
        Refusal::Stopping,
    ];

    /// Returns the codes and texts used in the answer, in the log and in the README.
    pub const fn words(self) -> Words {
        match self {
            Refusal::InvalidFrame => invalid(
                "INVALID_REQUEST_FRAME",
                "invalid request frame",
                "what came was no request of the gateway protocol; check what is connecting here",
            ),
            Refusal::NotConnect => invalid(
                "CONNECT_REQUIRED",
                "invalid handshake: first request must be connect",
                "send a connect request first; if this is a browser or a script, check that it speaks the gateway protocol",
            ),
            Refusal::InvalidConnect => invalid(
                "INVALID_CONNECT_PARAMS",
                "invalid connect params",
                "the client sent a malformed connect request; update the client",
            ),
            Refusal::ProtocolMismatch => Words {
                close: 1002,
                ..invalid("PROTOCOL_MISMATCH", "protocol mismatch", "this gateway speaks protocols 3 and 4; update the client")
            },
            Refusal::InvalidRole => {
                invalid("INVALID_ROLE", "invalid role", "the role is `operator` or `node`; check how the client is started")
            }
            Refusal::OriginForeign => origin(
                "the page comes from {origin}, which this gateway does not serve; if it is yours, add \
                 gateway.controlUi.allowedOrigins: [\"{origin}\"] to the configuration and restart",
            ),
            Refusal::HostForeign => origin(
                "the page reached the gateway under a name it does not know; if the name is yours, set \
                 gateway.publicOrigin: \"{origin}\" in the configuration and restart",
            ),
            Refusal::HostNotLoopback => origin(
                "with gateway.auth.mode \"none\" only http://127.0.0.1 and http://localhost work; open one of these, or set \
                 gateway.auth.mode: \"token\"",
            ),
            Refusal::DeviceIdMismatch => proof(
                "DEVICE_AUTH_DEVICE_ID_MISMATCH",
                "device identity mismatch",
                "the device id does not belong to the key; clear this site's data, or delete the client's device file, and connect again",
            ),
            Refusal::SignatureExpired => Words {
                retry_ms: 1000,
                ..proof(
                    "DEVICE_AUTH_SIGNATURE_EXPIRED",
                    "device signature expired",
                    "the proof came later than two minutes after the challenge, or gateway.auth.strictClock is on and the \
                     device's clock is off; connect again, or set the clock",
                )
            },
            Refusal::NonceRequired => proof(
                "DEVICE_AUTH_NONCE_REQUIRED",
                "device nonce required",
                "the client must wait for connect.challenge and sign its nonce; update the client",
            ),
            Refusal::NonceMismatch => proof(
                "DEVICE_AUTH_NONCE_MISMATCH",
                "device nonce mismatch",
                "the proof was made for another connection; connect again",
            ),
            Refusal::SignatureInvalid => proof(
                "DEVICE_AUTH_SIGNATURE_INVALID",
                "device signature invalid",
                "the signature does not fit the request; update the client, or clear its device identity and connect again",
            ),
            Refusal::PublicKeyInvalid => proof(
                "DEVICE_AUTH_PUBLIC_KEY_INVALID",
                "device public key invalid",
                "the device's public key cannot be read; clear the client's device identity and connect again",
            ),
            Refusal::TokenMissing => Words {
                next: "update_auth_configuration",
                ..credential(
                    "AUTH_TOKEN_MISSING",
                    "unauthorized: gateway token missing (open a tokenized dashboard URL or paste token in Control UI settings)",
                    "run `{gatelet} url` on the gateway and open the line it prints, or give the client the token from `{gatelet} token show`",
                )
            },
            Refusal::TokenMismatch => Words {
                next: "update_auth_credentials",
                ..credential(
                    "AUTH_TOKEN_MISMATCH",
                    "unauthorized: gateway token mismatch (open a tokenized dashboard URL or paste token in Control UI settings)",
                    "the token is not this gateway's: run `{gatelet} url` on the gateway and open the line it prints, or give the \
                     client the token from `{gatelet} token show`",
                )
            },
            Refusal::PasswordMissing => Words {
                next: "update_auth_configuration",
                ..credential(
                    "AUTH_PASSWORD_MISSING",
                    "unauthorized: gateway password missing (enter the password in Control UI settings)",
                    "enter the gateway's password in the client",
                )
            },
            Refusal::PasswordMismatch => Words {
                next: "update_auth_credentials",
                ..credential(
                    "AUTH_PASSWORD_MISMATCH",
                    "unauthorized: gateway password mismatch (enter the password in Control UI settings)",
                    "the password is not this gateway's: enter gateway.auth.password as the gateway has it",
                )
            },
            Refusal::RateLimited => Words {
                next: "wait_then_retry",
                retry_ms: super::limits::RATE_LIMIT_LOCK_MS as u32,
                ..credential(
                    "AUTH_RATE_LIMITED",
                    "unauthorized: too many failed authentication attempts (retry later)",
                    "too many wrong guesses, from this device or in all; try again, at the latest in five minutes, or use a key that is paired",
                )
            },
            Refusal::DeviceTokenMismatch => Words {
                next: "update_auth_credentials",
                ..credential(
                    "AUTH_DEVICE_TOKEN_MISMATCH",
                    "unauthorized: device token mismatch (rotate/reissue device token)",
                    "this gateway does not know the device any more; open the line of `{gatelet} url`, or pair it with a code from \
                     `{gatelet} pair`",
                )
            },
            Refusal::SetupCodeInvalid => credential(
                "AUTH_BOOTSTRAP_TOKEN_INVALID",
                "unauthorized: setup code invalid, expired, revoked, or already used (create a new code)",
                "codes live ten minutes and work once: run `{gatelet} pair` on the gateway for a new one",
            ),
            Refusal::SetupCodeRole => credential(
                "AUTH_SCOPE_MISMATCH",
                "unauthorized: setup code is for another role (create a new code)",
                "run `{gatelet} pair --role node` for a node, `{gatelet} pair` for an operator",
            ),
            Refusal::IdentityMissing => credential(
                "AUTH_UNAUTHORIZED",
                "unauthorized",
                "the gateway expects the user's name from its proxy: reach it through the proxy in gateway.trustedProxies, which must \
                 set the header gateway.auth.trustedProxy.userHeader",
            ),
            Refusal::IdentityRefused => credential(
                "AUTH_UNAUTHORIZED",
                "unauthorized",
                "the proxy's user is not in gateway.auth.trustedProxy.allowUsers, or a header in requiredHeaders is missing",
            ),
            Refusal::AuthNoneNotLocal => credential(
                "AUTH_REQUIRED",
                "unauthorized",
                "with gateway.auth.mode \"none\" only clients on this machine, with no proxy between, are let in; set \
                 gateway.auth.mode: \"token\"",
            ),
            Refusal::PairingRequired => pairing(
                "pairing required: device is not approved yet",
                "run `{gatelet} {list} approve {request}` on the gateway; the device then connects by itself",
            ),
            Refusal::RoleUpgrade => pairing(
                "pairing required: device is asking for a higher role than currently approved",
                "run `{gatelet} {list} approve {request}` on the gateway; the device then connects by itself",
            ),
            Refusal::DeviceRevoked => Words {
                error: ErrorCode::NotPaired,
                next: "review_auth_configuration",
                ..credential(
                    "DEVICE_REVOKED",
                    "device revoked by the owner",
                    "the owner revoked this device; to let it in again run `{gatelet} devices approve {device}` on the gateway",
                )
            },
            Refusal::DeviceRequired => Words {
                error: ErrorCode::NotPaired,
                ..credential(
                    "DEVICE_IDENTITY_REQUIRED",
                    "device identity required",
                    "the client sent no device identity; a node always needs one, an operator needs it or the gateway's token",
                )
            },
            Refusal::ControlUiDeviceRequired => Words {
                v3: "control ui requires HTTPS or localhost (secure context)",
                ..credential(
                    "CONTROL_UI_DEVICE_IDENTITY_REQUIRED",
                    "control ui requires device identity (use HTTPS or localhost secure context)",
                    "this page has no device key on plain HTTP: open the gateway's own page, which brings one, or use http://127.0.0.1 or \
                     HTTPS, or set gateway.controlUi.allowInsecureAuth: true",
                )
            },
            Refusal::TableFull => unavailable(
                1008,
                "TABLE_FULL",
                "the pairing table is full",
                0,
                "remove a device with `{gatelet} devices remove DEVICE`, or move to a larger table (see gateway.pairing.capacity)",
            ),
            Refusal::TableUnavailable => unavailable(
                1013,
                "TABLE_UNAVAILABLE",
                "the pairing could not be saved",
                5000,
                "the gateway's disk is full, read-only or failing: see its log, then try again",
            ),
            Refusal::TooManyConnections => unavailable(
                1013,
                "TOO_MANY_CONNECTIONS",
                "too many connections; retry shortly",
                5000,
                "close clients that are not needed, then try again",
            ),
            Refusal::Starting => {
                unavailable(1013, "GATEWAY_STARTING", "gateway starting; retry shortly", 500, "wait a moment and connect again")
            }
            Refusal::Stopping => unavailable(
                1013,
                "GATEWAY_STOPPING",
                "gateway restart in progress",
                1000,
                "the gateway is going down; connect again when it is back",
            ),
        }
    }

    /// Returns the message and close reason for that protocol version.
    pub const fn message(self, protocol: Protocol) -> &'static str {
        match protocol {
            Protocol::V3 => self.words().v3,
            Protocol::V4 => self.words().v4,
        }
    }

    /// Returns `details.reason` of a refusal about origin, device proof or pairing; empty if none.
    /// Protocol 4 clients recognize those about device proof and pairing.
    pub const fn reason(self) -> &'static str {
        match self {
            Refusal::DeviceIdMismatch => "device-id-mismatch",
            Refusal::SignatureExpired => "device-signature-stale",
            Refusal::NonceRequired => "device-nonce-missing",
            Refusal::NonceMismatch => "device-nonce-mismatch",
            Refusal::SignatureInvalid => "device-signature",
            Refusal::PublicKeyInvalid => "device-public-key",
            Refusal::PairingRequired => "not-paired",
            Refusal::RoleUpgrade => "role-upgrade",
            Refusal::OriginForeign => "origin not allowed",
            Refusal::HostForeign => "host not served",
            Refusal::HostNotLoopback => "host not loopback",
            _ => "",
        }
    }

    /// Returns `details.authReason` of an `unauthorized` answer, as protocol 4 clients recognize
    /// it; empty if none.
    pub const fn auth_reason(self) -> &'static str {
        match self {
            Refusal::TokenMissing => "token_missing",
            Refusal::TokenMismatch => "token_mismatch",
            Refusal::PasswordMissing => "password_missing",
            Refusal::PasswordMismatch => "password_mismatch",
            Refusal::RateLimited => "rate_limited",
            Refusal::DeviceTokenMismatch => "device_token_mismatch",
            Refusal::SetupCodeInvalid => "bootstrap_token_invalid",
            Refusal::SetupCodeRole => "scope_mismatch",
            Refusal::IdentityMissing => "trusted_proxy_user_missing",
            Refusal::IdentityRefused => "trusted_proxy_user_not_allowed",
            _ => "",
        }
    }
}

/// Values for the placeholders of a hint. For an empty value a placeholder for the user to replace
/// is printed, such as `REQUEST`.
#[derive(Clone, Copy, Default)]
pub struct Fill<'a> {
    /// Command that runs `gatelet` in this deployment, for example `docker exec NAME /gatelet`.
    pub gatelet: &'a str,
    /// `nodes` for a node, whose approval covers both the device and its surface; else `devices`.
    pub list: &'a str,
    pub request: &'a str,
    pub device: &'a str,
    pub origin: &'a str,
}

/// A hint with its placeholders filled in; printed with `Display`.
pub struct Hint<'a> {
    template: &'a str,
    fill: Fill<'a>,
}

impl<'a> Hint<'a> {
    /// Combines a template and the values for its placeholders.
    pub const fn new(template: &'a str, fill: Fill<'a>) -> Hint<'a> {
        Hint { template, fill }
    }
}

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.template;
        while let Some(open) = rest.find('{') {
            let Some(close) = rest[open..].find('}') else { break };
            f.write_str(&rest[..open])?;
            let (value, stand_in) = match &rest[open + 1..open + close] {
                "gatelet" => (self.fill.gatelet, "gatelet"),
                "list" => (self.fill.list, "devices"),
                "request" => (self.fill.request, "REQUEST"),
                "device" => (self.fill.device, "DEVICE"),
                "origin" => (self.fill.origin, "ORIGIN"),
                unknown => (unknown, ""),
            };
            f.write_str(if value.is_empty() { stand_in } else { value })?;
            rest = &rest[open + close + 1..];
        }
        f.write_str(rest)
    }
}

/// Reason for closing an open connection other than by answering a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// No connect request arrived in time.
    HandshakeTimeout,
    /// Frame larger than allowed.
    TooLarge,
    /// Text that is not UTF-8.
    NotUtf8,
    /// Send queue full: the client reads too slowly.
    SlowConsumer,
    /// More than [`super::limits::UNAUTHORIZED_CALLS`] calls that the role may not make (protocol
    /// 4).
    Unauthorized,
    /// Device removed (protocol 4).
    DeviceRemoved,
    /// Device, or its role on this connection, revoked (protocol 4).
    DeviceRevoked,
    /// Device token rotated with fewer scopes (protocol 4).
    TokenRotated,
    /// Credential used for admission no longer valid after a configuration change (protocol 4).
    AuthChanged,
    /// No pong received.
    Silent,
    /// Unauthenticated connection evicted in favor of a newer one.
    MadeRoom,
    /// Gateway shutting down.
    Restart,
}

impl Close {
    /// Returns the close code and reason.
    pub const fn words(self) -> (u16, &'static str) {
        match self {
            Close::HandshakeTimeout => (1008, "handshake timeout: no connect request came in time"),
            Close::TooLarge => (1009, "payload too large"),
            Close::NotUtf8 => (1007, "invalid UTF-8"),
            Close::SlowConsumer => (1008, "slow consumer"),
            Close::Unauthorized => (1008, "repeated unauthorized calls"),
            Close::DeviceRemoved => (4001, "device removed"),
            Close::DeviceRevoked => (4001, "client invalidated: device revoked"),
            Close::TokenRotated => (4001, "client invalidated: device token rotated"),
            Close::AuthChanged => (4001, "gateway auth changed"),
            Close::Silent => (1011, "no pong"),
            Close::MadeRoom => (1013, "too many unauthenticated connections; retry shortly"),
            Close::Restart => (1012, "service restart"),
        }
    }
}

const fn invalid(code: &'static str, message: &'static str, hint: &'static str) -> Words {
    Words {
        error: ErrorCode::InvalidRequest,
        code,
        close: 1008,
        v3: message,
        v4: message,
        next: "",
        retry_ms: 0,
        hint,
    }
}

const fn origin(hint: &'static str) -> Words {
    invalid(
        "CONTROL_UI_ORIGIN_NOT_ALLOWED",
        "origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)",
        hint,
    )
}

const fn proof(code: &'static str, message: &'static str, hint: &'static str) -> Words {
    invalid(code, message, hint)
}

const fn credential(code: &'static str, message: &'static str, hint: &'static str) -> Words {
    Words { next: "review_auth_configuration", ..invalid(code, message, hint) }
}

const fn pairing(message: &'static str, hint: &'static str) -> Words {
    Words {
        error: ErrorCode::NotPaired,
        v3: "pairing required",
        next: "wait_then_retry",
        retry_ms: 5000,
        ..invalid("PAIRING_REQUIRED", message, hint)
    }
}

const fn unavailable(
    close: u16,
    code: &'static str,
    message: &'static str,
    retry_ms: u32,
    hint: &'static str,
) -> Words {
    Words { error: ErrorCode::Unavailable, close, retry_ms, ..invalid(code, message, hint) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::limits;
    use super::super::text::cut;
    use super::*;

    #[test]
    fn the_list_of_refusals_is_complete_and_in_order() {
        for (at, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, at, "{refusal:?}");
        }
        assert_eq!(Refusal::ALL.len(), Refusal::Stopping as usize + 1);
        for (at, rule) in Rule::ALL.into_iter().enumerate() {
            assert_eq!(rule as usize, at, "{rule:?}");
        }
        assert_eq!(Rule::ALL.len(), Rule::Capacity as usize + 1);
    }

    #[test]
    fn codes_are_unique_except_where_clients_know_only_one() {
        let mut by_code = HashMap::<&str, Vec<Refusal>>::new();
        for refusal in Refusal::ALL {
            by_code.entry(refusal.words().code).or_default().push(refusal);
        }
        by_code.retain(|_, refusals| refusals.len() > 1);
        let shared = [
            (
                "CONTROL_UI_ORIGIN_NOT_ALLOWED",
                vec![Refusal::OriginForeign, Refusal::HostForeign, Refusal::HostNotLoopback],
            ),
            ("AUTH_UNAUTHORIZED", vec![Refusal::IdentityMissing, Refusal::IdentityRefused]),
            ("PAIRING_REQUIRED", vec![Refusal::PairingRequired, Refusal::RoleUpgrade]),
        ];
        assert_eq!(by_code, HashMap::from(shared));
        for refusals in by_code.values() {
            let mut hints: Vec<_> = refusals
                .iter()
                .map(|one| (one.words().hint, one.reason(), one.auth_reason()))
                .collect();
            hints.dedup();
            assert_eq!(hints.len(), refusals.len(), "something tells them apart: {refusals:?}");
        }
    }

    #[test]
    fn every_refusal_has_a_message_and_a_hint() {
        for refusal in Refusal::ALL {
            let words = refusal.words();
            assert!(
                words.code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'),
                "{refusal:?}"
            );
            for message in [words.v3, words.v4] {
                let reason = cut(message, limits::CLOSE_REASON);
                assert!(
                    message.is_ascii()
                        && !reason.is_empty()
                        && reason.len() <= limits::CLOSE_REASON,
                    "{refusal:?}"
                );
            }
            assert!(
                words.hint.len() > 20 && !words.hint.ends_with('.'),
                "{refusal:?}: {}",
                words.hint
            );
            assert!(!words.hint.contains("  "), "{refusal:?}: {}", words.hint);
            assert!(matches!(words.close, 1002 | 1008 | 1013), "{refusal:?}");
            assert_eq!(
                words.error == ErrorCode::Unavailable,
                words.code.starts_with(is_ours(refusal)),
                "{refusal:?}"
            );
        }
    }

    /// Returns the prefix of the code if the gateway caused the refusal, else a string that no code
    /// starts with.
    fn is_ours(refusal: Refusal) -> &'static str {
        match refusal {
            Refusal::TableFull | Refusal::TableUnavailable => "TABLE_",
            Refusal::TooManyConnections => "TOO_MANY_",
            Refusal::Starting | Refusal::Stopping => "GATEWAY_",
            _ => "-",
        }
    }

    #[test]
    fn next_steps_are_known_to_clients_and_waits_are_stated() {
        let known = [
            "",
            "review_auth_configuration",
            "update_auth_configuration",
            "update_auth_credentials",
            "wait_then_retry",
        ];
        for refusal in Refusal::ALL {
            let words = refusal.words();
            assert!(known.contains(&words.next), "{refusal:?}: {}", words.next);
            assert!(words.next != "wait_then_retry" || words.retry_ms > 0, "{refusal:?}");
            assert!(
                words.close != 1013 || words.retry_ms > 0,
                "1013 is `try again later`: {refusal:?}"
            );
        }
        assert_eq!(u64::from(Refusal::RateLimited.words().retry_ms), limits::RATE_LIMIT_LOCK_MS);
    }

    #[test]
    fn hints_have_no_unfilled_placeholders() {
        let full = Fill {
            gatelet: "docker exec g /gatelet",
            list: "nodes",
            request: "r-1",
            device: "abcd",
            origin: "http://x",
        };
        for refusal in Refusal::ALL {
            let template = refusal.words().hint;
            for fill in [full, Fill::default()] {
                let hint = Hint::new(template, fill).to_string();
                assert!(!hint.contains(['{', '}']), "{refusal:?}: {hint}");
            }
            let mut rest = template;
            while let Some(open) = rest.find('{') {
                let close = open + rest[open..].find('}').expect("a place ends");
                assert!(
                    ["gatelet", "list", "request", "device", "origin"]
                        .contains(&&rest[open + 1..close]),
                    "{template}"
                );
                rest = &rest[close + 1..];
            }
        }
        let hint = |refusal: Refusal, fill| Hint::new(refusal.words().hint, fill).to_string();
        assert!(hint(Refusal::PairingRequired, full)
            .contains("`docker exec g /gatelet nodes approve r-1`"));
        assert!(hint(Refusal::PairingRequired, Fill::default())
            .contains("`gatelet devices approve REQUEST`"));
        assert!(hint(Refusal::DeviceRevoked, full).contains("devices approve abcd`"));
        assert!(hint(Refusal::OriginForeign, full)
            .contains("gateway.controlUi.allowedOrigins: [\"http://x\"]"));
        assert_eq!(
            Hint::new("open {unknown} and {unended", full).to_string(),
            "open unknown and {unended"
        );
    }

    #[test]
    fn rules_have_a_number_and_a_name_each() {
        let mut numbers: Vec<_> = Rule::ALL.into_iter().map(Rule::number).collect();
        assert_eq!(
            numbers,
            "1 2 3 4 5 6 7.1 7.2 7.3 7.4 7.5 7.6 7.7 7.8 7.9 8".split(' ').collect::<Vec<_>>()
        );
        numbers.dedup();
        assert_eq!(numbers.len(), Rule::ALL.len());
        for rule in Rule::ALL {
            assert!(rule.title().len() > rule.number().len() + 1, "{rule:?}");
        }
    }

    #[test]
    fn protocol_3_has_its_own_texts() {
        let words = |refusal: Refusal, protocol| {
            (refusal.words().error.name(protocol), refusal.message(protocol))
        };
        assert_eq!(
            words(Refusal::PairingRequired, Protocol::V3),
            ("NOT_PAIRED", "pairing required")
        );
        assert_eq!(words(Refusal::RoleUpgrade, Protocol::V3), ("NOT_PAIRED", "pairing required"));
        let v3 = words(Refusal::ControlUiDeviceRequired, Protocol::V3);
        assert_eq!(
            v3,
            ("INVALID_REQUEST", "control ui requires HTTPS or localhost (secure context)")
        );
        assert_eq!(
            words(Refusal::DeviceRequired, Protocol::V3),
            ("NOT_PAIRED", "device identity required")
        );
        assert_eq!(ErrorCode::Forbidden.name(Protocol::V3), "INVALID_REQUEST");
        assert_eq!(ErrorCode::Forbidden.name(Protocol::V4), "FORBIDDEN");
    }

    #[test]
    fn close_reasons_fit_the_limit() {
        for close in [
            Close::HandshakeTimeout,
            Close::TooLarge,
            Close::NotUtf8,
            Close::SlowConsumer,
            Close::Unauthorized,
            Close::DeviceRemoved,
            Close::DeviceRevoked,
            Close::TokenRotated,
            Close::Silent,
            Close::MadeRoom,
            Close::Restart,
        ] {
            let (code, reason) = close.words();
            assert!(matches!(code, 1007..=1013 | 4001), "{close:?}");
            assert!(!reason.is_empty() && reason.len() <= limits::CLOSE_REASON, "{close:?}");
        }
    }
}
