//! The parameters of `connect` (protocol 3 and 4), read into values of bounded size.
//!
//! The union of both versions' schemas is understood and further properties are ignored; a wrong type is refused with its
//! path. Nothing is judged here: keys and signatures are only decoded, scopes and roles only named.

use std::borrow::Cow;

use super::base64;
use super::json::Value;
use super::schema::{Object, Problems};
use crate::gate::facts::Dialect;
use crate::gate::ids::{PublicKey, Role};
use crate::gate::limits;
use crate::gate::scopes::{Scope, Scopes};
use crate::gate::text::cut;

/// What a client says of itself, and what it shows.
pub struct Connect<'a> {
    pub min_protocol: u32,
    pub max_protocol: u32,
    pub client: Client<'a>,
    /// What the client can do with what it is sent; unknown ones mean nothing.
    pub caps: Names<'a>,
    /// What a node offers.
    pub commands: Names<'a>,
    /// A map from names to `true` or `false`, as it came.
    pub permissions: Option<Value<'a>>,
    pub path_env: Option<Cow<'a, str>>,
    /// As sent; see [`Connect::role`].
    pub role_sent: Option<Cow<'a, str>>,
    /// As sent, in the order sent: that is what is signed.
    pub scopes_sent: heapless::Vec<Cow<'a, str>, { limits::SCOPES_SENT }>,
    /// Those of them that this gateway knows.
    pub scopes: Scopes,
    pub device: Option<DeviceClaim<'a>>,
    pub auth: Auth<'a>,
    pub locale: Option<Cow<'a, str>>,
    pub user_agent: Option<Cow<'a, str>>,
}

/// The program at the other end, in its own words.
pub struct Client<'a> {
    /// One of [`CLIENT_IDS`].
    pub id: &'static str,
    /// One of [`CLIENT_MODES`].
    pub mode: &'static str,
    pub version: Cow<'a, str>,
    pub platform: Cow<'a, str>,
    pub display_name: Option<Cow<'a, str>>,
    pub device_family: Option<Cow<'a, str>>,
    pub model_identifier: Option<Cow<'a, str>>,
    pub instance_id: Option<Cow<'a, str>>,
    pub build_id: Option<Cow<'a, str>>,
    pub time_zone: Option<Cow<'a, str>>,
}

/// The device that is presented; nothing in it is proved.
pub struct DeviceClaim<'a> {
    /// What the client says its id is.
    pub id: Cow<'a, str>,
    /// The key; `None` if the text is no 32 bytes.
    pub key: Option<PublicKey>,
    /// The signature; `None` if the text is no 64 bytes.
    pub signature: Option<[u8; 64]>,
    /// Milliseconds since 1970 by the client's clock.
    pub signed_at: u64,
    /// Trimmed; a blank one counts as none.
    pub nonce: Option<Cow<'a, str>>,
}

/// The secrets that are presented. They have no printed form.
#[derive(Default)]
pub struct Auth<'a> {
    pub token: Option<Cow<'a, str>>,
    pub password: Option<Cow<'a, str>>,
    pub bootstrap_token: Option<Cow<'a, str>>,
    pub device_token: Option<Cow<'a, str>>,
}

/// A list of names as it came: at most [`limits::NAMES_SENT`] of 1 to [`limits::METHOD_LEN`] bytes each.
#[derive(Clone, Copy)]
pub struct Names<'a>(Option<Value<'a>>);

/// Every client id of protocol 3 and 4.
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

/// Every client mode of protocol 3 and 4.
pub const CLIENT_MODES: [&str; 8] = ["webchat", "cli", "ui", "backend", "node", "worker", "probe", "test"];

