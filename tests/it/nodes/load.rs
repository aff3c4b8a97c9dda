//! Relay under load: many concurrent calls, slow peers, peers that do not read at all. No message
//! is lost or reordered; a peer that reads too slowly loses only its own connection; memory,
//! descriptors and counters return to their previous values.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use support::client::{Device, Dial, Got, Session};
use support::gateway::Gateway;
use support::runner::{self, at_most, patience, until};

use crate::nodes::invoke::{answer, approve, invoke, node, operator};

pub const KIB: u64 = 1024;
pub const MIB: u64 = 1024 * KIB;

/// Resources that a gateway uses for connections and calls, and must release.
#[derive(Clone, PartialEq, Debug)]
pub struct Held {
    /// Counters of `gatelet.status`.
    counts: Vec<u64>,
    descriptors: usize,
}

const COUNTS: [&str; 6] =
    ["connections", "unauthenticated", "operators", "nodes", "invokes", "approvals"];

impl Held {
    pub fn now(gateway: &Gateway, admin: &mut Session) -> Held {
        let status = admin.status();
        let counts = COUNTS
            .iter()
            .map(|name| status[name].as_u64().unwrap_or_else(|| panic!("{name}: {status}")));
        // wine's descriptors are not those of the program
        let descriptors = if runner::windows() { 0 } else { gateway.descriptors() };
        Held { counts: counts.collect(), descriptors }
    }

    /// Waits until the gateway uses exactly these resources again.
    pub fn again(&self, gateway: &Gateway, admin: &mut Session) {
        let last = RefCell::new(None);
        let same = || {
            let now = Held::now(gateway, admin);
            last.replace(Some(now)).as_ref() == Some(self)
        };
        let why = || format!("{COUNTS:?}: held {self:?}, holds {last:?}");
        until(same, why);
    }
}

/// Waits until no invoke is pending.
pub fn nothing_waits(admin: &mut Session) {
    let mut pending = || admin.status()["invokes"] != 0;
    until(|| !pending(), || "an invoke is still pending".into());
}

/// Returns current and peak memory of the gateway in bytes.
pub fn memory(gateway: &Gateway) -> (u64, u64) {
    (gateway.memory("VmRSS"), gateway.memory("VmHWM"))
}

/// Asserts that peak memory exceeded `before` by at most `most`, and prints it.
fn bounded(gateway: &Gateway, before: u64, most: u64, what: &str) {
    let (now, peak) = memory(gateway);
    println!(
        "{what}: memory {} KiB before, {} at its peak, {} after",
        before / KIB,
        peak / KIB,
        now / KIB
    );
    assert!(!runner::native() || peak < before + most, "{what}: from {before} to {peak} bytes");
}

/// Returns median and 99th percentile.
fn quantiles(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    format!(
        "p50 {:?}, p99 {:?} of {}",
        took[took.len() / 2],
        took[took.len() * 99 / 100],
        took.len()
    )
}

/// Reduces the receive buffer of the socket to 128 KiB. With a smaller one loopback becomes
/// extremely slow.
pub fn narrow(session: &Session) {
    let bytes = 128 * KIB as usize;
    rustix::net::sockopt::set_socket_recv_buffer_size(&session.socket.ws.get_ref().0, bytes)
        .unwrap();
}

fn payload(op: u64, n: u64, serial: u64, size: u64) -> String {
    json!({ "op": op, "n": n, "serial": serial, "fill": "x".repeat(size as usize) }).to_string()
}

