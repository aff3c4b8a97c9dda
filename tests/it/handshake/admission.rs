//! Frames before, during and after admission on a real connection: split and pipelined in every
//! way, with lengths on both sides of the limits. Also the memory cost of an announced length, and
//! the threads of an idle gateway.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use support::client::{retry, Device, Who};
use support::gateway::{Gateway, Plan, TOKEN};
use support::runner::{self, at_most, until};
use support::temp_dir::TempDir;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const BEFORE: usize = 64 * KIB;
const AFTER: usize = 25 * MIB;

/// Returns a frame masked with zeros.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&head(first, payload.len() as u64)[..], payload].concat()
}

/// Returns the head of a frame, including the mask.
pub fn head(first: u8, len: u64) -> Vec<u8> {
    let mut head = vec![first];
    match len {
        0..=125 => head.push(0x80 | len as u8),
        126..=0xffff => head.extend([0xfe, (len >> 8) as u8, len as u8]),
        _ => {
            head.push(0xff);
            head.extend(len.to_be_bytes());
        }
    }
    head.extend([0; 4]);
    head
}

/// Returns a connect request without a device, which needs no nonce.
fn connect() -> Vec<u8> {
    let params = Who::v4().token(TOKEN).params("");
    let text = json!({ "type": "req", "id": "connect", "method": "connect", "params": params })
        .to_string();
    frame(0x81, text.as_bytes())
}

/// Returns a `health` request of exactly `len` bytes.
fn call(id: &str, len: usize) -> String {
    let text = |pad: usize| {
        format!(
            r#"{{"type":"req","id":"{id}","method":"health","params":{{"pad":"{}"}}}}"#,
            "x".repeat(pad)
        )
    };
    text(len - text(0).len())
}

/// Client side of a connection, at the level of frames on the wire.
pub struct Raw {
    pub stream: TcpStream,
    bytes: Vec<u8>,
}

impl Raw {
    /// Connects and reads the challenge.
    fn challenged(gateway: &Gateway) -> Raw {
        Raw::with_nonce(gateway).0
    }

    fn with_nonce(gateway: &Gateway) -> (Raw, String) {
        let mut raw = Raw { stream: gateway.dial().tcp(), bytes: Vec::new() };
        raw.stream.write_all(gateway.dial().upgrade().as_bytes()).unwrap();
        raw.skip_head();
        let challenge = raw.text();
        assert_eq!(challenge["event"], "connect.challenge");
        let nonce = challenge["payload"]["nonce"].as_str().unwrap().to_string();
        (raw, nonce)
    }

    /// Connects as this client, which is admitted. Returns the payload of hello too.
    pub fn connected(gateway: &Gateway, who: &Who) -> (Raw, Value) {
        let (mut raw, nonce) = Raw::with_nonce(gateway);
        let params = who.params(&nonce);
        let text = json!({ "type": "req", "id": "c", "method": "connect", "params": params });
        raw.stream.write_all(&frame(0x81, text.to_string().as_bytes())).unwrap();
        let hello = raw.response();
        assert_eq!(hello["ok"], true, "{hello}");
        (raw, hello["payload"].clone())
    }

    fn admitted(gateway: &Gateway) -> Raw {
        let mut raw = Raw::challenged(gateway);
        raw.stream.write_all(&connect()).unwrap();
        assert_eq!(raw.answers(1), ["connect"]);
        raw
    }

    fn skip_head(&mut self) {
        let end = |bytes: &[u8]| bytes.windows(4).position(|four| four == b"\r\n\r\n");
        while end(&self.bytes).is_none() {
            self.more();
        }
        self.bytes.drain(..end(&self.bytes).unwrap() + 4);
    }

    fn more(&mut self) {
        let mut part = [0; 4096];
        let count = retry(|| self.stream.read(&mut part)).expect("the gateway sends something");
        assert!(count > 0, "closed");
        self.bytes.extend_from_slice(&part[..count]);
    }

