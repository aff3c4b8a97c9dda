//! Refusals and close reasons: the only place with their codes and texts.
//!
//! Error codes, messages, close codes and `details.code` are those that clients of protocol 3
//! (OpenClaw 2026.1.29) and protocol 4 (2026.9.6) recognize; the hints are this gateway's own. A
//! hint is a template: `{gatelet}` is the command for this deployment, `{list}` is `devices` or
//! `nodes`, `{request}` a request id, `{device}` a device, `{origin}` the Origin header as
//! received.

use core::fmt;

use super::limits;
use super::protocol::Protocol;

listed_enum! {
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
}

impl Rule {
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

listed_enum! {
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
        OriginOpaque,
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
        AttemptQueueFull,
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
        TooManyRequests,
        TooManyConnections,
        TooManyOfDevice,
        Stopping,
    }
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
    /// Value of `details.reason` of a refusal about origin, device proof, pairing or the state of
    /// the gateway; empty if none. Protocol 4 clients recognize all but those about the origin.
    pub reason: &'static str,
    /// Value of `details.authReason` of an `unauthorized` answer, from the list that protocol 4
    /// clients recognize; empty if none.
    pub auth_reason: &'static str,
    /// Value of `details.recommendedNextStep`, from the list that protocol 4 clients recognize;
    /// empty if none.
    pub next: &'static str,
    /// Milliseconds after which a retry can succeed; 0 if waiting alone does not help.
    pub retry_ms: u32,
    /// Instruction for the user; a template, see the module documentation.
    pub hint: &'static str,
}