/// Answers `count` requests, each after the delay `moment`, with the values of the request and the
/// number of responses to that operator so far. Asserts that the requests of each operator arrive
/// in ascending order.
fn serve(node: &mut Session, device: &Device, count: usize, moment: Duration) {
    let (mut asked, mut acknowledged) = (0, 0);
    let (mut last, mut serials) = ([None; OPERATORS], [0; OPERATORS]);
    while asked < count || acknowledged < count {
        let Got::Frame(frame) = node.socket.receive() else {
            panic!("a node was closed after {asked} requests")
        };
        if frame["type"] == "res" {
            assert_eq!(frame["payload"], json!({ "ok": true }), "{frame}");
            acknowledged += 1;
        }
        if frame["event"] != "node.invoke.request" {
            continue;
        }
        asked += 1;
        let request = &frame["payload"];
        let params: Value = serde_json::from_str(request["paramsJSON"].as_str().unwrap()).unwrap();
        let [op, n, size] = ["op", "n", "size"].map(|name| params[name].as_u64().unwrap());
        let place = op as usize;
        assert!(
            last[place].is_none_or(|before| before < n),
            "{n} of operator {op} came after {:?}",
            last[place]
        );
        last[place] = Some(n);
        thread::sleep(moment);
        let text = payload(op, n, serials[place], size);
        serials[place] += 1;
        let result =
            json!({ "id": request["id"], "nodeId": device.id, "ok": true, "payloadJSON": text });
        node.start("node.invoke.result", result);
    }
}

const OPERATORS: usize = 8;
const NODES: usize = 4;
/// Calls of each operator; all of one may be in flight at the same time.
const CALLS: usize = 248;
const SLOW_NODE: usize = 3;
/// The last one, because it runs when all others do.
const SLOW_OPERATOR: usize = OPERATORS - 1;

/// Operator that makes its calls to the nodes in turn and compares the responses with the requests.
struct Caller<'a> {
    op: usize,
    session: Session,
    devices: &'a [Device],
    sent: Vec<Instant>,
    /// For each node: serial number of its next response, and the pending calls in the order of the
    /// expected responses.
    expected: Vec<(u64, VecDeque<usize>)>,
    /// Node and duration of each response.
    took: Vec<(usize, Duration)>,
}

