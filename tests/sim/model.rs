//! Second, plain implementation of what must hold: the rules of admission, the effect of the
//! owner's calls, the resulting contents of memory and file, the connected clients. Shares no code
//! with the gateway except the derivation of tokens, and does not use a wall clock.
//!
//! Receives each event after the gateway did, with the random ids that were drawn, and returns the
//! expected result.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use gatelet::gate::facts::{AuthMode, PairingMode};
use gatelet::gate::limits;

/// Index of a key in the pool.
pub type Who = usize;

pub const OPERATOR: usize = 0;
pub const NODE: usize = 1;

pub const ADMIN: u16 = 1;
pub const READ: u16 = 2;
pub const WRITE: u16 = 4;
pub const APPROVALS: u16 = 8;
pub const PAIRING: u16 = 16;
const EVERY: u16 = 0x3ff;
const LIMITED: u16 = READ | WRITE | APPROVALS | 32;

/// Returns the scopes and everything that they imply.
pub fn closure(scopes: u16) -> u16 {
    let mut all = scopes;
    if all & ADMIN != 0 {
        all = EVERY;
    }
    if all & WRITE != 0 {
        all |= READ | 64 | 256 | 512;
    }
    if all & (READ | 512) != 0 {
        all |= 256;
    }
    all
}

/// Returns the scopes granted of `wanted` to a device with `has`. If some are lacking, the result
/// also contains the scopes it has that `wanted` implies.
fn granted(wanted: u16, has: u16) -> u16 {
    match wanted & !closure(has) {
        0 => wanted,
        _ => wanted & closure(has) | has & closure(wanted),
    }
}

/// Provenance of a device in the table; the numbers are those in the file.
pub const BY_OWNER: u8 = 1;
pub const BY_TOKEN: u8 = 2;
pub const BY_CODE: u8 = 3;
pub const BY_CONFIG: u8 = 4;
pub const BY_CIDR: u8 = 5;
pub const BY_LOCAL: u8 = 6;
pub const BY_IDENTITY: u8 = 7;

/// Stored state of a device.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Dev {
    pub who: Who,
    pub roles: u8,
    pub revoked: u8,
    pub scopes: u16,
    pub by: u8,
    /// Floor and current generation, by role.
    pub tokens: [(u32, u32); 2],
    pub label: String,
    pub commands: BTreeSet<String>,
    pub seen_age: u32,
}

impl Dev {
    fn new(who: Who, by: u8, age: u32) -> Dev {
        let (label, commands) = (String::new(), BTreeSet::new());
        Dev {
            who,
            roles: 0,
            revoked: 0,
            scopes: 0,
            by,
            tokens: [(0, 0); 2],
            label,
            commands,
            seen_age: age,
        }
    }

    fn approve(&mut self, role: usize, scopes: u16) {
        self.roles |= 1 << role;
        self.revoked &= !(1 << role);
        if role == OPERATOR {
            self.scopes |= scopes;
        }
        if self.tokens[role].1 == 0 {
            self.tokens[role] = (1, 1);
        }
    }

    /// Approves each role of a bit set.
    fn approve_all(&mut self, roles: u8, scopes: u16) {
        (0..2).filter(|role| roles & 1 << role != 0).for_each(|role| self.approve(role, scopes));
    }

    fn rotate(&mut self, role: usize) {
        let (floor, current) = self.tokens[role];
        let current = current + 1;
        self.tokens[role] = (floor.max(1).max(current.saturating_sub(3)), current);
    }

    fn revoke(&mut self, role: usize) {
        self.roles &= !(1 << role);
        self.revoked |= 1 << role;
        self.rotate(role);
        self.tokens[role].0 = self.tokens[role].1;
    }

    pub fn has(&self, role: usize) -> bool {
        self.roles & 1 << role != 0
    }
}

/// One record: its expected value in memory, and the possible values in the file.
#[derive(Default)]
pub struct Slot {
    pub mem: Option<Dev>,
    pub file: BTreeSet<Option<Dev>>,
    flight: Option<Flight>,
}

struct Flight {
    count: u32,
    last: u64,
    durable: Option<Dev>,
    /// Devices that the file may hold in this record.
    perhaps: BTreeSet<Who>,
}

/// Rules from the configuration.
#[derive(Clone, Debug)]
pub struct Rules {
    pub auth: AuthMode,
    pub pairing: PairingMode,
    pub secret: String,
    /// The command line's own token.
    pub control: String,
    pub authorized: BTreeSet<Who>,
    pub strict_clock: bool,
    pub auto_local: bool,
    pub insecure: bool,
    pub tries: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Proof {
    #[default]
    Absent,
    Valid,
    Invalid,
}

/// Page of a browser that connects, by its origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Page {
    #[default]
    None,
    Own,
    Foreign,
}

/// Actual properties and credentials of a client; by default none.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    pub v4: Option<bool>,
    pub role: Option<usize>,
    pub who: Option<Who>,
    pub proof: Proof,
    pub scopes: u16,
    pub token: Option<String>,
    pub password: Option<String>,
    pub device_token: Option<String>,
    pub code: Option<String>,
    pub control_ui: bool,
    pub from: Page,
    pub host_loopback: bool,
    pub local: bool,
    pub cidr: bool,
    pub identity: bool,
    /// Time of a signature over a nonce that is not ours.
    pub alone: Option<u64>,
    /// The rate limiter rejected the attempt, so the credential was not checked.
    pub unread: bool,
    pub commands: BTreeSet<String>,
    /// Address of the client, unless it is this machine.
    pub network: Option<IpAddr>,
    /// Client id.
    pub client: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    None,
    Secret,
    Device,
    Code,
    Proxy,
}

/// Admitted client.
#[derive(Clone, Debug)]
pub struct Member {
    pub who: Option<Who>,
    pub slot: Option<usize>,
    pub role: usize,
    pub scopes: u16,
    pub v4: bool,
    pub method: Method,
    pub commands: BTreeSet<String>,
    pub network: Option<IpAddr>,
    /// Whether this is the command line of the gateway's machine.
    command: bool,
    /// Client id.
    client: &'static str,
}

impl Member {
    pub fn may(&self, scope: u16) -> bool {
        self.role == OPERATOR && closure(self.scopes) & scope == scope
    }

    fn governs_itself_only(&self) -> bool {
        matches!(self.method, Method::Device | Method::Code) && !self.may(ADMIN)
    }
}

#[derive(Clone, Debug)]
pub struct Pend {
    pub id: String,
    pub who: Who,
    pub roles: u8,
    pub scopes: u16,
    pub commands: BTreeSet<String>,
    network: Option<IpAddr>,
    /// Client id, which the owner sees.
    client: &'static str,
    renewed: u64,
    /// An operator was shown it and may be reading it until then.
    kept_until: u64,
}

#[derive(Clone, Debug)]
pub struct Code {
    pub text: String,
    /// Device of the client that created it.
    by: Option<Who>,
    roles: u8,
    scopes: u16,
    made: u64,
}

