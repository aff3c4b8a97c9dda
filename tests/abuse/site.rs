//! Gateway under attack, and its observers.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::MutexGuard;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use support::attacks::{Attack, Field};
use support::client::{Device, Session, Who};
use support::gateway::{Gateway, Plan, TOKEN};
use support::SetOnDrop;

use super::{alone, is_long, ANSWERED, MEMORY, MIB};

/// Time after an attack at which the memory is read.
const SETTLED: Duration = Duration::from_secs(5);

/// Gateway, and its memory while it is idle.
pub struct Site {
    pub gateway: Gateway,
    pub idle: u64,
    _alone: MutexGuard<'static, ()>,
}

/// Values that the observers saw during an attack.
#[derive(Default, Debug)]
pub struct Seen {
    pub peak: u64,
    /// Calls of the innocent administrator, and the time of the slowest one.
    pub calls: u32,
    pub slowest: Duration,
    /// Bytes of the pages that the program has changed on the disk, and bytes of its log.
    pub written: u64,
    pub logged: u64,
    /// Bytes that the attack sent, and answers that it received.
    pub sent: u64,
    pub answers: u64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { calls, slowest, written, logged, sent, answers, .. } = self;
        let peak = self.peak as f64 / MIB as f64;
        write!(f, "peak {peak:.1} MiB, {calls} calls, slowest {slowest:?}, {written} B written, {logged} B logged; the attack: {sent} B sent, {answers} answers")
    }
}

impl Seen {
    /// Calls `health`, which is answered in time.
    fn call(&mut self, innocent: &mut Session) {
        let asked = Instant::now();
        innocent.call("health", json!({})).expect("health");
        self.slowest = self.slowest.max(asked.elapsed());
        self.calls += 1;
        innocent.forget();
        assert!(self.slowest < ANSWERED, "an innocent call took {:?}", self.slowest);
    }
}

impl Site {
    pub fn new() -> Site {
        Site::start(Plan::new())
    }

    pub fn start(plan: Plan) -> Site {
        let alone = alone();
        let gateway = plan.start();
        let mut admin = gateway.admin();
        admin.status();
        admin.leave();
        let idle = gateway.memory("VmRSS");
        Site { gateway, idle, _alone: alone }
    }

    /// Runs the attacks for this time, beside an administrator that calls `health` on one
    /// connection and an owner that revokes devices.
    pub fn under(&self, attacks: &[Attack], time: Duration) -> Seen {
        let revocations = if is_long() { 8 } else { 2 };
        let devices: Vec<Who> = (0..revocations).map(|number| self.pair(3 + number % 2)).collect();
        let mut innocent = self.gateway.admin();
        let mut seen = Seen::default();
        let log = |gateway: &Gateway| gateway.log().len() as u64;
        let before = (written(&self.gateway), log(&self.gateway));
        self.beside(attacks, |field| {
            thread::scope(|scope| {
                let begun = Instant::now();
                let owner = scope.spawn(|| self.revoke_all(&devices, time));
                while begun.elapsed() < time || !owner.is_finished() {
                    seen.call(&mut innocent);
                    thread::sleep(Duration::from_millis(5));
                }
                owner.join().expect("the owner");
            });
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            (seen.sent, seen.answers) = (count(field.sent), count(field.answers));
        });
        assert!(self.is_alive(), "the gateway ended");
        seen.peak = self.gateway.memory("VmHWM");
        seen.written = written(&self.gateway) - before.0;
        seen.logged = log(&self.gateway) - before.1;
        seen
    }

    /// Runs `work` while the attacks run. Peak memory and written bytes count from here.
    pub fn beside<T>(&self, attacks: &[Attack], work: impl FnOnce(&Field) -> T) -> T {
        let (over, sent, answers) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let field = Field {
            dial: self.gateway.dial(),
            token: TOKEN,
            over: &over,
            sent: &sent,
            answers: &answers,
        };
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.gateway.pid()), "5");
        let shared = &field;
        thread::scope(|scope| {
            let _stop = SetOnDrop(&over);
            attacks.iter().for_each(|attack| drop(scope.spawn(move || attack(shared))));
            work(shared)
        })
    }

    /// Asserts that the peak of the memory stayed within the bound.
    pub fn holds_memory(&self, what: &str) {
        assert!(self.is_alive(), "{what}: the gateway ended");
        let peak = self.gateway.memory("VmHWM");
        assert!(peak <= MEMORY, "{what}: {:.1} MiB at the peak", peak as f64 / MIB as f64);
    }

    /// Returns whether the process is the one that was started, and has not ended.
    pub fn is_alive(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.gateway.pid()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// Asserts that memory is given back after an attack.
    pub fn gives_back(&self, what: &str) {
        thread::sleep(SETTLED);
        let kept = self.gateway.memory("VmRSS");
        println!("{what}: {kept} B kept, {} B idle", self.idle);
        assert!(kept <= 2 * self.idle + 2 * MIB, "{what}: {kept} B kept, {} B idle", self.idle);
    }

    /// Returns the plan of the owner's command line, which is not limited as the gateway is.
    pub fn owner(&self) -> Plan {
        let mut plan = self.gateway.plan.clone();
        plan.prefix.clear();
        plan
    }

    /// Pairs a device, which then connects by its key.
    pub fn pair(&self, protocol: u32) -> Who {
        let who = Who::of(protocol).scopes(&["read"]).device(&Device::new());
        let paired = self.gateway.connect(&who.clone().token(TOKEN));
        paired.expect("a new device").leave();
        who
    }

    /// Revokes these devices on the command line, at equal intervals.
    fn revoke_all(&self, devices: &[Who], time: Duration) {
        for who in devices {
            thread::sleep(time / (devices.len() as u32 + 1));
            self.revoke(who);
            self.is_healthy();
        }
    }

    /// Revokes a connected device on the command line, and removes it.
    pub fn revoke(&self, who: &Who) {
        let (begun, id) = (Instant::now(), who.device.as_ref().map_or("", |device| &device.id));
        let mut held = self.gateway.connect(who).expect("a known device");
        let listed = self.owner().good(&["devices", "list", "--json"]);
        assert!(listed.contains(id), "{listed}");
        self.owner().good(&["devices", "revoke", id]);
        held.closed();
        self.gateway.connect(who).expect_err("a revoked device is rejected");
        self.owner().good(&["devices", "remove", id]);
        assert!(begun.elapsed() < 3 * ANSWERED, "revoking took {:?}", begun.elapsed());
    }

    /// Asserts that the probe is answered.
    pub fn is_healthy(&self) {
        let begun = Instant::now();
        let answer = self.gateway.dial().get("/healthz");
        assert!(answer.starts_with("HTTP/1.1 200 "), "/healthz: {answer:?}");
        assert!(begun.elapsed() < ANSWERED, "/healthz took {:?}", begun.elapsed());
    }
}

/// Returns the bytes of the pages that the program has changed on the disk.
pub fn written(gateway: &Gateway) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", gateway.pid())).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.unwrap_or_else(|| panic!("no write_bytes in {io}")).parse().unwrap()
}

/// Returns a count of `gatelet.status`.
pub fn counted(admin: &mut Session, name: &str) -> u64 {
    let status = admin.status();
    status[name].as_u64().unwrap_or_else(|| panic!("no {name} in {status}"))
}
