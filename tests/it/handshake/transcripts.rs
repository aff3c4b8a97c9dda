//! Golden transcripts: the exact messages that a client of each protocol receives, in
//! `transcripts/*.txt`.
//!
//! Values that differ between runs (ids, times, tokens, names of this machine) are masked.
//! `UPDATE=1` rewrites the files. Every refusal of the gate is produced here over the wire; the few
//! that cannot be are named with the reason in [`produce`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gatelet::gate::limits;
use gatelet::gate::refusal::Refusal;
use serde_json::{json, Value};
use support::client::{Device, Refused, Session, Sign, Who};
use support::gateway::{code, Gateway, Plan, TOKEN};
use support::runner;

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/transcripts")
}

/// Compares a transcript with its file, or writes the file.
pub fn compare(name: &str, text: &str) {
    let path = folder().join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    if let Some((at, (got, wanted))) =
        text.lines().zip(wanted.lines()).enumerate().find(|(_, (got, wanted))| got != wanted)
    {
        panic!(
            "{name}, line {}:\n got    {got}\n wanted {wanted}\nUPDATE=1 writes it anew",
            at + 1
        );
    }
    assert_eq!(text.lines().count(), wanted.lines().count(), "{name}: UPDATE=1 writes it anew");
}

/// Replaces values that differ between runs by names, the same name for the same value.
#[derive(Default)]
pub struct Mask(BTreeMap<String, String>);

impl Mask {
    pub fn show(&mut self, value: &Value) -> String {
        let mut value = value.clone();
        self.walk("", &mut value);
        let text = serde_json::to_string_pretty(&value).unwrap();
        self.plain(&text)
    }

    /// Masks a value and prints it on one line.
    pub fn line(&mut self, value: &Value) -> String {
        let mut value = value.clone();
        self.walk("", &mut value);
        self.plain(&value.to_string())
    }

    /// Masks known values inside longer text, and the command that `{gatelet}` stands for.
    fn plain(&self, text: &str) -> String {
        let escaped = |char: char| {
            if char.is_ascii() {
                char.to_string()
            } else {
                char.escape_unicode().to_string()
            }
        };
        let mut text: String = text.chars().map(escaped).collect();
        while let Some((start, rest)) = text.split_once(" --state-dir ") {
            text = format!("{start} {}", rest.split_once(' ').map_or("", |(_, rest)| rest));
        }
        self.0.iter().fold(text, |text, (value, name)| text.replace(value, name))
    }

    fn walk(&mut self, key: &str, value: &mut Value) {
        match value {
            // all of it describes this machine
            Value::Object(fields) if fields.contains_key("machineName") => {
                fields.remove("loadAverage");
                fields.iter_mut().for_each(|(key, value)| *value = format!("<{key}>").into());
            }
            Value::Object(fields) => {
                fields.iter_mut().for_each(|(key, value)| self.walk(key, value))
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk(key, item)),
            // the gateway's own platform; the clients of these tests report linux
            Value::String(text) if key == "platform" && runner::windows() => {
                *text = text.replace("windows", "linux")
            }
            Value::String(text) => {
                let kind = match key {
                    _ if text == "__OPENCLAW_REDACTED__" => return,
                    "deviceId" | "nodeId" if text.len() == 64 => "device",
                    "requestId" | "setupId" | "pendingRequestId" if text.len() == 36 => "request",
                    "id" | "invokeId" | "ids" | "ackedIds" | "queuedActionId"
                        if text.len() == 36 =>
                    {
                        "id"
                    }
                    "publicKey" => "key",
                    "deviceToken" | "token" => "token",
                    "connId" => "conn",
                    "bootId" => "boot",
                    "nonce" => "nonce",
                    "stateDir" => "state-dir",
                    "hash" | "baseHash" | "configRevisionHash" | "appliedConfigHash"
                        if text.len() > 20 =>
                    {
                        "hash"
                    }
                    "configPath" => "config-path",
                    "path" if text.ends_with("gatelet.json") => "config-path",
                    "version" if text == env!("CARGO_PKG_VERSION") => "version",
                    "host" if !["Kitchen", "Shed", "Phone", "node"].contains(&text.as_str()) => {
                        "host"
                    }
                    "text" if text.starts_with("Gateway: ") => "own-presence",
                    _ => return,
                };
                let next =
                    self.0.values().filter(|name| name.starts_with(&format!("<{kind}"))).count()
                        + 1;
                let name = self.0.entry(text.clone()).or_insert_with(|| format!("<{kind}-{next}>"));
                if ["host", "version", "own-presence"].contains(&kind) {
                    *value = format!("<{kind}>").into();
                    // short words that may occur elsewhere as well
                    self.0.retain(|_, name| !name.starts_with(&format!("<{kind}")));
                } else {
                    *value = name.clone().into();
                }
            }
            Value::Number(_)
                if ["ts", "port"].contains(&key)
                    || key.ends_with("AtMs")
                    || key == "uptimeMs"
                    || key == "onlineSince" =>
            {
                *value = format!("<{key}>").into();
            }
            _ => {}
        }
    }
}

