//! Blocking WebSocket client that signs with a device key, and an HTTP client; each uses one
//! thread.
//!
//! Frames, messages and the signed text are implemented independently of the gateway on purpose:
//! the measuring side must not change with the code that it measures.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Child;
use std::time::{Duration, Instant, SystemTime};

use base64ct::{Base64UrlUnpadded, Encoding};
use gatelet::gate::limits;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use support::websocket::{Side, WebSocket};

use crate::keys::Keys;

pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Protocol version.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    V3,
    V4,
}

/// Device: key pair and the id derived from it.
pub struct Device {
    keys: Keys,
    pub id: String,
}

impl Device {
    /// Returns the device with this number.
    pub fn new(number: u8) -> Device {
        Device::from_seed([number; 32])
    }

    /// Returns the device of this connection of a crowd: the gateway limits those of one device.
    fn of_crowd(connection: usize) -> Device {
        let mut seed = [0xcc; 32];
        let number = (connection / limits::OPERATOR_CONNECTIONS) as u64;
        seed[..8].copy_from_slice(&number.to_le_bytes());
        Device::from_seed(seed)
    }

    fn from_seed(seed: [u8; 32]) -> Device {
        let keys = Keys::from_seed(seed);
        let id = Sha256::digest(keys.public()).iter().fold(String::new(), |mut id, byte| {
            let _ = write!(id, "{byte:02x}");
            id
        });
        Device { keys, id }
    }
}

/// Address, token and protocol of a gateway.
#[derive(Clone)]
pub struct Place {
    pub address: SocketAddr,
    pub token: String,
    pub protocol: Protocol,
}

/// Connection after the handshake.
pub struct Client {
    socket: WebSocket,
    sent: u64,
}

/// Members of a JSON object as the received JSON text.
type Object<'a> = BTreeMap<&'a str, &'a RawValue>;

/// Role of a client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ClientRole {
    Operator,
    /// Operator that may approve nodes.
    Owner,
    /// Node that declares [`COMMAND`].
    Node,
}

/// Command that nodes declare.
pub const COMMAND: &str = "system.which";

const SCOPES: [&str; 4] = ["operator.read", "operator.write", "operator.admin", "operator.pairing"];

impl ClientRole {
    fn scopes(self) -> &'static [&'static str] {
        match self {
            ClientRole::Operator => &SCOPES[..2],
            ClientRole::Owner => &SCOPES,
            ClientRole::Node => &[],
        }
    }
}

impl Client {
    /// Performs a complete handshake as operator: TCP, upgrade, challenge, signature, hello.
    pub fn connect(place: &Place, device: &Device) -> Result<Client, Failed> {
        Client::connect_as(place, device, ClientRole::Operator)
    }

    /// Performs a complete handshake with the given role.
    pub fn connect_as(place: &Place, device: &Device, role: ClientRole) -> Result<Client, Failed> {
        let mut client = bare(place.address)?;
        let challenge = client.socket.read()?;
        let nonce = event(&challenge, "connect.challenge")?
            .and_then(|payload| payload.get("nonce").copied());
        let nonce = nonce.ok_or_else(|| format!("no challenge: {challenge}"))?;
        let params =
            connect_params(place, device, &serde_json::from_str::<String>(nonce.get())?, role);
        client.call("connect", params.as_bytes())?;
        Ok(client)
    }

    /// Sends a request and waits for its response; returns the payload as JSON text.
    pub fn call(&mut self, method: &str, params: &[u8]) -> Result<String, Failed> {
        let id = format!("\"{}\"", self.send(method, params)?);
        loop {
            let text = self.socket.read()?;
            let frame: Object<'_> = serde_json::from_str(&text)?;
            let member = |name: &str| frame.get(name).map_or("", |value| value.get());
            if member("type") == "\"res\"" && member("id") == id {
                return match member("ok") {
                    "true" => Ok(member("payload").to_string()),
                    _ => Err(format!("{method}: {}", member("error")).into()),
                };
            }
        }
    }

