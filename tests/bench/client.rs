//! A client that signs in with a device key, and one that asks for a page: blocking, one thread each.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use ed25519_dalek::{Signer, SigningKey};
use gatelet::gate::ids::DeviceId;
use gatelet::gate::limits;
use gatelet::gate::proof::{Signed, Version};
use gatelet::wire::frames::{self, FromGateway};
use gatelet::wire::{base64, json};
use sha2::{Digest, Sha256};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Which protocol is spoken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    V3,
    V4,
}

/// A key of a device, and the name it gives.
pub struct Device {
    keys: SigningKey,
    pub id: String,
    key: String,
}

impl Device {
    /// The device of that number.
    pub fn new(number: u8) -> Device {
        let keys = SigningKey::from_bytes(&[number; 32]);
        let id = DeviceId(Sha256::digest(keys.verifying_key()).into()).to_string();
        Device { id, key: base64::encode_url(keys.verifying_key().as_bytes()), keys }
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

/// What a client comes as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum As {
    Operator,
    /// An operator that may approve nodes.
    Owner,
    /// A node that offers [`COMMAND`].
    Node,
}

/// What is asked of nodes.
pub const COMMAND: &str = "system.which";

const SCOPES: [&str; 4] = ["operator.read", "operator.write", "operator.admin", "operator.pairing"];

impl As {
    fn scopes(self) -> &'static [&'static str] {
        match self {
            As::Operator => &SCOPES[..2],
            As::Owner => &SCOPES,
            As::Node => &[],
        }
    }
}

impl Client {
    /// One whole handshake: TCP, upgrade, challenge, signature, hello.
    pub fn connect(place: &Place, device: &Device) -> Result<Client, Failed> {
        Client::connect_as(place, device, As::Operator)
    }

    /// The same as somebody else than an operator.
    pub fn connect_as(place: &Place, device: &Device, what: As) -> Result<Client, Failed> {
        let mut client = Client { socket: open(place.address)?, sent: 0 };
        let challenge = client.text()?;
        let Ok(FromGateway::Event { name, payload, .. }) = FromGateway::parse(challenge.as_bytes()) else {
            return Err(format!("no challenge: {challenge}").into());
        };
        let nonce = payload.and_then(|payload| payload.get("nonce")).and_then(|nonce| nonce.as_str());
        let Some(nonce) = nonce.filter(|_| name == "connect.challenge") else {
            return Err(format!("no nonce: {challenge}").into());
        };
        client.call("connect", &hello(place, device, &nonce, what))?;
        Ok(client)
    }