impl Refusal {
    /// Returns the codes and texts used in the answer, in the log and in the README.
    #[expect(clippy::too_many_lines, reason = "one table")]
    pub const fn words(self) -> Words {
        match self {
            Refusal::InvalidFrame => invalid(
                "INVALID_REQUEST_FRAME",
                "invalid request frame",
                "the first message is not a request of the gateway protocol; check which \
                 program connects to this port",
            ),
            Refusal::NotConnect => invalid(
                "CONNECT_REQUIRED",
                "invalid handshake: first request must be connect",
                "the client must send connect as its first request; check that the program \
                 speaks the gateway protocol",
            ),
            Refusal::InvalidConnect => invalid(
                "INVALID_CONNECT_PARAMS",
                "invalid connect params",
                "the connect request is malformed; update the client",
            ),
            Refusal::ProtocolMismatch => Words {
                close: 1002,
                ..invalid(
                    "PROTOCOL_MISMATCH",
                    "protocol mismatch",
                    "this gateway supports protocols 3 and 4; update the client",
                )
            },
            Refusal::InvalidRole => invalid(
                "INVALID_ROLE",
                "invalid role",
                "the role must be operator or node; check how the client is started",
            ),
            Refusal::OriginForeign => origin(
                "origin not allowed",
                "the page was loaded from {origin}, which is not an allowed origin; if you \
                 trust that page, add gateway.controlUi.allowedOrigins: [\"{origin}\"] to the \
                 configuration and restart",
            ),
            Refusal::OriginOpaque => origin(
                "origin not allowed",
                "the page was loaded from a file, a sandboxed frame or another place without an \
                 origin that gateway.controlUi.allowedOrigins can contain; open the URL of \
                 `{gatelet} url` instead, or let the gateway serve the page: set \
                 gateway.controlUi.root to its directory and restart",
            ),
            Refusal::HostForeign => origin(
                "host not served",
                "the page was opened under a host name that is not configured; if the name is \
                 yours, set gateway.publicOrigin: \"{origin}\" or, beside another public origin, \
                 gateway.controlUi.allowedOrigins: [\"{origin}\"] in the configuration and restart",
            ),
            Refusal::HostNotLoopback => origin(
                "host not loopback",
                "with gateway.auth.mode \"none\" the page works only under the names 127.0.0.1 \
                 and localhost; use one of these, or set gateway.auth.mode: \"token\" and restart",
            ),
            Refusal::DeviceIdMismatch => device_proof(
                "DEVICE_AUTH_DEVICE_ID_MISMATCH",
                "device-id-mismatch",
                "device identity mismatch",
                "the device id does not belong to the device key; delete this site's data in \
                 the browser, or the client's device file, and connect again",
            ),
            Refusal::SignatureExpired => device_proof(
                "DEVICE_AUTH_SIGNATURE_EXPIRED",
                "device-signature-stale",
                "device signature expired",
                "the signature arrived more than two minutes after the challenge, or \
                 gateway.auth.strictClock is on and the device's clock is wrong; connect again, \
                 or set the device's clock",
            )
            .retry_ms(1000),
            Refusal::NonceRequired => device_proof(
                "DEVICE_AUTH_NONCE_REQUIRED",
                "device-nonce-missing",
                "device nonce required",
                "the client must wait for connect.challenge and sign its nonce; update the client",
            ),
            Refusal::NonceMismatch => device_proof(
                "DEVICE_AUTH_NONCE_MISMATCH",
                "device-nonce-mismatch",
                "device nonce mismatch",
                "the signature was made for another connection; connect again",
            ),
            Refusal::SignatureInvalid => device_proof(
                "DEVICE_AUTH_SIGNATURE_INVALID",
                "device-signature",
                "device signature invalid",
                "the signature does not match the connect request; update the client, or delete \
                 its device identity and connect again",
            ),
            Refusal::PublicKeyInvalid => device_proof(
                "DEVICE_AUTH_PUBLIC_KEY_INVALID",
                "device-public-key",
                "device public key invalid",
                "the device's public key is malformed; delete the client's device identity and \
                 connect again",
            ),
            Refusal::TokenMissing => credential(
                "AUTH_TOKEN_MISSING",
                "token_missing",
                "unauthorized: gateway token missing (open a tokenized dashboard URL or paste \
                 token in Control UI settings)",
                "run `{gatelet} url` on the gateway and open the URL that it prints, or give \
                 the client the token from `{gatelet} token show`",
            )
            .next("update_auth_configuration"),
            Refusal::TokenMismatch => credential(
                "AUTH_TOKEN_MISMATCH",
                "token_mismatch",
                "unauthorized: gateway token mismatch (open a tokenized dashboard URL or paste \
                 token in Control UI settings)",
                "the token is wrong: run `{gatelet} url` on the gateway and open the URL that \
                 it prints, or give the client the token from `{gatelet} token show`",
            )
            .next("update_auth_credentials"),
            Refusal::PasswordMissing => credential(
                "AUTH_PASSWORD_MISSING",
                "password_missing",
                "unauthorized: gateway password missing (enter the password in Control UI \
                 settings)",
                "enter the gateway's password in the client",
            )
            .next("update_auth_configuration"),
            Refusal::PasswordMismatch => credential(
                "AUTH_PASSWORD_MISMATCH",
                "password_mismatch",
                "unauthorized: gateway password mismatch (enter the password in Control UI \
                 settings)",
                "the password is wrong: enter the gateway's gateway.auth.password",
            )
            .next("update_auth_credentials"),
            Refusal::RateLimited => credential(
                "AUTH_RATE_LIMITED",
                "rate_limited",
                "unauthorized: too many failed authentication attempts (retry later)",
                "too many failed attempts by this device; try again in at most five minutes",
            )
            .next("wait_then_retry")
            .retry_ms(limits::RATE_LIMIT_LOCK_MS as u32),
            Refusal::AttemptQueueFull => unavailable(
                1013,
                "TOO_MANY_ATTEMPTS",
                "too many authentication attempts; retry shortly",
                2000,
                "other clients make many failed attempts, and the credential was not checked; \
                 try again, or connect with a paired device",
            )
            .retried_by_clients(),
            Refusal::DeviceTokenMismatch => credential(
                "AUTH_DEVICE_TOKEN_MISMATCH",
                "device_token_mismatch",
                "unauthorized: device token mismatch (rotate/reissue device token)",
                "the device is not paired with this gateway any more; open the URL of \
                 `{gatelet} url`, or pair the device with a code from `{gatelet} pair`",
            )
            .next("update_auth_credentials"),
            Refusal::SetupCodeInvalid => credential(
                "AUTH_BOOTSTRAP_TOKEN_INVALID",
                "bootstrap_token_invalid",
                "unauthorized: setup code invalid, expired, revoked, or already used (create a \
                 new code)",
                "a setup code works once and expires after ten minutes: run `{gatelet} pair` on \
                 the gateway for a new one",
            ),
            Refusal::SetupCodeRole => credential(
                "AUTH_SCOPE_MISMATCH",
                "scope_mismatch",
                "unauthorized: setup code is for another role (create a new code)",
                "create a code for the right role: `{gatelet} pair --role node` for a node, \
                 `{gatelet} pair` for an operator",
            ),
            Refusal::IdentityMissing => credential(
                "AUTH_UNAUTHORIZED",
                "trusted_proxy_user_missing",
                "unauthorized",
                "the gateway requires a user name from a proxy: connect through a proxy in \
                 gateway.trustedProxies, which must set the header \
                 gateway.auth.trustedProxy.userHeader",
            ),
            Refusal::IdentityRefused => credential(
                "AUTH_UNAUTHORIZED",
                "trusted_proxy_user_not_allowed",
                "unauthorized",
                "the user is not in gateway.auth.trustedProxy.allowUsers, or the proxy did not \
                 send a header in gateway.auth.trustedProxy.requiredHeaders",
            ),
            Refusal::AuthNoneNotLocal => credential(
                "AUTH_REQUIRED",
                "",
                "unauthorized",
                "with gateway.auth.mode \"none\" only clients on this machine are admitted, and \
                 only without a proxy; set gateway.auth.mode: \"token\" and restart",
            ),
            Refusal::PairingRequired => pairing(
                "not-paired",
                "pairing required: device is not approved yet",
                "run `{gatelet} {list} approve {request}` on the gateway; the device then \
                 connects by itself",
            ),
            Refusal::RoleUpgrade => pairing(
                "role-upgrade",
                "pairing required: device is asking for a higher role than currently approved",
                "run `{gatelet} {list} approve {request}` on the gateway; the device then \
                 connects by itself",
            ),
            // PAIRING_REQUIRED without `wait_then_retry` stops clients of protocol 4. They retry
            // for ever at a code that they do not know.
            Refusal::DeviceRevoked => Words {
                error: ErrorCode::NotPaired,
                reason: DEVICE_REVOKED,
                ..credential(
                    "PAIRING_REQUIRED",
                    "",
                    "device revoked by the owner",
                    "the owner revoked this device; to approve it again run `{gatelet} devices \
                     approve {device}` on the gateway",
                )
            },
            Refusal::DeviceRequired => Words {
                error: ErrorCode::NotPaired,
                ..credential(
                    "DEVICE_IDENTITY_REQUIRED",
                    "",
                    "device identity required",
                    "the client sent no device identity; a node must send one, an operator must \
                     send one or the gateway's token",
                )
            },
            Refusal::ControlUiDeviceRequired => Words {
                v3: "control ui requires HTTPS or localhost (secure context)",
                ..credential(
                    "CONTROL_UI_DEVICE_IDENTITY_REQUIRED",
                    "",
                    "control ui requires device identity (use HTTPS or localhost secure context)",
                    "this page has no device key over plain HTTP: open the gateway's own page, \
                     which has one, or open this page by HTTPS or under the name 127.0.0.1, or set \
                     gateway.controlUi.allowInsecureAuth: true and restart",
                )
            },
            Refusal::TableFull => unavailable(
                1008,
                "TABLE_FULL",
                "the pairing table is full",
                0,
                "remove a device with `{gatelet} devices remove DEVICE`, or create a larger \
                 table (see gateway.pairing.capacity)",
            ),
            Refusal::TableUnavailable => unavailable(
                1013,
                "TABLE_UNAVAILABLE",
                "the pairing could not be saved",
                5000,
                "the gateway's disk is full, read-only or failing: read the gateway's log, then \
                 try again",
            ),
            Refusal::TooManyRequests => unavailable(
                1013,
                "TOO_MANY_PENDING_REQUESTS",
                "too many devices wait for approval; retry later",
                limits::PENDING_SHOWN_MS as u32 / 2,
                "the list of devices that wait for approval has no place for this one: approve \
                 or reject some of them, or pair this device with a code from `{gatelet} pair`",
            ),
            Refusal::TooManyConnections => unavailable(
                1013,
                "TOO_MANY_CONNECTIONS",
                "too many connections; retry shortly",
                5000,
                "close clients that are not needed, then try again",
            )
            .retried_by_clients(),
            Refusal::TooManyOfDevice => unavailable(
                1013,
                "TOO_MANY_CONNECTIONS_OF_DEVICE",
                "this device has its whole share of connections; close some of them, or retry \
                 shortly",
                limits::EVICTION_EVERY_MS as u32,
                "close clients of this device that are not needed: each of its connections that \
                 was replaced connects again",
            )
            .retried_by_clients(),
            Refusal::Stopping => unavailable(
                1013,
                "GATEWAY_STOPPING",
                "gateway restart in progress",
                1000,
                "the gateway is stopping; connect again when it has restarted",
            )
            .retried_by_clients(),
        }
    }