#[derive(Default)]
struct FailedAttempts {
    wrong: u32,
    since: u64,
    locked: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Place {
    Nowhere,
    Known(usize),
    Grows(usize),
    New(usize),
}

#[derive(Clone, Debug)]
struct Admit {
    member: Member,
    place: Place,
    ask: u16,
    by_code: bool,
    secret: bool,
    code: Option<Code>,
    /// Device that proved its key.
    proved: Option<Who>,
}

/// Expected answer to the attempt of a connection.
#[derive(Clone, Debug)]
pub enum Answer {
    Hello { member: Member, token: Option<String> },
    Refused { pending: Option<String> },
}

/// Call of an admitted client, as far as the model interprets it.
#[derive(Clone, Debug)]
pub enum Ask {
    Approve(String),
    GiveBack(Who),
    Reject(String),
    Remove(Who),
    Rename(Who, String),
    Rotate(Who, usize, Option<u16>),
    Revoke(Who, usize),
    NodeApprove(String),
    NodeReject(String),
    NodeRemove(Who),
    Verify(Who, String),
    SetupCode(u8),
    List,
    NodeList,
    /// Node, command, and the mark in its parameters.
    Invoke(Who, String, u64),
    /// Read of the configuration file, or a write of a text of this length.
    File {
        writes: Option<usize>,
    },
    /// Any other call.
    Other,
}

/// Expected response to a call.
#[derive(Clone, PartialEq, Debug)]
pub enum Due {
    /// Any response.
    Open,
    /// None yet: the call waits for the disk.
    Waits,
    Ok,
    Failed,
    /// Exactly these devices as they were then, with their connection state (`None` for one that is
    /// being changed), and these pending requests.
    Devices(Vec<(Dev, Option<bool>)>, BTreeSet<String>),
    /// `ok` in the payload.
    Verified(bool),
}

enum Then {
    Connect(u64, Box<Truth>),
    Hello(u64, Box<Admit>),
    Answer(u64, String, After),
    File(u64, String),
}

/// Effects of a call once its change is durable.
#[derive(Default)]
struct After {
    /// Closes the device's connections in these roles.
    closes: Option<(Who, u8)>,
    /// Removes this pending request.
    decides: Option<String>,
    /// Admitted device whose node commands were not decided with it.
    lets_in: Option<Who>,
}

pub struct Model {
    pub rules: Rules,
    pub slots: Vec<Slot>,
    pub pending: Vec<Pend>,
    pub codes: Vec<Code>,
    failed_attempts: BTreeMap<Option<Who>, FailedAttempts>,
    signatures: VecDeque<(Who, u64)>,
    /// Wall clock, used only for the freshness of a signature without our nonce.
    pub wall: u64,
    pub open: BTreeSet<u64>,
    pub members: BTreeMap<u64, Member>,
    /// Connected nodes, each device once.
    pub nodes: Vec<(u64, Who)>,
    waiting: VecDeque<(u64, Option<Who>, Then)>,
    counted: Vec<Counted>,
    /// Length of the configuration file when it was last read or written.
    pub config_len: usize,
    pub answers: BTreeMap<u64, Answer>,
    pub due: BTreeMap<(u64, String), Due>,
    pub stopping: bool,
    age_at_start: u32,
    pub age: u32,
    next_tick: u64,
    next_flush: u64,
    /// Number of jobs given to the disk.
    pub tickets: u64,
    /// The same before the present event.
    pub tickets_before: u64,
    /// Ids that the gateway drew while it handled the event.
    pub drawn: VecDeque<[u8; 16]>,
    token_of: fn(Who, usize, u32) -> String,
}

/// Change that counts against the limits of its client.
struct Counted {
    by: Option<Who>,
    method: &'static str,
    bytes: usize,
    at: u64,
    /// Ticket of a write of the configuration file.
    file: Option<u64>,
}

impl Counted {
    fn until(&self) -> u64 {
        let share = limits::CHANGE_BYTES_OF_ONE;
        self.at + limits::CHANGES_WINDOW_MS * self.bytes.div_ceil(share).max(1) as u64
    }
}

/// Change that the disk is asked to write.
pub type Change = (usize, Option<Dev>);

/// Finished job of the disk.
pub struct Done {
    pub ticket: u64,
    pub changes: Vec<Change>,
    /// A flush of memory, not requested by a call.
    pub flush: bool,
    pub well: bool,
    /// New configuration, written by this job.
    pub rules: Option<Rules>,
    /// Bytes of the configuration that this job wrote.
    pub written: usize,
}

/// Reason why something that happened must not have happened.
pub type Wrong = String;

impl Model {
    pub fn new(rules: Rules, capacity: usize, token_of: fn(Who, usize, u32) -> String) -> Model {
        let empty = || Slot { file: BTreeSet::from([None]), ..Slot::default() };
        Model {
            rules,
            slots: std::iter::repeat_with(empty).take(capacity).collect(),
            pending: Vec::new(),
            codes: Vec::new(),
            failed_attempts: BTreeMap::new(),
            signatures: VecDeque::new(),
            wall: 0,
            open: BTreeSet::new(),
            members: BTreeMap::new(),
            nodes: Vec::new(),
            waiting: VecDeque::new(),
            counted: Vec::new(),
            config_len: 0,
            answers: BTreeMap::new(),
            due: BTreeMap::new(),
            stopping: false,
            age_at_start: 0,
            age: 0,
            next_tick: 0,
            next_flush: 0,
            tickets: 0,
            tickets_before: 0,
            drawn: VecDeque::new(),
            token_of,
        }
    }

    /// Starts the model with the table contents that the gateway found.
    pub fn start(&mut self, now: u64, age: u32, found: Vec<Option<Dev>>) -> Result<(), Wrong> {
        for (at, (slot, found)) in self.slots.iter_mut().zip(&found).enumerate() {
            if !slot.file.contains(found) {
                return Err(format!(
                    "record {at} came back as {found:?}; it may be one of {:?}",
                    slot.file
                ));
            }
            *slot =
                Slot { mem: found.clone(), file: BTreeSet::from([found.clone()]), flight: None };
        }
        let old = std::mem::replace(self, Model::new(self.rules.clone(), 0, self.token_of));
        self.slots = old.slots;
        (self.age_at_start, self.age) = (age, age);
        (self.next_tick, self.next_flush) = (now + limits::TICK_MS, now + limits::SEEN_FLUSH_MS);
        Ok(())
    }

    pub fn find(&self, who: Who) -> Option<usize> {
        self.slots.iter().position(|slot| slot.mem.as_ref().is_some_and(|dev| dev.who == who))
    }

    pub fn dev(&self, who: Who) -> Option<&Dev> {
        self.find(who).and_then(|slot| self.slots[slot].mem.as_ref())
    }

    pub fn used(&self) -> usize {
        self.slots.iter().filter(|slot| slot.mem.is_some()).count()
    }

    fn connected(&self, who: Who) -> bool {
        let slot = self.find(who);
        self.members
            .values()
            .any(|member| member.who == Some(who) && member.slot == slot && slot.is_some())
    }

    /// Returns the number of operations that wait for the disk, and the most of one client.
    pub fn waits(&self) -> (usize, usize) {
        let of_one = self.waiting.iter().map(|(_, by, _)| self.waits_of(*by)).max();
        (self.waiting.len(), of_one.unwrap_or(0))
    }

    fn waits_of(&self, by: Option<Who>) -> usize {
        self.waiting.iter().filter(|(_, one, _)| *one == by).count()
    }

