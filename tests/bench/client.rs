//! A client that signs in with a device key, and one that asks for a page: blocking, one thread each.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use ed25519_compact::{KeyPair, Noise, Seed};
use gatelet::gate::ids::DeviceId;
use gatelet::gate::limits;
use gatelet::gate::proof::{Signed, Version};
use gatelet::wire::frames::{self, FromGateway};
use gatelet::wire::{base64, json};
use sha2::{Digest, Sha256};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Which protocol is spoken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    V3,
    V4,
}

/// A key of a device, and the name it gives.
pub struct Device {
    keys: KeyPair,
    id: String,
    key: String,
}

impl Device {
    /// The device of that number.
    pub fn new(number: u8) -> Device {
        let keys = KeyPair::from_seed(Seed::new([number; 32]));
        let id = DeviceId(Sha256::digest(*keys.pk).into()).to_string();
        Device { id, key: base64::encode_url(&*keys.pk), keys }
    }
}

/// Where a gateway is, and what it wants to hear.
#[derive(Clone)]
pub struct Place {
    pub address: SocketAddr,
    pub token: String,
    pub dialect: Dialect,
}

/// A signed-in connection.
pub struct Client {
    socket: WebSocket<TcpStream>,
    sent: u64,
}

const SCOPES: [&str; 2] = ["operator.read", "operator.write"];

impl Client {
    /// One whole handshake: TCP, upgrade, challenge, signature, hello.
    pub fn connect(place: &Place, device: &Device) -> Result<Client, Failed> {
        let mut client = Client { socket: open(place.address)?, sent: 0 };
        let challenge = client.text()?;
        let Ok(FromGateway::Event { name, payload, .. }) = FromGateway::parse(challenge.as_bytes()) else {
            return Err(format!("no challenge: {challenge}").into());
        };
        let nonce = payload.and_then(|payload| payload.get("nonce")).and_then(|nonce| nonce.as_str());
        let Some(nonce) = nonce.filter(|_| name == "connect.challenge") else {
            return Err(format!("no nonce: {challenge}").into());
        };
        client.call("connect", &hello(place, device, &nonce))?;
        Ok(client)
    }

    /// One call; gives the payload.
    pub fn call(&mut self, method: &str, params: &[u8]) -> Result<String, Failed> {
        self.sent += 1;
        let id = self.sent.to_string();
        let request = String::from_utf8(frames::request(&id, method, params))?;
        self.socket.send(Message::text(request))?;
        loop {
            let text = self.text()?;
            if let FromGateway::Response { id: answered, answer } = FromGateway::parse(text.as_bytes())? {
                if answered == id {
                    let refused =
                        |refusal: frames::Refusal<'_>| format!("{method}: {} {}", refusal.code, refusal.message);
                    return Ok(answer.map_err(refused)?.map_or("", |payload| payload.raw()).to_string());
                }
            }
        }
    }

    /// Says a text and waits for one.
    pub fn echo(&mut self, text: &str) -> Result<usize, Failed> {
        self.socket.send(Message::text(text))?;
        Ok(self.text()?.len())
    }

    fn text(&mut self) -> Result<String, Failed> {
        loop {
            match self.socket.read()? {
                Message::Text(text) => return Ok(text.as_str().to_string()),
                Message::Close(frame) => return Err(format!("closed: {frame:?}").into()),
                _ => {}
            }
        }
    }
}

/// A WebSocket that nothing was said on yet.
pub fn bare(address: SocketAddr) -> Result<Client, Failed> {
    Ok(Client { socket: open(address)?, sent: 0 })
}

/// The whole answer to `GET path`.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::with_capacity(8192);
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// How long it takes until that path is answered with 200; asked again and again.
pub fn until_ready(address: SocketAddr, path: &str, began: Instant) -> Result<Duration, Failed> {
    loop {
        if get(address, path).is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200 ")) {
            return Ok(began.elapsed());
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("{address}{path} is not ready").into());
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}

const PATIENCE: Duration = Duration::from_secs(120);

fn open(address: SocketAddr) -> Result<WebSocket<TcpStream>, Failed> {
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
    let config = WebSocketConfig::default().read_buffer_size(limits::READ_BUFFER).write_buffer_size(0);
    Ok(WebSocket::from_partially_read(stream, bytes.split_off(end), Role::Client, Some(config)))
}

/// The parameters of connect, signed.
fn hello(place: &Place, device: &Device, nonce: &str) -> Vec<u8> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let signed = Signed {
        device_id: &device.id,
        client_id: "gateway-client",
        client_mode: "backend",
        role: "operator",
        scopes: &SCOPES,
        signed_at: now,
        token: &place.token,
        nonce,
        platform: "linux",
        family: "",
    };
    let (version, protocol) = if place.dialect == Dialect::V3 { (Version::V2, 3) } else { (Version::V3, 4) };
    let mut payload = Vec::with_capacity(512);
    signed.payload(version, &mut |part| payload.extend_from_slice(part));
    let signature = device.keys.sk.sign(&payload, None::<Noise>);
    json::object(|o| {
        o.u64("minProtocol", protocol);
        o.u64("maxProtocol", protocol);
        o.obj("client", |client| {
            client.str("id", signed.client_id);
            client.str("mode", signed.client_mode);
            client.str("version", "bench");
            client.str("platform", signed.platform);
        });
        o.str("role", signed.role);
        o.strs("scopes", SCOPES);
        o.obj("auth", |auth| auth.str("token", &place.token));
        o.obj("device", |shown| {
            shown.str("id", &device.id);
            shown.str("publicKey", &device.key);
            shown.str("signature", &base64::encode_url(&*signature));
            shown.u64("signedAt", now);
            shown.str("nonce", nonce);
        });
    })
}
