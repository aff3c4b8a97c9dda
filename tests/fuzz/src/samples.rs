//! Sources of the seeds: transcripts, sample configurations and images of tests/it, signing keys,
//! requests.

use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer, SigningKey};
use gatelet::gate::ids::{DeviceId, PublicKey};
use gatelet::wire::base64;
use serde_json::{json, Value};
use sha2::{Digest, Sha256};

/// Shared secret of the setups, as token and as password.
pub const TOKEN: &str = "the-right-token-of-the-gateway-under-test";
/// Challenge of [`connects`].
pub const NONCE: [u8; 16] = [0x5a; 16];
/// Wall clock at the start, in milliseconds.
pub const WALL: u64 = 1_760_000_000_000;

/// Key of a device, by number.
pub struct Key {
    pair: SigningKey,
    pub id: DeviceId,
    pub public: PublicKey,
}

impl Key {
    fn new(number: u8) -> Key {
        let pair = SigningKey::from_bytes(&[number + 1; 32]);
        let public = pair.verifying_key().to_bytes();
        Key { id: DeviceId(Sha256::digest(public).into()), public: PublicKey(public), pair }
    }

    /// Returns the key of this number, created once.
    pub fn of(number: u8) -> &'static Key {
        thread_local! {
            static KEYS: &'static [Key] = Box::leak((0..10).map(Key::new).collect());
        }
        &KEYS.with(|keys| *keys)[usize::from(number)]
    }

    pub fn sign(&self, payload: &str) -> String {
        base64::encode_url(&self.pair.sign(payload.as_bytes()).to_bytes())
    }
}

/// Parameters of a client's `connect`.
pub struct Who<'a> {
    pub protocol: u32,
    pub node: bool,
    /// Field and secret.
    pub auth: Option<(&'a str, &'a str)>,
    /// Number of the key, and whether the device signs with it itself.
    pub key: Option<(u8, bool)>,
    pub nonce: &'a str,
}

impl Who<'_> {
    /// Returns the parameters, in the form of tests/support/client.rs.
    pub fn params(&self) -> Value {
        let (client, mode, role, scopes) = match self.node {
            true => ("node-host", "node", "node", ""),
            false => ("cli", "cli", "operator", "operator.admin"),
        };
        let list: Vec<&str> = scopes.split(',').filter(|scope| !scope.is_empty()).collect();
        let mut params = json!({
            "minProtocol": self.protocol, "maxProtocol": self.protocol, "role": role, "scopes": list, "caps": [],
            "client": { "id": client, "version": "1.2.3", "platform": "linux", "mode": mode, "deviceFamily": "Linux" },
        });
        if self.node {
            params["commands"] = json!([
                "camera.snap",
                "system.execApprovals.get",
                "system.execApprovals.set",
                "system.run",
                "system.which"
            ]);
            params["caps"] = json!(["system"]);
        }
        if let Some((field, secret)) = self.auth {
            params["auth"][field] = secret.into();
        }
        let Some((number, signs)) = self.key else { return params };
        let key = Key::of(number);
        let token = self
            .auth
            .filter(|(field, _)| *field != "password" && (self.protocol > 3 || *field == "token"));
        let base = format!(
            "{}|{client}|{mode}|{role}|{scopes}|{WALL}|{}|{}",
            key.id,
            token.map_or("", |auth| auth.1),
            self.nonce
        );
        let payload = if self.protocol == 3 {
            format!("v2|{base}")
        } else {
            format!("v3|{base}|linux|linux")
        };
        let signer = if signs { key } else { Key::of(9) };
        params["device"] = json!({
            "id": key.id.to_string(), "publicKey": base64::encode_url(&key.public.0), "signature": signer.sign(&payload),
            "signedAt": WALL, "nonce": self.nonce,
        });
        params
    }
}

/// Returns the valid signatures in [`connects`].
pub fn signatures() -> Vec<String> {
    let text = |one: &Vec<u8>| -> Option<(String, String)> {
        let device = &serde_json::from_slice::<Value>(&one[1..]).ok()?["device"];
        Some((device["id"].as_str()?.to_string(), device["signature"].as_str()?.to_string()))
    };
    // each valid one is followed by the same connect signed by another key
    let all: Vec<String> = connects()
        .iter()
        .filter_map(text)
        .filter(|(id, _)| id.len() == 64)
        .map(|(_, signature)| signature)
        .collect();
    all.into_iter().step_by(2).collect()
}