    /// Returns whether no further operation of this client may wait for the disk.
    fn is_full(&self, by: Option<Who>) -> bool {
        let own = self.waits_of(by);
        own >= limits::COMMITS_OF_ONE || own >= limits::COMMITS_QUEUED - self.waiting.len()
    }

    /// Returns whether a client that manages other devices would see their requests.
    fn has_approver(&self) -> bool {
        let approves = |one: &Member| one.may(PAIRING) && !one.governs_itself_only();
        self.members.values().any(approves)
    }

    // --- admission -------------------------------------------------------------------------------

    /// Handles an attempt.
    pub fn connect(&mut self, conn: u64, truth: &Truth, now: u64) -> Option<Change> {
        if !self.open.contains(&conn) {
            return None;
        }
        let proved = truth.who.filter(|_| truth.proof == Proof::Valid);
        let full = self.is_full(proved);
        match proved.and_then(|who| self.before(who)) {
            Some((ticket, change)) if !full => {
                let then = Then::Connect(conn, Box::new(truth.clone()));
                self.waiting.push_back((ticket, proved, then));
                change
            }
            Some((_, change)) => {
                let more = self.settled(conn, truth, false, now);
                assert!(more.is_none(), "two changes for one attempt");
                change
            }
            None => self.settled(conn, truth, !full, now),
        }
    }

    /// Decides an attempt when the device's record is certain, or when nothing can be written.
    fn settled(&mut self, conn: u64, truth: &Truth, writable: bool, now: u64) -> Option<Change> {
        if !self.open.contains(&conn) {
            return None;
        }
        let shown = self.shown(truth, now);
        match self.decide(truth, &shown) {
            Decided::Refuse => {
                self.answers.insert(conn, Answer::Refused { pending: None });
                None
            }
            Decided::Pend => {
                let id = self.ask_in(truth, truth.scopes, now);
                self.answers.insert(conn, Answer::Refused { pending: id });
                None
            }
            Decided::Admit(..) if self.is_replayed(truth) => {
                self.answers.insert(conn, Answer::Refused { pending: None });
                None
            }
            Decided::Admit(mut admit, dev) => {
                if admit.by_code {
                    let at =
                        self.codes.iter().position(|code| Some(&code.text) == shown.typed.as_ref());
                    admit.code = at.map(|at| self.codes.remove(at));
                }
                self.admit(
                    conn,
                    *admit,
                    dev.filter(|_| writable),
                    (shown.generation, writable),
                    now,
                )
            }
        }
    }

    fn admit(
        &mut self,
        conn: u64,
        admit: Admit,
        dev: Option<Dev>,
        (generation, writable): (Option<u32>, bool),
        now: u64,
    ) -> Option<Change> {
        let (wait, change) = match admit.place {
            Place::Nowhere => (None, None),
            Place::Known(slot) => {
                let wait = self.slots[slot]
                    .flight
                    .as_ref()
                    .filter(|flight| flight.count > 0)
                    .map(|flight| flight.last);
                let mut dev = self.slots[slot].mem.clone().unwrap();
                let window = &mut dev.tokens[admit.member.role];
                let moved = generation == Some(window.1) && window.0 != window.1;
                window.0 = if moved { window.1 } else { window.0 };
                (wait, moved.then_some((slot, Some(dev))))
            }
            Place::Grows(_) | Place::New(_) if !writable => {
                self.welcome(conn, admit, false, now);
                return None;
            }
            Place::Grows(slot) | Place::New(slot) => (None, Some((slot, dev))),
        };
        let written = change.as_ref().map(|(slot, dev)| self.change(*slot, dev.clone()));
        let wait = match &admit.place {
            Place::Grows(_) | Place::New(_) => written,
            _ => wait,
        };
        match wait {
            Some(_) if !writable => {
                _ = self.answers.insert(conn, Answer::Refused { pending: None })
            }
            Some(ticket) => {
                let by = admit.proved;
                self.waiting.push_back((ticket, by, Then::Hello(conn, Box::new(admit))))
            }
            None => self.welcome(conn, admit, true, now),
        }
        change
    }

    fn shown(&mut self, truth: &Truth, now: u64) -> Shown {
        let valid = truth.who.filter(|_| truth.proof == Proof::Valid);
        let known = valid.and_then(|who| self.dev(who)).cloned();
        let tokens = [&truth.device_token, &truth.token];
        let generation = known.as_ref().zip(truth.role).and_then(|(dev, role)| {
            tokens.into_iter().flatten().find_map(|token| self.generation(dev, role, token))
        });
        let by_password = self.rules.auth == AuthMode::Password;
        let counted = by_password && valid.is_some();
        let locked = self
            .failed_attempts
            .get(&valid)
            .and_then(|failed_attempts| failed_attempts.locked)
            .is_some_and(|until| until > now);
        let sent: Vec<&String> = [&truth.token, &truth.password]
            .into_iter()
            .flatten()
            .filter(|text| !text.is_empty())
            .collect();
        let right = |text: &&String| {
            **text == self.rules.control
                || matches!(self.rules.auth, AuthMode::Token | AuthMode::Password)
                    && **text == self.rules.secret
        };
        let own = sent.iter().any(|text| **text == self.rules.control);
        let throttled = truth.unread || !sent.is_empty() && counted && locked && !own;
        let secret = !throttled && sent.iter().any(right);
        let as_code = truth.token.as_ref().filter(|text| {
            self.rules.auth == AuthMode::Token
                && !secret
                && text.len() == 8
                && text.bytes().all(is_of_code)
        });
        let typed = truth.code.as_ref().or(as_code).filter(|_| !truth.unread).cloned();
        self.codes.retain(|code| now - code.made < limits::SETUP_CODE_MS);
        let grant = typed
            .as_ref()
            .and_then(|typed| self.codes.iter().find(|code| code.text == *typed))
            .cloned();
        let by_itself = || {
            truth
                .token
                .as_ref()
                .and_then(|token| self.generation(known.as_ref()?, truth.role?, token))
                .is_some()
        };
        let explained = match self.rules.auth {
            AuthMode::Password => truth.password.is_none() && by_itself(),
            _ => grant.is_some() || generation.is_some() && truth.password.is_none(),
        };
        let wrong = !sent.is_empty() && !throttled && !secret && !explained;
        if counted && secret {
            self.failed_attempts.remove(&valid);
        } else if counted && wrong {
            self.count_failed_attempt(valid, now);
        }
        Shown { secret, generation, typed, grant }
    }

    /// Returns whether a signature without our nonce was used before; it admits once while it is
    /// fresh.
    fn is_replayed(&mut self, truth: &Truth) -> bool {
        let (Some(who), Some(alone), Proof::Valid) = (truth.who, truth.alone, truth.proof) else {
            return false;
        };
        let wall = self.wall;
        self.signatures.retain(|(_, at)| wall.abs_diff(*at) <= limits::CLOCK_SKEW_MS);
        let known = self.signatures.contains(&(who, alone));
        if !known {
            let own: Vec<usize> =
                (0..self.signatures.len()).filter(|at| self.signatures[*at].0 == who).collect();
            if own.len() >= limits::SIGNATURES_OF_ONE {
                self.signatures.remove(*own.last().unwrap());
            }
            self.signatures.truncate(limits::SIGNATURES - 1);
            self.signatures.push_front((who, alone));
        }
        known
    }