fn shown(mask: &mut Mask, refused: &Refused) -> String {
    let error =
        if refused.error.is_null() { "no answer".to_string() } else { mask.show(&refused.error) };
    format!("{error}\nclose {} {}\n", refused.close, mask.plain(&refused.reason))
}

// --- hello and calls -----------------------------------------------------------------------------

fn transcript(protocol: u32) -> String {
    let gateway = Plan::with(json!({ "pairing": { "mode": "strict" } })).start();
    let mut mask = Mask::default();
    let mut text = String::new();
    let mut say = |title: &str, body: String| text.push_str(&format!("## {title}\n{body}\n\n"));
    let who = Who::of(protocol);
    let mut admin = gateway.connect(&who.clone().token(TOKEN)).unwrap();
    say("hello to an administrator without a device", mask.show(&admin.hello));
    let device = Device::from_seed([1; 32]);
    let page = who.clone().page().token(TOKEN).device(&device).name("Kitchen");
    let dial = gateway.dial().page("127.0.0.1:18789");
    let refused = dial.connect(&page).unwrap_err();
    say("a new device in strict mode", shown(&mut mask, &refused));
    say("event device.pair.requested", mask.show(&admin.event("device.pair.requested")));
    let ask = |admin: &mut Session, mask: &mut Mask, method: &str, params: Value| match admin
        .call(method, params)
    {
        Ok(payload) => mask.show(&payload),
        Err(failed) => format!("error {}", mask.show(&failed.0)),
    };
    say("device.pair.list", ask(&mut admin, &mut mask, "device.pair.list", json!({})));
    let request = json!({ "requestId": refused.request_id() });
    say("device.pair.approve", ask(&mut admin, &mut mask, "device.pair.approve", request.clone()));
    say("event device.pair.resolved", mask.show(&admin.event("device.pair.resolved")));
    say("device.pair.approve again", ask(&mut admin, &mut mask, "device.pair.approve", request));
    let session = dial.connect(&page).unwrap();
    say("hello to a page with a device", mask.show(&session.hello));
    say("event presence", mask.show(&admin.event("presence")));
    for (method, params) in [
        ("device.pair.rename", json!({ "deviceId": device.id, "label": "The kitchen" })),
        ("device.token.rotate", json!({ "deviceId": device.id, "role": "operator" })),
        ("device.pair.list", json!({})),
        ("device.token.revoke", json!({ "deviceId": device.id, "role": "operator" })),
        ("device.pair.list", json!({})),
        ("device.pair.remove", json!({ "deviceId": device.id })),
        ("device.pair.remove", json!({ "deviceId": device.id })),
        ("device.token.rotate", json!({ "deviceId": device.id, "role": "operator" })),
        ("device.pair.reject", json!({ "requestId": "nonsense" })),
        ("health", json!({})),
        ("status", json!({})),
        ("system-presence", json!({})),
        ("system.info", json!({})),
        ("gateway.identity.get", json!({})),
        ("no.such.method", json!({})),
        ("config.get", json!({})),
        ("config.schema.lookup", json!({ "path": "gateway.pairing" })),
        ("config.set", json!({ "raw": "{}" })),
        ("config.patch", json!({ "raw": "{gateway: {port: 1}}", "baseHash": "old" })),
        ("config.apply", json!({ "baseHash": "" })),
    ] {
        say(method, ask(&mut admin, &mut mask, method, params));
    }
    for raw in ["{gateway: {prot: 1}}", "{gateway: {nodes: {commands: {deny: ['camera.snap']}}}}"] {
        let hash = admin.call("config.get", json!({})).unwrap()["hash"].clone();
        say(
            "config.patch",
            ask(&mut admin, &mut mask, "config.patch", json!({ "raw": raw, "baseHash": hash })),
        );
    }
    let node =
        gateway.connect(&who.node().token(TOKEN).device(&Device::from_seed([2; 32]))).unwrap_err();
    say("a new node in strict mode", shown(&mut mask, &node));
    text
}

#[test]
fn hello_and_device_calls_match_the_transcripts() {
    let mut ran = 0;
    for protocol in [3, 4] {
        compare(&format!("session_v{protocol}.txt"), &transcript(protocol));
        ran += 1;
    }
    assert_eq!(ran, 2);
}

// --- refusals ------------------------------------------------------------------------------------