    /// Returns the message and close reason for that protocol version.
    pub const fn message(self, protocol: Protocol) -> &'static str {
        match protocol {
            Protocol::V3 => self.words().v3,
            Protocol::V4 => self.words().v4,
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
    /// Frame that was not complete in time.
    FrameTimeout,
    /// Text that is not UTF-8.
    NotUtf8,
    /// Send queue full: the client reads too slowly.
    SlowConsumer,
    /// More than [`limits::UNAUTHORIZED_CALLS`] calls that the role may not make (protocol
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
    /// Admitted connection evicted in favor of a newer one of the same device.
    DeviceShare,
    /// Admitted connection of the holder with the most, evicted in favor of another client.
    Crowded,
    /// Gateway shutting down.
    Restart,
}

impl Close {
    /// Returns the close code and reason.
    pub const fn words(self) -> (u16, &'static str) {
        match self {
            Close::HandshakeTimeout => (1008, "handshake timeout: no connect request came in time"),
            Close::TooLarge => (1009, "payload too large"),
            Close::FrameTimeout => (1008, "frame timeout: a frame was not completed in time"),
            Close::NotUtf8 => (1007, "invalid UTF-8"),
            Close::SlowConsumer => (1008, "slow consumer"),
            Close::Unauthorized => (1008, "repeated unauthorized calls"),
            Close::DeviceRemoved => (4001, "device removed"),
            Close::DeviceRevoked => (4001, "client invalidated: device revoked"),
            Close::TokenRotated => (4001, "client invalidated: device token rotated"),
            Close::AuthChanged => (4001, "gateway auth changed"),
            Close::Silent => (1011, "no pong"),
            Close::MadeRoom => (1013, "too many unauthenticated connections; retry shortly"),
            Close::DeviceShare => {
                (1013, "this device has its whole share of connections; a newer one replaced this")
            }
            Close::Crowded => (1013, "the gateway has all connections it can have; retry shortly"),
            Close::Restart => (1012, "service restart"),
        }
    }
}

/// Value of `details.reason` for a revoked device, whose code is that of an unknown device.
pub const DEVICE_REVOKED: &str = "device-revoked";

impl Words {
    /// Sets the only reason for which clients of protocol 4 follow `retryAfterMs`, and for which
    /// their commands connect again by themselves, for ten seconds.
    const fn retried_by_clients(self) -> Words {
        Words { reason: "startup-sidecars", ..self }
    }