    fn count_failed_attempt(&mut self, key: Option<Who>, now: u64) {
        let tries = self.rules.tries;
        let failed_attempts = self
            .failed_attempts
            .entry(key)
            .or_insert_with(|| FailedAttempts { since: now, ..FailedAttempts::default() });
        if now - failed_attempts.since > limits::RATE_LIMIT_WINDOW_MS
            || failed_attempts.locked.is_some_and(|until| until <= now)
        {
            *failed_attempts = FailedAttempts { since: now, ..FailedAttempts::default() };
        }
        failed_attempts.wrong += 1;
        if failed_attempts.wrong >= tries && failed_attempts.locked.is_none() {
            failed_attempts.locked = Some(now + limits::RATE_LIMIT_LOCK_MS);
        }
    }

    fn generation(&self, dev: &Dev, role: usize, token: &str) -> Option<u32> {
        let (floor, current) = dev.tokens[role];
        let oldest = floor.max(current.saturating_sub(3)).max(1);
        (oldest..=current).find(|generation| (self.token_of)(dev.who, role, *generation) == token)
    }

    fn decide(&self, truth: &Truth, shown: &Shown) -> Decided {
        use Decided::{Pend, Refuse};
        let rules = &self.rules;
        let (Some(v4), Some(role), false) = (truth.v4, truth.role, self.stopping) else {
            return Refuse;
        };
        if rules.auth == AuthMode::None && !truth.host_loopback || truth.from == Page::Foreign {
            return Refuse;
        }
        if truth.proof == Proof::Invalid {
            return Refuse;
        }
        let wanted = wanted(truth.scopes, v4, role);
        let identity = rules.auth == AuthMode::TrustedProxy && truth.identity;
        let free = rules.auth == AuthMode::None && truth.local;
        let member = |who: Option<Who>, scopes: u16, method: Method| Member {
            who,
            slot: None,
            role,
            scopes,
            v4,
            method,
            commands: truth.commands.clone(),
            network: truth.network,
            client: truth.client,
            command: who.is_none()
                && [&truth.token, &truth.password]
                    .into_iter()
                    .any(|text| text.as_ref() == Some(&rules.control)),
        };
        let proved = truth.who.filter(|_| truth.proof == Proof::Valid);
        let admit = |member: Member, place: Place, ask: u16, by_code: bool, dev: Option<Dev>| {
            let slot = match place {
                Place::Nowhere => None,
                Place::Known(slot) | Place::Grows(slot) | Place::New(slot) => Some(slot),
            };
            let member = Member { slot, ..member };
            let admit =
                Admit { member, place, ask, by_code, secret: shown.secret, code: None, proved };
            Decided::Admit(Box::new(admit), dev)
        };
        let without_record = |member| admit(member, Place::Nowhere, 0, false, None);
        let page = truth.control_ui || truth.from != Page::None;
        let Some(who) = truth.who else {
            if role == NODE {
                return Refuse;
            }
            let method = if shown.secret && (!page || rules.insecure) {
                Method::Secret
            } else if identity {
                Method::Proxy
            } else if free {
                Method::None
            } else {
                return Refuse;
            };
            return without_record(member(None, wanted, method));
        };
        let grant = shown.grant.as_ref().filter(|code| code.roles & 1 << role != 0);
        let secret_pairs = shown.secret && rules.pairing == PairingMode::Token;
        // pairing paths of a device or of a role of it: method, provenance, roles, scopes;
        // `Err(true)` asks the owner
        let asked = |method, by| Ok(Some((method, by, 1u8 << role, wanted)));
        let pairing = if rules.authorized.contains(&who) {
            asked(Method::Device, BY_CONFIG)
        } else if secret_pairs {
            asked(Method::Secret, BY_TOKEN)
        } else if identity && rules.pairing == PairingMode::Token {
            asked(Method::Proxy, BY_IDENTITY)
        } else if let Some(code) = grant {
            Ok(Some((Method::Code, BY_CODE, code.roles, code.scopes)))
        } else if shown.secret && role == NODE && truth.cidr {
            asked(Method::Secret, BY_CIDR)
        } else if shown.secret && truth.local && rules.auto_local {
            asked(Method::Secret, BY_LOCAL)
        } else if free {
            Ok(None)
        } else {
            Err(shown.secret || identity)
        };
        let approved_by_owner = |by: u8| role == NODE && matches!(by, BY_CONFIG | BY_CODE);
        match self.find(who) {
            None => {
                let (method, by, roles, scopes) = match pairing {
                    Ok(Some(pairing)) => pairing,
                    Ok(None) => {
                        return without_record(member(Some(who), wanted, Method::None));
                    }
                    Err(true) => return Pend,
                    Err(false) => return Refuse,
                };
                let ask = wanted & !closure(scopes);
                let Some(slot) = self.room() else {
                    if !shown.secret {
                        return Refuse;
                    }
                    let few = granted(wanted, scopes);
                    return without_record(member(Some(who), few, Method::Secret));
                };
                let mut dev = Dev::new(who, by, self.age);
                dev.approve_all(roles, scopes);
                if approved_by_owner(by) {
                    dev.commands.extend(truth.commands.iter().cloned());
                }
                let gets = granted(wanted, scopes);
                admit(
                    member(Some(who), gets, method),
                    Place::New(slot),
                    ask,
                    by == BY_CODE,
                    Some(dev),
                )
            }
            Some(slot) => {
                let known = self.slots[slot].mem.clone().unwrap();
                let gives = |code: &&Code| {
                    code.roles & !known.roles != 0 || code.scopes & !closure(known.scopes) != 0
                };
                let grant = grant.filter(gives);
                if grant.is_none() {
                    if known.revoked & 1 << role != 0 || known.roles == 0 && known.revoked != 0 {
                        return Refuse;
                    }
                    if !known.has(role) {
                        let (method, by, roles, scopes) = match pairing {
                            Ok(Some(pairing)) => pairing,
                            Ok(None) => {
                                return without_record(member(Some(who), wanted, Method::None));
                            }
                            Err(_) => return Pend,
                        };
                        let mut dev = known;
                        dev.approve_all(roles, scopes);
                        if approved_by_owner(by) {
                            dev.commands.extend(truth.commands.iter().cloned());
                        }
                        return admit(
                            member(Some(who), wanted, method),
                            Place::Grows(slot),
                            0,
                            by == BY_CODE,
                            Some(dev),
                        );
                    }
                }
                let given = grant.map_or(0, |code| code.scopes);
                let missing = wanted & !closure(known.scopes | given);
                let at_once = if secret_pairs { missing } else { 0 };
                let ask = missing & !at_once;
                let method = match (grant, shown.secret) {
                    (Some(_), _) => Method::Code,
                    (None, true) => Method::Secret,
                    (None, false) => Method::Device,
                };
                let member =
                    member(Some(who), granted(wanted, known.scopes | given | at_once), method);
                if grant.is_none() && at_once == 0 {
                    return admit(member, Place::Known(slot), ask, false, None);
                }
                let mut dev = known;
                if grant.is_some() {
                    dev.by = BY_CODE;
                }
                let roles = grant.map_or(1 << role, |code| code.roles);
                dev.approve_all(roles, given | at_once);
                if grant.is_some() && role == NODE {
                    dev.commands.extend(truth.commands.iter().cloned());
                }
                admit(member, Place::Grows(slot), ask, grant.is_some(), Some(dev))
            }
        }
    }