impl<'a> Caller<'a> {
    fn new(op: usize, session: Session, devices: &'a [Device]) -> Caller<'a> {
        let expected = devices.iter().map(|_| (0, VecDeque::new())).collect();
        Caller { op, session, devices, sent: Vec::new(), expected, took: Vec::new() }
    }

    fn send(&mut self, size: usize) {
        let n = self.sent.len();
        let node = n % self.devices.len();
        let params = json!({ "op": self.op, "n": n, "size": size });
        self.sent.push(Instant::now());
        self.expected[node].1.push_back(n);
        self.session.start("node.invoke", invoke(&self.devices[node], "system.which", params));
    }

    fn receive(&mut self) {
        let frame = match self.session.socket.receive() {
            Got::Frame(frame) if frame["type"] == "res" => frame,
            Got::Frame(_) => return,
            closed => panic!("operator {}: {closed:?} after {} answers", self.op, self.took.len()),
        };
        assert_eq!(frame["ok"], true, "{frame}");
        let number: usize =
            frame["id"].as_str().unwrap().strip_prefix("call-").unwrap().parse().unwrap();
        let (n, got) = (number - 1, &frame["payload"]["payload"]);
        let node = n % self.devices.len();
        self.took.push((node, self.sent[n].elapsed()));
        let (serial, calls) = &mut self.expected[node];
        assert_eq!(
            calls.pop_front(),
            Some(n),
            "operator {}: an answer of node {node} changed its place",
            self.op
        );
        assert_eq!((got["op"].as_u64(), got["n"].as_u64()), (Some(self.op as u64), Some(n as u64)));
        assert_eq!(
            got["serial"].as_u64(),
            Some(*serial),
            "operator {}: lost one of node {node}",
            self.op
        );
        *serial += 1;
    }

    /// Makes all calls, at most `window` in flight at a time.
    fn run(&mut self, window: usize, size: usize) {
        while self.took.len() < CALLS {
            while self.sent.len() < CALLS && self.sent.len() - self.took.len() < window {
                self.send(size);
            }
            self.receive();
        }
    }
}

fn nodes(gateway: &Gateway, count: usize) -> (Vec<Device>, Vec<Session>) {
    let devices: Vec<Device> = (0..count).map(|_| Device::new()).collect();
    let nodes = devices.iter().enumerate().map(|(at, device)| {
        let node = node(gateway, if at % 2 == 0 { 4 } else { 3 }, device);
        approve(gateway, device);
        node
    });
    let nodes = nodes.collect();
    (devices, nodes)
}

#[test]
fn two_thousand_calls_with_slow_peers_are_complete_and_in_order() {
    let gateway = Gateway::new();
    let (devices, mut nodes) = nodes(&gateway, NODES);
    let mut admin = gateway.admin();
    let idle = Held::now(&gateway, &mut admin);
    let mut callers: Vec<Caller<'_>> = (0..OPERATORS)
        .map(|op| {
            Caller::new(
                op,
                operator(&gateway, if op % 2 == 0 { 4 } else { 3 }, &["write"]),
                &devices,
            )
        })
        .collect();
    let before = memory(&gateway).0;
    let (done, others_are_done) = mpsc::channel();
    thread::scope(|scope| {
        for (at, (node, device)) in nodes.iter_mut().zip(&devices).enumerate() {
            let moment = Duration::from_millis(if at == SLOW_NODE { 2 } else { 0 });
            scope.spawn(move || serve(node, device, OPERATORS * CALLS / NODES, moment));
        }
        for caller in &mut callers {
            let (done, waits) =
                (done.clone(), (caller.op == SLOW_OPERATOR).then_some(&others_are_done));
            let Some(others_are_done) = waits else {
                scope.spawn(move || {
                    caller.run(16, 100);
                    done.send(()).unwrap();
                });
                continue;
            };
            // Sends all requests at once, and reads none of about 3 MiB of responses until all
            // other operators are done.
            narrow(&caller.session);
            (0..CALLS).for_each(|_| caller.send(7_600));
            for _ in 1..OPERATORS {
                others_are_done
                    .recv_timeout(patience())
                    .expect("a slow operator delays the others");
            }
            caller.run(CALLS, 0);
        }
    });
    bounded(&gateway, before, 24 * MIB, "2,000 calls");
    let of = |slow: bool| -> Vec<Duration> {
        let fast = callers.iter().filter(|caller| caller.op != SLOW_OPERATOR);
        let all = fast.flat_map(|caller| caller.took.iter());
        all.filter(|(node, _)| (*node == SLOW_NODE) == slow).map(|(_, took)| *took).collect()
    };
    let (mut fast, mut slow) = (of(false), of(true));
    println!(
        "under load, 16 at a time: {}; of the slow node {}",
        quantiles(fast.clone()),
        quantiles(slow.clone())
    );
    fast.sort_unstable();
    slow.sort_unstable();
    assert!(fast[fast.len() / 2] < slow[slow.len() / 2], "a slow node delays the calls of others");
    assert!(callers.iter().all(|caller| caller.took.len() == CALLS));
    one_at_a_time(&gateway, &devices[0], &mut nodes[0]);
    drop(callers);
    idle.again(&gateway, &mut admin);
}

/// Measures calls one after the other, and compares them with a plain echo server.
fn one_at_a_time(gateway: &Gateway, device: &Device, node: &mut Session) {
    let trips = 500;
    let mut operator = operator(gateway, 4, &["write"]);
    let call = invoke(device, "system.which", json!({ "op": 0, "n": 0, "size": 100 }));
    let mut ours = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..trips {
                answer(node, device, r#"{"bins":{}}"#);
            }
        });
        for _ in 0..trips {
            let begun = Instant::now();
            operator.call("node.invoke", call.clone()).unwrap();
            ours.push(begun.elapsed());
        }
    });
    let mut echo = Dial::to(support::echo::start(|| {}).unwrap().0).open();
    let bare = (0..trips).map(|_| {
        let begun = Instant::now();
        echo.send(&call);
        assert!(matches!(echo.receive(), Got::Frame(_)));
        begun.elapsed()
    });
    println!("one at a time: {}; a bare echo: {}", quantiles(ours), quantiles(bare.collect()));
}

