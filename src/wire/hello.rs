//! Payload of `hello-ok`, in the forms of protocol 3 and protocol 4.
//!
//! Clients accept no other members than those of their protocol, so gatelet adds none. Members that
//! need an agent runtime (canvas, plugins, model setup, attachment sizes) are left out, which both
//! protocols allow.

use super::json::{self, Writer};
use crate::gate::facts::{AuthMethod, Protocol};
use crate::gate::ids::{Role, WallMs};
use crate::gate::limits;
use crate::gate::scopes::{Scope, Scopes};

/// Content of `hello-ok`.
#[derive(Clone, Copy)]
pub struct Hello<'a> {
    pub protocol: Protocol,
    /// Version of the gateway; not empty.
    pub version: &'a str,
    /// Name of the machine (protocol 3).
    pub host: &'a str,
    /// Id of the gateway, which stays the same (protocol 4: the start of `bootId`, up to a point).
    pub gateway_id: &'a str,
    /// Id that differs in every run. Both ids have at most 95 bytes together (protocol 4).
    pub boot_id: &'a str,
    /// Id that differs for every connection.
    pub conn_id: &'a str,
    /// Features, as written by [`features`].
    pub features: &'a [u8],
    /// One JSON array of presence entries.
    pub presence: &'a [u8],
    /// Health as one JSON object, `{}` while nothing is known.
    pub health: &'a [u8],
    /// Versions of presence and of health.
    pub state_version: (u64, u64),
    /// Milliseconds since this process started.
    pub uptime_ms: u64,
    /// Paths of the gateway, for all clients in protocol 3, for administrators in protocol 4.
    pub paths: FilePaths<'a>,
    /// `none`, `token`, `password` or `trusted-proxy`; for administrators in protocol 4.
    pub auth_mode: &'a str,
    /// Method by which the client was admitted. Protocol 4 as of 2026.9.6; 2026.9.1 does not know
    /// it, so `None` leaves it out.
    pub method: Option<AuthMethod>,
    pub role: Role,
    /// Scopes of the connection.
    pub scopes: Scopes,
    /// Device token of this role, if there is a device that has one.
    pub token: Option<IssuedToken<'a>>,
    /// Tokens of further roles that a setup code granted (protocol 4).
    pub more_tokens: &'a [IssuedToken<'a>],
    /// Maximum size of a frame of the client.
    pub max_payload: usize,
}

/// Paths of the gateway's files; not empty.
#[derive(Clone, Copy)]
pub struct FilePaths<'a> {
    pub config: &'a str,
    pub state_dir: &'a str,
}

/// Device token that is sent to its device.
#[derive(Clone, Copy)]
pub struct IssuedToken<'a> {
    pub token: &'a str,
    pub role: Role,
    pub scopes: Scopes,
    pub issued: WallMs,
}

/// Writes the features of the gateway. They are the same for all clients of a protocol, so they are
/// written once.
pub fn features<'s>(
    protocol: Protocol,
    methods: impl Iterator<Item = &'s str>,
    events: &[&'s str],
) -> Vec<u8> {
    json::object(|features| {
        features.strs("methods", methods);
        features.strs("events", events.iter().copied());
        if protocol == Protocol::V4 {
            features.arr("capabilities", |_| {});
        }
    })
}