    /// Returns a free record, or that of the evictable, unconnected device that was last seen
    /// longest ago.
    fn room(&self) -> Option<usize> {
        let free = self.slots.iter().position(|slot| slot.mem.is_none());
        let yields = |at: &usize| {
            let dev = self.slots[*at].mem.as_ref().unwrap();
            let unseen = self.age.saturating_sub(dev.seen_age) >= limits::EVICTION_AGE_HOURS;
            matches!(dev.by, BY_TOKEN | BY_CIDR)
                && dev.revoked == 0
                && unseen
                && !self.connected(dev.who)
        };
        let oldest = || {
            let candidates = (0..self.slots.len()).filter(yields);
            candidates.min_by_key(|at| self.slots[*at].mem.as_ref().unwrap().seen_age)
        };
        free.or_else(oldest)
    }

    /// Admits or rejects the client once the write it waited for has ended.
    fn welcome(&mut self, conn: u64, mut admit: Admit, well: bool, now: u64) {
        let lost = !well && !matches!(admit.place, Place::Known(_));
        if let Some(code) = admit.code.take().filter(|_| lost) {
            let own = self.codes.iter().filter(|one| one.by == code.by).count();
            if own < limits::SETUP_CODES_OF_ONE && self.codes.len() < limits::SETUP_CODES {
                self.codes.push(code);
            }
        }
        if !self.open.contains(&conn) {
            return;
        }
        if lost {
            if !admit.secret {
                self.answers.insert(conn, Answer::Refused { pending: None });
                return;
            }
            (admit.place, admit.member.slot) = (Place::Nowhere, None);
        }
        let member = admit.member;
        let (who, role) = (member.who, member.role);
        if let Some(slot) = member.slot {
            let there =
                self.slots[slot].mem.as_mut().filter(|dev| Some(dev.who) == who && dev.has(role));
            let Some(dev) = there else {
                self.answers.insert(conn, Answer::Refused { pending: None });
                return;
            };
            dev.seen_age = self.age;
        }
        let dev = member.slot.and_then(|slot| self.slots[slot].mem.clone());
        let token = dev.as_ref().filter(|dev| dev.has(role) && dev.tokens[role].1 > 0);
        let token = token.map(|dev| (self.token_of)(dev.who, role, dev.tokens[role].1));
        self.members.insert(conn, member.clone());
        if let (Some(who), true) = (who, admit.ask != 0 && !admit.by_code) {
            let from = (member.network, member.client);
            self.ask_for(who, 1 << role, admit.ask, BTreeSet::new(), from, now);
        }
        if let (Some(who), NODE) = (who, role) {
            self.nodes.retain(|(_, known)| *known != who);
            self.nodes.push((conn, who));
            if dev.is_some() {
                self.node_offers(who, now);
            }
        }
        self.answers.insert(conn, Answer::Hello { member, token });
    }

    /// Creates or removes the pending request for a connected node's commands that are not
    /// approved.
    fn node_offers(&mut self, who: Who, now: u64) {
        let here = self
            .nodes
            .iter()
            .find(|(_, known)| *known == who)
            .and_then(|(conn, _)| self.members.get(conn));
        let Some((member, dev)) = here.zip(self.dev(who)) else { return };
        if member.commands.is_subset(&dev.commands) {
            self.pending
                .retain(|pend| pend.who != who || pend.roles != 0 || !is_pending(pend, now));
        } else {
            let from = (member.network, member.client);
            self.ask_for(who, 0, 0, member.commands.clone(), from, now);
        }
    }

    fn ask_in(&mut self, truth: &Truth, scopes: u16, now: u64) -> Option<String> {
        let (who, role) = (truth.who.unwrap(), truth.role.unwrap());
        let commands = if role == NODE { truth.commands.clone() } else { BTreeSet::new() };
        let scopes = wanted(scopes, truth.v4.unwrap(), role);
        self.ask_for(who, 1 << role, scopes, commands, (truth.network, truth.client), now)
    }

    /// Makes a place for a request from this network. Returns whether there is one.
    fn make_place(&mut self, network: Option<IpAddr>, now: u64) -> bool {
        let count = |one: Option<IpAddr>| self.pending.iter().filter(|p| p.network == one).count();
        let (own, free) = (count(network), limits::PENDING - self.pending.len());
        if own < limits::PENDING_OF_ONE && own < free {
            return true;
        }
        // the first of the networks with the most requests
        let most = self.pending.iter().map(|pend| count(pend.network)).max().unwrap();
        let largest = self.pending.iter().find(|pend| count(pend.network) == most).unwrap();
        let from = if own > 0 { network } else { largest.network };
        let may_go =
            |at: &usize| self.pending[*at].network == from && self.pending[*at].kept_until <= now;
        let gone =
            (0..self.pending.len()).filter(may_go).min_by_key(|at| self.pending[*at].renewed);
        let gone = gone.filter(|_| own > 0 || most > 1);
        gone.map(|at| self.pending.remove(at)).is_some()
    }

