//! The gateway in a world made of one seed: its clocks, disk, network and random numbers, and
//! beside it the model. Panics on any behaviour of the gateway that the model does not expect.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use async_task::Runnable;
use ed25519_dalek::SigningKey;
use fastrand::Rng;
use gatelet::config::{self, AuthMode, Overrides, PairingMode, SystemEnv};
use gatelet::gate::device::Device;
use gatelet::gate::facts::DeviceProof as Proved;
use gatelet::gate::ids::{ConnId, DeviceId, Millis, Nonce, Now, PublicKey, Role, TableAge, WallMs};
use gatelet::gate::limits;
use gatelet::gate::rate_limit::CredentialKind;
use gatelet::gate::refusal::Refusal;
use gatelet::rpc::Devices;
use gatelet::server::commit;
use gatelet::server::config_file::ConfigFile;
use gatelet::server::gateway::attempt::{Attempt, ClientInfo};
use gatelet::server::gateway::parse;
use gatelet::server::gateway::write_queue::DiskJob;
use gatelet::server::gateway::{Event, Gateway, InvalidFirstFrame};
use gatelet::server::net::pre_auth::PreAuthConnections;
use gatelet::server::net::send_queue::{Frame, Next, SendQueue};
use gatelet::server::os::clock::Entropy;
use gatelet::server::start_context::{shared_secret, StartContext};
use gatelet::store::tokens::{control_token, device_token, TableKey};
use gatelet::store::{Contents, LoadedTable, PairingFile, Shape, TableId};
use gatelet::wire::connect::Connect;
use gatelet::wire::frames::{self, Request};
use gatelet::wire::http::Head;
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::mem_disk::{Lands, Loss, MemDisk};
use support::once_in;

use crate::model::{self, Answer, Ask, Change, Dev, Done, Due, Model, Proof, Rules, Truth, Who};
use crate::trace::{logged, Trace};

/// Commands that nodes can have.
pub const COMMANDS: [&str; 3] = ["robot.walk", "robot.wave", "robot.sing"];
/// Bytes that a client's socket takes before its send queue fills.
const WIRE: usize = 48 * 1024;
/// Maximum number of bytes of events in a send queue: their share and the newest of each state.
const EVENTS: usize = limits::SEND_QUEUE_EVENTS + 256 * 1024;

/// Returns the key of the table.
fn table_key() -> TableKey {
    TableKey::new([7; 32])
}

/// Key pair of a device.
pub struct Key {
    pub pair: SigningKey,
    pub id: String,
    pub public: String,
}

/// Returns the keys of all devices.
pub fn keys() -> &'static [Key] {
    static KEYS: OnceLock<Vec<Key>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let key = |n: u8| {
            let pair = SigningKey::from_bytes(&[n; 32]);
            let id = Sha256::digest(pair.verifying_key())
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let public = base64(pair.verifying_key().as_bytes());
            Key { pair, id, public }
        };
        (1..=100).map(key).collect()
    })
}

pub fn base64(bytes: &[u8]) -> String {
    gatelet::wire::base64::encode_url(bytes)
}

pub fn who_is(id: &str) -> Option<Who> {
    static IDS: OnceLock<BTreeMap<&str, Who>> = OnceLock::new();
    let all = || keys().iter().enumerate().map(|(who, key)| (key.id.as_str(), who)).collect();
    IDS.get_or_init(all).get(id).copied()
}

/// Returns the token of this generation.
pub fn token_of(who: Who, role: usize, generation: u32) -> String {
    let id = DeviceId::parse(&keys()[who].id).unwrap();
    device_token(&table_key(), &id, Role::ALL[role], generation).as_str().to_string()
}

fn dev_of(device: &Device) -> Dev {
    Dev {
        who: who_is(&device.id.to_string()).expect("a device of the pool"),
        roles: device.roles.bits(),
        revoked: device.revoked.bits(),
        scopes: device.scopes.bits(),
        by: device.provenance as u8,
        tokens: device.tokens.map(|window| (window.floor, window.current)),
        label: device.label.to_string(),
        commands: device.surface.commands().map(str::to_string).collect(),
        seen_age: device.seen_age.0,
    }
}

/// Single random source of the gateway, which records the bytes drawn during an event.
#[derive(Clone)]
struct Dice(Rc<RefCell<(Rng, Vec<Vec<u8>>)>>);

impl Entropy for Dice {
    fn fill(&mut self, bytes: &mut [u8]) {
        let (random, drawn) = &mut *self.0.borrow_mut();
        random.fill(bytes);
        drawn.push(bytes.to_vec());
    }
}

struct OnDisk {
    job: DiskJob,
    ticket: u64,
    changes: Vec<Change>,
}

/// State of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    Greeting,
    Deciding,
    Admitted,
}

/// Message sent by a client and not yet read by the gateway.
pub enum Sent {
    Connect { bytes: Vec<u8>, truth: Box<Truth>, signed: Signed },
    Call { bytes: Vec<u8>, id: String, ask: Ask },
    Noise(Vec<u8>),
}

/// Properties of the signature in a `connect`.
#[derive(Clone, Copy, Debug)]
pub struct Signed {
    /// Signed and verified with real cryptography; otherwise `right` is taken as the result.
    pub real: bool,
    pub right: bool,
    /// Signature time, by the client's clock.
    pub at: u64,
}

pub struct Conn {
    pub send_queue: Rc<SendQueue>,
    pub client_info: ClientInfo,
    pub stage: Stage,
    pub nonce: Nonce,
    opened: u64,
    pub inbox: VecDeque<Sent>,
    /// Frames in transit to the client.
    pub wire: VecDeque<Value>,
    wire_lens: VecDeque<usize>,
    wire_bytes: usize,
    pub reads: bool,
    /// The client has disconnected.
    pub gone: bool,
    /// Deadline of the close that the gateway started.
    ending: Option<u64>,
    dropped: Arc<AtomicBool>,
    pub hello: bool,
    pub connected_with: Option<(Option<Who>, usize)>,
    seq: u64,
    missed: u64,
    pub calls: u64,
    pub truth: Option<Truth>,
    /// Last `connect` of this connection with its signature, for replay.
    pub overheard: Option<(Vec<u8>, Truth, Signed)>,
    /// Attempt that waits in the queue of the rate limiter, and when it is checked.
    turn: Option<(u64, Box<Attempt>, Box<Truth>)>,
    /// Requests that this node has not answered: id and mark.
    pub asked: Vec<(String, u64)>,
    unread: usize,
}