impl Hello<'_> {
    /// Writes the payload as one JSON object.
    pub fn payload(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(
            2048 + self.features.len() + self.presence.len() + self.health.len(),
        );
        json::obj(&mut out, |hello| {
            hello.str("type", "hello-ok");
            hello.u64("protocol", u64::from(self.protocol.number()));
            hello.obj("server", |server| self.server(server));
            hello.raw("features", self.features);
            hello.obj("snapshot", |snapshot| self.snapshot(snapshot));
            match self.protocol {
                Protocol::V3 => self
                    .token
                    .iter()
                    .for_each(|token| hello.obj("auth", |auth| issued(auth, token))),
                Protocol::V4 => hello.obj("auth", |auth| self.auth(auth)),
            }
            hello.obj("policy", |policy| self.policy(policy));
        });
        out
    }

    fn server(&self, server: &mut Writer<'_>) {
        server.str("version", self.version);
        match self.protocol {
            Protocol::V3 => server.str("host", self.host),
            Protocol::V4 => {
                server.str("bootId", &format!("{}.{}", self.gateway_id, self.boot_id));
                // Without this, a page of another version considers itself outdated and reloads
                // again and again.
                server.str("controlUiBuildSource", "configured");
            }
        }
        server.str("connId", self.conn_id);
    }

    fn snapshot(&self, snapshot: &mut Writer<'_>) {
        let v4 = self.protocol == Protocol::V4;
        let admin = self.role == Role::Operator && self.scopes.allows(Scope::Admin);
        if v4 {
            snapshot.obj("suspension", |suspension| suspension.str("phase", "accepting"));
        }
        snapshot.raw("presence", self.presence);
        snapshot.raw("health", self.health);
        snapshot.obj("stateVersion", |version| {
            version.u64("presence", self.state_version.0);
            version.u64("health", self.state_version.1);
        });
        snapshot.u64("uptimeMs", self.uptime_ms);
        if v4 {
            snapshot.null("appliedConfigHash");
        }
        if !v4 || admin {
            snapshot.str("configPath", self.paths.config);
            snapshot.str("stateDir", self.paths.state_dir);
        }
        snapshot.obj("sessionDefaults", |defaults| {
            defaults.str("defaultAgentId", "main");
            if v4 {
                defaults.str("ownership", "sole");
                defaults.bool("selectionRequired", false);
            }
            defaults.str("mainKey", "main");
            defaults.str("mainSessionKey", "agent:main:main");
            defaults.str("scope", "per-sender");
        });
        if v4 && admin {
            snapshot.str("authMode", self.auth_mode);
        }
    }

    fn auth(&self, auth: &mut Writer<'_>) {
        auth.opt_str("method", self.method.map(AuthMethod::name));
        auth.str("role", self.role.name());
        scope_names(auth, "scopes", self.scopes);
        if let Some(token) = &self.token {
            auth.str("deviceToken", token.token);
            auth.u64("issuedAtMs", token.issued.0);
        }
        if !self.more_tokens.is_empty() {
            auth.arr("deviceTokens", |list| {
                self.more_tokens
                    .iter()
                    .for_each(|token| list.item_obj(|entry| issued(entry, token)));
            });
        }
    }

    fn policy(&self, policy: &mut Writer<'_>) {
        policy.u64("maxPayload", self.max_payload as u64);
        policy.u64("maxBufferedBytes", limits::SEND_QUEUE_BYTES as u64);
        policy.u64("tickIntervalMs", limits::TICK_MS);
        if self.protocol == Protocol::V4 {
            policy.bool("hasMultipleSessionSharingIdentities", false);
        }
    }
}

/// Writes the names of the scopes in alphabetical order, as in the protocol's lists of scopes.
pub fn scope_names(fields: &mut Writer<'_>, key: &str, scopes: Scopes) {
    let mut names: Vec<&str> = scopes.iter().map(Scope::name).collect();
    names.sort_unstable();
    fields.strs(key, names);
}

