//! Blocking WebSocket client of a gateway: one request at a time, with events between requests and
//! responses.
//!
//! A command authenticates with the control token, which is derived from the key of the pairing
//! table, so that read access to the state directory is the right of the owner. It presents no
//! device and leaves no entry in the table. Every wait for a response ends after
//! [`limits::CLI_CALL_MS`]. `gatelet node run` performs the handshake itself on the result of
//! [`GatewayClient::open`] and responds from other threads through a [`Sender`].

#![expect(clippy::disallowed_methods, reason = "a command has its own deadlines and key")]

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_tungstenite::tungstenite::error::ProtocolError;
use async_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use async_tungstenite::tungstenite::{Error, Message, WebSocket};

use crate::gate::limits;
use crate::gate::scopes::Scope;
use crate::gate::text::is_invisible;
use crate::wire::base64;
use crate::wire::frames::{self, FromGateway};
use crate::wire::json;

/// Connection to a gateway.
pub struct GatewayClient {
    socket: WebSocket<SharedStream>,
    sent: u64,
}

/// Sends requests on the connection of a [`GatewayClient`] from any thread and reads nothing.
/// Clones share the connection.
#[derive(Clone)]
pub struct Sender(Arc<Mutex<WebSocket<SharedStream>>>);

/// TCP connection shared by a client and its senders. The mutex makes each write atomic, because
/// the client answers pings while other threads send; with `write_buffer_size` 0 each write is a
/// whole frame.
#[derive(Clone)]
struct SharedStream(Arc<(TcpStream, Mutex<()>)>);

/// Reason why no connection was established.
#[derive(Debug)]
pub enum ClientError {
    /// Nothing listens at the address, or it does not respond.
    Unreachable(io::Error),
    /// The peer responds, but not as a gateway does.
    NotAGateway(String),
    /// The gateway rejected the handshake.
    Refused(Box<RpcError>),
}

/// Error of a call that the gateway rejected or that got no response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RpcError {
    pub code: String,
    pub message: String,
    /// JSON text.
    pub details: Option<String>,
    /// Whether the gateway says that a retry can succeed.
    pub retryable: bool,
}

impl GatewayClient {
    /// Connects and authenticates with the control token.
    pub fn connect(address: SocketAddr, token: &str) -> Result<GatewayClient, ClientError> {
        let mut client = GatewayClient::open(address)?;
        client.call("connect", &hello(token)).map_err(ClientError::Refused)?;
        Ok(client)
    }

    /// Opens a connection on which no message was exchanged yet.
    pub fn open(address: SocketAddr) -> Result<GatewayClient, ClientError> {
        GatewayClient::open_as(address, &address.to_string())
    }

    /// Opens a connection to the gateway with this host and port, of which `address` is one.
    pub fn open_as(address: SocketAddr, host: &str) -> Result<GatewayClient, ClientError> {
        let mut stream = dial(address, limits::CLI_CALL_MS).map_err(ClientError::Unreachable)?;
        let rest = upgrade(&mut stream, host)?;
        Ok(GatewayClient {
            socket: socket(SharedStream(Arc::new((stream, Mutex::new(())))), rest),
            sent: 0,
        })
    }

    /// Returns a sender on the same connection.
    pub fn sender(&self) -> Sender {
        Sender(Arc::new(Mutex::new(socket(self.socket.get_ref().clone(), Vec::new()))))
    }

    /// Returns the next message; fails if none arrives within `wait_ms` milliseconds.
    pub fn next_within(&mut self, wait_ms: u64) -> Result<String, Box<RpcError>> {
        self.next(in_ms(wait_ms))?.ok_or_else(|| lost("no message within the time limit"))
    }

    /// Calls a method; `params` and the returned payload are JSON text.
    pub fn call(&mut self, method: &str, params: &str) -> Result<String, Box<RpcError>> {
        let id = self.send(method, params)?;
        self.answer(&id, in_ms(limits::CLI_CALL_MS))
    }