struct Mark {
    caller: u64,
    id: String,
    node: u64,
    sent: bool,
}

/// Rates of faults.
#[derive(Clone, Copy)]
pub struct Weather {
    /// One job in this many fails.
    pub disk_fails: usize,
    /// One step in this many loses power.
    pub cuts: usize,
    /// Duration of a job in milliseconds.
    pub disk_ms: u64,
}

pub struct World {
    pub random: Rng,
    pub trace: Trace,
    pub at: u64,
    pub wall: u64,
    /// The real time of day.
    pub true_wall: u64,
    dice: Dice,
    pub gateway: Option<Gateway>,
    here: ConfigFile,
    pub texts: Vec<(String, Rules)>,
    pub config: usize,
    capacity: usize,
    disk: MemDisk,
    file: Option<PairingFile<MemDisk>>,
    queue: VecDeque<OnDisk>,
    disk_due: u64,
    pub weather: Weather,
    pub conns: BTreeMap<u64, Conn>,
    pub next_conn: u64,
    pre_auth: PreAuthConnections,
    pub model: Model,
    marks: BTreeMap<u64, Mark>,
    pub next_mark: u64,
    pub tokens: BTreeSet<(Who, usize, String)>,
    pub codes: Vec<String>,
    pub requests: Vec<String>,
    /// Password of the client that connects next.
    pub typed: Option<String>,
    age_on_disk: u32,
    /// Times until which the checked passwords and setup codes of clients without a known key are
    /// paid for, at the rate of the limiter.
    paid: [u64; 2],
    pub seen: BTreeMap<&'static str, u64>,
}