#[test]
fn only_the_operator_that_does_not_read_is_closed() {
    let gateway = Gateway::new();
    let (devices, mut nodes) = nodes(&gateway, 2);
    let mut other = operator(&gateway, 4, &["write"]);
    let mut admin = gateway.admin();
    let idle = Held::now(&gateway, &mut admin);
    let mut not_reading = operator(&gateway, 4, &["write"]);
    narrow(&not_reading);
    let before = memory(&gateway).0;
    let calls = 96;
    for _ in 0..calls {
        not_reading.start("node.invoke", invoke(&devices[0], "system.which", json!({})));
    }
    let requests: Vec<Value> = (0..calls).map(|_| nodes[0].event("node.invoke.request")).collect();
    // 48 MiB of responses, of which 29 may be queued
    let text = format!("\"{}\"", "x".repeat((256 * KIB) as usize));
    let mut slowest = Duration::ZERO;
    for request in requests {
        let result = json!({ "id": request["id"], "nodeId": devices[0].id, "ok": true, "payloadJSON": text });
        nodes[0].call("node.invoke.result", result).unwrap();
        let begun = Instant::now();
        let call = other.start("node.invoke", invoke(&devices[1], "system.which", json!({})));
        answer(&mut nodes[1], &devices[1], "{}");
        other.answer(&call).unwrap();
        slowest = slowest.max(begun.elapsed());
    }
    gateway.logged(&["slow consumer"]);
    assert!(
        matches!(not_reading.closed().0, 1008 | 1006),
        "it receives what the system buffered, then the close"
    );
    assert!(slowest < at_most(Duration::from_secs(5)), "others waited {slowest:?}");
    bounded(&gateway, before, 48 * MIB, "an operator that does not read");
    idle.again(&gateway, &mut admin);
}

/// Longer than two ping intervals.
const LONG: Duration = Duration::from_secs(56);

#[test]
fn slow_transfers_are_not_closed_but_silent_connections_are() {
    let gateway = Gateway::new();
    let (devices, mut nodes) = nodes(&gateway, 1);
    thread::scope(|scope| {
        // concurrent responses, sent faster than they are read
        let mut slow = operator(&gateway, 4, &["write"]);
        narrow(&slow);
        let calls = (0..3)
            .map(|_| slow.start("node.invoke", invoke(&devices[0], "system.which", json!({}))));
        let mut asked: Vec<String> = calls.collect();
        let payload = format!("\"{}\"", "x".repeat(5 * MIB as usize));
        asked.iter().for_each(|_| drop(answer(&mut nodes[0], &devices[0], &payload)));
        asked.push(slow.start("node.list", json!({})));
        drop(nodes);
        scope.spawn(move || {
            // Each payload is in the response twice: as text and as JSON.
            let length = 2 * 3 * payload.len();
            let (begun, mut seen, mut part) =
                (Instant::now(), Vec::new(), vec![0; 64 * KIB as usize]);
            let signs: Vec<_> = asked.iter().map(|id| format!("\"id\":\"{id}\"")).collect();
            let come = |seen: &[u8]| {
                signs
                    .iter()
                    .all(|sign| seen.windows(sign.len()).any(|part| part == sign.as_bytes()))
            };
            while seen.len() < length || !come(&seen) {
                let ahead = seen.len() as f64 / length as f64
                    - begun.elapsed().as_secs_f64() / LONG.as_secs_f64();
                if ahead > 0.0 {
                    thread::sleep(LONG.mul_f64(ahead));
                }
                let count = (&slow.socket.ws.get_ref().0)
                    .read(&mut part)
                    .expect("a client that reads stays connected");
                assert!(count > 0, "closed after {:?} and {} bytes", begun.elapsed(), seen.len());
                seen.extend_from_slice(&part[..count]);
            }
            assert!(begun.elapsed() > LONG.mul_f64(0.9), "{:?}", begun.elapsed());
        });
        // a request that arrives in pieces
        let mut piecemeal = gateway.admin();
        scope.spawn(move || {
            let id = "in pieces";
            let request =
                json!({ "type": "req", "id": id, "method": "nothing", "params": { "filling": "x".repeat(100_000) } });
            let frame = masked(&request.to_string());
            let piece = frame.len() / LONG.as_secs() as usize + 1;
            for piece in frame.chunks(piece) {
                (&piecemeal.socket.ws.get_ref().0).write_all(piece).expect("a client that sends stays connected");
                thread::sleep(Duration::from_secs(1));
            }
            assert!(piecemeal.answer(id).unwrap_err().message().contains("nothing"));
        });
        // a connected client that sends nothing, not even a pong
        let silent = gateway.admin();
        scope.spawn(move || {
            let (begun, mut part) = (Instant::now(), [0; 4096]);
            let mut stream = &silent.socket.ws.get_ref().0;
            stream.set_read_timeout(Some(LONG + patience())).unwrap();
            while stream.read(&mut part).is_ok_and(|count| count > 0) {}
            let took = begun.elapsed();
            assert!(
                took > Duration::from_secs(24) && took < LONG + at_most(Duration::from_secs(5)),
                "{took:?}"
            );
        });
    });
    gateway.logged(&["is closed: no pong"]);
    assert_eq!(gateway.log().matches(" is closed: ").count(), 1, "{}", gateway.log());
}