/// Gateways by configuration, each started once.
#[derive(Default)]
struct Gateways(BTreeMap<String, Gateway>);

impl Gateways {
    fn with(&mut self, config: Value) -> &Gateway {
        self.0.entry(config.to_string()).or_insert_with(|| Plan::with(config).start())
    }

    fn usual(&mut self) -> &Gateway {
        self.with(json!({}))
    }
}

/// Produces this refusal in this protocol; `Err` is the reason why it cannot be produced over the
/// wire.
fn produce(
    gateways: &mut Gateways,
    refusal: Refusal,
    protocol: u32,
) -> Result<Refused, &'static str> {
    let who = Who::of(protocol);
    let holder = who.clone().token(TOKEN);
    let device = Device::from_seed([100 * (protocol as u8 - 3) + refusal as u8 + 1; 32]);
    let strict = json!({ "pairing": { "mode": "strict" } });
    let password = json!({ "auth": { "mode": "password", "password": "pass-word-pass", "rateLimit": { "maxAttempts": 1 } } });
    let no_auth = json!({ "auth": { "mode": "none" } });
    let proxy = json!({ "trustedProxies": ["127.0.0.1"], "auth": { "mode": "trusted-proxy", "trustedProxy": {
        "userHeader": "X-User", "allowUsers": ["ann"], "allowLoopback": true } } });
    let first = |gateways: &mut Gateways, text: &str| {
        let mut socket = gateways.usual().dial().open();
        socket.challenge();
        socket.text(text);
        socket.greeted()
    };
    let signed = |gateways: &mut Gateways, sign: Sign| {
        gateways.usual().connect(&holder.clone().device(&device).sign(sign))
    };
    let outcome = match refusal {
        Refusal::InvalidFrame => first(gateways, "{}"),
        Refusal::NotConnect => first(gateways, r#"{"type":"req","id":"1","method":"health"}"#),
        Refusal::InvalidConnect => {
            gateways.usual().connect(&holder.patch(json!({ "client": { "id": "toaster" } })))
        }
        Refusal::ProtocolMismatch => gateways.usual().connect(&Who { protocol: (1, 2), ..holder }),
        Refusal::InvalidRole => gateways.usual().connect(&Who { role: Some("emperor"), ..holder }),
        Refusal::OriginForeign => {
            gateways.usual().dial().origin("https://evil.example").connect(&holder.page())
        }
        Refusal::OriginOpaque => gateways.usual().dial().origin("null").connect(&holder.page()),
        Refusal::HostForeign => {
            gateways.usual().dial().page("evil.example").connect(&holder.page())
        }
        Refusal::HostNotLoopback => gateways.with(no_auth).dial().host("pi.local").connect(&who),
        Refusal::DeviceIdMismatch => signed(gateways, Sign::WrongId),
        Refusal::SignatureExpired => {
            let gateway = gateways.with(json!({ "auth": { "token": TOKEN, "strictClock": true } }));
            gateway.connect(&Who { clock: -200_000, ..holder.device(&device) })
        }
        Refusal::NonceRequired => {
            let far = gateways.usual().dial().header("X-Forwarded-For", "203.0.113.9");
            far.connect(&holder.device(&device).sign(Sign::NoNonce))
        }
        Refusal::NonceMismatch => signed(gateways, Sign::OldNonce),
        Refusal::SignatureInvalid => signed(gateways, Sign::Stolen),
        Refusal::PublicKeyInvalid => signed(gateways, Sign::NoKey),
        Refusal::TokenMissing => gateways.usual().connect(&who.device(&device)),
        Refusal::TokenMismatch => {
            gateways.usual().connect(&who.token("another-gateways-token").device(&device))
        }
        Refusal::PasswordMissing => gateways.with(password).connect(&who.device(&device)),
        Refusal::PasswordMismatch => {
            gateways.with(password).connect(&who.password("wrong").device(&device))
        }
        Refusal::RateLimited => {
            let gateway = gateways.with(password);
            gateway.connect(&who.clone().password("wrong").device(&device)).unwrap_err();
            gateway.connect(&who.password("pass-word-pass").device(&device))
        }
        Refusal::AttemptQueueFull => {
            return Err("takes a flood of attempts; failed_attempts.rs makes one")
        }
        Refusal::DeviceTokenMismatch => {
            let claim = Who { auth: json!({ "deviceToken": "of-another-gateway" }), ..who };
            gateways.usual().connect(&claim.device(&device))
        }
        Refusal::SetupCodeInvalid => {
            gateways.usual().connect(&who.code("WRNG2345").device(&device))
        }
        Refusal::SetupCodeRole => {
            let gateway = gateways.usual();
            gateway.connect(&who.code(&gateway.code("node")).device(&device))
        }
        Refusal::IdentityMissing => gateways.with(proxy).connect(&who),
        Refusal::IdentityRefused => {
            gateways.with(proxy).dial().header("X-User", "bob").connect(&who)
        }
        Refusal::AuthNoneNotLocal => {
            gateways.with(no_auth).dial().header("Via", "1.1 proxy").connect(&who)
        }
        Refusal::PairingRequired => gateways.with(strict).connect(&holder.device(&device)),
        Refusal::RoleUpgrade => {
            let gateway = gateways.usual();
            gateway.connect(&holder.device(&device)).unwrap();
            gateway.connect(&who.node().device(&device))
        }
        Refusal::DeviceRevoked => {
            let gateway = gateways.usual();
            gateway.connect(&holder.clone().device(&device)).unwrap();
            let revoke = json!({ "deviceId": device.id, "role": "operator" });
            gateway.admin().call("device.token.revoke", revoke).unwrap();
            gateway.connect(&holder.device(&device))
        }
        Refusal::DeviceRequired => gateways.usual().connect(&holder.node()),
        Refusal::ControlUiDeviceRequired => {
            gateways.usual().dial().page("127.0.0.1:8080").connect(&holder.page())
        }
        Refusal::TableFull => {
            let gateway = gateways.with(json!({ "pairing": { "capacity": 1 } }));
            let mut admin = gateway.admin();
            gateway.connect(&holder.device(&Device::new())).unwrap();
            gateway.connect(&who.code(&code(&mut admin, "full")).device(&device))
        }
        Refusal::TableUnavailable => {
            let limited =
                ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh", "prlimit", "--fsize=1024", "--"];
            let gateway = Plan::new().start().stop().prefix(&limited).start();
            gateway.connect(&who.code(&gateway.code("full")).device(&device))
        }
        Refusal::TooManyRequests => {
            let gateway = Plan::with(strict).start();
            // an operator that receives the requests, so that none is evicted
            let _admin = gateway.admin();
            for _ in 0..limits::PENDING_OF_ONE {
                gateway.connect(&holder.clone().device(&Device::new())).unwrap_err();
            }
            gateway.connect(&holder.device(&device))
        }
        Refusal::TooManyConnections => {
            // six connections are possible, and each device has one
            let few = Plan::new().prefix(&["prlimit", "--nofile=64:64", "--"]).start();
            let _open: Vec<_> = (0..6).map(|_| few.join(&who)).collect();
            few.connect(&holder.device(&device))
        }
        Refusal::TooManyOfDevice => {
            let (gateway, who) = (gateways.usual(), holder.device(&device));
            let most = limits::OPERATOR_CONNECTIONS + limits::EVICTIONS_AT_ONCE as usize;
            let _open: Vec<_> = (0..most).map(|_| gateway.connect(&who).unwrap()).collect();
            gateway.connect(&who)
        }
        Refusal::Stopping => {
            let gateway = Gateway::new();
            // a client that does not answer the close frame delays the exit by a second
            let not_reading = gateway.admin();
            gateway.terminate();
            gateway.logged(&["stopping"]);
            let outcome = gateway.connect(&holder.device(&device));
            drop(not_reading);
            outcome
        }
    };
    Ok(outcome.expect_err(&format!("{refusal:?} was to be produced")))
}