    fn ask_for(
        &mut self,
        who: Who,
        roles: u8,
        scopes: u16,
        commands: BTreeSet<String>,
        (network, client): (Option<IpAddr>, &'static str),
        now: u64,
    ) -> Option<String> {
        let kept_until = if self.has_approver() { now + limits::PENDING_SHOWN_MS } else { 0 };
        let id = uuid(
            self.drawn
                .pop_front()
                .unwrap_or_else(|| panic!("{who} needs a pending request, but no id was drawn")),
        );
        self.pending.retain(|pend| is_pending(pend, now));
        if let Some(old) = self.pending.iter_mut().find(|pend| pend.who == who) {
            let is_node =
                |roles: u8, commands: &BTreeSet<String>| roles & 2 != 0 || !commands.is_empty();
            let is_described = is_node(roles, &commands) || !is_node(old.roles, &old.commands);
            let (client, network) = match is_described {
                true => (client, network),
                false => (old.client, old.network),
            };
            let more = (roles & !old.roles, scopes & !old.scopes) != (0, 0)
                || !commands.is_subset(&old.commands)
                || client != old.client;
            old.client = client;
            // a request that was read is never extended under the same id
            if more {
                (old.id, old.kept_until) = (id, old.kept_until.max(kept_until));
            }
            (old.roles, old.scopes, old.renewed) = (old.roles | roles, old.scopes | scopes, now);
            old.network = network;
            if !commands.is_empty() {
                old.commands = commands;
            }
            return Some(old.id.clone());
        }
        if !self.make_place(network, now) {
            return None;
        }
        self.pending.push(Pend {
            id: id.clone(),
            who,
            roles,
            scopes,
            commands,
            network,
            client,
            renewed: now,
            kept_until,
        });
        Some(id)
    }

    // --- calls -----------------------------------------------------------------------------------

    /// Handles a call of an admitted client.
    pub fn call(&mut self, conn: u64, id: &str, ask: &Ask, now: u64) -> Option<Change> {
        let member = self.members.get(&conn).cloned()?;
        let full = self.is_full(member.who);
        self.pending.retain(|pend| is_pending(pend, now));
        let (due, change, after) = self.judge(&member, ask, now);
        let waits = change.is_some() || due == Due::Waits;
        let due = if full && waits { Due::Failed } else { due };
        self.due.insert((conn, id.to_string()), due);
        if full {
            return None;
        }
        if let Ask::File { writes } = ask {
            let bytes = writes.map(|len| (len + self.config_len).max(limits::CHANGE_LEN));
            if waits && bytes.is_some_and(|bytes| !self.count(&member, ask, bytes, now)) {
                self.due.insert((conn, id.to_string()), Due::Failed);
                return None;
            }
            let is_counted = writes.is_some() && waits && !member.command;
            if let Some(counted) = self.counted.last_mut().filter(|_| is_counted) {
                counted.file = Some(self.tickets);
            }
            if waits {
                let then = Then::File(conn, id.to_string());
                self.waiting.push_back((self.tickets, member.who, then));
                self.tickets += 1;
            }
        }
        let is_noop = |(slot, dev): &&Change| {
            matches!(ask, Ask::Rename(..) | Ask::Revoke(..)) && self.slots[*slot].mem == *dev
        };
        if let Some((slot, _)) = change.as_ref().filter(is_noop) {
            match self.slots[*slot].flight.as_ref().filter(|flight| flight.count > 0) {
                Some(flight) => {
                    let then = Then::Answer(conn, id.to_string(), After::default());
                    // behind those that wait for the same ticket already
                    let at = self.waiting.partition_point(|(ticket, ..)| *ticket <= flight.last);
                    self.waiting.insert(at, (flight.last, member.who, then));
                }
                None => _ = self.due.insert((conn, id.to_string()), Due::Ok),
            }
            return None;
        }
        if let Some((slot, dev)) = &change {
            if let Some((_, change)) = dev.as_ref().and_then(|dev| self.before(dev.who)) {
                self.due.insert((conn, id.to_string()), Due::Failed);
                return change;
            }
            let bytes = records(self.slots[*slot].mem.as_ref(), dev.as_ref()) * limits::CHANGE_LEN;
            if !self.count(&member, ask, bytes, now) {
                self.due.insert((conn, id.to_string()), Due::Failed);
                return None;
            }
            let ticket = self.change(*slot, dev.clone());
            let then = Then::Answer(conn, id.to_string(), after);
            self.waiting.push_back((ticket, member.who, then));
        }
        change
    }

    /// Counts a change. Returns whether the limits of the client allow it.
    fn count(&mut self, member: &Member, ask: &Ask, bytes: usize, now: u64) -> bool {
        if member.command {
            return true;
        }
        let method = match ask {
            Ask::Approve(_) | Ask::GiveBack(_) => "approve",
            Ask::Reject(_) => "reject",
            Ask::NodeApprove(_) => "node approve",
            Ask::NodeReject(_) => "node reject",
            Ask::Remove(_) => "remove",
            Ask::NodeRemove(_) => "node remove",
            Ask::Rename(..) => "rename",
            Ask::Rotate(..) => "rotate",
            Ask::Revoke(..) => "revoke",
            _ => "file",
        };
        let share = limits::CHANGE_BYTES_OF_ONE;
        self.counted.retain(|one| now < one.until());
        let own = |one: &&Counted| one.by == member.who;
        let of_method = self.counted.iter().filter(own).filter(|one| one.method == method).count();
        let used: usize = self.counted.iter().filter(own).map(|one| one.bytes).sum();
        let all: usize = self.counted.iter().map(|one| one.bytes.min(share)).sum();
        let fits_own = bytes == 0 || used == 0 || used + bytes <= share;
        let fits_all = bytes.min(share) <= limits::CHANGE_BYTES.saturating_sub(all);
        if of_method >= limits::CHANGES_OF_METHOD
            || !fits_own
            || !fits_all && bytes > 0 && method != "revoke"
        {
            return false;
        }
        self.counted.push(Counted { by: member.who, method, bytes, at: now, file: None });
        true
    }

    fn judge(&mut self, member: &Member, ask: &Ask, now: u64) -> (Due, Option<Change>, After) {
        let none = || After::default();
        let failed = (Due::Failed, None, none());
        let needs = match ask {
            Ask::Other | Ask::Invoke(..) => return (Due::Open, None, none()),
            Ask::NodeList => {
                self.mark_shown(member, true, now);
                return (Due::Open, None, none());
            }
            Ask::File { writes: None } if member.v4 => READ,
            Ask::SetupCode(_) | Ask::File { .. } => ADMIN,
            _ => PAIRING,
        };
        if !member.may(needs) {
            return failed;
        }
        let own = |who: Who| !member.governs_itself_only() || member.who == Some(who);
        let changes = |slot: usize, dev: Dev| (Due::Waits, Some((slot, Some(dev))), none());
        let waits =
            |who: Who| self.pending.iter().find(|pend| pend.who == who).map(|pend| pend.id.clone());
        match ask {
            Ask::Other | Ask::NodeList | Ask::Invoke(..) => failed,
            Ask::File { .. } => (Due::Waits, None, none()),
            Ask::SetupCode(profile) => {
                self.codes.retain(|code| now - code.made < limits::SETUP_CODE_MS);
                let by = member.who;
                let own = self.codes.iter().filter(|code| code.by == by).count();
                let free = limits::SETUP_CODES - self.codes.len();
                if own >= limits::SETUP_CODES_OF_ONE || own >= free {
                    let Some(oldest) = self.codes.iter().position(|code| code.by == by) else {
                        return failed;
                    };
                    self.codes.remove(oldest);
                }
                let (roles, scopes) = [(1, EVERY), (1, LIMITED), (2, 0)][usize::from(*profile)];
                // the response contains its text, see `code_made`
                self.codes.push(Code { text: String::new(), by, roles, scopes, made: now });
                (Due::Ok, None, none())
            }
            Ask::List => {
                self.mark_shown(member, false, now);
                let mut all: Vec<(Dev, Option<bool>)> = Vec::new();
                for slot in &self.slots {
                    let Some(dev) = slot.mem.clone().filter(|dev| own(dev.who)) else { continue };
                    let here = slot
                        .flight
                        .as_ref()
                        .is_none_or(|flight| flight.count == 0)
                        .then(|| self.connected(dev.who));
                    all.push((dev, here));
                }
                all.sort();
                let waits = self.pending.iter().filter(|pend| pend.roles != 0 && own(pend.who));
                (Due::Devices(all, waits.map(|pend| pend.id.clone()).collect()), None, none())
            }
            Ask::Verify(who, token) => {
                let right =
                    self.dev(*who).is_some_and(|dev| self.generation(dev, NODE, token).is_some());
                (if member.v4 { Due::Failed } else { Due::Verified(right) }, None, none())
            }
            Ask::Approve(id) | Ask::NodeApprove(id) => {
                let by_node = matches!(ask, Ask::NodeApprove(_));
                let found = self.pending.iter().position(|pend| pend.id == *id);
                let Some(at) = found else { return failed };
                let pend = self.pending[at].clone();
                let fits = if by_node {
                    pend.roles & 2 != 0 || !pend.commands.is_empty()
                } else {
                    pend.roles != 0
                };
                let write = if by_node && !pend.commands.is_empty() { WRITE } else { 0 };
                let granted = (pend.scopes | write) & !closure(member.scopes) == 0;
                // a device that manages only itself can approve itself only as an operator
                let more = member.governs_itself_only() && (by_node || pend.roles != 1);
                if !fits || !own(pend.who) || !granted || more {
                    return failed;
                }
                let slot = self.find(pend.who);
                let Some(place) = slot.or_else(|| self.room()) else { return failed };
                let fresh = || Dev::new(pend.who, BY_OWNER, self.age);
                let mut dev =
                    slot.and_then(|slot| self.slots[slot].mem.clone()).unwrap_or_else(fresh);
                dev.by = BY_OWNER;
                dev.approve_all(pend.roles, pend.scopes);
                // a client that may not approve commands admits the device without them
                if by_node || !member.v4 && member.may(WRITE) {
                    dev.commands.extend(pend.commands.iter().cloned());
                }
                let after = After {
                    decides: Some(pend.id),
                    lets_in: (!by_node).then_some(pend.who),
                    ..none()
                };
                (Due::Waits, Some((place, Some(dev))), after)
            }
            Ask::Reject(id) | Ask::NodeReject(id) => {
                let by_node = matches!(ask, Ask::NodeReject(_));
                let found = self.pending.iter().position(|pend| pend.id == *id);
                let Some(at) = found.filter(|at| own(self.pending[*at].who)) else { return failed };
                if by_node
                    && self.pending[at].roles & 2 == 0
                    && self.pending[at].commands.is_empty()
                {
                    return failed;
                }
                if !self.count(member, ask, 0, now) {
                    return failed;
                }
                self.pending.remove(at);
                (Due::Ok, None, none())
            }
            Ask::GiveBack(who)
            | Ask::Remove(who)
            | Ask::Rename(who, _)
            | Ask::Rotate(who, ..)
            | Ask::Revoke(who, _)
            | Ask::NodeRemove(who) => {
                let Some(slot) = self.find(*who).filter(|_| own(*who)) else { return failed };
                let mut dev = self.slots[slot].mem.clone().unwrap();
                match ask {
                    Ask::GiveBack(_) => {
                        let more = if dev.revoked & 1 != 0 {
                            dev.scopes & !closure(member.scopes)
                        } else {
                            0
                        };
                        if dev.revoked == 0 || more != 0 || member.governs_itself_only() {
                            return failed;
                        }
                        let revoked = dev.revoked;
                        dev.approve_all(revoked, 0);
                        changes(slot, dev)
                    }
                    Ask::Remove(_) => (
                        Due::Waits,
                        Some((slot, None)),
                        After { closes: Some((*who, 3)), decides: waits(*who), ..none() },
                    ),
                    Ask::Rename(_, label) => {
                        dev.label = label.clone();
                        changes(slot, dev)
                    }
                    Ask::Rotate(_, role, scopes) => {
                        let mut narrower = false;
                        if !dev.has(*role) {
                            return failed;
                        }
                        if let (Some(scopes), OPERATOR) = (scopes, *role) {
                            if scopes & !closure(dev.scopes) != 0
                                || scopes & !closure(member.scopes) != 0
                            {
                                return failed;
                            }
                            narrower = dev.scopes & !closure(*scopes) != 0;
                            dev.scopes = *scopes;
                        }
                        dev.rotate(*role);
                        let after = After { closes: narrower.then_some((*who, 1)), ..none() };
                        (Due::Waits, Some((slot, Some(dev))), after)
                    }
                    Ask::Revoke(_, role) => {
                        if (dev.roles | dev.revoked) & 1 << role == 0 {
                            return failed;
                        }
                        if !dev.has(*role) {
                            return changes(slot, dev);
                        }
                        dev.revoke(*role);
                        (
                            Due::Waits,
                            Some((slot, Some(dev))),
                            After { closes: Some((*who, 1 << role)), ..none() },
                        )
                    }
                    _ => {
                        if !dev.has(NODE) {
                            return failed;
                        }
                        dev.revoke(NODE);
                        dev.revoked &= !2;
                        dev.commands.clear();
                        let left = dev.roles != 0 || dev.revoked != 0;
                        let after =
                            After { closes: Some((*who, 2)), decides: waits(*who), ..none() };
                        (Due::Waits, Some((slot, left.then_some(dev))), after)
                    }
                }
            }
        }
    }

    /// Keeps the requests that the caller is shown in a list of nodes or of devices.
    fn mark_shown(&mut self, member: &Member, nodes: bool, now: u64) {
        if !member.may(PAIRING) || member.governs_itself_only() {
            return;
        }
        for pend in &mut self.pending {
            let is_node = pend.roles & 2 != 0 || !pend.commands.is_empty();
            if if nodes { is_node } else { pend.roles != 0 } {
                pend.kept_until = now + limits::PENDING_SHOWN_MS;
            }
        }
    }

    /// Stores the text of the code made by the previous call.
    pub fn code_made(&mut self, text: String) {
        if let Some(code) = self.codes.last_mut().filter(|code| code.text.is_empty()) {
            code.text = text;
        }
    }

    /// Returns the node's connection if the caller may invoke this command on it now.
    pub fn may_invoke(&self, caller: &Member, node: Who, command: &str) -> Option<u64> {
        let (conn, _) = self.nodes.iter().find(|(_, who)| *who == node)?;
        let declared = self.members.get(conn)?.commands.contains(command);
        let approved = self.dev(node).is_some_and(|dev| dev.commands.contains(command));
        (declared && approved && caller.may(WRITE)).then_some(*conn)
    }

    // --- the disk --------------------------------------------------------------------------------

    /// Changes a record in memory. Returns the ticket of the job that writes it: a job of the
    /// present event that the disk does not have yet is used again.
    fn change(&mut self, slot: usize, dev: Option<Dev>) -> u64 {
        let there = &mut self.slots[slot];
        let fresh = Flight { count: 0, last: 0, durable: None, perhaps: BTreeSet::new() };
        let flight = there.flight.get_or_insert(fresh);
        if flight.count == 0 {
            flight.durable = there.mem.clone();
        }
        if flight.count == 0 || flight.last < self.tickets_before {
            (flight.count, flight.last) = (flight.count + 1, self.tickets);
            self.tickets += 1;
        }
        flight.perhaps.extend(flight.durable.iter().chain(&dev).map(|dev| dev.who));
        there.mem = dev;
        flight.last
    }

    /// For a device that is gone from memory but may still be in the file, returns the ticket to
    /// wait for and the change to write before it gets another record.
    fn before(&mut self, who: Who) -> Option<(u64, Option<Change>)> {
        if self.find(who).is_some() {
            return None;
        }
        let holds =
            |slot: &Slot| slot.flight.as_ref().is_some_and(|flight| flight.perhaps.contains(&who));
        let at = self.slots.iter().position(holds)?;
        let flight = self.slots[at].flight.as_ref()?;
        if flight.count > 0 {
            return Some((flight.last, None));
        }
        let dev = self.slots[at].mem.clone();
        let ticket = self.change(at, dev.clone());
        Some((ticket, Some((at, dev))))
    }

    /// Handles a flush of memory that was not requested by a call.
    pub fn flushed(&mut self, changes: &[Change]) -> Result<(), Wrong> {
        self.tickets += 1;
        for (slot, dev) in changes {
            let moving = self.slots[*slot].flight.as_ref().is_some_and(|flight| flight.count > 0);
            if moving || self.slots[*slot].mem != *dev {
                return Err(format!(
                    "record {slot} is flushed as {dev:?}, not as {:?}",
                    self.slots[*slot].mem
                ));
            }
        }
        Ok(())
    }

    /// Handles the start of a write.
    pub fn writes(&mut self, changes: &[Change]) {
        changes.iter().for_each(|(slot, dev)| _ = self.slots[*slot].file.insert(dev.clone()));
    }

    /// Handles the end of a job. Returns the connections that must be closed for it, and the
    /// changes to write next.
    pub fn done(&mut self, mut done: Done, now: u64) -> (Vec<u64>, Vec<Change>) {
        let file = self.counted.iter_mut().find(|one| one.file == Some(done.ticket));
        if let Some(counted) = file {
            counted.bytes = done.written;
        }
        let (flush, well) = (done.flush, done.well);
        for (slot, dev) in &done.changes {
            let slot = &mut self.slots[*slot];
            if well {
                slot.file = BTreeSet::from([dev.clone()]);
            }
            let Some(flight) = slot.flight.as_mut().filter(|_| !flush) else { continue };
            if well {
                flight.durable = dev.clone();
            }
            flight.count -= 1;
            if flight.count == 0 {
                let durable = flight.durable.clone();
                let who = durable.as_ref().map(|dev| dev.who);
                if well || flight.perhaps.iter().all(|one| Some(*one) == who) {
                    slot.flight = None;
                }
                if !well {
                    slot.mem = durable;
                }
            }
        }
        let (mut closed, mut more) = (Vec::new(), Vec::new());
        let (due, rest) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(waits, ..)| *waits <= done.ticket);
        self.waiting = rest;
        for (_, _, then) in due {
            match then {
                Then::Connect(conn, truth) if well => {
                    replace(&mut more, self.connect(conn, &truth, now))
                }
                Then::Connect(conn, truth) => {
                    replace(&mut more, self.settled(conn, &truth, false, now))
                }
                Then::Hello(conn, admit) => self.welcome(conn, *admit, well, now),
                Then::Answer(conn, id, after) => {
                    self.due.insert((conn, id), if well { Due::Ok } else { Due::Failed });
                    if well {
                        self.pending.retain(|pend| after.decides.as_ref() != Some(&pend.id));
                        after.lets_in.into_iter().for_each(|who| self.node_offers(who, now));
                    }
                    if let (Some((who, roles)), true) = (after.closes, well) {
                        let of = |member: &Member| {
                            member.who == Some(who) && roles & 1 << member.role != 0
                        };
                        closed.extend(
                            self.members
                                .iter()
                                .filter(|(_, member)| of(member))
                                .map(|(conn, _)| *conn),
                        );
                    }
                }
                Then::File(conn, id) => {
                    self.due.insert((conn, id), Due::Open);
                    closed.extend(
                        done.rules.take().map(|rules| self.configured(rules)).into_iter().flatten(),
                    );
                }
            }
        }
        (closed, more)
    }