struct Guard(Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl World {
    pub fn new(seed: u64, trace: Trace, dir: PathBuf) -> World {
        let mut random = Rng::with_seed(seed);
        let weather = Weather {
            disk_fails: [usize::MAX, 40, 12, 4][random.usize(..4)],
            cuts: [usize::MAX, 2500, 600, 120][random.usize(..4)],
            disk_ms: [2, 40, 1500, 40_000][random.usize(..4)],
        };
        let capacity = [2, 4, 7, 12][random.usize(..4)];
        let texts = texts(&mut random, capacity);
        let at = [0, 1, 5000][random.usize(..3)];
        let key = table_key();
        let path = dir.join("openclaw.json");
        let args = Overrides {
            config: Some(path.display().to_string()),
            state_dir: Some(dir.display().to_string()),
            ..Overrides::default()
        };
        std::fs::write(&path, &texts[0].0).unwrap();
        let loaded = config::load_text(&args, &SystemEnv, Some(&texts[0].0));
        let paths = loaded.paths.expect("paths");
        let here = StartContext {
            args,
            paths,
            listening: vec!["127.0.0.1:18789".into()],
            bind: gatelet::config::Bind::Loopback,
            port: 18789,
            key,
            boot_id: "boot".into(),
            machine: "pi".into(),
            command: "gatelet".into(),
            program: "gatelet".into(),
            warnings: Vec::new(),
        };
        let disk = MemDisk::new(&[]);
        let contents = Contents {
            shape: Shape { id: TableId([3; 16]), capacity: capacity as u16 },
            age: TableAge(0),
            devices: Vec::new(),
        };
        PairingFile::create(disk.clone(), &contents).expect("a table");
        let model = Model::new(texts[0].1.clone(), capacity, token_of);
        let dice = Dice(Rc::new(RefCell::new((random.fork(), Vec::new()))));
        let true_wall = 1_780_000_000_000;
        let mut world = World {
            random,
            trace,
            at,
            wall: true_wall,
            true_wall,
            dice,
            gateway: None,
            here: ConfigFile::new(here, Vec::new()),
            texts,
            config: 0,
            capacity,
            disk,
            file: None,
            queue: VecDeque::new(),
            disk_due: 0,
            weather,
            conns: BTreeMap::new(),
            next_conn: 1,
            pre_auth: PreAuthConnections::default(),
            model,
            marks: BTreeMap::new(),
            next_mark: 1,
            tokens: BTreeSet::new(),
            codes: Vec::new(),
            requests: Vec::new(),
            typed: None,
            age_on_disk: 0,
            paid: [0; 2],
            seen: BTreeMap::new(),
        };
        world.start();
        world
    }

    pub fn now(&self) -> Now {
        Now { at: Millis(self.at), wall: WallMs(self.wall) }
    }

    /// Returns the hash that `config.get` must return.
    pub fn config_hash(&self) -> String {
        self.here.hash(&self.texts[self.config].0)
    }

    pub fn note(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    // --- starts and ends -------------------------------------------------------------------------

    /// Starts a gateway on the contents of the disk.
    fn start(&mut self) {
        let (mut file, mut loaded) = self.opened();
        if !loaded.unused.is_empty() {
            // power may fail again during the repair, and lose data that was read only from a cache
            while once_in(&mut self.random, 5) {
                self.disk.cut_after(self.random.u64(..4000));
                let _ = file.repair_replicas();
                self.lose_power();
                (file, loaded) = self.opened();
            }
            self.note("repaired");
        }
        file.repair_replicas().expect("a sound disk can be mended");
        let (_, again) = self.opened();
        assert_eq!(again.contents, loaded.contents, "repair changed the contents");
        assert!(again.unused.is_empty(), "the repair left damage");
        let contents = loaded.contents;
        let mut found: Vec<Option<Dev>> = vec![None; self.capacity];
        let mut devices = Devices::new(self.capacity as u16, self.random.u64(..), contents.age);
        for (slot, device) in &contents.devices {
            found[usize::from(slot.0)] = Some(dev_of(device));
            devices.put(*slot, device.clone());
        }
        assert!(contents.age.0 >= self.age_on_disk, "the age of the table decreased");
        let (text, rules) = &self.texts[self.config];
        let loaded = config::load_text(&self.here.start.args, &SystemEnv, Some(text));
        let problems = loaded.problems;
        let config = loaded.config.unwrap_or_else(|| panic!("{problems:?} in {text}"));
        let secret = shared_secret(&config, &self.here.start.paths).expect("a secret");
        self.model.rules = rules.clone();
        let started = self.model.start(self.at, contents.age.0, found);
        started.unwrap_or_else(|wrong| panic!("after a start: {wrong}"));
        let setup = Rc::new(self.here.start.runtime_config(&config, secret.as_ref()));
        let mut status = self.here.start.status(&config, secret.as_ref(), Vec::new());
        status.pid = 1;
        let gateway = Gateway::new(setup, devices, status, Box::new(self.dice.clone()), self.now());
        self.gateway = Some(gateway);
        self.file = Some(file);
        self.trace
            .line(format_args!("start at={} wall={} config={}", self.at, self.wall, self.config));
    }

    fn opened(&self) -> (PairingFile<MemDisk>, LoadedTable) {
        let opened = PairingFile::open(self.disk.clone());
        opened.unwrap_or_else(|error| panic!("the table does not open: {error:?}"))
    }

    /// Drops everything in memory.
    fn forget(&mut self) {
        self.gateway = None;
        self.file = None;
        self.queue.clear();
        self.conns.clear();
        self.pre_auth = PreAuthConnections::default();
        self.marks.clear();
        self.at = [0, 3, 70_000][self.random.usize(..3)];
        self.paid = [0; 2];
    }

    fn lose_power(&mut self) {
        let loss = if once_in(&mut self.random, 3) { Loss::Blocks } else { Loss::Sectors };
        let mut images = self.disk.after_power_cut(loss, 4, &mut self.random);
        let image = images.swap_remove(self.random.usize(..images.len()));
        self.disk = MemDisk::new(&image);
    }

    /// Cuts power, perhaps in the middle of a commit.
    pub fn power_cut(&mut self) {
        self.note("power cut");
        self.trace.line(format_args!("power cut, {} jobs", self.queue.len()));
        if let Some(next) = self.queue.pop_front() {
            if self.random.bool() {
                self.model.writes(&next.changes);
                self.disk.cut_after(self.random.u64(..3 * 1024));
                let _ = commit(self.file.as_mut().unwrap(), &next.job);
                self.note("cut in a commit");
            }
        }
        self.lose_power();
        self.forget();
        self.start();
    }

    /// Kills the process; the machine keeps running.
    pub fn kill(&mut self) {
        self.note("kill");
        self.trace.line(format_args!("kill"));
        if let Some(next) = self.queue.pop_front() {
            if self.random.bool() {
                // also in the middle of a commit: written data is in the cache and may never reach
                // the disk
                self.model.writes(&next.changes);
                self.disk.cut_after(self.random.u64(..3 * 1024));
                let _ = commit(self.file.as_mut().unwrap(), &next.job);
                self.disk.heal();
            }
        }
        self.forget();
        self.start();
    }

    /// Stops the gateway gracefully and starts it again.
    pub fn stop(&mut self) {
        self.note("stop");
        self.trace.line(format_args!("stop"));
        let jobs = self.event(Event::Stop);
        self.model.stop();
        self.flushed(jobs);
        for conn in self.ids() {
            assert!(
                self.conns[&conn].send_queue.is_closed(),
                "conn {conn} is not closed at a stop"
            );
        }
        if self.random.bool() {
            self.attempt_late();
        }
        while !self.queue.is_empty() {
            self.run_disk();
        }
        for conn in self.ids() {
            self.poll(conn);
            self.close(conn);
        }
        self.forget();
        self.start();
    }

    fn attempt_late(&mut self) {
        for conn in self.ids() {
            self.poll(conn);
        }
    }

    pub fn ids(&self) -> Vec<u64> {
        self.conns.keys().copied().collect()
    }

    // --- events ----------------------------------------------------------------------------------

    fn event(&mut self, event: Event) -> Vec<OnDisk> {
        self.dice.0.borrow_mut().1.clear();
        let now = self.now();
        self.model.wall = self.wall;
        let gateway = self.gateway.as_mut().expect("a gateway runs");
        gateway.handle(event, now);
        for line in logged() {
            let secret = self.secrets().find(|secret| line.contains(secret.as_str()));
            assert!(secret.is_none(), "a secret is logged: {line}");
            self.trace.line(format_args!("log: {line}"));
        }
        let gateway = self.gateway.as_mut().expect("a gateway runs");
        let queued = gateway.send_budget();
        let waiting: usize = self.conns.values().map(|conn| conn.send_queue.bytes()).sum();
        assert!(queued.used() <= queued.total(), "the send queues exceed their budget");
        assert!(queued.used() > 0 || waiting == 0, "{waiting} queued bytes are not counted");
        let mut ticket = self.model.tickets;
        self.model.tickets_before = ticket;
        let mut jobs = Vec::new();
        while let Some(job) = gateway.next_job() {
            let change = |(slot, device): &(gatelet::gate::ids::Slot, Option<Device>)| {
                (usize::from(slot.0), device.as_ref().map(dev_of))
            };
            let changes = job.changes.iter().map(change).collect();
            jobs.push(OnDisk { job, ticket, changes });
            ticket += 1;
        }
        let ids = self.dice.0.borrow();
        let ids = ids.1.iter().filter_map(|bytes| <[u8; 16]>::try_from(bytes.as_slice()).ok());
        self.model.drawn = ids.collect();
        let (waits, of_one) = self.model.waits();
        if of_one == limits::COMMITS_OF_ONE {
            *self.seen.entry("share of the disk used up").or_default() += 1;
        }
        assert!(waits <= limits::COMMITS_QUEUED, "{waits} changes are queued for the disk");
        jobs
    }

    /// Returns all secrets, which must not appear in the log.
    fn secrets(&self) -> impl Iterator<Item = &String> {
        let tokens = self.tokens.iter().map(|(_, _, token)| token).chain(self.codes.iter());
        let rules = &self.model.rules;
        let typed =
            matches!(rules.auth, AuthMode::Token | AuthMode::Password).then_some(&rules.secret);
        tokens.chain([&rules.control]).chain(typed)
    }

    fn expect(&mut self, jobs: Vec<OnDisk>, change: impl IntoIterator<Item = Change>, what: &str) {
        let wanted: Vec<Change> = change.into_iter().collect();
        let wanted: Vec<&Change> = wanted.iter().collect();
        let asked: Vec<&Change> = jobs.iter().flat_map(|job| &job.changes).collect();
        assert!(asked == wanted, "{what}: the disk is to write {asked:?}, it should be {wanted:?}");
        assert!(jobs.len() == wanted.len(), "{what}: {} jobs", jobs.len());
        self.give(jobs);
    }

    fn flushed(&mut self, jobs: Vec<OnDisk>) {
        assert!(jobs.len() <= 1, "more than one job at once");
        for job in &jobs {
            assert!(job.job.age.is_some(), "an unexpected change");
            self.model.flushed(&job.changes).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
        self.give(jobs);
    }

    fn give(&mut self, jobs: Vec<OnDisk>) {
        if self.queue.is_empty() && !jobs.is_empty() {
            self.disk_due = self.at + self.random.u64(..=self.weather.disk_ms);
        }
        for job in jobs {
            for (slot, dev) in &job.changes {
                self.trace.line(format_args!("job {} slot {slot} = {dev:?}", job.ticket));
            }
            self.queue.push_back(job);
        }
        assert_eq!(
            self.model.tickets,
            self.queue.back().map_or(self.model.tickets, |job| job.ticket + 1),
            "jobs"
        );
    }

    /// Returns whether the current job of the disk is done.
    pub fn disk_is_due(&self) -> bool {
        !self.queue.is_empty() && self.disk_due <= self.at
    }

    pub fn disk_is_busy(&self) -> bool {
        !self.queue.is_empty()
    }

    pub fn disk_due(&self) -> u64 {
        self.disk_due
    }

    pub fn run_disk(&mut self) {
        let Some(OnDisk { mut job, ticket, changes }) = self.queue.pop_front() else { return };
        self.disk_due = self.at + self.random.u64(..=self.weather.disk_ms);
        self.model.writes(&changes);
        if once_in(&mut self.random, self.weather.disk_fails) {
            self.note("disk failed");
            match self.random.usize(..3) {
                0 => {
                    let lands = [Lands::Nothing, Lands::Everything, Lands::Beginnings]
                        [self.random.usize(..3)];
                    self.disk.fail_sync_after(self.random.u64(..2), lands);
                }
                _ => self
                    .disk
                    .fail_write_after(self.random.u64(..2), [0, 100, 700][self.random.usize(..3)]),
            }
        }
        let done = commit(self.file.as_mut().unwrap(), &job);
        self.disk.heal();
        let (mut rules, mut written) = (None, 0);
        if let Some(work) = &mut job.file {
            self.here.run(work);
            written = work.written();
            if let Some(Ok(done)) = &work.result {
                self.model.config_len = done.len;
            }
            if let Some(Ok(done)) = &mut work.result {
                if let Some(new) = &mut done.new {
                    new.1.pid = 1;
                    self.config = self
                        .texts
                        .iter()
                        .position(|(text, _)| *text == work.request.raw)
                        .expect("a known text");
                    rules = Some(self.texts[self.config].1.clone());
                    self.note("configured");
                    // a new rate starts its own count
                    self.paid = [0; 2];
                }
            }
        }
        let (well, flush) = (done.is_ok(), job.age.is_some());
        if let (true, Some(age)) = (well, job.age) {
            self.age_on_disk = self.age_on_disk.max(age.0);
        }
        self.trace.line(format_args!("disk did {ticket}: {well}"));
        let error = done.err().map(|error| error.to_string());
        let more = self.event(Event::Committed { job, error });
        let at = self.at;
        let (closed, changes) =
            self.model.done(Done { ticket, changes, flush, well, rules, written }, at);
        self.expect(more, changes, "what waited for the disk");
        self.close_evicted();
        for conn in closed {
            if let Some(conn) = self.conns.get(&conn) {
                assert!(conn.send_queue.is_closed(), "a connection outlives its authorization");
                self.note("closed by a change");
            }
        }
    }

    /// Runs the gateway's timers.
    pub fn tick(&mut self) {
        let due = self.gateway.as_ref().unwrap().next_deadline();
        if due.0 <= self.at {
            let jobs = self.event(Event::Tick);
            let at = self.at;
            self.model.tick(at);
            self.flushed(jobs);
            let next = self.gateway.as_ref().unwrap().next_deadline();
            assert!(next.0 > self.at, "a tick leaves a deadline in the past");
        }
        for conn in self.ids() {
            let one = self.conns.get_mut(&conn).unwrap();
            let at = self.at;
            if let Some((_, attempt, truth)) = one.turn.take_if(|(turn, ..)| *turn <= at) {
                self.asks(conn, *attempt, &truth);
            }
            let one = &self.conns[&conn];
            let late = one.stage != Stage::Admitted && self.at >= one.opened + limits::HANDSHAKE_MS;
            let over = one.ending.is_some_and(|until| self.at >= until);
            if late || over || one.dropped.load(Ordering::Relaxed) && one.stage != Stage::Admitted {
                self.close(conn);
            }
        }
    }

    pub fn deadline(&self) -> u64 {
        self.gateway.as_ref().unwrap().next_deadline().0
    }

    // --- the network -----------------------------------------------------------------------------

    /// Opens a connection with this request head.
    pub fn open(&mut self, head: &str, peer: IpAddr) -> u64 {
        let conn = self.next_conn;
        self.next_conn += 1;
        let gateway = self.gateway.as_ref().unwrap();
        let head = Head::parse(head.as_bytes()).expect("a good head").expect("a whole head");
        let client_info = parse::client_info(&head, peer, None, gateway.runtime_config());
        self.pre_auth.add(ConnId(conn), peer);
        let dropped = Arc::<AtomicBool>::default();
        let guard = Guard(dropped.clone());
        let waits = async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        };
        // an evicted connection is not polled any more
        let (runnable, task) = async_task::spawn(waits, |runnable: Runnable| drop(runnable));
        runnable.run();
        self.pre_auth.set_task(ConnId(conn), task);
        assert!(
            self.pre_auth.len() <= limits::UNAUTHENTICATED,
            "too many unauthenticated connections"
        );
        let send_queue = Rc::<SendQueue>::default();
        let jobs = self.event(Event::Opened { conn: ConnId(conn), send_queue: send_queue.clone() });
        assert!(jobs.is_empty());
        self.model.open.insert(conn);
        let nonce: [u8; 16] = (&mut self.dice as &mut dyn Entropy).bytes();
        let one = Conn {
            send_queue,
            client_info,
            stage: Stage::Greeting,
            nonce: Nonce(nonce),
            opened: self.at,
            inbox: VecDeque::new(),
            wire: VecDeque::new(),
            wire_lens: VecDeque::new(),
            wire_bytes: 0,
            reads: true,
            gone: false,
            ending: None,
            dropped,
            hello: false,
            connected_with: None,
            seq: 0,
            missed: 0,
            calls: 0,
            truth: None,
            overheard: None,
            turn: None,
            asked: Vec::new(),
            unread: 0,
        };
        self.conns.insert(conn, one);
        self.trace.line(format_args!("open {conn} from {peer}"));
        conn
    }

    /// Tells the gateway that a connection has ended.
    pub fn close(&mut self, id: u64) {
        let Some(conn) = self.conns.remove(&id) else { return };
        self.pre_auth.remove(ConnId(id));
        let mut frames = conn.unread;
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(next) = conn.send_queue.poll_next(&mut context) {
            frames += usize::from(matches!(next, Next::Frame(_)));
        }
        let most = limits::SEND_QUEUE_FRAMES + EVENTS / frames::EVENT_END;
        assert!(frames <= most, "{frames} frames waited for one client");
        let jobs = self.event(Event::Closed { conn: ConnId(id) });
        assert!(jobs.is_empty());
        self.model.closed(id);
        self.trace.line(format_args!("closed {id}"));
    }

    /// Ends the connections whose place another one took; they do not wait for their clients.
    fn close_evicted(&mut self) {
        let evicted = self.conns.iter().filter(|(_, conn)| conn.send_queue.is_evicted());
        let evicted: Vec<u64> = evicted.map(|(id, _)| *id).collect();
        for id in evicted {
            self.note("evicted");
            self.close(id);
        }
    }

    /// Polls a connection: sends queued frames as far as the socket takes them, then reads one
    /// message.
    pub fn poll(&mut self, id: u64) {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.ending.is_none()) else {
                return;
            };
            assert!(
                conn.send_queue.bytes()
                    <= limits::SEND_QUEUE_BYTES + limits::FRAME_AFTER_HELLO + EVENTS,
                "a send queue over its limit"
            );
            let stuck = conn.wire_bytes >= WIRE;
            if stuck && !conn.send_queue.is_closed() {
                break;
            }
            match conn.send_queue.poll_next(&mut context) {
                Poll::Ready(Next::Frame(frame)) => self.said(id, &frame.to_vec()),
                Poll::Ready(Next::Ping) if conn.reads && !conn.gone => conn.send_queue.mark_alive(),
                Poll::Ready(Next::Ping) => {}
                Poll::Ready(Next::Admitted) => {
                    conn.stage = Stage::Admitted;
                    self.pre_auth.remove(ConnId(id));
                    return;
                }
                Poll::Ready(Next::Close(code, reason)) => {
                    conn.ending = Some(self.at + limits::CLOSE_GRACE_MS);
                    assert!(reason.len() <= limits::CLOSE_REASON, "the close reason is too long");
                    self.trace.line(format_args!("{id} is closed: {code} {reason}"));
                    return;
                }
                Poll::Pending => break,
            }
        }
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.stage == Stage::Deciding {
            return;
        }
        match conn.inbox.pop_front() {
            None if conn.gone => self.close(id),
            None => {}
            Some(sent) => {
                conn.send_queue.mark_alive();
                match conn.stage {
                    Stage::Greeting => self.first(id, sent),
                    _ => self.later(id, sent),
                }
            }
        }
    }

    /// Handles the first message of a connection, as `server::net::connection` does.
    fn first(&mut self, id: u64, sent: Sent) {
        let now = self.now();
        let runtime_config = self.gateway.as_ref().unwrap().runtime_config().clone();
        let conn = self.conns.get_mut(&id).unwrap();
        conn.stage = Stage::Deciding;
        let client_info = conn.client_info.clone();
        let invalid = |refusal, request: Option<String>, problems| Event::InvalidFirstFrame {
            conn: ConnId(id),
            frame: Box::new(InvalidFirstFrame {
                client_info: client_info.clone(),
                refusal,
                request,
                problems,
            }),
        };
        let (Sent::Connect { bytes, .. } | Sent::Call { bytes, .. } | Sent::Noise(bytes)) = &sent;
        let event = match Request::parse(bytes) {
            Ok(request) if request.method == "connect" => match Connect::parse(request.params) {
                Ok(connect) => {
                    let Sent::Connect { truth, signed, .. } = &sent else {
                        panic!("a connect that the model does not know")
                    };
                    let challenge = (conn.nonce, self.at - conn.opened);
                    let (mut attempt, check) = parse::attempt(
                        &request.id,
                        &connect,
                        &client_info,
                        challenge,
                        &runtime_config,
                        now,
                    );
                    if let Some(check) = check {
                        attempt.device_proof = match truth.who.filter(|_| signed.right) {
                            _ if signed.real => check.verify(),
                            Some(who) => proved(who),
                            None => Proved::Invalid(Refusal::SignatureInvalid),
                        };
                    }
                    let mut truth = truth.clone();
                    truth.network = attempt.about.remote;
                    let skewed = signed.at.abs_diff(self.wall) > limits::CLOCK_SKEW_MS;
                    let judged =
                        self.model.rules.strict_clock || truth.local && truth.alone.is_some();
                    let late = challenge.1 > limits::PROOF_FRESH_MS;
                    if (judged && skewed || late) && truth.proof != Proof::Absent {
                        truth.proof = Proof::Invalid;
                    }
                    conn.overheard = Some((bytes.clone(), (*truth).clone(), *signed));
                    let at = Millis(self.at);
                    let wait = self.gateway.as_mut().unwrap().reserve_attempt(&mut attempt, at);
                    truth.unread = attempt.presented.is_rate_limited;
                    let conn = self.conns.get_mut(&id).unwrap();
                    conn.truth = Some((*truth).clone());
                    self.trace.line(format_args!("{id} asks in {wait} ms: {truth:?}"));
                    if wait == 0 {
                        return self.asks(id, attempt, &truth);
                    }
                    // from here on it is in the queue of attempts, not a pre-auth connection
                    conn.turn = Some((self.at + wait, Box::new(attempt), truth));
                    self.pre_auth.remove(ConnId(id));
                    self.note("waited for an attempt");
                    return;
                }
                Err(problems) => {
                    invalid(Refusal::InvalidConnect, Some(request.id.to_string()), Some(problems))
                }
            },
            Ok(request) => invalid(Refusal::NotConnect, Some(request.id.to_string()), None),
            Err(_) => invalid(Refusal::InvalidFrame, None, None),
        };
        let jobs = self.event(event);
        self.model.answers.insert(id, Answer::Refused { pending: None });
        self.expect(jobs, None, "no connect");
    }

    /// Passes an attempt to the gateway.
    fn asks(&mut self, id: u64, attempt: Attempt, truth: &Truth) {
        if let Some(guess) = attempt.presented.credential_kind.filter(|_| !truth.unread) {
            let every = if guess == CredentialKind::Password {
                limits::PASSWORD_EVERY_MS
            } else {
                limits::CODE_EVERY_MS
            };
            // a right credential is not charged, whatever the result
            let shown = [&truth.token, &truth.password, &truth.code].into_iter().flatten();
            let codes = &self.model.codes;
            let right = |text: &String| {
                *text == self.model.rules.secret || codes.iter().any(|code| code.text == *text)
            };
            let costs = if shown.into_iter().any(right) { 0 } else { every };
            let paid = &mut self.paid[guess as usize];
            *paid = (*paid).max(self.at) + costs;
            let most = self.at + (limits::ATTEMPTS_AT_ONCE + 1) * every;
            assert!(*paid <= most, "attempts are checked too fast: {paid} is more than {most}");
        }
        let jobs = self.event(Event::Connect { conn: ConnId(id), attempt: Box::new(attempt) });
        let at = self.at;
        let change = self.model.connect(id, truth, at);
        self.expect(jobs, change, "an attempt");
        self.close_evicted();
    }

    fn later(&mut self, id: u64, sent: Sent) {
        let member = self.model.members.get(&id).cloned();
        match sent {
            Sent::Call { bytes, id: request, ask } => {
                let node = match (&ask, &member) {
                    (Ask::Invoke(who, command, _), Some(member)) => {
                        self.model.may_invoke(member, *who, command)
                    }
                    _ => None,
                };
                self.trace.line(format_args!("{id} calls {request}: {ask:?}"));
                if let (Ask::Invoke(_, _, mark), Some(node)) = (&ask, node) {
                    let mark_of = Mark { caller: id, id: request.clone(), node, sent: false };
                    self.marks.insert(*mark, mark_of);
                    self.note("invoke allowed");
                }
                let jobs =
                    self.event(Event::Frame { conn: ConnId(id), message: Frame::from(bytes) });
                let at = self.at;
                let change = self.model.call(id, &request, &ask, at);
                if let (Ask::Invoke(..), None) = (&ask, node) {
                    self.model.due.insert((id, request.clone()), Due::Failed);
                }
                if let Ask::SetupCode(_) = ask {
                    let drawn =
                        self.dice.0.borrow().1.iter().find(|bytes| bytes.len() == 8).cloned();
                    if let Some(drawn) = drawn {
                        let letters = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
                        let text: String = drawn
                            .iter()
                            .map(|byte| letters[usize::from(byte & 31)] as char)
                            .collect();
                        self.model.code_made(text.clone());
                        self.codes.push(text);
                    }
                }
                if let Ask::File { .. } = ask {
                    assert!(
                        jobs.len() <= 1 && jobs.iter().all(|job| job.changes.is_empty()),
                        "a file job"
                    );
                    self.give(jobs);
                } else {
                    self.expect(jobs, change, &format!("{ask:?}"));
                }
            }
            Sent::Connect { bytes, .. } | Sent::Noise(bytes) => {
                let jobs =
                    self.event(Event::Frame { conn: ConnId(id), message: Frame::from(bytes) });
                self.expect(jobs, None, "noise");
            }
        }
    }

    // --- messages of the gateway -----------------------------------------------------------------

    /// Checks that a frame was expected, and puts it on the wire.
    fn said(&mut self, id: u64, frame: &[u8]) {
        let value: Value = serde_json::from_slice(frame).expect("JSON");
        if let Some(text) = value["event"].as_str() {
            self.check_event(id, text, &value);
        } else {
            self.check_response(id, &value);
        }
        if !self.noisy(&value) {
            self.trace.bytes(frame);
        }
        let conn = self.conns.get_mut(&id).unwrap();
        conn.wire_bytes += frame.len();
        conn.wire_lens.push_back(frame.len());
        conn.wire.push_back(value);
    }

    /// Returns whether the frame contains data of this machine or process.
    fn noisy(&self, value: &Value) -> bool {
        let payload = &value["payload"];
        ["path", "configPath", "pid", "machine", "processors", "loadAverage"]
            .iter()
            .any(|key| payload.get(key).is_some())
            || payload["snapshot"].get("configPath").is_some()
            || value["id"].as_str().is_some_and(|id| id.starts_with("file"))
    }

    fn check_event(&mut self, id: u64, name: &str, value: &Value) {
        let member = self.model.members.get(&id).cloned();
        let conn = self.conns.get_mut(&id).unwrap();
        assert!(conn.hello, "{name} before hello");
        let member = member.expect("an event to a connection that is not admitted");
        let may = |scope: u16| member.may(scope);
        let node = member.role == model::NODE;
        let good = match name {
            "tick" | "health" | "shutdown" => true,
            "presence" => may(model::READ) || !member.v4,
            "device.pair.requested" | "device.pair.resolved" | "node.pair.requested" => {
                may(model::PAIRING)
            }
            "node.pair.resolved" => may(model::PAIRING) || node && value.get("seq").is_none(),
            "device.pair.changed" => may(model::PAIRING) && member.v4,
            "exec.approval.requested" | "exec.approval.resolved" => may(model::APPROVALS),
            "config.changed" | "node.hostStats" => may(model::READ) && member.v4,
            "voicewake.changed" => node || may(model::READ) || !member.v4,
            "node.invoke.request" => node,
            "node.invoke.cancel" => node && member.v4,
            _ => false,
        };
        assert!(good, "{name} is not for {member:?}");
        if let Some(seq) = value["seq"].as_u64() {
            assert!(seq > conn.seq, "{name}: event {seq} after {}", conn.seq);
            conn.missed += seq - conn.seq - 1;
            conn.seq = seq;
            let lost = conn.send_queue.lost();
            assert!(conn.missed <= lost.frames, "{} events are missing, {lost:?}", conn.missed);
        }
        if name == "node.invoke.request" {
            let mark = value["payload"]["paramsJSON"].as_str().and_then(|text| text.parse().ok());
            let mark = mark.and_then(|mark: u64| self.marks.get_mut(&mark));
            let mark = mark.expect("a call that must not be relayed");
            assert!(mark.node == id && !mark.sent, "a call to another node, or twice");
            mark.sent = true;
            self.note("invoke relayed");
        }
        if matches!(name, "device.pair.requested" | "node.pair.requested") {
            self.requests.push(value["payload"]["requestId"].as_str().unwrap().to_string());
        }
    }

    fn check_response(&mut self, id: u64, value: &Value) {
        let request = value["id"].as_str().expect("an id").to_string();
        let ok = value["ok"].as_bool().expect("ok");
        let conn = self.conns.get_mut(&id).unwrap();
        if conn.stage == Stage::Deciding {
            let due = self.model.answers.remove(&id);
            let due = due.unwrap_or_else(|| {
                panic!("{id} is answered before it is decided or durable: {value}")
            });
            return self.check_attempt(id, due, value);
        }
        if request.starts_with("bad") || request == "invalid" {
            return;
        }
        let place = (id, request.clone());
        let due = self.model.due.get(&place).cloned();
        let due =
            due.unwrap_or_else(|| panic!("{id} gets an unexpected response to {request}: {value}"));
        let first = value["payload"]["status"] == "accepted" && ok;
        if !first {
            self.model.due.remove(&place);
        }
        match &due {
            Due::Open => {}
            Due::Waits => panic!("{request} of {id} is answered before it is durable: {value}"),
            Due::Ok => assert!(ok, "{request} of {id} should succeed: {value}"),
            Due::Failed => assert!(!ok, "{request} of {id} should fail: {value}"),
            Due::Verified(right) => {
                assert!(ok && value["payload"]["ok"] == *right, "a token is {right}: {value}")
            }
            Due::Devices(devices, waiting) => {
                assert!(ok, "{value}");
                check_list(&value["payload"], devices, waiting);
                self.note("list compared");
            }
        }
        if let Some((mark, _)) =
            self.marks.iter().find(|(_, mark)| mark.caller == id && mark.id == request)
        {
            if ok {
                assert_eq!(
                    value["payload"]["payload"]["mark"].as_u64(),
                    Some(*mark),
                    "a response for another client: {value}"
                );
                self.note("invoke answered");
            }
        }
        if ok && request.starts_with("Rotate") {
            let payload = &value["payload"];
            if let (Some(token), Some(who)) =
                (payload["token"].as_str(), payload["deviceId"].as_str().and_then(who_is))
            {
                let role = usize::from(payload["role"] == "node");
                self.tokens.insert((who, role, token.to_string()));
            }
        }
    }

    fn check_attempt(&mut self, id: u64, due: Answer, value: &Value) {
        let ok = value["ok"] == true;
        let truth = self.conns[&id].truth.clone();
        match due {
            Answer::Refused { pending } => {
                assert!(!ok, "{id} is admitted without proof: {truth:?}");
                let details = &value["error"]["details"];
                let shown = details["requestId"].as_str().map(str::to_string);
                assert!(shown == pending, "{id} is pending as {shown:?}, not as {pending:?}");
                self.requests.extend(pending);
                self.note("rejected");
            }
            Answer::Hello { member, token } => {
                assert!(ok, "{id} is rejected, expected {member:?}: {value}");
                let auth = &value["payload"]["auth"];
                assert_eq!(
                    auth["deviceToken"].as_str(),
                    token.as_deref(),
                    "the token of {member:?}"
                );
                if member.v4 {
                    let names: Vec<&str> = auth["scopes"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|one| one.as_str().unwrap())
                        .collect();
                    let names: u16 = names.iter().map(|name| scope_bit(name)).sum();
                    assert_eq!(names, member.scopes, "{member:?}");
                }
                if let (Some(token), Some(who)) = (token, member.who) {
                    self.tokens.insert((who, member.role, token));
                }
                let conn = self.conns.get_mut(&id).unwrap();
                conn.hello = true;
                conn.connected_with = Some((member.who, member.role));
                self.note("admitted");
            }
        }
    }

    /// Takes the next frame of the client.
    pub fn take(&mut self, id: u64) -> Option<Value> {
        let conn = self.conns.get_mut(&id)?;
        conn.wire_bytes -= conn.wire_lens.pop_front()?;
        conn.wire.pop_front()
    }

    // --- at the end ------------------------------------------------------------------------------

    pub fn check_file(&self) {
        let (_, loaded) = self.opened();
        let mut found: Vec<Option<Dev>> = vec![None; self.capacity];
        for (slot, device) in &loaded.contents.devices {
            found[usize::from(slot.0)] = Some(dev_of(device));
        }
        for (slot, found) in found.iter().enumerate() {
            assert!(
                self.model.slots[slot].file.contains(found),
                "record {slot} is {found:?} in the file"
            );
        }
    }
}

