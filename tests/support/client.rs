//! Blocking client of the gateway protocol for tests: every header, address, signature and byte can
//! be chosen.
//!
//! Shares no code with the gateway except the WebSocket crate: JSON comes from serde_json,
//! signatures are made here.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Instant;

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{json, Map, Value};
use sha2::{Digest, Sha256};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use crate::runner::patience;

/// The largest frame that a client built on the `ws` library accepts: its `maxPayload` in OpenClaw
/// 2026.1.29 and 2026.9.6, 25 MiB.
pub const MOST: usize = 26_214_400;

/// Ed25519 device identity.
#[derive(Clone)]
pub struct Device {
    keys: SigningKey,
    pub id: String,
    pub public: String,
}

impl Device {
    pub fn new() -> Device {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        Device::from_seed(seed)
    }

    /// Returns the device of a seed; always the same for the same seed.
    pub fn from_seed(seed: [u8; 32]) -> Device {
        let keys = SigningKey::from_bytes(&seed);
        let id =
            Sha256::digest(keys.verifying_key()).iter().map(|byte| format!("{byte:02x}")).collect();
        let public = base64(keys.verifying_key().as_bytes());
        Device { keys, id, public }
    }

    fn sign(&self, payload: &str) -> String {
        base64(&self.keys.sign(payload.as_bytes()).to_bytes())
    }
}

fn base64(bytes: &[u8]) -> String {
    let mut text = [0; 88];
    Base64UrlUnpadded::encode(bytes, &mut text).unwrap().to_string()
}

/// Kind of device proof to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sign {
    V1,
    V2,
    V3,
    /// Signed with another device's key.
    Stolen,
    /// Signed over a nonce that this connection did not receive.
    OldNonce,
    /// Version 2 without a nonce in the request.
    NoNonce,
    /// Device id of another key.
    WrongId,
    /// Unreadable public key.
    NoKey,
}

/// Parameters that a client sends in `connect`.
#[derive(Clone)]
pub struct Who {
    pub protocol: (u32, u32),
    pub client: (&'static str, &'static str),
    pub role: Option<&'static str>,
    pub scopes: Vec<String>,
    pub auth: Value,
    pub device: Option<Device>,
    pub sign: Sign,
    /// Offset of the device's clock in milliseconds.
    pub clock: i64,
    pub name: Option<String>,
    /// Platform and device family; an empty family is omitted.
    pub platform: (&'static str, &'static str),
    /// JSON merged over the parameters; `null` removes a property.
    pub patch: Value,
}

impl Who {
    /// Returns a protocol 4 command-line client that requests every scope and has no credential.
    pub fn v4() -> Who {
        Who {
            protocol: (4, 4),
            client: ("cli", "cli"),
            role: Some("operator"),
            scopes: vec!["operator.admin".into()],
            auth: Value::Null,
            device: None,
            sign: Sign::V3,
            clock: 0,
            name: None,
            platform: ("linux", ""),
            patch: Value::Null,
        }
    }

    /// Returns the same client for protocol 3.
    pub fn v3() -> Who {
        Who { protocol: (3, 3), sign: Sign::V2, ..Who::v4() }
    }

    /// Returns the client for a protocol number.
    pub fn of(protocol: u32) -> Who {
        if protocol == 3 {
            Who::v3()
        } else {
            Who::v4()
        }
    }

    pub fn token(self, token: &str) -> Who {
        Who { auth: json!({ "token": token }), ..self }
    }

    pub fn password(self, password: &str) -> Who {
        Who { auth: json!({ "password": password }), ..self }
    }

    /// Adds a setup code in `bootstrapToken`.
    pub fn code(self, code: &str) -> Who {
        Who { auth: json!({ "bootstrapToken": code }), ..self }
    }

    /// Adds a device token in the field that this protocol uses for it.
    pub fn device_token(self, token: &str) -> Who {
        let field = if self.protocol.1 == 3 { "token" } else { "deviceToken" };
        let mut auth = Map::new();
        auth.insert(field.into(), token.into());
        Who { auth: auth.into(), ..self }
    }

    pub fn device(self, device: &Device) -> Who {
        Who { device: Some(device.clone()), ..self }
    }

    pub fn sign(self, sign: Sign) -> Who {
        Who { sign, ..self }
    }

    pub fn scopes(self, scopes: &[&str]) -> Who {
        Who { scopes: scopes.iter().map(|scope| format!("operator.{scope}")).collect(), ..self }
    }