    /// Returns first byte and payload of the next frame.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        while self.bytes.len() < 4 && (self.bytes.len() < 2 || self.bytes[1] > 1) {
            self.more();
        }
        let (len, begin) = match self.bytes[1] {
            126 => (usize::from(u16::from_be_bytes([self.bytes[2], self.bytes[3]])), 4),
            127 => {
                while self.bytes.len() < 10 {
                    self.more();
                }
                (u64::from_be_bytes(self.bytes[2..10].try_into().unwrap()) as usize, 10)
            }
            len => (usize::from(len), 2),
        };
        while self.bytes.len() < begin + len {
            self.more();
        }
        let frame: Vec<u8> = self.bytes.drain(..begin + len).collect();
        (frame[0], frame[begin..].to_vec())
    }

    /// Returns the next text message; skips pings and pongs.
    fn text(&mut self) -> Value {
        loop {
            match self.frame() {
                (0x81, text) => return serde_json::from_slice(&text).unwrap(),
                (0x89 | 0x8a, _) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Returns the ids of the next `count` successful responses; skips events.
    fn answers(&mut self, count: usize) -> Vec<String> {
        let answer = |_| {
            let text = self.response();
            assert_eq!(text["ok"], true, "{text}");
            text["id"].as_str().unwrap().to_string()
        };
        (0..count).map(answer).collect()
    }

    /// Returns the next response; skips events.
    pub fn response(&mut self) -> Value {
        loop {
            let text = self.text();
            if text["type"] == "res" {
                return text;
            }
        }
    }

    /// Returns the close code of the connection.
    pub fn closed(&mut self) -> u16 {
        self.close_frame().0
    }

    /// Returns close code and reason of the connection.
    pub fn close_frame(&mut self) -> (u16, String) {
        loop {
            if let (0x88, reason) = self.frame() {
                let code = u16::from_be_bytes([reason[0], reason[1]]);
                return (code, String::from_utf8(reason[2..].to_vec()).unwrap());
            }
        }
    }

    /// Asserts that neither a response nor a close frame arrives for a moment; events are ignored.
    fn is_waited_for(&mut self) {
        self.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut part = [0; 4096];
        loop {
            match self.stream.read(&mut part) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return
                }
                Ok(count @ 1..) if part[..count].windows(7).any(|seven| seven == b"\"event\"") => {}
                other => panic!("{other:?}: {:?}", String::from_utf8_lossy(&part)),
            }
        }
    }
}

#[test]
fn frames_around_connect_may_arrive_in_any_pieces() {
    let gateway = Gateway::new();
    let split = call("split", 40_000);
    let (start, rest) = split.as_bytes().split_at(20_000);
    let frames = [
        frame(0x89, b"before"),
        connect(),
        frame(0x81, call("small", 100).as_bytes()),
        frame(0x81, call("over", BEFORE + 1).as_bytes()),
        frame(0x01, start),
        frame(0x89, &[b'p'; 125]),
        frame(0x8a, b""),
        frame(0x80, rest),
        frame(0x82, call("binary", 1_023).as_bytes()),
        frame(0x81, call("large", 300_000).as_bytes()),
        frame(0x81, call("last", 126).as_bytes()),
    ];
    for piece in [1, 2, 3, 7, 13, 125, 1000, 1024, 1025, 4096, 65_536, usize::MAX] {
        for with_head in [false, true] {
            let upgrade = gateway.dial().upgrade();
            let mut raw = match with_head {
                true => Raw { stream: gateway.dial().tcp(), bytes: Vec::new() },
                false => Raw::challenged(&gateway),
            };
            let begin = if with_head { upgrade.as_bytes() } else { b"" };
            let pieces = pieces(begin, &frames, piece);
            let mut stream = raw.stream.try_clone().unwrap();
            let writer = thread::spawn(move || {
                pieces.iter().for_each(|piece| stream.write_all(piece).unwrap())
            });
            if with_head {
                raw.skip_head();
                assert_eq!(raw.text()["event"], "connect.challenge");
            }
            let ids = raw.answers(7);
            let wanted = ["connect", "small", "over", "split", "binary", "large", "last"];
            assert_eq!(ids, wanted, "pieces of {piece}, head in the same ones: {with_head}");
            writer.join().unwrap();
        }
    }
}