    /// Sends a request without waiting for the response; returns its id.
    pub fn send(&mut self, method: &str, params: &str) -> Result<String, Box<RpcError>> {
        self.sent += 1;
        let id = self.sent.to_string();
        send(&mut self.socket, &id, method, params.as_bytes())?;
        Ok(id)
    }

    /// Waits for the response with this id, discarding all other messages; returns the payload as
    /// JSON text.
    pub fn answer(&mut self, id: &str, until: Instant) -> Result<String, Box<RpcError>> {
        loop {
            let message = self.next(until)?.ok_or_else(|| lost("no response in time"))?;
            let frame = FromGateway::parse(message.as_bytes()).map_err(|what| lost(&what))?;
            let FromGateway::Response { id: answered, answer } = frame else { continue };
            if answered == id {
                return match answer {
                    Ok(payload) => Ok(payload.map_or("null", |payload| payload.raw()).to_string()),
                    Err(refusal) => Err(Box::new(RpcError {
                        code: refusal.code,
                        message: refusal.message,
                        details: refusal.details.map(|details| details.raw().to_string()),
                        retryable: refusal.retryable == Some(true),
                    })),
                };
            }
        }
    }

    /// Returns the next message, usually an event, to be read by [`FromGateway::parse`]; `None` if
    /// none arrives before `until`.
    pub fn next(&mut self, until: Instant) -> Result<Option<String>, Box<RpcError>> {
        loop {
            let left =
                until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let _ = self.socket.get_ref().0 .0.set_read_timeout(Some(left));
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(Some(text.to_string())),
                Ok(Message::Close(Some(frame))) => {
                    return Err(lost(&format!(
                        "connection closed: {} {}",
                        frame.code, frame.reason
                    )))
                }
                Ok(_) => {}
                Err(Error::Io(error))
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    return Ok(None);
                }
                // A read with a timeout is interrupted by signals; retry.
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(socket_error(error)),
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Replaces control characters, invisible characters and direction marks by U+FFFD, so that text of
/// a peer cannot control the terminal.
pub fn clean(text: &str) -> String {
    let is_unsafe = |char: char| {
        char.is_control() || is_invisible(char) || matches!(char, '\u{2028}' | '\u{2029}')
    };
    text.chars().map(|char| if is_unsafe(char) { '\u{fffd}' } else { char }).collect()
}

impl RpcError {
    /// Returns whether the connection is lost.
    pub fn is_lost(&self) -> bool {
        self.code == LOST
    }
}

/// Code of a call that got no response.
const LOST: &str = "CONNECTION_LOST";

/// Returns the instant `ms` milliseconds from now.
pub fn in_ms(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

impl Sender {
    /// Sends a request. Its response is read and ignored by the client.
    pub fn send(&self, id: &str, method: &str, params: &[u8]) -> Result<(), Box<RpcError>> {
        send(&mut lock(&self.0), id, method, params)
    }
}

fn send(
    socket: &mut WebSocket<SharedStream>,
    id: &str,
    method: &str,
    params: &[u8],
) -> Result<(), Box<RpcError>> {
    let text = String::from_utf8(frames::request(id, method, params))
        .map_err(|_| lost("the request is not UTF-8"))?;
    socket.send(Message::text(text)).map_err(socket_error)
}

fn socket(line: SharedStream, rest: Vec<u8>) -> WebSocket<SharedStream> {
    let config = WebSocketConfig::default()
        .read_buffer_size(limits::READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(limits::FRAME_AFTER_HELLO))
        .max_frame_size(Some(limits::FRAME_AFTER_HELLO));
    WebSocket::from_partially_read(line, rest, Role::Client, Some(config))
}

impl Read for SharedStream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        (&self.0 .0).read(bytes)
    }
}

impl Write for SharedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _guard = lock(&self.0 .1);
        let written = (&self.0 .0).write_all(bytes);
        if written.is_err() {
            // The peer cannot find the next frame after an incomplete one.
            let _ = self.0 .0.shutdown(Shutdown::Both);
        }
        written.map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Converts a WebSocket error. The messages of the library for invalid frames would add 3 kB to the
/// program and do not help the user.
fn socket_error(error: Error) -> Box<RpcError> {
    match error {
        Error::Io(error) => lost(&error.to_string()),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => lost("connection closed"),
        _ => lost("invalid WebSocket data"),
    }
}

/// Returns the status code of the response to `GET path` from `address`.
pub fn get_status(address: SocketAddr, path: &str) -> io::Result<u16> {
    let mut stream = dial(address, limits::CLI_HEALTH_MS)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let status = core::str::from_utf8(&head)
        .ok()
        .and_then(|head| head.strip_prefix("HTTP/1.1 ")?.parse().ok());
    status.ok_or_else(|| io::Error::other("the response is not HTTP/1.1"))
}

fn dial(address: SocketAddr, wait_ms: u64) -> io::Result<TcpStream> {
    let wait = Duration::from_millis(wait_ms);
    let stream = TcpStream::connect_timeout(&address, wait)?;
    stream.set_read_timeout(Some(wait))?;
    stream.set_write_timeout(Some(wait))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends the WebSocket upgrade; returns the bytes received after the head of the response.
fn upgrade(stream: &mut TcpStream, host: &str) -> Result<Vec<u8>, ClientError> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|_| {
        ClientError::Unreachable(io::Error::other("the system provides no random bytes"))
    })?;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {}\r\n\
         Sec-WebSocket-Version: 13\r\n\r\n",
        base64::encode(&key)
    );
    stream.write_all(request.as_bytes()).map_err(ClientError::Unreachable)?;
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        let mut some = [0; 1024];
        match stream.read(&mut some).map_err(ClientError::Unreachable)? {
            0 => return Err(ClientError::NotAGateway("it closed the connection".to_string())),
            _ if bytes.len() > limits::HEAD_LEN => {
                return Err(ClientError::NotAGateway("its response is too long".to_string()))
            }
            count => bytes.extend_from_slice(&some[..count]),
        }
    };
    if !bytes.starts_with(b"HTTP/1.1 101 ") {
        let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
        return Err(ClientError::NotAGateway(format!(
            "it responded `{}`",
            String::from_utf8_lossy(line)
        )));
    }
    Ok(bytes.split_off(end))
}

