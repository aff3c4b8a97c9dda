//! Parameters of `connect` (protocol 3 and 4).
//!
//! The union of both versions' schemas is accepted and further properties are ignored; a wrong type
//! is rejected with its path. Nothing is verified here: keys and signatures are only decoded,
//! scopes and roles only parsed.

use super::base64;
use super::json::Value;
use super::message::{self, message, word, Flags, List};
use super::schema::ValueKind;
use crate::gate::facts::Protocol;
use crate::gate::ids::{PublicKey, Role};
use crate::gate::limits;
use crate::gate::scopes::{Scope, Scopes};

message! {
    /// Parameters of `connect`. Their problems are reported in the order of the fields.
    pub struct Connect {
        /// Lowest protocol version of the client; values above `u32::MAX` are read as `u32::MAX`.
        pub min_protocol as "minProtocol": u32,
        /// Highest protocol version of the client, read in the same way.
        pub max_protocol as "maxProtocol": u32,
        pub client: ClientProgram,
        /// Scopes in the order in which they were sent, which is the order that is signed.
        pub scopes_sent as "scopes": List or default,
        pub device: Option<DeviceClaim>,
        pub auth: ConnectAuth or default,
        /// Event and payload forms that the client supports; unknown ones have no effect.
        pub caps: List or default in NAMES,
        /// Commands that a node offers.
        pub commands: List or default in NAMES,
        pub permissions: Option<Flags>,
        pub path_env as "pathEnv": Option<String> in ValueKind::Text(0, limits::PATH_ENV_LEN),
        /// Role as sent; see [`Connect::role`].
        pub role_sent as "role": Option<String> in ValueKind::Text(1, limits::WORD_LEN),
        pub locale: Option<String> in ValueKind::Text(0, limits::FIELD_LEN),
        pub user_agent as "userAgent": Option<String> in ValueKind::Text(0, limits::FIELD_LEN),
    }
}

message! {
    /// Client program, as it describes itself.
    pub struct ClientProgram at "/client" {
        /// One of [`CLIENT_IDS`].
        pub id: String in word(&CLIENT_IDS),
        pub version: String,
        pub platform: String,
        /// One of [`CLIENT_MODES`].
        pub mode: String in word(&CLIENT_MODES),
        pub display_name as "displayName": Option<String>,
        pub device_family as "deviceFamily": Option<String>,
        pub model_identifier as "modelIdentifier": Option<String>,
        pub instance_id as "instanceId": Option<String>,
        pub build_id as "buildId": Option<String>,
        pub time_zone as "timeZone": Option<String>,
    }
}

message! {
    /// Device that the client presents. Nothing in it is verified yet.
    pub struct DeviceClaim at "/device" {
        /// Device id as claimed by the client.
        pub id: String,
        pub public_key as "publicKey": String in ValueKind::Text(1, limits::KEY_TEXT_LEN),
        pub signature_sent as "signature": String,
        /// Time of signing by the client's clock, in milliseconds since 1970.
        pub signed_at as "signedAt": u64,
        pub nonce_sent as "nonce": Option<String> in SECRET,
    }
}

message! {
    /// Secrets that the client presents. The type has no `Debug`, so that they cannot be printed.
    pub struct ConnectAuth at "/auth" {
        pub token: Option<String> in SECRET,
        pub password: Option<String> in SECRET,
        pub bootstrap_token as "bootstrapToken": Option<String> in SECRET,
        pub device_token as "deviceToken": Option<String> in SECRET,
    }
}

const NAMES: ValueKind =
    ValueKind::Texts { min: 0, max: limits::NAMES_SENT, len: limits::METHOD_LEN };
const SECRET: ValueKind = ValueKind::Text(0, limits::SECRET_LEN);

/// Client ids of protocol 3 and 4.
pub const CLIENT_IDS: [&str; 17] = [
    "webchat-ui",
    "openclaw-control-ui",
    "openclaw-browser-copilot",
    "openclaw-tui",
    "webchat",
    "cli",
    "gateway-client",
    "openclaw-macos",
    "openclaw-linux",
    "openclaw-ios",
    "openclaw-watchos",
    "openclaw-android",
    "node-host",
    "openclaw-worker",
    "test",
    "fingerprint",
    "openclaw-probe",
];

/// Client modes of protocol 3 and 4.
pub const CLIENT_MODES: [&str; 8] =
    ["webchat", "cli", "ui", "backend", "node", "worker", "probe", "test"];

impl Connect {
    /// Reads the parameters. The error is the protocol's text after `invalid connect params: `.
    pub fn parse(params: Option<Value<'_>>) -> Result<Connect, String> {
        let (connect, problems) = message::read(params.unwrap_or(Value::EMPTY), None);
        problems.text().map_or(Ok(connect), |text| Err(text.to_owned()))
    }

    /// Returns the role: operator if none was sent, `None` if the role is unknown.
    pub fn role(&self) -> Option<Role> {
        self.role_sent.as_deref().map_or(Some(Role::Operator), Role::parse)
    }