/// Splits everything into pieces of that size. If the size is tiny, most of a long frame is sent in
/// larger pieces, because each piece is a packet.
fn pieces(begin: &[u8], frames: &[Vec<u8>], size: usize) -> Vec<Vec<u8>> {
    let all = [begin, &frames.concat()].concat();
    if size >= 125 {
        return all.chunks(size.min(all.len())).map(<[u8]>::to_vec).collect();
    }
    let parts = std::iter::once(begin).chain(frames.iter().map(Vec::as_slice));
    parts
        .flat_map(|part| {
            let (fine, bulk) = part.split_at(part.len().min(1200));
            fine.chunks(size).chain(bulk.chunks(997))
        })
        .map(<[u8]>::to_vec)
        .collect()
}

/// A pairing waits for the disk. In that time the connection has read a message that is larger than
/// the buffer it keeps, and must not hold up the event loop.
#[test]
fn large_connect_request_is_admitted_and_holds_up_no_other_client() {
    let gateway = Gateway::new();
    let mut admin = gateway.admin();
    for quotes in [4 * KIB, 13 * KIB] {
        let who = Who::v4().patch(json!({ "pathEnv": "\"".repeat(quotes) }));
        drop(gateway.connect(&who.token(TOKEN).device(&Device::new())).unwrap());
        admin.call("health", json!({})).unwrap();
    }
}

#[test]
fn frame_over_the_first_limit_is_accepted_directly_after_connect_but_not_before() {
    let gateway = Gateway::new();
    let over = frame(0x81, call("over", BEFORE + 1).as_bytes());
    let mut raw = Raw::challenged(&gateway);
    raw.stream.write_all(&[connect(), over.clone()].concat()).unwrap();
    assert_eq!(raw.answers(2), ["connect", "over"]);
    raw.stream.write_all(&frame(0x81, call("512 KiB", 512 * KIB).as_bytes())).unwrap();
    assert_eq!(raw.answers(1), ["512 KiB"]);
    raw.stream.write_all(&frame(0x81, call("20 MiB", 20 * MIB).as_bytes())).unwrap();
    let refused = raw.response();
    assert_eq!((&refused["id"], &refused["ok"]), (&json!("20 MiB"), &json!(false)), "{refused}");

    let mut raw = Raw::challenged(&gateway);
    let _ = raw.stream.write_all(&[over, connect()].concat());
    assert_eq!(raw.closed(), 1009);
}

#[test]
fn announced_length_is_rejected_at_once_or_awaited() {
    let gateway = Gateway::new();
    let (before, after) = (BEFORE as u64, AFTER as u64);
    let [half, more] = [0x01, 0x00].map(|first| frame(first, &[b' '; BEFORE / 2]));
    let refused = [
        head(0x81, before + 1),
        head(0x82, after),
        head(0x81, 1 << 32),
        head(0x81, 1 << 63),
        head(0x81, u64::MAX),
        head(0x89, 70_000),
        [frame(0x89, b"x"), head(0x81, after)].concat(),
        [half.clone(), head(0x80, before / 2 + 1)].concat(),
        [half.clone(), frame(0x89, b"x"), more.clone(), head(0x00, 1)].concat(),
    ];
    for bytes in refused {
        let mut raw = Raw::challenged(&gateway);
        raw.stream.write_all(&bytes).unwrap();
        assert_eq!(raw.closed(), 1009, "{:x?}", &bytes[..14]);
    }
    for bytes in [head(0x81, before), [half, more, head(0x80, 0)[..1].to_vec()].concat()] {
        let mut raw = Raw::challenged(&gateway);
        raw.stream.write_all(&bytes).unwrap();
        raw.is_waited_for();
    }
    for len in [after + 1, 1 << 32, 1 << 63, u64::MAX] {
        let mut raw = Raw::admitted(&gateway);
        raw.stream.write_all(&head(0x81, len)).unwrap();
        assert_eq!(raw.closed(), 1009, "{len} after hello");
    }
    for bytes in [head(0x81, before + 1), head(0x81, after)] {
        let mut raw = Raw::admitted(&gateway);
        raw.stream.write_all(&bytes).unwrap();
        raw.is_waited_for();
        let mut raw = Raw::challenged(&gateway);
        raw.stream.write_all(&[connect(), bytes].concat()).unwrap();
        assert_eq!(raw.answers(1), ["connect"]);
        raw.is_waited_for();
    }
}