    pub fn node(self) -> Who {
        Who { client: ("node-host", "node"), role: Some("node"), scopes: Vec::new(), ..self }
    }

    /// Turns this client into a node on `platform` with these commands and capabilities.
    pub fn offering(
        self,
        platform: (&'static str, &'static str),
        commands: &[&str],
        caps: &[&str],
    ) -> Who {
        let who = Who { platform, ..self.node() };
        who.patch(json!({ "commands": commands, "caps": caps }))
    }

    /// Turns this client into a Control UI page.
    pub fn page(self) -> Who {
        Who { client: ("openclaw-control-ui", "webchat"), ..self }
    }

    pub fn name(self, name: &str) -> Who {
        Who { name: Some(name.into()), ..self }
    }

    pub fn patch(self, patch: Value) -> Who {
        Who { patch, ..self }
    }

    /// Returns the `connect` parameters for the challenge `nonce`.
    pub fn params(&self, nonce: &str) -> Value {
        let mut params = json!({
            "minProtocol": self.protocol.0,
            "maxProtocol": self.protocol.1,
            "client": { "id": self.client.0, "version": "1.2.3", "platform": self.platform.0, "mode": self.client.1 },
            "caps": [],
            "scopes": self.scopes,
        });
        if !self.platform.1.is_empty() {
            params["client"]["deviceFamily"] = self.platform.1.into();
        }
        if let Some(name) = &self.name {
            params["client"]["displayName"] = name.as_str().into();
        }
        if let Some(role) = self.role {
            params["role"] = role.into();
        }
        if !self.auth.is_null() {
            params["auth"] = self.auth.clone();
        }
        if let Some(device) = &self.device {
            params["device"] = self.claim(device, nonce);
        }
        merge(&mut params, &self.patch);
        params
    }

    fn claim(&self, device: &Device, nonce: &str) -> Value {
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()
                as i64;
        let signed_at = now + self.clock;
        let old = "00000000-0000-4000-8000-000000000000";
        let nonce = if self.sign == Sign::OldNonce { old } else { nonce };
        let field = |name: &str| self.auth.get(name).and_then(Value::as_str);
        let token = match self.protocol.1 {
            3 => field("token"),
            _ => field("token").or(field("deviceToken")).or(field("bootstrapToken")),
        };
        let (client, mode) = self.client;
        let fields =
            [&device.id, client, mode, self.role.unwrap_or("operator"), &self.scopes.join(",")]
                .join("|");
        let base = format!("{fields}|{signed_at}|{}", token.unwrap_or(""));
        let payload = match self.sign {
            Sign::V1 => format!("v1|{base}"),
            Sign::V3 => {
                let (platform, family) = self.platform;
                format!("v3|{base}|{nonce}|{}|{}", platform.to_lowercase(), family.to_lowercase())
            }
            _ => format!("v2|{base}|{nonce}"),
        };
        let key =
            if self.sign == Sign::Stolen { Device::from_seed([9; 32]) } else { device.clone() };
        let mut claim = json!({
            "id": device.id, "publicKey": device.public, "signature": key.sign(&payload), "signedAt": signed_at, "nonce": nonce,
        });
        match self.sign {
            Sign::V1 | Sign::NoNonce => drop(claim.as_object_mut().unwrap().remove("nonce")),
            Sign::WrongId => claim["id"] = "ab".repeat(32).into(),
            Sign::NoKey => claim["publicKey"] = "AAAA".into(),
            _ => {}
        }
        claim
    }
}

fn merge(into: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else { return };
    for (name, value) in patch {
        let fields = into.as_object_mut().unwrap();
        match value {
            Value::Null => drop(fields.remove(name)),
            Value::Object(_) if fields.get(name).is_some_and(Value::is_object) => {
                merge(&mut fields[name], value)
            }
            other => drop(fields.insert(name.clone(), other.clone())),
        }
    }
}

/// Addresses of a connection and the headers of its request.
#[derive(Clone)]
pub struct Dial {
    pub to: SocketAddr,
    pub from: Option<IpAddr>,
    pub host: String,
    pub origin: Option<String>,
    pub headers: Vec<(String, String)>,
}

impl Dial {
    /// Returns a dial from and to loopback without an Origin header, like a program that is not a
    /// browser.
    pub fn to(to: SocketAddr) -> Dial {
        Dial { to, from: None, host: to.to_string(), origin: None, headers: Vec::new() }
    }