/// Returns parameters of `connect`, each after a byte that selects the setup.
pub fn connects() -> Vec<Vec<u8>> {
    let nonce = gatelet::gate::ids::Nonce(NONCE).to_string();
    let mut all = Vec::new();
    let secrets = [
        None,
        Some(("token", TOKEN)),
        Some(("password", TOKEN)),
        Some(("deviceToken", "x")),
        Some(("bootstrapToken", "ABCD2345")),
    ];
    for protocol in [3, 4] {
        for node in [false, true] {
            for (choice, auth) in secrets.into_iter().enumerate() {
                for key in [None, Some((0, true)), Some((0, false))] {
                    let who = Who { protocol, node, auth, key, nonce: &nonce };
                    all.push(
                        [vec![choice as u8 * 2], who.params().to_string().into_bytes()].concat(),
                    );
                }
            }
        }
    }
    let odd = [
        r#"{"minProtocol":3,"maxProtocol":4,"client":{"id":"cli","displayName":"Caf\u00e9","version":"1","platform":"linux","deviceFamily":"Pi","modelIdentifier":"m","mode":"node","instanceId":"i","buildId":"b","timeZone":"UTC","futureField":1},"caps":["tool-events","x"],"commands":["camera.snap"],"permissions":{"camera":true,"mic":false},"pathEnv":"","role":"node","scopes":["operator.read","nonsense"],"device":{"id":"d","publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","signature":"x","signedAt":1700000000000,"nonce":" n "},"auth":{"token":"","password":"p"},"locale":"de","userAgent":"Mozilla/5.0 (X11; Linux) Firefox/99"}"#,
        r#"{"minProtocol":1,"maxProtocol":99999999999,"client":{"id":"openclaw-control-ui","version":"1","platform":"web","mode":"webchat"},"userAgent":"Mozilla/5.0 (iPhone) Safari"}"#,
        r#"{"minProtocol":0,"client":{"id":"x"},"scopes":[1],"caps":{},"permissions":{"a":1},"device":[],"auth":3,"role":""}"#,
    ];
    all.extend(odd.iter().map(|text| [&[3], text.as_bytes()].concat()));
    all
}

/// Returns the folder tests/it.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../it")
}

/// Returns the files of a folder of tests/it, by name.
pub fn files(name: &str) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder().join(name)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect()
}

/// Returns method and parameters of every call in the transcripts, in order, by file. Placeholders
/// are `$d`, `$r` and so on, see script.rs.
pub fn calls() -> Vec<(String, Vec<(String, String)>)> {
    let mut all = Vec::new();
    for (name, text) in files("transcripts") {
        let text = String::from_utf8(text).unwrap();
        let mut calls = Vec::new();
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2) {
            if let (Some(title), Some(params)) =
                (pair[0].strip_prefix("## "), pair[1].strip_prefix("> "))
            {
                let method = title.split(',').next().unwrap_or("");
                calls.push((method.to_string(), marks(params)));
            }
        }
        all.push((name, calls));
    }
    all
}

fn marks(params: &str) -> String {
    let mut out = String::new();
    let mut rest = params;
    while let Some((before, inside)) = rest.split_once('<') {
        let Some((name, behind)) = inside.split_once('>') else { break };
        out.push_str(before);
        out.push_str(match name.split('-').next().unwrap_or("") {
            "device" => "$d",
            "request" => "$r",
            "id" => "$i",
            "token" => "$t",
            "code" => "$c",
            "setup" => "$s",
            _ => "x",
        });
        rest = behind;
    }
    out + rest
}