#[test]
fn announced_length_of_an_unauthenticated_client_takes_no_memory() {
    let gateway = Gateway::new();
    if runner::windows() || !runner::native() {
        return;
    }
    Raw::admitted(&gateway);
    let before = memory(&gateway);
    let mut waiting = Vec::new();
    for _ in 0..50 {
        for bytes in [
            head(0x81, AFTER as u64),
            [frame(0x89, b"x"), head(0x81, AFTER as u64)].concat(),
            [frame(0x81, b"{}"), head(0x81, AFTER as u64)].concat(),
            [frame(0x01, b"{"), head(0x80, AFTER as u64)].concat(),
        ] {
            let mut raw = Raw::challenged(&gateway);
            raw.stream.write_all(&bytes).unwrap();
            waiting.push(raw);
        }
    }
    let mut most = 0;
    for raw in &mut waiting {
        most = most.max(memory(&gateway));
        assert!(matches!(raw.closed(), 1008 | 1009));
    }
    let taken = most.saturating_sub(before);
    assert!(taken < 8 * MIB, "{taken} bytes of address space for 200 announcements of {AFTER}");
}

/// Returns the virtual memory size of the gateway in bytes, which also counts memory that is
/// reserved and not used.
fn memory(gateway: &Gateway) -> usize {
    gateway.memory("VmSize") as usize
}

/// `blocking` 1.7.0, a dependency of smol, never ends a thread that it has started, and wakes each
/// of them twice a second; Cargo.lock holds the version before it.
#[test]
fn idle_gateway_has_three_threads_and_sleeps() {
    let site = TempDir::new();
    std::fs::write(site.0.join("index.html"), "<!doctype html><html><head></head></html>").unwrap();
    let gateway =
        Plan::with(json!({ "controlUi": { "root": runner::path(&site.0).to_str().unwrap() } }))
            .start();
    // Start the threads: read a file, verify signatures, write a device.
    assert!(gateway.dial().get("/").starts_with("HTTP/1.1 200 "));
    let unauthenticated: Vec<_> = (0..8).map(|_| Raw::challenged(&gateway)).collect();
    gateway.connect(&Who::v4().token(TOKEN).device(&Device::new())).unwrap().leave();
    if runner::windows() || !runner::native() {
        return;
    }
    assert!(
        threads(&gateway).iter().any(|(name, _)| name.starts_with("blocking-")),
        "{:?}",
        threads(&gateway)
    );
    drop(unauthenticated);
    until(|| threads(&gateway).len() == 3, || format!("{:?}", threads(&gateway)));
    let mut names: Vec<String> = threads(&gateway).into_iter().map(|(name, _)| name).collect();
    names.sort();
    assert_eq!(names, ["async-io", "gatelet", "gatelet-disk"]);
    let (begun, before) = (Instant::now(), threads(&gateway));
    thread::sleep(Duration::from_secs(2));
    let woken = |now: &[(String, u64)]| {
        now.iter().zip(&before).map(|((_, now), (_, then))| now - then).sum::<u64>()
    };
    let now = threads(&gateway);
    // A tick may occur within these seconds.
    assert!(
        begun.elapsed() > at_most(Duration::from_secs(4)) || woken(&now) <= 3,
        "{before:?} {now:?}"
    );
}

/// Returns the threads of the gateway with the number of voluntary context switches of each.
fn threads(gateway: &Gateway) -> Vec<(String, u64)> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
    let mut tasks: Vec<_> = tasks.map(|task| task.unwrap().path()).collect();
    tasks.sort();
    let about = tasks.iter().filter_map(|task| std::fs::read_to_string(task.join("status")).ok());
    about
        .map(|status| {
            let field = |name: &str| {
                status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_string()
            };
            (field("Name:"), field("voluntary_ctxt_switches:").parse().unwrap())
        })
        .collect()
}