    const fn next(self, next: &'static str) -> Words {
        Words { next, ..self }
    }

    const fn retry_ms(self, retry_ms: u32) -> Words {
        Words { retry_ms, ..self }
    }
}

const fn invalid(code: &'static str, message: &'static str, hint: &'static str) -> Words {
    Words {
        error: ErrorCode::InvalidRequest,
        code,
        close: 1008,
        v3: message,
        v4: message,
        reason: "",
        auth_reason: "",
        next: "",
        retry_ms: 0,
        hint,
    }
}

const fn origin(reason: &'static str, hint: &'static str) -> Words {
    const MESSAGE: &str =
        "origin not allowed (open the Control UI from the gateway host or allow it \
                           in gateway.controlUi.allowedOrigins)";
    Words { reason, ..invalid("CONTROL_UI_ORIGIN_NOT_ALLOWED", MESSAGE, hint) }
}

const fn device_proof(
    code: &'static str,
    reason: &'static str,
    message: &'static str,
    hint: &'static str,
) -> Words {
    Words { reason, ..invalid(code, message, hint) }
}

const fn credential(
    code: &'static str,
    auth_reason: &'static str,
    message: &'static str,
    hint: &'static str,
) -> Words {
    Words { auth_reason, next: "review_auth_configuration", ..invalid(code, message, hint) }
}

const fn pairing(reason: &'static str, message: &'static str, hint: &'static str) -> Words {
    Words {
        error: ErrorCode::NotPaired,
        v3: "pairing required",
        reason,
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
                vec![
                    Refusal::OriginForeign,
                    Refusal::OriginOpaque,
                    Refusal::HostForeign,
                    Refusal::HostNotLoopback,
                ],
            ),
            ("AUTH_UNAUTHORIZED", vec![Refusal::IdentityMissing, Refusal::IdentityRefused]),
            (
                "PAIRING_REQUIRED",
                vec![Refusal::PairingRequired, Refusal::RoleUpgrade, Refusal::DeviceRevoked],
            ),
        ];
        assert_eq!(by_code, HashMap::from(shared));
        for refusals in by_code.values() {
            let mut hints: Vec<_> = refusals
                .iter()
                .map(|one| (one.words().hint, one.words().reason, one.words().auth_reason))
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
            Refusal::TooManyRequests
            | Refusal::TooManyConnections
            | Refusal::TooManyOfDevice
            | Refusal::AttemptQueueFull => "TOO_MANY_",
            Refusal::Stopping => "GATEWAY_",
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
            Close::FrameTimeout,
            Close::NotUtf8,
            Close::SlowConsumer,
            Close::Unauthorized,
            Close::DeviceRemoved,
            Close::DeviceRevoked,
            Close::TokenRotated,
            Close::Silent,
            Close::MadeRoom,
            Close::DeviceShare,
            Close::Crowded,
            Close::Restart,
        ] {
            let (code, reason) = close.words();
            assert!(matches!(code, 1007..=1013 | 4001), "{close:?}");
            assert!(!reason.is_empty() && reason.len() <= limits::CLOSE_REASON, "{close:?}");
        }
    }
}