/// Returns the parameters of `connect` (protocol 4).
fn hello(token: &str) -> String {
    let params = json::object(|o| {
        o.u64("minProtocol", 4);
        o.u64("maxProtocol", 4);
        o.obj("client", |client| {
            client.str("id", "cli");
            client.str("mode", "cli");
            client.str("version", env!("CARGO_PKG_VERSION"));
            client.str("platform", std::env::consts::OS);
        });
        o.str("role", "operator");
        o.strs("scopes", Scope::ALL.map(Scope::name));
        o.obj("auth", |auth| auth.str("token", token));
    });
    String::from_utf8(params).unwrap_or_default()
}

fn lost(reason: &str) -> Box<RpcError> {
    Box::new(RpcError {
        code: LOST.to_string(),
        message: format!("no response from the gateway: {reason}"),
        details: None,
        retryable: true,
    })
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Unreachable(error) => write!(f, "cannot reach it: {error}"),
            ClientError::NotAGateway(what) => write!(f, "the peer is not a gateway: {what}"),
            ClientError::Refused(error) => write!(f, "it rejects this command: {error}"),
        }
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::wire::frames::Request;

    /// Starts a gateway that serves one connection. `answer` maps method and parameters to the rest
    /// of a response, or to a whole event; `None` closes the connection.
    fn gateway(answer: fn(&str, &str) -> Option<String>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").unwrap();
            let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
            socket
                .send(Message::text(
                    r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"x"}}"#,
                ))
                .unwrap();
            while let Ok(Message::Text(text)) = socket.read() {
                let request = Request::parse(text.as_bytes()).unwrap();
                let params = request.params.map_or("", |params| params.raw()).to_string();
                match answer(&request.method, &params) {
                    Some(event) if event.starts_with('{') => {
                        socket.send(Message::text(event)).unwrap()
                    }
                    Some(body) => {
                        let frame = format!(r#"{{"type":"res","id":"{}",{body}}}"#, request.id);
                        socket.send(Message::text(frame)).unwrap();
                    }
                    None => return,
                }
            }
        });
        address
    }

    #[test]
    fn connect_and_call_skip_events() {
        let address = gateway(|method, params| {
            let token = params.contains(r#""auth":{"token":"control"}"#)
                && params.contains("operator.talk.secrets");
            Some(match (method, token) {
                ("connect", true) => r#""ok":true,"payload":{}"#.to_string(),
                ("echo", _) => format!(r#""ok":true,"payload":{params}"#),
                ("none", _) => r#""ok":true"#.to_string(),
                _ => r#""ok":false,"error":{"code":"INVALID_REQUEST","message":"no","details":{"a":1}}"#.to_string(),
            })
        });
        let mut client = GatewayClient::connect(address, "control").unwrap();
        assert_eq!(client.call("echo", r#"{"b":[2]}"#).unwrap(), r#"{"b":[2]}"#);
        assert_eq!(client.call("none", "{}").unwrap(), "null");
        let refused = client.call("other", "{}").unwrap_err();
        assert_eq!(
            (refused.code.as_str(), refused.details.as_deref()),
            ("INVALID_REQUEST", Some(r#"{"a":1}"#))
        );
    }

    #[test]
    fn connect_distinguishes_rejected_unreachable_and_not_a_gateway() {
        let address = gateway(|_, _| {
            Some(r#""ok":false,"error":{"code":"X","message":"who are you"}"#.to_string())
        });
        assert!(
            matches!(GatewayClient::connect(address, "wrong"), Err(ClientError::Refused(error)) if error.message == "who are you")
        );
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(matches!(GatewayClient::connect(closed, ""), Err(ClientError::Unreachable(_))));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        answer_once(listener, b"HTTP/1.1 404 Not Found\r\n\r\n");
        let Err(ClientError::NotAGateway(what)) = GatewayClient::connect(server, "") else {
            panic!()
        };
        assert_eq!(what, "it responded `HTTP/1.1 404 Not Found`");
    }

    #[test]
    fn call_reports_lost_connection() {
        let address = gateway(|method, _| {
            (method == "connect").then(|| r#""ok":true,"payload":{}"#.to_string())
        });
        let mut client = GatewayClient::connect(address, "").unwrap();
        assert_eq!(client.call("x", "{}").unwrap_err().code, "CONNECTION_LOST");
    }

    #[test]
    fn next_returns_events_timeout_and_close() {
        let address = gateway(|method, _| match method {
            "connect" => Some(r#""ok":true,"payload":{}"#.to_string()),
            "tick" => Some(r#"{"type":"event","event":"tick"}"#.to_string()),
            _ => None,
        });
        let mut client = GatewayClient::connect(address, "").unwrap();
        assert_eq!(client.next(Instant::now()).unwrap(), None);
        let patience = Instant::now() + Duration::from_secs(10);
        client.send("tick", "{}").unwrap();
        assert_eq!(client.next(patience).unwrap().unwrap(), r#"{"type":"event","event":"tick"}"#);
        client.send("end", "{}").unwrap();
        assert_eq!(client.next(patience).unwrap_err().code, "CONNECTION_LOST");
    }

    #[test]
    fn get_status_returns_status_code() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        answer_once(listener, b"HTTP/1.1 503 Busy\r\n\r\n");
        assert_eq!(get_status(address, "/healthz").unwrap(), 503);
    }

    /// Reads one request before answering: closing with unread data resets the connection, and the
    /// response may be lost.
    fn answer_once(listener: TcpListener, answer: &'static [u8]) {
        thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            stream.write_all(answer).unwrap();
        });
    }
}