    /// Returns the scopes sent that this gateway knows.
    pub fn scopes(&self) -> Scopes {
        self.scopes_sent.iter().filter_map(|name| Scope::parse(name)).collect()
    }

    /// Returns the token that is part of the signature. Protocol 4 takes the first secret that is
    /// present, even if it is empty.
    pub fn signed_token(&self, protocol: Protocol) -> &str {
        let auth = &self.auth;
        let first = match protocol {
            Protocol::V3 => auth.token.as_deref(),
            Protocol::V4 => auth
                .token
                .as_deref()
                .or(auth.device_token.as_deref())
                .or(auth.bootstrap_token.as_deref()),
        };
        first.unwrap_or("")
    }
}

impl DeviceClaim {
    /// Decodes the key; `None` if the text is not 32 bytes.
    pub fn key(&self) -> Option<PublicKey> {
        base64::public_key(&self.public_key).map(PublicKey)
    }

    /// Decodes the signature; `None` if the text is not 64 bytes.
    pub fn signature(&self) -> Option<[u8; 64]> {
        base64::decode(self.signature_sent.trim())
    }

    /// Returns the trimmed nonce; `None` if it is blank.
    pub fn nonce(&self) -> Option<&str> {
        self.nonce_sent.as_deref().map(str::trim).filter(|nonce| !nonce.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::parse;
    use crate::wire::testing::Random;

    const FULL: &str = r#"{"minProtocol":3,"maxProtocol":4,"client":{"id":"cli","displayName":"Caf\u00e9","version":"1","platform":"linux",
        "deviceFamily":"Pi","modelIdentifier":"m","mode":"node","instanceId":"i","buildId":"b","timeZone":"UTC","futureField":1},
        "caps":["tool-events","x"],"commands":["camera.snap"],"permissions":{"camera":true,"mic":false},"pathEnv":"","role":"node",
        "scopes":["operator.read","nonsense","operator.write"],"device":{"id":"d","publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "signature":"x","signedAt":1700000000000,"nonce":" n "},"auth":{"token":"","password":"p","deviceToken":"dt","bootstrapToken":"bt"},
        "locale":"de","userAgent":"ua","computerUse":{},"workerRuns":[]}"#;

    const LEAST: &str = r#"{"minProtocol":3,"maxProtocol":3,"client":{"id":"cli","version":"1","platform":"linux","mode":"cli"}}"#;

    fn read(text: &str) -> Result<Connect, String> {
        Connect::parse(Some(parse(text.as_bytes(), limits::JSON_DEPTH).expect(text)))
    }

    fn refused(text: &str) -> String {
        read(text).err().expect(text)
    }

    #[test]
    fn members_of_both_versions_are_read() {
        let connect = read(FULL).unwrap();
        assert_eq!(
            (connect.min_protocol, connect.max_protocol, connect.role()),
            (3, 4, Some(Role::Node))
        );
        let client = &connect.client;
        assert_eq!(
            (&*client.id, &*client.mode, &*client.version, &*client.platform),
            ("cli", "node", "1", "linux")
        );
        assert_eq!(
            (client.display_name.as_deref(), client.device_family.as_deref()),
            (Some("Caf\u{e9}"), Some("Pi"))
        );
        assert_eq!(
            (client.build_id.as_deref(), client.time_zone.as_deref()),
            (Some("b"), Some("UTC"))
        );
        assert_eq!(connect.caps, ["tool-events", "x"]);
        assert_eq!(connect.commands, ["camera.snap"]);
        let permissions = connect.permissions.as_ref().unwrap();
        assert_eq!(
            permissions,
            &Flags::from([("camera".to_string(), true), ("mic".to_string(), false)])
        );
        assert_eq!(connect.scopes_sent, ["operator.read", "nonsense", "operator.write"]);
        assert!(connect.scopes() == Scopes::of(Scope::Read).with(Scopes::of(Scope::Write)));
        let device = connect.device.as_ref().unwrap();
        assert_eq!(
            (&*device.id, device.key(), device.signature()),
            ("d", Some(PublicKey([0; 32])), None)
        );
        assert_eq!((device.signed_at, device.nonce()), (1_700_000_000_000, Some("n")));
        let blank = FULL.replace("\" n \"", "\" \"");
        assert!(read(&blank).unwrap().device.unwrap().nonce().is_none(), "a blank nonce is none");
        assert_eq!(
            (connect.auth.password.as_deref(), connect.locale.as_deref()),
            (Some("p"), Some("de"))
        );
    }

    #[test]
    fn absent_members_have_defaults() {
        let connect = read(LEAST).unwrap();
        assert_eq!(
            (connect.role(), connect.scopes(), connect.scopes_sent.len()),
            (Some(Role::Operator), Scopes::NONE, 0)
        );
        assert!(
            connect.device.is_none() && connect.permissions.is_none() && connect.caps.is_empty()
        );
        let nulls = LEAST.replace(
            "}}",
            r#"},"caps":null,"role":null,"scopes":null,"device":null,"auth":null,"locale":null}"#,
        );
        assert!(read(&nulls).is_ok_and(|connect| connect.role() == Some(Role::Operator)));
        assert_eq!(read(&LEAST.replace("}}", r#"},"role":"root"}"#)).unwrap().role(), None);
        assert_eq!(
            read(&LEAST.replace(":3,\"client", ":99999999999,\"client")).unwrap().max_protocol,
            u32::MAX
        );
    }

    #[test]
    fn signed_token_depends_on_the_protocol() {
        let mut connect = read(FULL).unwrap();
        assert_eq!(
            (connect.signed_token(Protocol::V3), connect.signed_token(Protocol::V4)),
            ("", ""),
            "an empty token wins"
        );
        connect.auth.token = None;
        assert_eq!(
            (connect.signed_token(Protocol::V3), connect.signed_token(Protocol::V4)),
            ("", "dt")
        );
        connect.auth.device_token = None;
        assert_eq!(connect.signed_token(Protocol::V4), "bt");
        connect.auth = ConnectAuth { token: Some("t".into()), ..ConnectAuth::default() };
        assert_eq!(
            (connect.signed_token(Protocol::V3), connect.signed_token(Protocol::V4)),
            ("t", "t")
        );
    }

    #[test]
    fn problems_are_collected_in_protocol_text() {
        let missing = "must have required property 'minProtocol'; must have required property 'maxProtocol'; \
                       must have required property 'client'";
        assert_eq!(Connect::parse(None).err().unwrap(), missing);
        assert_eq!(refused("[]"), "must be object");
        assert_eq!(
            refused(&LEAST.replace("\"cli\",\"v", "5,\"v")),
            "at /client/id: must be equal to one of the allowed values"
        );
        assert_eq!(refused(&LEAST.replace("\"1\"", "1")), "at /client/version: must be string");
        assert_eq!(
            refused(&LEAST.replace("\"1\"", "\"\"")),
            "at /client/version: must NOT have fewer than 1 characters"
        );
        assert_eq!(
            refused(&LEAST.replace(":3,\"max", ":0,\"max")),
            "at /minProtocol: must be >= 1"
        );
        assert_eq!(
            refused(&LEAST.replace(":3,\"max", ":\"3\",\"max")),
            "at /minProtocol: must be integer"
        );
        let twisted = LEAST.replace(
            "}}",
            r#"},"scopes":["a",1],"role":"","device":{"id":"x"},"auth":{"token":7},"permissions":{"a":1},"caps":{}}"#,
        );
        let expected = "at /scopes/1: must be string; at /device: must have required property 'publicKey'; \
            at /device: must have required property 'signature'; at /device: must have required property 'signedAt'; \
            at /auth/token: must be string; at /caps: must be array; at /permissions/a: must be boolean; \
            at /role: must NOT have fewer than 1 characters";
        assert_eq!(refused(&twisted), expected);
    }

    #[test]
    fn lists_and_texts_are_bounded() {
        let scopes = |count: usize| {
            LEAST.replace("}}", &format!("}},\"scopes\":[{}]}}", vec!["\"s\""; count].join(",")))
        };
        assert_eq!(
            read(&scopes(limits::SCOPES_SENT)).unwrap().scopes_sent.len(),
            limits::SCOPES_SENT
        );
        assert_eq!(
            refused(&scopes(limits::SCOPES_SENT + 1)),
            "at /scopes: must NOT have more than 32 items"
        );
        let token = |len: usize| {
            LEAST.replace("}}", &format!("}},\"auth\":{{\"token\":\"{}\"}}}}", "t".repeat(len)))
        };
        assert!(read(&token(limits::SECRET_LEN)).is_ok());
        assert_eq!(
            refused(&token(limits::SECRET_LEN + 1)),
            "at /auth/token: must NOT have more than 4096 characters"
        );
        let many: String = (0..200).map(|at| format!(",\"p{at}\":0")).collect();
        let text =
            refused(&LEAST.replace("}}", &format!("}},\"permissions\":{{\"a\":0{many}}}}}")));
        assert!(
            text.len() <= limits::PROBLEMS_LEN && text.len() > limits::PROBLEMS_LEN / 2,
            "{}",
            text.len()
        );
    }

    #[test]
    fn key_is_accepted_as_pem_or_base64() {
        let with_key = |key: &str| FULL.replace("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", key);
        let pem = "-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\\n-----END PUBLIC KEY-----\\n";
        for (key, good) in [
            (pem, true),
            ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", true),
            ("AAAA", false),
            ("!", false),
        ] {
            let text = with_key(key);
            assert_eq!(read(&text).unwrap().device.unwrap().key().is_some(), good, "{key}");
        }
    }

    #[test]
    fn parsing_never_panics() {
        let mut random = Random::new(17);
        let mut read = 0;
        for _ in 0..20_000 {
            let text = random.damaged(FULL.as_bytes());
            if let Ok(value) = parse(&text, limits::JSON_DEPTH) {
                read += 1;
                assert!(Connect::parse(Some(value))
                    .err()
                    .is_none_or(|text| (1..=limits::PROBLEMS_LEN).contains(&text.len())));
            }
        }
        assert!(read > 1_000, "only {read} were JSON");
    }
}