/// Returns a client's text frame, with a mask of zeros.
fn masked(text: &str) -> Vec<u8> {
    let length = (text.len() as u64).to_be_bytes();
    [&[0x81, 0xff], &length[..], &[0; 4], text.as_bytes()].concat()
}

/// Returns the code of the node's error.
fn node_error(frame: &Value) -> String {
    frame["error"]["details"]["nodeError"]["code"]
        .as_str()
        .unwrap_or_else(|| panic!("{frame}"))
        .to_string()
}

fn next_answer(session: &mut Session) -> Value {
    loop {
        let frame = session.socket.frame();
        if frame["type"] == "res" {
            return frame;
        }
    }
}

#[test]
fn node_that_does_not_read_is_busy_until_it_reads_again() {
    let gateway = Gateway::new();
    let (devices, mut nodes) = nodes(&gateway, 2);
    let mut admin = gateway.admin();
    let idle = Held::now(&gateway, &mut admin);
    let before = memory(&gateway).0;
    narrow(&nodes[0]);
    let mut operators = [0, 1].map(|_| operator(&gateway, 4, &["write"]));
    // 64 MiB of requests, of which 4 may be queued
    let mut params =
        invoke(&devices[0], "system.which", json!({ "text": "x".repeat((64 * KIB) as usize) }));
    params["timeoutMs"] = json!(1_500);
    let mut sent = 0;
    let mut ends = [Vec::new(), Vec::new()];
    for (operator, ends) in operators.iter_mut().zip(&mut ends) {
        for _ in 0..500 {
            params["params"]["n"] = json!(sent);
            operator.start("node.invoke", params.clone());
            sent += 1;
        }
        // calls to other nodes continue
        let call = operator.start("node.invoke", invoke(&devices[1], "system.which", json!({})));
        answer(&mut nodes[1], &devices[1], "{}");
        loop {
            let frame = next_answer(operator);
            if frame["id"] == call.as_str() {
                assert_eq!(frame["ok"], true);
                break;
            }
            ends.push(node_error(&frame));
        }
    }
    let busy = ends.iter().flatten().filter(|end| *end == "BUSY").count();
    for (operator, ends) in operators.iter_mut().zip(&mut ends) {
        while ends.len() < 500 {
            let frame = next_answer(operator);
            ends.push(node_error(&frame));
        }
    }
    println!("a node that does not read: {busy} of 1,000 calls failed at once");
    assert!(
        busy > 500 && ends.iter().flatten().all(|end| end == "BUSY" || end == "TIMEOUT"),
        "{ends:?}"
    );
    bounded(&gateway, before, 24 * MIB, "a node that does not read");
    // all requests that were not rejected as busy arrive, in order
    let mut last = -1;
    for _ in busy..1_000 {
        let asked = nodes[0].event("node.invoke.request");
        let params: Value = serde_json::from_str(asked["paramsJSON"].as_str().unwrap()).unwrap();
        let n = params["n"].as_i64().unwrap();
        assert!(n > last, "{n} came after {last}");
        last = n;
    }
    let call = operators[0].start("node.invoke", invoke(&devices[0], "system.which", json!({})));
    answer(&mut nodes[0], &devices[0], "1");
    operators[0].answer(&call).unwrap();
    drop(operators);
    idle.again(&gateway, &mut admin);
}