    pub fn from(self, from: &str) -> Dial {
        Dial { from: Some(from.parse().unwrap()), ..self }
    }

    pub fn host(self, host: &str) -> Dial {
        Dial { host: host.into(), ..self }
    }

    /// Sends the headers of a browser that shows the page of `host`.
    pub fn page(self, host: &str) -> Dial {
        Dial { host: host.into(), origin: Some(format!("http://{host}")), ..self }
    }

    pub fn origin(self, origin: &str) -> Dial {
        Dial { origin: Some(origin.into()), ..self }
    }

    pub fn header(mut self, name: &str, value: &str) -> Dial {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Opens a TCP connection.
    pub fn tcp(&self) -> TcpStream {
        let stream = match self.from {
            None => TcpStream::connect(self.to)
                .unwrap_or_else(|error| panic!("connect to {}: {error}", self.to)),
            Some(from) => connect_from(from, self.to)
                .unwrap_or_else(|error| panic!("connect {from} -> {}: {error}", self.to)),
        };
        stream.set_read_timeout(Some(patience())).unwrap();
        stream.set_write_timeout(Some(patience())).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends a request and returns the whole response as text.
    pub fn http(&self, request: &str) -> String {
        String::from_utf8_lossy(&self.raw(request)).into_owned()
    }

    /// Sends a request and returns the whole response.
    pub fn raw(&self, request: &str) -> Vec<u8> {
        let mut stream = self.tcp();
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// Returns the response to a plain GET.
    pub fn get(&self, path: &str) -> String {
        let headers: String =
            self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.http(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.host))
    }

    /// Returns whether the gateway says that it is ready.
    pub fn is_ready(&self) -> bool {
        self.get("/readyz").starts_with("HTTP/1.1 200 ")
    }

    /// Returns the upgrade request.
    pub fn upgrade(&self) -> String {
        let mut head = format!("GET / HTTP/1.1\r\nHost: {}\r\n", self.host);
        let fixed = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let origin = self.origin.iter().map(|origin| ("Origin", origin.as_str()));
        let extra = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in fixed.into_iter().chain(origin).chain(extra) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }

    /// Opens a WebSocket on which no message was exchanged yet.
    pub fn open(&self) -> Socket {
        self.try_open().unwrap_or_else(|head| panic!("closed before the upgrade: {head}"))
    }

    /// Opens a WebSocket; error with the bytes received if the connection closes before the
    /// upgrade.
    pub fn try_open(&self) -> Result<Socket, String> {
        let mut stream = self.tcp();
        let sent = stream.write_all(self.upgrade().as_bytes());
        let mut head = Vec::new();
        let end = loop {
            let mut part = [0; 1024];
            let count = sent
                .as_ref()
                .ok()
                .and_then(|()| retry(|| stream.read(&mut part)).ok())
                .unwrap_or(0);
            if count == 0 {
                return Err(String::from_utf8_lossy(&head).into_owned());
            }
            head.extend_from_slice(&part[..count]);
            if let Some(at) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let text = String::from_utf8_lossy(&head[..end]).into_owned();
        assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
        assert!(
            text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "the accept key of RFC 6455: {text}"
        );
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let ws = WebSocket::from_partially_read(
            Patient(stream),
            head.split_off(end),
            Role::Client,
            Some(config),
        );
        Ok(Socket { ws, bytes: 0, seen: VecDeque::new(), calls: 0, seq: 0 })
    }

    /// Opens a connection and sends `connect`.
    pub fn connect(&self, who: &Who) -> Result<Session, Refused> {
        let mut socket = self.open();
        let nonce = socket.challenge();
        socket.connect(who.params(&nonce))
    }
}

fn connect_from(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    use rustix::net::{bind, connect, socket, AddressFamily, SocketType};
    let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::new(from, 0))?;
    retry(|| Ok(connect(&socket, &to)?))?;
    Ok(socket.into())
}

/// Stream whose I/O is not ended by a signal (`EINTR`).
pub struct Patient(pub TcpStream);

/// Repeats `work` while it is interrupted by a signal.
pub fn retry<T>(mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

impl Read for Patient {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        retry(|| self.0.read(bytes))
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        retry(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// WebSocket that is not admitted yet.
pub struct Socket {
    pub ws: WebSocket<Patient>,
    /// Of the last frame that was read.
    pub bytes: usize,
    seen: VecDeque<Value>,
    calls: u64,
    seq: u64,
}

/// Received frame or end of the connection.
#[derive(Debug)]
pub enum Got {
    Frame(Value),
    /// Close code and reason; 1006 if the connection ended without a close frame.
    Closed(u16, String),
}

/// Error and close frame of a rejected connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// `error` of the response; null if there was none.
    pub error: Value,
    pub close: u16,
    pub reason: String,
}

impl Refused {
    /// Returns `details.code`.
    pub fn code(&self) -> &str {
        self.error["details"]["code"].as_str().unwrap_or("")
    }

    pub fn rule(&self) -> &str {
        self.error["details"]["rule"].as_str().unwrap_or("")
    }

    pub fn hint(&self) -> &str {
        self.error["details"]["hint"].as_str().unwrap_or("")
    }

    pub fn request_id(&self) -> &str {
        self.error["details"]["requestId"].as_str().unwrap_or("")
    }
}

impl Socket {
    /// Returns the nonce of the challenge.
    pub fn challenge(&mut self) -> String {
        let frame = self.frame();
        assert_eq!(frame["event"], "connect.challenge", "{frame}");
        frame["payload"]["nonce"].as_str().unwrap().to_string()
    }

    pub fn send(&mut self, frame: &Value) {
        self.text(&frame.to_string());
    }

    pub fn text(&mut self, text: &str) {
        let _ = self.ws.send(Message::text(text));
    }

    /// Returns the next frame or close; panics if nothing arrives within the time limit.
    pub fn receive(&mut self) -> Got {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < patience(), "only pings received within {:?}", patience());
            match self.ws.read() {
                Ok(Message::Text(text)) => {
                    assert!(
                        text.len() <= MOST,
                        "a frame of {} bytes, which no client takes",
                        text.len()
                    );
                    self.bytes = text.len();
                    return Got::Frame(serde_json::from_str(&text).expect("a frame is JSON"));
                }
                Ok(Message::Binary(bytes)) => panic!("a binary frame of {} bytes", bytes.len()),
                Ok(Message::Close(Some(frame))) => {
                    let _ = self.ws.flush();
                    return Got::Closed(frame.code.into(), frame.reason.to_string());
                }
                Ok(Message::Close(None)) => return Got::Closed(1005, String::new()),
                Ok(_) => {}
                Err(Error::Io(error))
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    panic!("nothing received within {:?}", patience())
                }
                Err(_) => return Got::Closed(1006, String::new()),
            }
        }
    }

    /// Returns the next frame; panics if the connection ends.
    pub fn frame(&mut self) -> Value {
        match self.receive() {
            Got::Frame(frame) => frame,
            closed => panic!("{closed:?}"),
        }
    }

    /// Returns how the connection ends; frames received before are kept.
    pub fn closed(&mut self) -> (u16, String) {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < patience(), "not closed in {:?}", patience());
            match self.receive() {
                Got::Frame(frame) => self.keep(frame),
                Got::Closed(code, reason) => return (code, reason),
            }
        }
    }

    /// Sends `connect` with these parameters.
    pub fn connect(mut self, params: Value) -> Result<Session, Refused> {
        self.send(
            &json!({ "type": "req", "id": "connect-1", "method": "connect", "params": params }),
        );
        self.greeted()
    }

    /// Reads the response to `connect`.
    pub fn greeted(mut self) -> Result<Session, Refused> {
        let mut error = Value::Null;
        loop {
            match self.receive() {
                Got::Frame(frame) if frame["type"] == "res" && frame["ok"] == true => {
                    assert_eq!(frame["payload"]["type"], "hello-ok", "{frame}");
                    return Ok(Session { socket: self, hello: frame["payload"].clone() });
                }
                Got::Frame(frame) if frame["type"] == "res" => error = frame["error"].clone(),
                Got::Frame(frame) => panic!("{frame} in place of an answer to connect"),
                Got::Closed(close, reason) => return Err(Refused { error, close, reason }),
            }
        }
    }

    /// Stores a frame and checks that the sequence numbers of an admitted client's events have no
    /// gap.
    fn keep(&mut self, frame: Value) {
        if let Some(seq) = frame["seq"].as_u64() {
            assert_eq!(seq, self.seq + 1, "a gap before {frame}");
            self.seq = seq;
        }
        self.seen.push_back(frame);
    }
}