impl<'a> Connect<'a> {
    /// Reads the parameters. The error is the protocol's text, for `invalid connect params: ...`.
    pub fn parse(params: Option<Value<'a>>) -> Result<Connect<'a>, String> {
        let mut problems = Problems::default();
        let mut object = Object::new(params.unwrap_or(Value::EMPTY), "", &mut problems);
        let (min, max) = (object.required_u64("minProtocol", 1), object.required_u64("maxProtocol", 1));
        let client = object.required_obj("client").map(|client| Client::read(object.child(client, "/client")));
        let scopes = Names(object.opt_list("scopes", limits::SCOPES_SENT, limits::WORD_LEN));
        let device = object.opt_obj("device").map(|device| DeviceClaim::read(object.child(device, "/device")));
        let auth = object.opt_obj("auth").map(|auth| Auth::read(object.child(auth, "/auth")));
        let rest = (
            Names(object.opt_list("caps", limits::NAMES_SENT, limits::METHOD_LEN)),
            Names(object.opt_list("commands", limits::NAMES_SENT, limits::METHOD_LEN)),
            permissions(&mut object),
            object.opt_text("pathEnv", limits::PATH_ENV_LEN),
            object.opt_str("role", limits::WORD_LEN),
            object.opt_text("locale", limits::FIELD_LEN),
            object.opt_text("userAgent", limits::FIELD_LEN),
        );
        let (Some(client), None) = (client, problems.text()) else { return Err(problems.into_text()) };
        let (caps, commands, permissions, path_env, role_sent, locale, user_agent) = rest;
        Ok(Connect {
            min_protocol: saturated(min),
            max_protocol: saturated(max),
            client,
            caps,
            commands,
            permissions,
            path_env,
            role_sent,
            scopes_sent: scopes.iter().collect(),
            scopes: scopes.iter().filter_map(|name| Scope::parse(&name)).collect(),
            device,
            auth: auth.unwrap_or_default(),
            locale,
            user_agent,
        })
    }

    /// The role: operator unless another is sent; `None` for one that there is not.
    pub fn role(&self) -> Option<Role> {
        self.role_sent.as_deref().map_or(Some(Role::Operator), Role::parse)
    }

    /// The token that is part of the signature. Protocol 4 takes the first secret that is present, even if empty.
    pub fn signed_token(&self, dialect: Dialect) -> &str {
        let auth = &self.auth;
        let first = match dialect {
            Dialect::V3 => auth.token.as_deref(),
            Dialect::V4 => auth.token.as_deref().or(auth.device_token.as_deref()).or(auth.bootstrap_token.as_deref()),
        };
        first.unwrap_or("")
    }
}

impl<'a> Client<'a> {
    fn read(mut object: Object<'a, '_>) -> Client<'a> {
        Client {
            id: object.required_word("id", &CLIENT_IDS),
            version: object.required_str("version", limits::FIELD_LEN),
            platform: object.required_str("platform", limits::FIELD_LEN),
            mode: object.required_word("mode", &CLIENT_MODES),
            display_name: object.opt_str("displayName", limits::FIELD_LEN),
            device_family: object.opt_str("deviceFamily", limits::FIELD_LEN),
            model_identifier: object.opt_str("modelIdentifier", limits::FIELD_LEN),
            instance_id: object.opt_str("instanceId", limits::FIELD_LEN),
            build_id: object.opt_str("buildId", limits::FIELD_LEN),
            time_zone: object.opt_str("timeZone", limits::FIELD_LEN),
        }
    }
}

impl<'a> DeviceClaim<'a> {
    fn read(mut object: Object<'a, '_>) -> DeviceClaim<'a> {
        let id = object.required_str("id", limits::FIELD_LEN);
        let key = object.required_str("publicKey", limits::KEY_TEXT_LEN);
        let signature = object.required_str("signature", limits::FIELD_LEN);
        DeviceClaim {
            id,
            key: base64::public_key(&key).map(PublicKey),
            signature: base64::decode(signature.trim()),
            signed_at: object.required_u64("signedAt", 0),
            nonce: object.opt_text("nonce", limits::SECRET_LEN).map(trimmed).filter(|nonce| !nonce.is_empty()),
        }
    }
}

impl<'a> Auth<'a> {
    fn read(mut object: Object<'a, '_>) -> Auth<'a> {
        Auth {
            token: object.opt_text("token", limits::SECRET_LEN),
            password: object.opt_text("password", limits::SECRET_LEN),
            bootstrap_token: object.opt_text("bootstrapToken", limits::SECRET_LEN),
            device_token: object.opt_text("deviceToken", limits::SECRET_LEN),
        }
    }
}

impl<'a> Names<'a> {
    /// The names in the order sent.
    pub fn iter(&self) -> impl Iterator<Item = Cow<'a, str>> {
        self.0.unwrap_or_default().items().filter_map(|name| name.as_str())
    }

    /// Is that name among them?
    pub fn contains(&self, name: &str) -> bool {
        self.0.is_some_and(|list| list.items().any(|one| one.is_str(name)))
    }

    /// One JSON array.
    pub fn raw(&self) -> &'a str {
        self.0.map_or("[]", |list| list.raw())
    }
}

fn permissions<'a>(object: &mut Object<'a, '_>) -> Option<Value<'a>> {
    let map = object.opt_obj("permissions")?;
    if map.fields().nth(limits::NAMES_SENT).is_some() {
        object.wrong("permissions", &format!("must NOT have more than {} properties", limits::NAMES_SENT));
    }
    for (name, _) in map.fields().filter(|(_, value)| value.as_bool().is_none()) {
        object.wrong(&["permissions/", cut(&name, limits::WORD_LEN)].concat(), "must be boolean");
    }
    Some(map)
}

