//! A whole gateway in one thread, and connections to it as bytes: connections in memory, a clock
//! that stands still, randomness that repeats, a disk in memory. script.rs has the language of the
//! inputs.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::{poll_fn, Future};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::task::Poll;

use gatelet::gate::device::{Device, Provenance};
use gatelet::gate::facts::AuthMode;
use gatelet::gate::ids::{Millis, Now, Role, Slot, TableAge, WallMs};
use gatelet::gate::limits;
use gatelet::gate::scopes::Scopes;
use gatelet::gate::surface::Surface;
use gatelet::rpc::{Devices, Failure, Status};
use gatelet::server::gateway::write_queue::DiskJob;
use gatelet::server::gateway::{Event, Gateway};
use gatelet::server::net::connection;
use gatelet::server::os::clock::{Clock, Entropy};
use gatelet::server::runtime::{run as run_loop, spawn};
use gatelet::server::shared::Shared;
use gatelet::store::{Contents, PairingFile, Shape, TableId};
use serde_json::Value;
use smol::channel::Receiver;

use crate::line::{self, ClientEnd};
use crate::mem::MemDisk;
use crate::samples::{self, config, Key, Who, TOKEN, WALL};
use crate::script::{steps, Step};
use crate::wire::{frame, take};
use crate::{bounded, raise, Seeds};

/// Memory bound in bytes without an admitted client: six connections with a frame of 64 KiB each,
/// the gateway with its tables, and the data of this client.
const BOUND: usize = 3 * 1024 * 1024;
/// Additional bytes once a client is admitted: it may announce a frame of 25 MiB, for which
/// tungstenite reserves address space before any payload arrives, and leave a full send queue
/// unread.
const BOUND_ADMITTED: usize = limits::FRAME_AFTER_HELLO + limits::SEND_QUEUE_BYTES;
/// Connections of one input.
const CONNECTIONS: usize = 6;
/// Unauthenticated connections at a time: with one more the gateway would verify signatures on a
/// separate thread, and runs would not be reproducible.
const STRANGERS: usize = 4;
const CAPACITY: u16 = 8;
/// Polls of the gateway's tasks after one step; more indicate an endless loop.
const TURNS: usize = 20_000;

/// The first byte selects the setup, the rest is the script.
pub fn run(data: &[u8]) {
    let Some((choice, script)) = data.split_first() else { return };
    ready();
    bounded(BOUND, || {
        run_loop(async {
            let mut world = World::new(usize::from(*choice));
            for step in steps(script) {
                world.step(step).await;
            }
            world.end().await;
        });
    });
}

/// Creates everything that is made once.
fn ready() {
    extern "C" {
        fn signal(number: i32, handler: usize) -> usize;
    }
    thread_local! {
        static DONE: Cell<bool> = const { Cell::new(false) };
    }
    if !DONE.replace(true) {
        // SAFETY: 13 is SIGPIPE and 1 is SIG_IGN on Linux; every Rust program starts with this, but
        // not one whose main is C++
        unsafe { signal(13, 1) };
        config::setups();
        image();
        // the loop, and a first round of everything
        run_loop(async { World::new(0).end().await });
    }
}

thread_local! {
    static IMAGE: &'static Vec<u8> = Box::leak(Box::new(contents()));
}

/// Returns a table with an operator (key 0), a node with approved commands (key 1), and a revoked
/// operator (key 2).
fn image() -> &'static Vec<u8> {
    IMAGE.with(|image| *image)
}

fn contents() -> Vec<u8> {
    let device = |number: u8, role: Role| {
        let key = Key::of(number);
        let mut device = Device::new(key.id, key.public, Provenance::Token);
        device.approve(role, Scopes::ALL, WallMs(WALL - 1000));
        device.name.push_str("known").unwrap();
        device
    };
    let mut node = device(1, Role::Node);
    let mut surface = Surface::NONE;
    for command in [
        "camera.snap",
        "system.run",
        "system.which",
        "system.execApprovals.get",
        "system.execApprovals.set",
    ] {
        surface.add_command(command).unwrap();
    }
    surface.add_cap("system").unwrap();
    node.approve_surface(&surface, WallMs(WALL - 1000)).unwrap();
    let mut gone = device(2, Role::Operator);
    gone.revoke(Role::Operator);
    let devices = vec![(Slot(0), device(0, Role::Operator)), (Slot(1), node), (Slot(3), gone)];
    let contents = Contents {
        shape: Shape { id: TableId([1; 16]), capacity: CAPACITY },
        age: TableAge(0),
        devices,
    };
    let disk = MemDisk::of(b"");
    PairingFile::create(disk.clone(), &contents).unwrap();
    let bytes = disk.bytes.borrow().clone();
    bytes
}