fn proved(who: Who) -> Proved {
    let key = &keys()[who];
    Proved::Valid {
        id: DeviceId::parse(&key.id).unwrap(),
        key: PublicKey(key.pair.verifying_key().to_bytes()),
    }
}

pub const SCOPES: [&str; 10] = [
    "admin",
    "read",
    "write",
    "approvals",
    "pairing",
    "questions",
    "talk",
    "talk.secrets",
    "sessions.read",
    "sessions.write",
];

fn scope_bit(name: &str) -> u16 {
    let at = SCOPES.iter().position(|one| name.strip_prefix("operator.") == Some(one));
    1 << at.unwrap_or_else(|| panic!("scope {name}"))
}

fn check_list(payload: &Value, devices: &[(Dev, Option<bool>)], waiting: &BTreeSet<String>) {
    let texts = |value: &Value| -> BTreeSet<String> {
        let list = value.as_array().into_iter().flatten();
        list.map(|one| one.as_str().unwrap().to_string()).collect()
    };
    let names = |bits: u8| -> BTreeSet<String> {
        ["operator", "node"]
            .iter()
            .enumerate()
            .filter(|(at, _)| bits & 1 << at != 0)
            .map(|(_, name)| name.to_string())
            .collect()
    };
    let pending: BTreeSet<String> = payload["pending"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["requestId"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(pending, *waiting, "pending requests");
    let paired = payload["paired"].as_array().unwrap();
    assert_eq!(paired.len(), devices.len(), "number of paired devices");
    for (dev, here) in devices {
        let one = paired
            .iter()
            .find(|one| one["deviceId"] == *keys()[dev.who].id)
            .expect("a device is in the list");
        let shown = if dev.roles == 0 { dev.revoked } else { dev.roles };
        assert_eq!(texts(&one["roles"]), names(shown), "{dev:?}");
        assert_eq!(texts(&one["revokedRoles"]), names(dev.revoked), "{dev:?}");
        assert_eq!(one["label"].as_str().unwrap_or(""), dev.label, "{dev:?}");
        assert_eq!(texts(&one["commands"]), dev.commands, "{dev:?}");
        let said = one["connected"].as_bool();
        assert!(here.is_none() || said == *here, "is {dev:?} here: {one}");
    }
}

/// Returns configurations that a seed changes between; the first one is used at the start.
fn texts(random: &mut Rng, capacity: usize) -> Vec<(String, Rules)> {
    let auth = match random.usize(..10) {
        0..6 => AuthMode::Token,
        6 | 7 => AuthMode::Password,
        8 => AuthMode::None,
        _ => AuthMode::TrustedProxy,
    };
    let first = Rules {
        auth,
        pairing: if random.bool() { PairingMode::Token } else { PairingMode::Strict },
        secret: "correct-horse-battery-staple-1".into(),
        control: control_token(&table_key()).as_str().to_string(),
        authorized: if once_in(random, 3) { BTreeSet::from([8]) } else { BTreeSet::new() },
        strict_clock: once_in(random, 6),
        auto_local: once_in(random, 5),
        insecure: once_in(random, 5),
        tries: 3 + random.u32(..3),
    };
    let mut all = vec![first.clone()];
    all.push(Rules { secret: "correct-horse-battery-staple-2".into(), ..first.clone() });
    let other =
        if first.pairing == PairingMode::Token { PairingMode::Strict } else { PairingMode::Token };
    all.push(Rules { pairing: other, ..first.clone() });
    all.push(Rules { authorized: BTreeSet::from([8, 9]), tries: first.tries + 1, ..first });
    all.into_iter().map(|rules| (text(&rules, capacity), rules)).collect()
}

fn text(rules: &Rules, capacity: usize) -> String {
    let mut auth =
        format!("\"mode\": \"{}\", \"strictClock\": {}", rules.auth.name(), rules.strict_clock);
    match rules.auth {
        AuthMode::Token => write!(auth, ", \"token\": \"{}\"", rules.secret).unwrap(),
        AuthMode::Password => write!(auth, ", \"password\": \"{}\"", rules.secret).unwrap(),
        AuthMode::TrustedProxy => {
            auth.push_str(", \"trustedProxy\": { \"userHeader\": \"x-user\" }")
        }
        AuthMode::None => {}
    }
    write!(auth, ", \"rateLimit\": {{ \"maxAttempts\": {} }}", rules.tries).unwrap();
    let authorized: Vec<String> =
        rules.authorized.iter().map(|who| format!("\"{}\"", keys()[*who].public)).collect();
    let commands = COMMANDS.map(|name| format!("\"{name}\"")).join(", ");
    format!(
        r#"{{ "gateway": {{ "bind": "loopback", "auth": {{ {auth} }},
  "pairing": {{ "mode": "{}", "capacity": {capacity}, "authorizedKeys": [{}] }},
  "trustedProxies": ["10.9.0.1"], "controlUi": {{ "allowInsecureAuth": {} }},
  "nodes": {{ "pairing": {{ "autoApproveLocal": {}, "autoApproveCidrs": ["10.1.0.0/16"] }},
    "commands": {{ "allow": [{commands}] }} }} }} }}"#,
        rules.pairing.name(),
        authorized.join(", "),
        rules.insecure,
        rules.auto_local,
    )
}