fn trimmed(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

/// Protocols beyond what fits are beyond what anybody speaks.
fn saturated(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
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

    const LEAST: &str =
        r#"{"minProtocol":3,"maxProtocol":3,"client":{"id":"cli","version":"1","platform":"linux","mode":"cli"}}"#;

    fn read(text: &str) -> Result<Connect<'_>, String> {
        Connect::parse(Some(parse(text.as_bytes(), limits::JSON_DEPTH).expect(text)))
    }

    fn refused(text: &str) -> String {
        read(text).err().expect(text)
    }

    #[test]
    fn everything_both_versions_know_is_read() {
        let connect = read(FULL).unwrap();
        assert_eq!((connect.min_protocol, connect.max_protocol, connect.role()), (3, 4, Some(Role::Node)));
        let client = &connect.client;
        assert_eq!((client.id, client.mode, &*client.version, &*client.platform), ("cli", "node", "1", "linux"));
        assert_eq!((client.display_name.as_deref(), client.device_family.as_deref()), (Some("Caf\u{e9}"), Some("Pi")));
        assert_eq!((client.build_id.as_deref(), client.time_zone.as_deref()), (Some("b"), Some("UTC")));
        assert!(
            connect.caps.contains("tool-events")
                && !connect.caps.contains("y")
                && connect.commands.iter().eq(["camera.snap"])
        );
        assert_eq!(connect.permissions.unwrap().raw(), r#"{"camera":true,"mic":false}"#);
        assert_eq!(connect.scopes_sent, ["operator.read", "nonsense", "operator.write"]);
        assert!(connect.scopes == Scopes::of(Scope::Read).with(Scopes::of(Scope::Write)));
        let device = connect.device.as_ref().unwrap();
        assert_eq!((&*device.id, device.key, device.signature), ("d", Some(PublicKey([0; 32])), None));
        assert_eq!((device.signed_at, device.nonce.as_deref()), (1_700_000_000_000, Some("n")));
        let blank = FULL.replace("\" n \"", "\" \"");
        assert!(read(&blank).unwrap().device.unwrap().nonce.is_none(), "a blank nonce is none");
        assert_eq!((connect.auth.password.as_deref(), connect.locale.as_deref()), (Some("p"), Some("de")));
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let connect = read(LEAST).unwrap();
        assert_eq!(
            (connect.role(), connect.scopes, connect.scopes_sent.len()),
            (Some(Role::Operator), Scopes::NONE, 0)
        );
        assert!(connect.device.is_none() && connect.permissions.is_none() && connect.caps.raw() == "[]");
        let nulls =
            LEAST.replace("}}", r#"},"caps":null,"role":null,"scopes":null,"device":null,"auth":null,"locale":null}"#);
        assert!(read(&nulls).is_ok_and(|connect| connect.role() == Some(Role::Operator)));
        assert_eq!(read(&LEAST.replace("}}", r#"},"role":"root"}"#)).unwrap().role(), None);
        assert_eq!(read(&LEAST.replace(":3,\"client", ":99999999999,\"client")).unwrap().max_protocol, u32::MAX);
    }

    #[test]
    fn the_signed_token_is_the_one_each_version_signs() {
        let mut connect = read(FULL).unwrap();
        assert_eq!(
            (connect.signed_token(Dialect::V3), connect.signed_token(Dialect::V4)),
            ("", ""),
            "an empty token wins"
        );
        connect.auth.token = None;
        assert_eq!((connect.signed_token(Dialect::V3), connect.signed_token(Dialect::V4)), ("", "dt"));
        connect.auth.device_token = None;
        assert_eq!(connect.signed_token(Dialect::V4), "bt");
        connect.auth = Auth { token: Some("t".into()), ..Auth::default() };
        assert_eq!((connect.signed_token(Dialect::V3), connect.signed_token(Dialect::V4)), ("t", "t"));
    }

    #[test]
    fn problems_are_told_in_the_words_of_the_protocol_all_at_once() {
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
        assert_eq!(refused(&LEAST.replace(":3,\"max", ":0,\"max")), "at /minProtocol: must be >= 1");
        assert_eq!(refused(&LEAST.replace(":3,\"max", ":\"3\",\"max")), "at /minProtocol: must be integer");
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
    fn everything_is_bounded() {
        let scopes =
            |count: usize| LEAST.replace("}}", &format!("}},\"scopes\":[{}]}}", vec!["\"s\""; count].join(",")));
        assert_eq!(read(&scopes(limits::SCOPES_SENT)).unwrap().scopes_sent.len(), limits::SCOPES_SENT);
        assert_eq!(refused(&scopes(limits::SCOPES_SENT + 1)), "at /scopes: must NOT have more than 32 items");
        let token = |len: usize| LEAST.replace("}}", &format!("}},\"auth\":{{\"token\":\"{}\"}}}}", "t".repeat(len)));
        assert!(read(&token(limits::SECRET_LEN)).is_ok());
        assert_eq!(refused(&token(limits::SECRET_LEN + 1)), "at /auth/token: must NOT have more than 4096 characters");
        let many: String = (0..200).map(|at| format!(",\"p{at}\":0")).collect();
        let text = refused(&LEAST.replace("}}", &format!("}},\"permissions\":{{\"a\":0{many}}}}}")));
        assert!(text.len() <= limits::PROBLEMS_LEN && text.len() > limits::PROBLEMS_LEN / 2, "{}", text.len());
    }

    #[test]
    fn the_same_key_may_come_as_pem_or_either_base64() {
        let with_key = |key: &str| FULL.replace("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", key);
        let pem = "-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\\n-----END PUBLIC KEY-----\\n";
        for (key, good) in
            [(pem, true), ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", true), ("AAAA", false), ("!", false)]
        {
            let text = with_key(key);
            assert_eq!(read(&text).unwrap().device.unwrap().key.is_some(), good, "{key}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
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