/// Clock that advances only when told to.
struct Stopped(Rc<Cell<(u64, u64)>>);

impl Clock for Stopped {
    fn now(&self) -> Now {
        let (at, wall) = self.0.get();
        Now { at: Millis(at), wall: WallMs(wall) }
    }
}

/// Random numbers that are the same in every run (splitmix64).
struct Repeats(u64);

impl Entropy for Repeats {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = (z >> 40) as u8;
        }
    }
}

/// Values last seen of names given out by the gateway.
#[derive(Default)]
struct Names {
    request: String,
    invoke: String,
    approval: String,
    token: String,
    code: String,
    setup: String,
}

struct Client {
    stream: Option<ClientEnd>,
    /// Shared with the task that serves it.
    alive: Rc<()>,
    from: IpAddr,
    inbox: Vec<u8>,
    /// The response to the upgrade has arrived.
    open: bool,
    closing: bool,
    nonce: String,
    reads: bool,
    pieces: usize,
    /// Tail of the bytes sent by the client.
    said: Vec<u8>,
    /// It has presented something that may admit it.
    entitled: bool,
    admitted: bool,
}

struct World {
    /// Number of polls of the gateway's tasks.
    polls: Rc<Cell<usize>>,
    shared: Rc<Shared>,
    jobs: Receiver<DiskJob>,
    time: Rc<Cell<(u64, u64)>>,
    clients: Vec<Client>,
    current: usize,
    disk: MemDisk,
    table: PairingFile<MemDisk>,
    held: bool,
    broke: bool,
    calls: usize,
    names: Names,
    /// Secrets given out by the gateway, and its own.
    secrets: BTreeSet<String>,
    /// Keys that are in the table, or may be.
    known: BTreeSet<u8>,
    /// Any client may be admitted.
    lax: bool,
    /// A node with a proof may be admitted.
    approves: bool,
}

impl World {
    fn new(choice: usize) -> World {
        let setups = config::setups();
        let setup = setups[choice % setups.len()].clone();
        let disk = MemDisk::of(image());
        let (table, loaded) = PairingFile::open(disk.clone()).unwrap();
        let mut devices = Devices::new(CAPACITY, 1, loaded.contents.age);
        loaded.contents.devices.into_iter().for_each(|(slot, device)| devices.put(slot, device));
        let time = Rc::new(Cell::new((1000, WALL)));
        let clock = Stopped(time.clone());
        let status = Status {
            url: "http://127.0.0.1:18789".to_string(),
            auth_mode: setup.policy.auth.name(),
            ..Status::default()
        };
        let lax = matches!(setup.policy.auth, AuthMode::None | AuthMode::TrustedProxy);
        let approves = setup.policy.auto_approve_local;
        let gateway =
            Gateway::new(setup, devices, status, Box::new(Repeats(choice as u64)), clock.now());
        let (shared, jobs) = Shared::new(gateway, Box::new(clock));
        World {
            polls: Rc::default(),
            shared,
            jobs,
            time,
            clients: Vec::new(),
            current: 0,
            disk,
            table,
            held: false,
            broke: false,
            calls: 0,
            names: Names::default(),
            secrets: BTreeSet::from([TOKEN.to_string()]),
            known: BTreeSet::from([0, 1]),
            lax,
            approves,
        }
    }

