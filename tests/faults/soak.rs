//! A day of use, compressed: clients of both protocols connect and leave, invoke nodes, pair and
//! are removed, change the configuration, read logs, pages and metrics, and some of them do not
//! read at all. Afterwards the gateway holds what it held before, and memory and descriptors stay
//! constant over time.
//!
//! The number of events counts, so [`DAY`] defines a day, and a run must complete its share: the
//! whole day in [`WHOLE`] seconds (`SOAK_SECONDS`; in proportion for other durations). Timed
//! behaviour of the gateway is not compressed: ticks, pings, the ten minutes of a setup code, the
//! hour between two writes of "last seen".
//!
//! Memory is measured by the kernel, so it depends on the allocator. glibc is configured to return
//! large blocks at once; then the quarters are equal to the page, and little growth is allowed. The
//! allocator of the shipped file returns only memory at its end, and a slow reader's send queue is
//! created and dropped each second: occasionally a small allocation outlives one above it, and the
//! next one is placed higher. That is a single step of less than a full send queue, not growth; so
//! that much is allowed there.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gatelet::gate::limits::SEND_QUEUE_BYTES;
use serde_json::{json, Value};
use support::client::{Device, Dial, Session, Who};
use support::gateway::{code, Gateway, Plan, TOKEN};
use support::runner::{patience, until};
use tungstenite::{Error, Message};

use super::number;

/// Seconds in which a whole day is done.
const WHOLE: u64 = 1200;

/// A day with three laptops, two phones and three nodes: a client loses its network every quarter
/// of an hour, a node is invoked every ten seconds, Prometheus scrapes every fifteen, Docker checks
/// every thirty, a page shows the log for an hour, a scanner connects once a minute.
const DAY: [(&str, u64); 12] = [
    ("operators connect", 700),
    ("nodes connect", 300),
    ("calls answered by nodes", 8640),
    ("/metrics", 5760),
    ("pages and probes", 3000),
    ("reads of the log", 1800),
    ("devices paired and removed", 20),
    ("renamed, rotated, revoked, approved", 80),
    ("unused setup codes", 20),
    ("changes of the configuration", 10),
    ("clients rejected", 1440),
    ("slow consumers", 10),
];

#[derive(Clone, Copy)]
enum Did {
    Operator,
    Node,
    Call,
    Metrics,
    Page,
    Log,
    Paired,
    Managed,
    Code,
    Config,
    Rejected,
    Slow,
}

struct Soak {
    dial: Dial,
    /// Token of the command line, whose changes are not limited.
    token: String,
    done: [AtomicU64; DAY.len()],
    /// Invokes that failed because the node was disconnected.
    missed: AtomicU64,
    over: AtomicBool,
    nodes_over: AtomicBool,
}

impl Soak {
    fn new(gateway: &Gateway) -> Soak {
        let done = [const { AtomicU64::new(0) }; DAY.len()];
        let (over, nodes_over) = (AtomicBool::new(false), AtomicBool::new(false));
        let token = gateway.plan.control_token();
        Soak { dial: gateway.dial(), token, done, missed: AtomicU64::new(0), over, nodes_over }
    }