#[test]
fn refusals_match_the_transcripts() {
    let mut gateways = Gateways::default();
    let (mut produced, mut unreachable) = (BTreeSet::new(), Vec::new());
    for protocol in [3, 4] {
        let mut text = String::new();
        for refusal in Refusal::ALL {
            let mut mask = Mask::default();
            text.push_str(&format!("## {refusal:?}\n"));
            match produce(&mut gateways, refusal, protocol) {
                Ok(refused) => {
                    let words = refusal.words();
                    assert_eq!(refused.close, words.close, "{refusal:?}: {refused:?}");
                    assert!(
                        refused.error.is_null() || refused.code() == words.code,
                        "{refusal:?}: {refused:?}"
                    );
                    let reason = refused.error["details"]["reason"].as_str().unwrap_or("");
                    assert!(
                        refused.error.is_null() || reason == refusal.words().reason,
                        "{refusal:?}: {refused:?}"
                    );
                    text.push_str(&shown(&mut mask, &refused));
                    produced.insert(format!("{refusal:?}"));
                }
                Err(why) => {
                    text.push_str(&format!("not over the wire: {why}\n"));
                    unreachable.push(refusal);
                }
            }
            text.push('\n');
        }
        compare(&format!("refusals_v{protocol}.txt"), &text);
    }
    assert_eq!(unreachable, [Refusal::AttemptQueueFull; 2]);
    assert_eq!(produced.len() + 1, Refusal::ALL.len());
}