    async fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Open { from, lines } => {
                let upgrade = b"GET / HTTP/1.1|Upgrade: websocket|Connection: Upgrade|Sec-WebSocket-Version: 13|Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==|";
                let host: &[u8] = if lines.is_empty() { b"Host: 127.0.0.1" } else { lines };
                self.open(from, &[&upgrade[..], host].concat()).await;
            }
            Step::Head { from, lines } => self.open(from, lines).await,
            Step::Raw(bytes) => {
                self.shows(&bytes);
                self.send(&bytes).await;
            }
            Step::Connect { kind, fields } => self.connect(kind, fields).await,
            Step::Call { method, params } => self.call(method, params).await,
            Step::Frame { first, payload } => {
                self.shows(payload);
                self.send(&frame(first, payload)).await;
            }
            Step::Use(number) => self.current = number,
            Step::Time { ms, back } => self.go_on(ms, back),
            Step::Disk(b'h') => self.held = true,
            Step::Disk(b'g') => self.held = false,
            Step::Disk(what) => {
                self.broke |= what == b'-';
                *self.disk.broken.borrow_mut() = what == b'-';
            }
            Step::Reads(reads) => self.with(|client| client.reads = reads),
            Step::Pieces(pieces) => self.with(|client| client.pieces = pieces),
            Step::Close { half } => self.with(|client| match &client.stream {
                Some(stream) if half => stream.end(),
                _ => client.stream = None,
            }),
            Step::Stop => self.shared.dispatch(Event::Stop),
        }
        self.settle().await;
    }

    fn with(&mut self, change: impl FnOnce(&mut Client)) {
        if let Some(client) = self.clients.get_mut(self.current) {
            change(client);
        }
    }

    /// Opens a connection as `server::net::listener` accepts it, starting with this request.
    async fn open(&mut self, from: u8, lines: &[u8]) {
        if self.clients.len() == CONNECTIONS || self.shared.pre_auth.len() == STRANGERS {
            return;
        }
        let from = IpAddr::V4(match from {
            b'1' => Ipv4Addr::new(172, 18, 0, 1),
            b'2' => Ipv4Addr::new(203, 0, 113, 9),
            b'3' => Ipv4Addr::new(10, 0, 0, 5),
            _ => Ipv4Addr::LOCALHOST,
        });
        let (ours, stream) = line::pair();
        let alive = Rc::new(());
        let (guard, shared, conn, polls) =
            (alive.clone(), self.shared.clone(), self.shared.next_conn(), self.polls.clone());
        self.shared.pre_auth.add(conn, from);
        let mut served = Box::pin(async move {
            connection::serve(shared, conn, stream, from, None).await;
            drop(guard);
        });
        let counted = poll_fn(move |context| {
            polls.set(polls.get() + 1);
            served.as_mut().poll(context)
        });
        let task = spawn(counted);
        self.shared.pre_auth.set_task(conn, task);
        self.current = self.clients.len();
        self.clients.push(Client {
            stream: Some(ours),
            alive,
            from,
            inbox: Vec::new(),
            open: false,
            closing: false,
            nonce: String::new(),
            reads: true,
            pieces: 0,
            said: Vec::new(),
            entitled: self.lax,
            admitted: false,
        });
        let mut head = Vec::new();
        for line in lines.split(|byte| *byte == b'|') {
            head.extend_from_slice(line);
            head.extend_from_slice(b"\r\n");
        }
        self.send(&[&head, &b"\r\n"[..]].concat()).await;
    }

    /// Records that the client sent a valid secret, also one split over two pieces.
    fn shows(&mut self, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(self.current) else { return };
        client.said.extend_from_slice(bytes);
        let said = String::from_utf8_lossy(&client.said);
        client.entitled |= self.secrets.iter().any(|secret| said.contains(secret.as_str()));
        client.said.drain(..client.said.len().saturating_sub(TOKEN.len() + 3));
    }

    async fn send(&mut self, bytes: &[u8]) {
        let Some(client) = self.clients.get(self.current) else { return };
        let piece =
            if client.pieces == 0 { bytes.len() } else { client.pieces.max(bytes.len() / 64 + 1) };
        for part in bytes.chunks(piece.max(1)) {
            let Some(stream) =
                self.clients.get(self.current).and_then(|client| client.stream.as_ref())
            else {
                return;
            };
            // a socket that takes no more is one that the gateway does not read: the rest is never
            // sent
            if !stream.write(part).is_ok_and(|count| count == part.len()) {
                return;
            }
            if piece < bytes.len() {
                self.settle().await;
            }
        }
    }

    async fn connect(&mut self, [role, secret, key, sign]: [u8; 4], fields: &[u8]) {
        let Some(client) = self.clients.get(self.current) else { return };
        let auth = match secret {
            b't' => Some(("token", TOKEN)),
            b'p' => Some(("password", TOKEN)),
            b'w' => Some(("token", "the-wrong-token-of-somebody-else")),
            b'd' => Some(("deviceToken", self.names.token.as_str())),
            b'c' => Some(("bootstrapToken", self.names.code.as_str())),
            _ => None,
        };
        let nonce = if sign == b'o' {
            "00000000-0000-4000-8000-000000000000"
        } else {
            client.nonce.as_str()
        };
        let number = (b'0'..=b'5').contains(&key).then(|| key - b'0');
        let (protocol, node) =
            (if role.is_ascii_uppercase() { 3 } else { 4 }, role.eq_ignore_ascii_case(&b'n'));
        let who =
            Who { protocol, node, auth, key: number.map(|number| (number, sign != b'x')), nonce };
        let mut params = who.params();
        if let Ok(Value::Object(fields)) = serde_json::from_slice(fields) {
            fields.into_iter().for_each(|(name, value)| params[name] = value);
        }
        let proved = number.filter(|number| {
            sign != b'x' && (self.known.contains(number) || self.approves && node)
        });
        let frames = format!(r#"{{"type":"req","id":"c","method":"connect","params":{params}}}"#);
        self.with(|client| client.entitled |= proved.is_some());
        self.shows(frames.as_bytes());
        let entitled = self.clients.get(self.current).is_some_and(|client| client.entitled);
        // a client with a valid secret may be stored
        self.known.extend(number.filter(|_| entitled));
        self.send(&frame(0x81, frames.as_bytes())).await;
    }

    async fn call(&mut self, method: &[u8], params: &[u8]) {
        self.calls += 1;
        let (method, params) = (String::from_utf8_lossy(method), String::from_utf8_lossy(params));
        let mut params = params.into_owned();
        let names = &self.names;
        let node = Key::of(1).id.to_string();
        for (mark, name) in [
            ("$r", &names.request),
            ("$i", &names.invoke),
            ("$a", &names.approval),
            ("$t", &names.token),
            ("$c", &names.code),
            ("$s", &names.setup),
            ("$d", &node),
        ] {
            params = params.replace(mark, name);
        }
        let text = format!(
            r#"{{"type":"req","id":"{}","method":"{method}","params":{params}}}"#,
            self.calls
        );
        self.shows(text.as_bytes());
        self.send(&frame(0x81, text.as_bytes())).await;
    }

    fn go_on(&mut self, ms: u64, back: bool) {
        let (at, wall) = self.time.get();
        self.time.set(if back { (at, wall.saturating_sub(ms)) } else { (at + ms, wall + ms) });
        self.shared.dispatch(Event::Tick);
    }

    /// Runs until idle: no task was polled in two turns of the loop, between which the system was
    /// asked for ready events.
    async fn settle(&mut self) {
        let (mut turns, mut quiet) = (0, 0);
        while quiet < 2 {
            let polls = self.polls.get();
            turn().await;
            let moved = self.write_down() | self.read() | (self.polls.get() != polls);
            quiet = if moved { 0 } else { quiet + 1 };
            turns += 1;
            assert!(turns < TURNS, "it does not come to rest");
        }
    }

    /// Runs the jobs of the disk thread.
    fn write_down(&mut self) -> bool {
        let mut worked = false;
        while let Some(mut job) = (!self.held).then(|| self.jobs.try_recv().ok()).flatten() {
            worked = true;
            let written = match job.changes.as_slice() {
                [] => Ok(()),
                [(slot, device)] => self.table.commit(*slot, device.as_ref()),
                many => self.table.commit_all(many),
            };
            let error = written
                .and_then(|()| job.age.map_or(Ok(()), |age| self.table.commit_age(age)))
                .err();
            if let Some(work) = &mut job.file {
                work.result = Some(Err(Failure::unavailable("there is no file here")));
            }
            self.shared
                .dispatch(Event::Committed { job, error: error.map(|error| error.to_string()) });
        }
        worked
    }

    fn read(&mut self) -> bool {
        let mut moved = false;
        for at in 0..self.clients.len() {
            let client = &mut self.clients[at];
            let mut part = [0; 16 * 1024];
            while let Some(stream) = client.stream.as_ref().filter(|_| client.reads) {
                match stream.read(&mut part) {
                    Ok(0) => client.stream = None,
                    Ok(count) => client.inbox.extend_from_slice(&part[..count]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => client.stream = None,
                }
                moved = true;
            }
            self.understand(at);
        }
        moved
    }

    fn understand(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if !client.open {
            let Some(end) = client.inbox.windows(4).position(|four| four == b"\r\n\r\n") else {
                return;
            };
            assert!(client.inbox.starts_with(b"HTTP/1.1 "), "an answer that is none of HTTP");
            if !client.inbox.starts_with(b"HTTP/1.1 101 ") {
                return;
            }
            client.inbox.drain(..end + 4);
            client.open = true;
        }
        while let Some((kind, payload)) = take(&mut self.clients[at].inbox) {
            let client = &mut self.clients[at];
            assert!(!client.closing, "a frame behind the last one");
            client.closing = kind == 8;
            if kind == 1 {
                self.message(at, &payload);
            }
        }
    }

    /// Handles one message of the gateway.
    fn message(&mut self, at: usize, payload: &[u8]) {
        let value: Value = serde_json::from_slice(payload).unwrap_or_else(|error| {
            panic!("the gateway sends no JSON: {error}: {}", String::from_utf8_lossy(payload));
        });
        let client = &mut self.clients[at];
        match value["type"].as_str() {
            Some("event") if value["event"] == "connect.challenge" => {
                assert!(client.nonce.is_empty(), "challenged twice");
                client.nonce = value["payload"]["nonce"]
                    .as_str()
                    .expect("a challenge has a nonce")
                    .to_string();
            }
            Some("event") => assert!(
                client.admitted,
                "an event for a client that was not admitted: {}",
                value["event"]
            ),
            Some("res") if value["ok"] == true => {
                if value["payload"]["type"] == "hello-ok" {
                    assert!(client.entitled, "admitted without proof, from {}", client.from);
                    assert!(!client.admitted, "admitted twice");
                    client.admitted = true;
                    raise(BOUND_ADMITTED);
                    if value["payload"]["auth"]["role"] != "node" {
                        // an operator may approve any device
                        self.known.extend(0..=5);
                    }
                }
                assert!(self.clients[at].admitted, "an answer for a client that was not admitted");
            }
            Some("res") => {
                let message = value["error"]["message"].as_str().expect("an error has a message");
                let unread =
                    message.starts_with("invalid ") && message.ends_with(" params: cannot be read");
                assert!(value["error"]["code"].is_string() && !unread, "{message}");
            }
            _ => panic!("the gateway sends no frame of the protocol"),
        }
        self.note(&value);
    }

    /// Records the names in a message.
    fn note(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let Some(text) = value.as_str() else {
                        self.note(value);
                        continue;
                    };
                    let names = &mut self.names;
                    match name.as_str() {
                        "requestId" => names.request = text.to_string(),
                        "setupId" => names.setup = text.to_string(),
                        "code" if text.len() == 8 => {
                            names.code = text.to_string();
                            self.secrets.insert(text.to_string());
                        }
                        "deviceToken" | "token" if text.len() == 43 => {
                            names.token = text.to_string();
                            self.secrets.insert(text.to_string());
                        }
                        "id" if fields.contains_key("paramsJSON")
                            || fields.contains_key("command") =>
                        {
                            names.invoke = text.to_string();
                        }
                        "id" if fields.contains_key("expiresAtMs")
                            || fields.contains_key("decision") =>
                        {
                            names.approval = text.to_string();
                        }
                        _ => {}
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.note(item)),
            _ => {}
        }
    }

    /// Disconnects all clients and asserts that none of their state remains.
    async fn end(&mut self) {
        self.held = false;
        *self.disk.broken.borrow_mut() = false;
        self.settle().await;
        self.clients.iter_mut().for_each(|client| client.stream = None);
        self.settle().await;
        for client in &self.clients {
            assert_eq!(
                Rc::strong_count(&client.alive),
                1,
                "a connection goes on without its client"
            );
        }
        let (open, stranger) =
            self.shared.with_gateway(|gateway| (gateway.connections(), gateway.unauthenticated()));
        assert_eq!((open, stranger, self.shared.pre_auth.len()), (0, 0, 0), "connections are left");
        let again = PairingFile::open(self.disk.clone())
            .unwrap_or_else(|error| panic!("the table is lost: {error}"))
            .1;
        assert!(self.broke || again.unused.is_empty(), "{:?}", again.unused);
    }
}