/// Admitted client.
pub struct Session {
    pub socket: Socket,
    pub hello: Value,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "admitted: {}", self.hello["auth"])
    }
}

/// `error` of a response.
#[derive(Debug, Clone)]
pub struct Failed(pub Value);

impl Failed {
    pub fn code(&self) -> &str {
        self.0["code"].as_str().unwrap()
    }

    pub fn message(&self) -> &str {
        self.0["message"].as_str().unwrap()
    }
}

impl Session {
    /// Calls a method and waits for the response; events received before it are kept.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value, Failed> {
        let id = self.start(method, params);
        self.answer(&id)
    }

    /// Returns the answer to `gatelet.status`.
    pub fn status(&mut self) -> Value {
        self.call("gatelet.status", json!({})).unwrap()
    }

    /// Returns the response to request `id`; events and other responses received before it are
    /// kept.
    pub fn answer(&mut self, id: &str) -> Result<Value, Failed> {
        let outcome = |frame: &Value| match frame["ok"] == true {
            true => Ok(frame["payload"].clone()),
            false => Err(Failed(frame["error"].clone())),
        };
        if let Some(at) =
            self.socket.seen.iter().position(|frame| frame["type"] == "res" && frame["id"] == id)
        {
            return outcome(&self.socket.seen.remove(at).unwrap());
        }
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < patience(), "{id}: no answer in {:?}", patience());
            match self.socket.receive() {
                Got::Frame(frame) if frame["type"] == "res" && frame["id"] == id => {
                    return outcome(&frame)
                }
                Got::Frame(frame) => self.socket.keep(frame),
                Got::Closed(code, reason) => panic!("{id}: closed with {code} {reason}"),
            }
        }
    }

    /// Sends a request without waiting and returns its id.
    pub fn start(&mut self, method: &str, params: Value) -> String {
        self.socket.calls += 1;
        let id = format!("call-{}", self.socket.calls);
        self.socket.send(&json!({ "type": "req", "id": id, "method": method, "params": params }));
        id
    }

    /// Returns the payload of the next event `name` and drops other events before it.
    pub fn event(&mut self, name: &str) -> Value {
        let begun = Instant::now();
        loop {
            // ticks keep arriving, so the time limit is checked on every round
            assert!(begun.elapsed() < 2 * patience(), "no {name} in {:?}", 2 * patience());
            if let Some(at) = self.socket.seen.iter().position(|frame| frame["type"] == "event") {
                let frame = self.socket.seen.remove(at).unwrap();
                if frame["event"] == name {
                    return frame["payload"].clone();
                }
                continue;
            }
            let frame = self.socket.frame();
            self.socket.keep(frame);
        }
    }

    /// Returns the next event `name` as a whole frame; other events before it are kept.
    pub fn frame_of(&mut self, name: &str) -> Value {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < patience(), "no {name} in {:?}", patience());
            if let Some(at) = self.socket.seen.iter().position(|frame| frame["event"] == name) {
                return self.socket.seen.remove(at).unwrap();
            }
            let frame = self.socket.frame();
            self.socket.keep(frame);
        }
    }

    /// Drops the events that were kept.
    pub fn forget(&mut self) {
        self.socket.seen.clear();
    }

    /// Returns every event that was kept.
    pub fn kept(&self) -> impl Iterator<Item = &Value> {
        self.socket.seen.iter()
    }

    /// Returns how the connection ends.
    pub fn closed(&mut self) -> (u16, String) {
        self.socket.closed()
    }

    /// Returns the device token of hello.
    pub fn token(&self) -> String {
        self.hello["auth"]["deviceToken"]
            .as_str()
            .unwrap_or_else(|| panic!("no token in {}", self.hello["auth"]))
            .to_string()
    }

    /// Returns the scopes of hello, sorted (protocol 4).
    pub fn scopes(&self) -> Vec<String> {
        let list = self.hello["auth"]["scopes"].as_array().unwrap();
        list.iter()
            .map(|scope| scope.as_str().unwrap().trim_start_matches("operator.").to_string())
            .collect()
    }

    /// Returns the authentication method of hello (protocol 4).
    pub fn method(&self) -> &str {
        self.hello["auth"]["method"].as_str().unwrap_or("")
    }

    /// Returns the connection's number in the gateway's log.
    pub fn conn(&self) -> u64 {
        let id = self.hello["server"]["connId"].as_str().unwrap();
        id.rsplit('-').next().unwrap().parse().unwrap()
    }

    /// Closes the WebSocket and waits until the gateway has closed it too.
    pub fn leave(mut self) {
        let _ = self.socket.ws.close(None);
        while !matches!(self.socket.receive(), Got::Closed(..)) {}
    }
}