    /// Applies a new configuration. Returns the connections that used a secret that is no longer
    /// valid.
    fn configured(&mut self, rules: Rules) -> Vec<u64> {
        let old = std::mem::replace(&mut self.rules, rules);
        if old.tries != self.rules.tries {
            self.failed_attempts.clear();
        }
        if old.secret == self.rules.secret && old.auth == self.rules.auth {
            return Vec::new();
        }
        let by_secret = |member: &Member| {
            member.slot.is_none() && !matches!(member.method, Method::Device | Method::Code)
        };
        self.members.iter().filter(|(_, member)| by_secret(member)).map(|(conn, _)| *conn).collect()
    }

    // --- close, stop, time -----------------------------------------------------------------------

    pub fn closed(&mut self, conn: u64) {
        self.open.remove(&conn);
        self.answers.remove(&conn);
        self.due.retain(|(of, _), _| *of != conn);
        let member = self.members.remove(&conn);
        self.nodes.retain(|(of, _)| *of != conn);
        let age = self.age;
        if let Some((slot, who)) = member.and_then(|member| member.slot.zip(member.who)) {
            let there = self.slots[slot].mem.as_mut().filter(|dev| dev.who == who);
            there.into_iter().for_each(|dev| dev.seen_age = age);
        }
    }

    pub fn tick(&mut self, now: u64) {
        self.age = self.age.max(self.age_at_start + (now / 3_600_000) as u32);
        if now >= self.next_tick {
            self.next_tick = now + limits::TICK_MS;
            let nodes = &self.nodes;
            let here = |pend: &&mut Pend| {
                nodes.iter().any(|(_, who)| *who == pend.who) && is_pending(pend, now)
            };
            self.pending.iter_mut().filter(here).for_each(|pend| pend.renewed = now);
        }
        if now >= self.next_flush {
            self.next_flush = now + limits::SEEN_FLUSH_MS;
            self.see_all();
        }
    }