/// Returns frames: calls, responses and events of the transcripts, and JSON that is hard to parse.
pub fn frames() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (_, calls) in self::calls() {
        for (method, params) in calls.into_iter().step_by(3) {
            all.push(
                format!(r#"{{"type":"req","id":"7","method":"{method}","params":{params}}}"#)
                    .into_bytes(),
            );
        }
    }
    for (_, text) in files("transcripts") {
        let text = String::from_utf8(text).unwrap();
        all.extend(
            text.split("\n\n")
                .map(|part| part.lines().skip(1).collect::<Vec<_>>().join("\n").into_bytes())
                .step_by(7),
        );
    }
    let deep = [vec![b'['; 64], vec![b']'; 64]].concat();
    let odd: [&[u8]; 14] = [
        &deep,
        &[b'['; 4000],
        b"{\"a\":1,\"a\":2}",
        br#"{"type":"req","id":"\ud83d\ude00","method":"\u0000"}"#,
        br#""\ud800""#,
        b"-0",
        b"1e999",
        b"18446744073709551616",
        b"1.000",
        b"\xef\xbb\xbf{}",
        b"{\"type\":\"res\",\"id\":\"1\",\"ok\":false,\"error\":{\"code\":\"X\",\"message\":\"m\",\"retryAfterMs\":5}}",
        b"{\"type\":\"event\",\"event\":\"tick\",\"payload\":{\"ts\":1},\"seq\":1}",
        b"[1,2,{\"x\":[true,false,null]}]",
        b"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    ];
    all.extend(odd.iter().map(|one| one.to_vec()));
    all.retain(|one| one.len() < 4096);
    all
}

/// Returns request heads.
pub fn heads() -> Vec<Vec<u8>> {
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let lines = [
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:18789\r\n", "HEAD /healthz HTTP/1.0\r\n", "GET /whoami?x=1#y HTTP/1.1\r\nHost: gate.example\r\nOrigin: https://gate.example\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "GET /metrics HTTP/1.1\r\nAuthorization: Bearer the-token\r\nAccept-Encoding: gzip;q=0, br\r\n", "GET http://x/ HTTP/1.1\r\nHost: x\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", "GET / HTTP/1.1\r\nHost: [::1]:80\r\nX-Forwarded-For: 1.1.1.1, 172.18.0.5\r\nX-Forwarded-For: [2001:db8::1]:99\r\nX-Real-IP: 10.0.0.1\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nForwarded: for=1.1.1.1\r\nVia: 1.1 x\r\nTailscale-User-Login: a@b\r\nX-User: ann\r\nX-Team: red\r\n", "GET /%2e%2e/x HTTP/1.1\r\nHost: localhost\r\n folded: x\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nIf-None-Match: \"x\"\r\n", "OPTIONS * HTTP/1.1\r\nHost: x\r\n",
    ];
    let mut all: Vec<Vec<u8>> =
        lines.iter().map(|head| [head, "\r\n"].concat().into_bytes()).collect();
    for extra in [
        "",
        "Origin: http://127.0.0.1:18789\r\n",
        "Origin: https://evil.example\r\n",
        "X-Forwarded-For: 9.9.9.9\r\n",
        "Sec-WebSocket-Protocol: x\r\n",
    ] {
        all.push(
            format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:18789\r\n{upgrade}{extra}\r\n").into_bytes(),
        );
    }
    all.push(
        format!("GET / HTTP/1.1\r\nHost: x\r\n{}", upgrade.replace("13", "12") + "\r\n")
            .into_bytes(),
    );
    all
}

/// Setups of every kind of configuration.
pub mod config {
    use std::rc::Rc;

    use gatelet::config::{load_text, Config, Overrides};
    use gatelet::gate::facts::AuthMode;
    use gatelet::server::runtime_config::{RuntimeConfig, SecretDigest};
    use gatelet::store::tokens::{control_token, TableKey};

    use super::TOKEN;
    use crate::mem::Home;

    const TEXTS: [&str; 6] = [
        r#"{gateway:{auth:{mode:"token",token:"T"}}}"#,
        r#"{gateway:{bind:"lan",publicOrigin:"https://gate.example",trustedProxies:["127.0.0.1","172.18.0.0/16"],
            auth:{mode:"token",token:"T",strictClock:true},pairing:{mode:"strict"},controlUi:{allowedOrigins:["http://gate:80"],basePath:"/gate"}}}"#,
        r#"{gateway:{auth:{mode:"password",password:"T",rateLimit:{maxAttempts:3}}}}"#,
        r#"{gateway:{auth:{mode:"none"}}}"#,
        r#"{gateway:{bind:"lan",trustedProxies:["172.18.0.0/16"],allowRealIpFallback:true,auth:{mode:"trusted-proxy",
            trustedProxy:{userHeader:"X-User",requiredHeaders:["X-Team"],allowUsers:["ann"]}}}}"#,
        r#"{gateway:{bind:"lan",auth:{mode:"token",token:"T"},controlUi:{enabled:false},
            nodes:{pairing:{autoApproveLocal:true,autoApproveCidrs:["10.0.0.0/8"]},commands:{allow:["made.up"],deny:["system.run"]}}}}"#,
    ];

    thread_local! {
        static SETUPS: &'static [Rc<RuntimeConfig>] =
            Box::leak(TEXTS.iter().map(|text| Rc::new(setup(text))).collect());
    }

    /// Returns all of them, the same every time.
    pub fn setups() -> &'static [Rc<RuntimeConfig>] {
        SETUPS.with(|setups| *setups)
    }

    /// Returns the key of the table under test.
    pub fn key() -> TableKey {
        TableKey::new([7; 32])
    }

    fn setup(text: &str) -> RuntimeConfig {
        let loaded = load_text(
            &Overrides::default(),
            &Home,
            Some(&text.replace("\"T\"", &format!("\"{TOKEN}\""))),
        );
        let config: Config = loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.problems));
        let has_secret = matches!(config.auth.mode, AuthMode::Token | AuthMode::Password);
        RuntimeConfig {
            secret: has_secret.then(|| SecretDigest::of(TOKEN)),
            control: SecretDigest::of(control_token(&key()).as_str()),
            key: key(),
            config_path: "/config".to_string(),
            state_dir: "/state".to_string(),
            boot_id: "0011223344556677".to_string(),
            ..RuntimeConfig::of(&config, "machine".to_string(), "gatelet".to_string())
        }
    }
}