    /// One call; gives the payload.
    pub fn call(&mut self, method: &str, params: &[u8]) -> Result<String, Failed> {
        let id = self.send(method, params)?;
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

    /// Waits for the next event of that name; looks no closer, as many of them wait at the same time.
    pub fn event(&mut self, name: &str) -> Result<(), Failed> {
        let name = format!("\"event\":\"{name}\"");
        while !self.text()?.contains(&name) {}
        Ok(())
    }

    /// A node whose offer is approved, and which answers every call with `payload` on a thread of its own, until it is closed.
    pub fn serve(place: &Place, device: &Device, payload: Vec<u8>) -> Result<(), Failed> {
        let mut node = Client::connect_as(place, device, As::Node)?;
        let mut owner = Client::connect_as(place, &Device::new(99), As::Owner)?;
        let list = owner.call("node.pair.list", b"{}")?;
        let list = json::parse(list.as_bytes(), limits::JSON_DEPTH).map_err(|bad| bad.to_string())?;
        let pending = list.get("pending").and_then(|pending| pending.items().next());
        // 2026.1.29 takes what a node offers, and asks nobody
        if let Some(request) = pending.and_then(|request| request.get("requestId")) {
            owner.call("node.pair.approve", &json::object(|o| o.raw("requestId", request.raw().as_bytes())))?;
        }
        let id = device.id.clone();
        std::thread::spawn(move || while node.answer(&id, &payload).is_ok() {});
        Ok(())
    }

    /// Answers the next call, if the next message is one.
    fn answer(&mut self, own: &str, payload: &[u8]) -> Result<(), Failed> {
        let text = self.text()?;
        let FromGateway::Event { name, payload: Some(asked), .. } = FromGateway::parse(text.as_bytes())? else {
            return Ok(());
        };
        let Some(id) = asked.get("id").filter(|_| name == "node.invoke.request") else { return Ok(()) };
        let result = json::object(|o| {
            o.raw("id", id.raw().as_bytes());
            o.str("nodeId", own);
            o.bool("ok", true);
            o.raw("payloadJSON", payload);
        });
        self.send("node.invoke.result", &result).map(drop)
    }

    /// Adds operators of device 1 until there are so many; those that wait answer pings, or the first would be gone when the last
    /// has come, on a busy machine.
    pub fn gather(place: &Place, clients: &mut Vec<Client>, wanted: usize) -> Result<(), Failed> {
        let (device, mut caught_up) = (Device::new(1), Instant::now());
        while clients.len() < wanted {
            clients.push(Client::connect(place, &device)?);
            if caught_up.elapsed() > Duration::from_millis(limits::PING_MS / 3) {
                clients.iter_mut().try_for_each(Client::catch_up)?;
                caught_up = Instant::now();
            }
        }
        Ok(())
    }

    /// Reads what has come meanwhile, and answers pings.
    fn catch_up(&mut self) -> Result<(), Failed> {
        self.socket.get_ref().set_nonblocking(true)?;
        let end = loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => break Err(format!("closed: {frame:?}").into()),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) => break Err(error.into()),
            }
        };
        self.socket.get_ref().set_nonblocking(false)?;
        end
    }

    /// Says a text and waits for one.
    pub fn echo(&mut self, text: &str) -> Result<usize, Failed> {
        self.socket.send(Message::text(text))?;
        Ok(self.text()?.len())
    }

    /// Asks, and does not wait; gives the number of the request.
    pub fn send(&mut self, method: &str, params: &[u8]) -> Result<String, Failed> {
        self.sent += 1;
        let id = self.sent.to_string();
        let request = String::from_utf8(frames::request(&id, method, params))?;
        self.socket.send(Message::text(request))?;
        Ok(id)
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

/// How long anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(120);

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
    let config = WebSocketConfig::default().read_buffer_size(1 << 14).write_buffer_size(0);
    let config = config.max_message_size(None).max_frame_size(None);
    Ok(WebSocket::from_partially_read(stream, bytes.split_off(end), Role::Client, Some(config)))
}

/// The parameters of connect, signed.
fn hello(place: &Place, device: &Device, nonce: &str, what: As) -> Vec<u8> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let signed = Signed {
        device_id: &device.id,
        client_id: if what == As::Node { "node-host" } else { "gateway-client" },
        client_mode: if what == As::Node { "node" } else { "backend" },
        role: if what == As::Node { "node" } else { "operator" },
        scopes: what.scopes(),
        signed_at: now,
        token: &place.token,
        nonce,
        platform: "linux",
        family: if what == As::Node { "Linux" } else { "" },
    };
    let (version, protocol) = if place.dialect == Dialect::V3 { (Version::V2, 3) } else { (Version::V3, 4) };
    let mut payload = Vec::with_capacity(512);
    signed.payload(version, &mut |part| payload.extend_from_slice(part));
    let signature = device.keys.sign(&payload);
    json::object(|o| {
        o.u64("minProtocol", protocol);
        o.u64("maxProtocol", protocol);
        o.obj("client", |client| {
            client.str("id", signed.client_id);
            client.str("mode", signed.client_mode);
            client.str("version", "bench");
            client.str("platform", signed.platform);
            client.opt_str("deviceFamily", Some(signed.family).filter(|family| !family.is_empty()));
        });
        o.str("role", signed.role);
        o.strs("scopes", what.scopes().iter().copied());
        if what == As::Node {
            o.strs("commands", [COMMAND]);
        }
        o.obj("auth", |auth| auth.str("token", &place.token));
        o.obj("device", |shown| {
            shown.str("id", &device.id);
            shown.str("publicKey", &device.key);
            shown.str("signature", &base64::encode_url(&signature.to_bytes()));
            shown.u64("signedAt", now);
            shown.str("nonce", nonce);
        });
    })
}