    /// Waits for the next event of that name. Does not parse it: many clients do this at the same
    /// time.
    pub fn event(&mut self, name: &str) -> Result<(), Failed> {
        let name = format!("\"event\":\"{name}\"");
        while !self.socket.read()?.contains(&name) {}
        Ok(())
    }

    /// Connects a node, approves its command, and answers every call with `payload` (a JSON string)
    /// on a separate thread until the connection is closed.
    pub fn serve(place: &Place, device: &Device, payload: Vec<u8>) -> Result<(), Failed> {
        let mut node = Client::connect_as(place, device, ClientRole::Node)?;
        let mut owner = Client::connect_as(place, &Device::new(99), ClientRole::Owner)?;
        let list: serde_json::Value = serde_json::from_str(&owner.call("node.pair.list", b"{}")?)?;
        // 2026.1.29 approves the commands of a node without a request.
        if let Some(request) = list.pointer("/pending/0/requestId") {
            owner.call("node.pair.approve", format!(r#"{{"requestId":{request}}}"#).as_bytes())?;
        }
        let id = device.id.clone();
        std::thread::spawn(move || while node.answer(&id, &payload).is_ok() {});
        Ok(())
    }

    /// Waits for a message and answers it, if it is a call.
    fn answer(&mut self, own: &str, payload: &[u8]) -> Result<(), Failed> {
        let text = self.socket.read()?;
        let Some(id) =
            event(&text, "node.invoke.request")?.and_then(|asked| asked.get("id").copied())
        else {
            return Ok(());
        };
        let head = format!(r#"{{"id":{id},"nodeId":"{own}","ok":true,"payloadJSON":"#);
        self.send("node.invoke.result", &[head.as_bytes(), payload, b"}"].concat()).map(drop)
    }

    /// Connects operators until there are `wanted`, as many of each device as the gateway allows.
    /// The connected ones answer pings meanwhile; otherwise a busy machine would lose the first
    /// ones before the last one is connected.
    pub fn gather(place: &Place, clients: &mut Vec<Client>, wanted: usize) -> Result<(), Failed> {
        let mut caught_up = Instant::now();
        while clients.len() < wanted {
            clients.push(Client::connect(place, &Device::of_crowd(clients.len()))?);
            if caught_up.elapsed() > CATCH_UP {
                clients.iter_mut().try_for_each(Client::catch_up)?;
                caught_up = Instant::now();
            }
        }
        Ok(())
    }

    /// Reads the received messages, and answers pings.
    fn catch_up(&mut self) -> Result<(), Failed> {
        self.socket.stream.set_nonblocking(true)?;
        let error = loop {
            if let Err(error) = self.socket.read() {
                break error;
            }
        };
        self.socket.stream.set_nonblocking(false)?;
        match error.kind() {
            io::ErrorKind::WouldBlock => Ok(()),
            _ => Err(error.into()),
        }
    }

    /// Sends a text and waits for one; returns the length of the latter.
    pub fn echo(&mut self, text: &str) -> Result<usize, Failed> {
        self.socket.send(&[text.as_bytes()])?;
        Ok(self.socket.read()?.len())
    }

    /// Sends a request without waiting for the response; returns its id.
    pub fn send(&mut self, method: &str, params: &[u8]) -> Result<String, Failed> {
        self.sent += 1;
        let head = format!(r#"{{"type":"req","id":"{}","method":"{method}","params":"#, self.sent);
        self.socket.send(&[head.as_bytes(), params, b"}"])?;
        Ok(self.sent.to_string())
    }
}

/// Returns the payload of a frame if it is the event of that name.
fn event<'a>(frame: &'a str, name: &str) -> Result<Option<Object<'a>>, Failed> {
    let frame: Object<'_> = serde_json::from_str(frame)?;
    let named = frame.get("event").is_some_and(|event| event.get().trim_matches('"') == name);
    let payload = frame.get("payload").filter(|_| named);
    Ok(payload.map(|payload| serde_json::from_str(payload.get())).transpose()?)
}

/// Opens a WebSocket without a handshake of the protocol.
pub fn bare(address: SocketAddr) -> Result<Client, Failed> {
    Ok(Client { socket: open(address)?, sent: 0 })
}

/// Returns the whole response to `GET path`.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let accepted = "Accept: text/html, */*\r\nAccept-Encoding: gzip";
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\n{accepted}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::with_capacity(8192);
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Requests the path repeatedly until the status is 200; returns the time since `began`. Error if
/// that takes longer than [`PATIENCE`] or the process has ended.
pub fn until_ready(
    address: SocketAddr,
    path: &str,
    began: Instant,
    process: &mut Child,
) -> Result<Duration, Failed> {
    loop {
        if get(address, path).is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200 ")) {
            return Ok(began.elapsed());
        }
        if let Some(status) = process.try_wait()? {
            return Err(format!("the gateway ended before it was ready: {status}").into());
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("{address}{path} is not ready").into());
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Timeout of every wait.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Interval at which waiting clients answer pings, well below the ping interval of the gateway.
const CATCH_UP: Duration = Duration::from_secs(8);

fn open(address: SocketAddr) -> Result<WebSocket, Failed> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )?;
    let mut bytes = Vec::with_capacity(1024);
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        let mut some = [0; 1024];
        match stream.read(&mut some)? {
            0 => return Err("closed before the upgrade".into()),
            count => bytes.extend_from_slice(&some[..count]),
        }
    };
    if !bytes.starts_with(b"HTTP/1.1 101 ") {
        return Err(String::from_utf8_lossy(&bytes).into_owned().into());
    }
    let behind = bytes.split_off(end);
    Ok(WebSocket::new(stream, Side::Client, behind))
}