    pub fn stop(&mut self) {
        self.stopping = true;
        self.see_all();
    }

    fn see_all(&mut self) {
        for member in self.members.values() {
            let Some(slot) = member.slot else { continue };
            let age = self.age;
            let there = self.slots[slot].mem.as_mut().filter(|dev| Some(dev.who) == member.who);
            there.into_iter().for_each(|dev| dev.seen_age = age);
        }
    }
}

struct Shown {
    secret: bool,
    generation: Option<u32>,
    /// Text that was looked up as a setup code.
    typed: Option<String>,
    grant: Option<Code>,
}

enum Decided {
    Refuse,
    Pend,
    Admit(Box<Admit>, Option<Dev>),
}

fn is_of_code(byte: u8) -> bool {
    matches!(byte, b'2'..=b'9' | b'A'..=b'Z') && !matches!(byte, b'I' | b'O')
}

fn wanted(sent: u16, v4: bool, role: usize) -> u16 {
    match (role, v4, sent) {
        (NODE, ..) => 0,
        (_, false, 0) => ADMIN,
        _ => sent,
    }
}

fn is_pending(pend: &Pend, now: u64) -> bool {
    now - pend.renewed < limits::PENDING_MS
}

/// Returns a version 4 UUID made of random bytes.
pub fn uuid(mut bytes: [u8; 16]) -> String {
    (bytes[6], bytes[8]) = (bytes[6] & 0x0f | 0x40, bytes[8] & 0x3f | 0x80);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Adds a change, in the place of an earlier one of the same record.
fn replace(changes: &mut Vec<Change>, change: Option<Change>) {
    let Some((slot, dev)) = change else { return };
    match changes.iter_mut().find(|(other, _)| *other == slot) {
        Some(earlier) => earlier.1 = dev,
        None => changes.push((slot, dev)),
    }
}

/// Returns the number of records that a change counts as: its own, and those that later admissions
/// of the device may write because of it.
fn records(old: Option<&Dev>, new: Option<&Dev>) -> usize {
    let (Some(old), Some(new)) = (old, new) else { return if new.is_none() { 2 } else { 1 } };
    let rotated = |role: usize| {
        new.tokens[role].1 != old.tokens[role].1 && new.tokens[role].0 != new.tokens[role].1
    };
    let less = old.roles & !new.roles != 0 || old.scopes & !new.scopes != 0;
    1 + usize::from(rotated(0) || rotated(1)) + usize::from(less)
}