fn issued(entry: &mut Writer<'_>, token: &IssuedToken<'_>) {
    entry.str("deviceToken", token.token);
    entry.str("role", token.role.name());
    scope_names(entry, "scopes", token.scopes);
    entry.u64("issuedAtMs", token.issued.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::{parse, Value};

    const TOKEN: IssuedToken<'static> = IssuedToken {
        token: "t0k",
        role: Role::Operator,
        scopes: Scopes::of(Scope::Read).with(Scopes::of(Scope::Approvals)),
        issued: WallMs(5),
    };

    const HELLO: Hello<'static> = Hello {
        protocol: Protocol::V3,
        version: "0.1.0",
        host: "pi",
        gateway_id: "gate",
        boot_id: "b00t",
        conn_id: "c",
        features: br#"{"methods":["health","status"],"events":["tick"]}"#,
        presence: b"[{\"ts\":1}]",
        health: b"{}",
        state_version: (2, 1),
        uptime_ms: 9,
        paths: FilePaths { config: "/c.json", state_dir: "/s" },
        auth_mode: "token",
        method: None,
        role: Role::Operator,
        scopes: Scopes::of(Scope::Admin),
        token: Some(TOKEN),
        more_tokens: &[],
        max_payload: limits::FRAME_AFTER_HELLO,
    };

    fn text(hello: Hello<'_>) -> String {
        String::from_utf8(hello.payload()).unwrap()
    }

    fn names(value: Value<'_>) -> Vec<String> {
        value.fields().map(|(name, _)| name.into_owned()).collect()
    }

    #[test]
    fn protocol_3_hello_matches_openclaw_2026_1_29() {
        let expected = concat!(
            r#"{"type":"hello-ok","protocol":3,"server":{"version":"0.1.0","host":"pi","connId":"c"},"#,
            r#""features":{"methods":["health","status"],"events":["tick"]},"#,
            r#""snapshot":{"presence":[{"ts":1}],"health":{},"stateVersion":{"presence":2,"health":1},"uptimeMs":9,"#,
            r#""configPath":"/c.json","stateDir":"/s","sessionDefaults":{"defaultAgentId":"main","mainKey":"main","#,
            r#""mainSessionKey":"agent:main:main","scope":"per-sender"}},"#,
            r#""auth":{"deviceToken":"t0k","role":"operator","scopes":["operator.approvals","operator.read"],"issuedAtMs":5},"#,
            r#""policy":{"maxPayload":26214400,"maxBufferedBytes":4194304,"tickIntervalMs":30000}}"#
        );
        assert_eq!(text(HELLO), expected);
        assert!(
            !text(Hello { token: None, ..HELLO }).contains("\"auth\""),
            "only a device that has a token hears of it"
        );
    }

    /// Names are those of `HelloOk` in @openclaw/gateway-protocol 2026.9.1, whose objects are
    /// closed.
    #[test]
    fn protocol_4_has_every_required_property_and_no_unknown_one() {
        let features = features(Protocol::V4, ["health"].into_iter(), &["tick"]);
        let hello =
            Hello { protocol: Protocol::V4, features: &features, more_tokens: &[TOKEN], ..HELLO };
        let text = text(hello);
        let root = parse(text.as_bytes(), limits::JSON_DEPTH).unwrap();
        let at = |path: &[&str]| path.iter().fold(root, |value, name| value.get(name).unwrap());
        let closed: [(&[&str], &[&str]); 8] = [
            (&[], &["type", "protocol", "server", "features", "snapshot", "auth", "policy"]),
            (&["server"], &["version", "bootId", "controlUiBuildSource", "connId"]),
            (&["features"], &["methods", "events", "capabilities"]),
            (&["snapshot", "suspension"], &["phase"]),
            (&["snapshot", "stateVersion"], &["presence", "health"]),
            (&["auth"], &["role", "scopes", "deviceToken", "issuedAtMs", "deviceTokens"]),
            (
                &["policy"],
                &[
                    "maxPayload",
                    "maxBufferedBytes",
                    "tickIntervalMs",
                    "hasMultipleSessionSharingIdentities",
                ],
            ),
            (
                &["snapshot", "sessionDefaults"],
                &[
                    "defaultAgentId",
                    "ownership",
                    "selectionRequired",
                    "mainKey",
                    "mainSessionKey",
                    "scope",
                ],
            ),
        ];
        for (path, expected) in closed {
            assert_eq!(names(at(path)), expected, "{path:?}");
        }
        assert_eq!(at(&["protocol"]).as_u64(), Some(4));
        let device_token = at(&["auth", "deviceTokens"]).items().next().unwrap();
        assert_eq!(names(device_token), ["deviceToken", "role", "scopes", "issuedAtMs"]);
    }

    #[test]
    fn protocol_4_sends_paths_to_administrators_only() {
        let shared =
            ["suspension", "presence", "health", "stateVersion", "uptimeMs", "appliedConfigHash"];
        for (scopes, role, told) in [
            (Scopes::of(Scope::Admin), Role::Operator, true),
            (Scopes::of(Scope::Write), Role::Operator, false),
            (Scopes::of(Scope::Admin), Role::Node, false),
        ] {
            let text = text(Hello { protocol: Protocol::V4, scopes, role, ..HELLO });
            let snapshot = names(parse(text.as_bytes(), 8).unwrap().get("snapshot").unwrap());
            let mut expected = shared.to_vec();
            expected.extend(if told {
                &["configPath", "stateDir", "sessionDefaults", "authMode"][..]
            } else {
                &["sessionDefaults"]
            });
            assert_eq!(snapshot, expected);
        }
    }

    #[test]
    fn protocol_4_sends_role_and_scopes_without_a_device_token() {
        let hello =
            Hello { protocol: Protocol::V4, token: None, method: Some(AuthMethod::Token), ..HELLO };
        assert!(text(hello).contains(
            r#""auth":{"method":"token","role":"operator","scopes":["operator.admin"]}"#
        ));
    }
}