/// Returns the signed parameters of `connect`.
fn connect_params(place: &Place, device: &Device, nonce: &str, client_role: ClientRole) -> String {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    let (client, mode, role, family, offers) = match client_role {
        ClientRole::Node => {
            ("node-host", "node", "node", "linux", format!(r#","commands":["{COMMAND}"]"#))
        }
        ClientRole::Operator | ClientRole::Owner => {
            ("gateway-client", "backend", "operator", "", String::new())
        }
    };
    let family_sent = if family.is_empty() { "" } else { r#","deviceFamily":"Linux""# };
    let Place { token, .. } = place;
    let (id, scopes) = (&device.id, client_role.scopes().join(","));
    let signed = format!("{id}|{client}|{mode}|{role}|{scopes}|{now}|{token}|{nonce}");
    let (protocol, signed) = match place.protocol {
        Protocol::V3 => (3, format!("v2|{signed}")),
        Protocol::V4 => (4, format!("v3|{signed}|linux|{family}")),
    };
    let (key, signature) =
        (base64(&device.keys.public()), base64(&device.keys.sign(signed.as_bytes())));
    let scopes: Vec<String> =
        client_role.scopes().iter().map(|scope| format!("\"{scope}\"")).collect();
    let scopes = scopes.join(",");
    format!(
        r#"{{"minProtocol":{protocol},"maxProtocol":{protocol},"client":{{"id":"{client}","mode":"{mode}","version":"bench","platform":"linux"{family_sent}}},"role":"{role}","scopes":[{scopes}]{offers},"auth":{{"token":"{token}"}},"device":{{"id":"{id}","publicKey":"{key}","signature":"{signature}","signedAt":{now},"nonce":"{nonce}"}}}}"#
    )
}

/// Encodes at most 64 bytes in base64url without padding.
fn base64(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode(bytes, &mut [0; 86]).expect("86 digits hold 64 bytes").to_string()
}