/// Runs one turn of the event loop.
async fn turn() {
    let mut waited = false;
    poll_fn(|context| {
        context.waker().wake_by_ref();
        if std::mem::replace(&mut waited, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await
}

/// Calls of the transcripts by an operator and a node, in order and in pieces; handshakes of every
/// kind; bytes.
pub fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    let mut add = |name: String, setup: u8, script: String| {
        seeds.push((name, [&[b'0' + setup], script.as_bytes()].concat()))
    };
    let (v4, v3) = ("o 0\nc nt1s\no 0\nc ot0s\n", "o 0\nc Nt1s\no 0\nc Ot0s\n");
    for (file, calls) in samples::calls() {
        let begin = if file.ends_with("v3") { v3 } else { v4 };
        for (at, piece) in calls.chunks(10).enumerate() {
            let mut script = begin.to_string();
            let mut node = false;
            for (method, params) in piece {
                let of_node = [
                    "node.invoke.",
                    "node.event",
                    "skills.bins",
                    "node.pending.pull",
                    "node.pending.ack",
                    "node.pending.drain",
                    "node.plugin",
                    "node.skills",
                    "node.runner",
                ];
                let now = of_node.iter().any(|start| method.starts_with(start));
                if now != node {
                    script += if now { "u 0\n" } else { "u 1\n" };
                }
                node = now;
                script += &format!("m {method} {params}\n");
            }
            add(format!("calls-{file}-{at:02}"), 0, script);
        }
    }
    for protocol in [gatelet::gate::facts::Protocol::V3, gatelet::gate::facts::Protocol::V4] {
        let served: Vec<&str> = gatelet::rpc::served(protocol).collect();
        for (at, methods) in served.chunks(12).enumerate() {
            let role = if protocol == gatelet::gate::facts::Protocol::V3 { "O" } else { "o" };
            let calls: String = methods.iter().map(|method| format!("m {method} {{}}\n")).collect();
            add(format!("served-{protocol:?}-{at:02}"), 0, format!("o 0\nc {role}t0s\n{calls}"));
        }
    }
    for setup in 0..6u8 {
        for kind in [
            "ot0s", "ow0s", "o-0s", "o-0x", "ot--", "op4s", "ot4s", "o-2s", "nt4s", "n-1s", "N-1s",
            "Op0s", "nt1o", "ow3s",
        ] {
            for from in ["0", "2"] {
                add(
                    format!("connect-{setup}-{kind}-{from}"),
                    setup,
                    format!("o {from}\nc {kind}\nm health {{}}\nm status {{}}\n"),
                );
            }
        }
    }
    for (at, head) in samples::heads().iter().enumerate() {
        let lines = String::from_utf8_lossy(head).trim_end().replace("\r\n", "|");
        add(format!("head-{at:02}"), (at % 6) as u8, format!("h {} {lines}\n", at % 4));
    }
    for (name, setup, script) in SCRIPTS {
        add(format!("script-{name}"), setup, script.to_string());
    }
    seeds
}

/// Scripts without a transcript: pieces, broken frames, failing disks, clients that do not read,
/// clocks that jump.
const SCRIPTS: [(&str, u8, &str); 14] = [
    ("pieces", 0, "o 0\np 3\nc ot0s\nm health {}\np 1\nw 01 {\"type\":\"req\",\nw 89 ping\nw 80 \"id\":\"1\",\"method\":\"health\"}\nw 88 \\x03\n"),
    ("frames", 0, "o 0\nw c1 x\no 0\nw 83 x\no 0\nw 80 x\no 0\nr \\x81\\x05hello\no 0\nr \\x81\\xff\\x00\\x00\\x00\\x00\\x7f\\xff\\xff\\xff\n"),
    ("frames-admitted", 0, "o 0\nc ot0s\nr \\x82\\xff\\x00\\x00\\x00\\x00\\x01\\x8f\\xff\\xff1234abc\nx\no 0\nc ot0s\nf \\xff\nf [\nf {}\nf {\"type\":\"req\",\"id\":\"1\",\"method\":\"nothing\"}\n"),
    ("disk", 0, "o 0\nc ot0s\nd -\no 0\nc nt4s\no 0\nc ot5s\nd +\nc nt4s\nu 0\nm device.pair.list {}\nm device.pair.remove {\"deviceId\":\"$d\"}\n"),
    ("held", 0, "o 0\nc ot0s\nd h\no 0\nc ot4s\nx\no 0\nc ot4s\nt 16000\nd g\nm health {}\n"),
    ("deaf", 0, "o 0\nc ot0s\nl -\nm config.schema {}\nm config.schema {}\nm config.schema {}\nm config.schema {}\nt 30000\nt 30000\nl +\n"),
    ("clock", 1, "o 2\nc ot0s\nT 604800000\nc ot0s\nt 25000\nt 25000\nt 25000\no 1 Host: gate.example|X-Forwarded-For: 1.1.1.1\nc ot0s\nt 3600000\n"),
    ("code", 0, "o 0\nc ot0s\nm device.pair.setupCode {\"bootstrapProfile\":\"node\",\"includeQr\":false}\nm device.pair.setupStatus {\"setupId\":\"$s\"}\no 2\nc nc5s\no 2\nc nc4s\nu 0\nm device.pair.list {}\n"),
    ("strict", 1, "o 0\nc ot0s\no 0\nc ot4s\nu 0\nm device.pair.approve {\"requestId\":\"$r\"}\no 0\nc o-4s\nm device.token.rotate {\"deviceId\":\"$d\",\"role\":\"node\"}\n"),
    ("invoke", 0, "o 0\nc n-1s\no 0\nc ot0s\nm node.invoke {\"nodeId\":\"$d\",\"command\":\"system.which\",\"idempotencyKey\":\"k\",\"params\":{\"bins\":[\"sh\"]}}\nu 0\nm node.invoke.result {\"id\":\"$i\",\"nodeId\":\"$d\",\"ok\":true,\"payloadJSON\":\"{}\"}\nu 1\nm node.invoke {\"nodeId\":\"$d\",\"command\":\"camera.snap\",\"idempotencyKey\":\"k2\",\"timeoutMs\":5}\nt 60000\n"),
    ("approval", 0, "o 0\nc ot0s\nm exec.approval.request {\"command\":\"ls\",\"timeoutMs\":5000,\"twoPhase\":true}\no 0\nc ot--\nm exec.approval.list {}\nm exec.approval.resolve {\"id\":\"$a\",\"decision\":\"allow-once\"}\nu 0\nm exec.approval.waitDecision {\"id\":\"$a\"}\nt 60000\n"),
    ("pending", 0, "o 0\nc ot0s\nm node.pending.enqueue {\"nodeId\":\"$d\",\"kind\":\"x\",\"payload\":{}}\no 0\nc n-1s\nm node.pending.pull {}\nm node.pending.ack {\"ids\":[\"$r\"]}\nm node.pending.drain {}\n"),
    ("stop", 0, "o 0\nc ot0s\no 0\no 0\nc nt1s\nq\nm health {}\nx\nc ot0s\n"),
    ("proxy", 4, "o 1 Host: x|X-User: ann|X-Team: red|X-Forwarded-For: 9.9.9.9\nc o-4s\nm health {}\no 1 Host: x|X-User: bob\nc o-4s\no 2 Host: x|X-User: ann|X-Team: red\nc o---\n"),
];