    fn did(&self, what: Did) {
        self.done[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Repeats `work` with a pause that leaves the processor to others.
    fn repeat(&self, pause: u64, mut work: impl FnMut(u64)) {
        for round in 0.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            work(round);
            thread::sleep(Duration::from_millis(pause));
        }
    }

    fn admin(&self) -> Session {
        self.dial.connect(&Who::v3().token(&self.token)).unwrap()
    }

    fn metrics(&self) -> String {
        self.did(Did::Metrics);
        self.dial.get("/metrics")
    }

    fn operator(&self, who: &Who, nodes: &[Device]) {
        self.repeat(20, |round| {
            let mut session = self.dial.connect(who).unwrap();
            for at in 0..10 {
                let node = &nodes[at % nodes.len()].id;
                let params = json!({ "nodeId": node, "command": "system.which", "params": { "bins": ["sh"] },
                    "idempotencyKey": format!("{round}-{at}") });
                match session.call("node.invoke", params) {
                    Ok(_) => self.did(Did::Call),
                    Err(failed) => {
                        assert_eq!(failed.code(), "UNAVAILABLE", "{failed:?}");
                        self.missed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                session.forget();
            }
            self.did(Did::Operator);
            part(session, round);
        });
    }

    fn node(&self, who: &Who, id: &str) {
        let mut left = 0;
        while !self.nodes_over.load(Ordering::Relaxed) {
            let mut session = self.dial.connect(who).unwrap();
            self.did(Did::Node);
            session
                .socket
                .ws
                .get_ref()
                .0
                .set_read_timeout(Some(Duration::from_millis(20)))
                .unwrap();
            let mut answered = 0;
            while answered < 60 && !self.nodes_over.load(Ordering::Relaxed) {
                answered += u64::from(answer(&mut session, id));
            }
            session.socket.ws.get_ref().0.set_read_timeout(Some(patience())).unwrap();
            left += 1;
            part(session, left);
        }
    }

    /// Pairs devices by the token or by a code, changes them, and removes them.
    fn pairing(&self) {
        let mut admin = self.admin();
        self.repeat(20, |round| {
            let device = Device::new();
            let who = [Who::v4(), Who::v3(), Who::v4().node()][(round % 3) as usize].clone();
            let role = who.role.unwrap();
            let with = match round % 2 {
                0 => who.token(TOKEN),
                _ => who.code(&code(&mut admin, if role == "node" { "node" } else { "full" })),
            };
            let session = self.dial.connect(&with.device(&device)).unwrap();
            let name = json!({ "deviceId": device.id, "role": role });
            for (method, params) in [
                (
                    "device.pair.rename",
                    json!({ "deviceId": device.id, "label": format!("device {round}") }),
                ),
                ("device.token.rotate", name.clone()),
                ("device.token.revoke", name),
                ("device.pair.approve", json!({ "requestId": device.id })),
            ] {
                admin.call(method, params).unwrap();
                self.did(Did::Managed);
            }
            drop(session);
            admin.call("device.pair.remove", json!({ "deviceId": device.id })).unwrap();
            self.did(Did::Paired);
            admin.forget();
        });
    }

    fn owner(&self) {
        let mut admin = self.admin();
        self.repeat(500, |round| {
            code(&mut admin, "full");
            self.did(Did::Code);
            let hash = admin.call("config.get", json!({})).unwrap()["hash"].clone();
            let origins: Vec<String> =
                (0..round % 4).map(|at| format!("https://{at}.example")).collect();
            let raw =
                json!({ "gateway": { "controlUi": { "allowedOrigins": origins } } }).to_string();
            let replaced = json!(["gateway.controlUi.allowedOrigins"]);
            let params = json!({ "raw": raw, "baseHash": hash, "replacePaths": replaced });
            admin.call("config.patch", params).unwrap();
            self.did(Did::Config);
            admin.forget();
        });
    }

    /// Clients that only read, and an unauthenticated one.
    fn readers(&self) {
        let mut reader = self.dial.connect(&Who::v4().token(TOKEN).scopes(&["read"])).unwrap();
        let paths =
            [("/", 200), ("/healthz", 200), ("/readyz", 200), ("/whoami", 200), ("/nothing", 404)];
        self.repeat(5, |round| {
            assert!(self.metrics().starts_with("HTTP/1.1 200 "));
            let (path, status) = paths[round as usize % paths.len()];
            assert!(self.dial.get(path).starts_with(&format!("HTTP/1.1 {status} ")), "{path}");
            self.did(Did::Page);
            if round % 2 == 0 {
                reader.call("logs.tail", json!({ "limit": 50 })).unwrap();
                self.did(Did::Log);
                reader.forget();
            } else {
                let refused = self
                    .dial
                    .connect(&Who::v4().token("wrong").device(&Device::new()))
                    .unwrap_err();
                assert_eq!(refused.code(), "AUTH_TOKEN_MISMATCH");
                self.did(Did::Rejected);
            }
        });
    }

    /// A client that sends requests and does not read, until it is closed as a slow consumer.
    fn slow(&self) {
        self.repeat(1000, |_| {
            let dropped = || {
                value(
                    &self.metrics(),
                    "gatelet_connections_dropped_total{reason=\"slow consumer\"}",
                )
            };
            let before = dropped();
            let mut session = self.dial.connect(&Who::v4().token(TOKEN)).unwrap();
            until(
                || {
                    (0..20).for_each(|_| drop(session.start("logs.tail", json!({ "limit": 512 }))));
                    dropped() > before
                },
                || "a reader that reads nothing is kept".into(),
            );
            self.did(Did::Slow);
        });
    }
}

/// Ends a session, with a close frame or without.
fn part(session: Session, round: u64) {
    if round.is_multiple_of(2) {
        session.leave();
    }
}

/// Reads what arrives within a moment. Returns whether it was an invoke, which is then answered.
fn answer(node: &mut Session, id: &str) -> bool {
    let text = match node.socket.ws.read() {
        Ok(Message::Text(text)) => text,
        Ok(_) => return false,
        Err(Error::Io(error)) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {
            return false
        }
        Err(error) => panic!("a node: {error}"),
    };
    let frame: Value = serde_json::from_str(&text).unwrap();
    let asked = frame["event"] == "node.invoke.request";
    if asked {
        let result = json!({ "id": frame["payload"]["id"], "nodeId": id, "ok": true, "payloadJSON": "{\"bins\":{}}" });
        node.start("node.invoke.result", result);
    }
    asked
}

/// Returns the value of this line of the metrics.
fn value(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

/// Pairs and approves two nodes and two operators, one of each protocol.
fn household(gateway: &Gateway) -> (Vec<(Who, Device)>, Vec<Who>) {
    let mut admin = gateway.admin();
    let nodes: Vec<(Who, Device)> = [3, 4]
        .map(|protocol| {
            let device = Device::new();
            let who = Who::of(protocol)
                .offering(("linux", "Linux"), &["system.which"], &["system"])
                .device(&device);
            gateway.connect(&who.clone().token(TOKEN)).unwrap().leave();
            let waits =
                admin.call("node.pair.list", json!({})).unwrap()["pending"][0]["requestId"].clone();
            admin.call("node.pair.approve", json!({ "requestId": waits })).unwrap();
            (who, device)
        })
        .into();
    let operators: Vec<Who> =
        [3, 4].map(|protocol| Who::of(protocol).device(&Device::new())).into();
    for who in &operators {
        gateway.connect(&who.clone().token(TOKEN)).unwrap().leave();
    }
    (nodes, operators)
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Held {
    memory: u64,
    descriptors: u64,
    connections: u64,
    devices: u64,
}

impl Held {
    fn now(gateway: &Gateway) -> Held {
        let metrics = gateway.dial().get("/metrics");
        let connections =
            |state| value(&metrics, &format!("gatelet_connections{{state=\"{state}\"}}"));
        Held {
            memory: gateway.memory("VmRSS") / 1024,
            descriptors: gateway.descriptors() as u64,
            connections: connections("operator")
                + connections("node")
                + connections("unauthenticated"),
            devices: value(&metrics, "gatelet_table_devices"),
        }
    }
}

/// Returns the median of each quarter.
fn quarters(samples: &[Held], of: impl Fn(&Held) -> u64) -> Vec<u64> {
    let middle = |quarter: &[Held]| {
        let mut values: Vec<u64> = quarter.iter().map(&of).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    samples.chunks(samples.len().div_ceil(4)).map(middle).collect()
}

/// Runs all clients for this time and samples the gateway 200 times meanwhile.
fn run(gateway: &Gateway, soak: &Soak, time: Duration) -> Vec<Held> {
    let (nodes, operators) = household(gateway);
    let devices: Vec<Device> = nodes.iter().map(|(_, device)| device.clone()).collect();
    let mut samples = Vec::new();
    thread::scope(|scope| {
        let nodes: Vec<_> =
            nodes.iter().map(|(who, device)| scope.spawn(|| soak.node(who, &device.id))).collect();
        let mut others: Vec<_> =
            operators.iter().map(|who| scope.spawn(|| soak.operator(who, &devices))).collect();
        others.push(scope.spawn(|| soak.pairing()));
        others.push(scope.spawn(|| soak.owner()));
        others.push(scope.spawn(|| soak.readers()));
        others.push(scope.spawn(|| soak.slow()));
        let begun = Instant::now();
        while begun.elapsed() < time && others.iter().chain(&nodes).all(|one| !one.is_finished()) {
            thread::sleep(time / 200);
            samples.push(Held::now(gateway));
        }
        soak.over.store(true, Ordering::Relaxed);
        let ended: Vec<bool> = others.into_iter().map(|one| one.join().is_ok()).collect();
        soak.nodes_over.store(true, Ordering::Relaxed);
        assert!(ended.into_iter().all(|well| well), "a client failed");
    });
    samples
}

#[test]
fn a_day_of_use_leaks_no_resources() {
    let seconds = number("SOAK_SECONDS").unwrap_or(20);
    let gateway = Plan::new().prefix(&["env", "MALLOC_MMAP_THRESHOLD_=16384"]).start();
    let soak = Soak::new(&gateway);
    let before = Held::now(&gateway);
    let samples = run(&gateway, &soak, Duration::from_secs(seconds));
    let mut short = Vec::new();
    for ((name, day), done) in DAY.iter().zip(&soak.done) {
        let done = done.load(Ordering::Relaxed);
        println!("{done:>8} {name} ({:.1} days)", done as f64 / *day as f64);
        if done < (day * seconds).div_ceil(WHOLE) {
            short.push(name);
        }
    }
    println!("{:>8} calls met no node", soak.missed.load(Ordering::Relaxed));
    let memory = quarters(&samples, |held| held.memory);
    let descriptors = quarters(&samples, |held| held.descriptors);
    println!(
        "memory {memory:?} KiB, {} at the start; descriptors {descriptors:?}; {} looks",
        before.memory,
        samples.len()
    );
    println!(
        "connections {:?}, devices {:?}",
        quarters(&samples, |h| h.connections),
        quarters(&samples, |h| h.devices)
    );
    assert!(short.is_empty(), "not done often enough for the time: {short:?}");
    assert!(memory[3] <= memory[1] + growth_kib(), "memory grows: {memory:?} KiB");
    assert!(descriptors[3] <= descriptors[1] + CLIENTS, "descriptors: {descriptors:?}");
    // the four permanent devices stay in the table
    let after = Held { memory: before.memory, devices: before.devices + 4, ..before };
    until(
        || Held { memory: before.memory, ..Held::now(&gateway) } == after,
        || format!("{before:?} became {:?}", Held::now(&gateway)),
    );
    gateway.stop();
}

/// Returns the allowed growth in half of the time. Leaks first fill holes in the heap, so this
/// detects from some 200 bytes per connection in the shortest run with glibc, from less than 300 in
/// a minute of the shipped file, and from some ten in a whole day.
fn growth_kib() -> u64 {
    let shipped = std::env::var_os("GATELET_BIN").is_some();
    if shipped {
        SEND_QUEUE_BYTES as u64 / 1024
    } else {
        256
    }
}
/// Clients that connect and leave at the same time.
const CLIENTS: u64 = 8;
