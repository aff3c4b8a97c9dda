//! The gateway state: one value with one entry point, [`Gateway::handle`].
//!
//! It does no I/O. Sockets, the disk and the clock are outside: the input is an [`Event`] and the
//! time. Outgoing frames are put into the send queues of the connections. Changes of the table
//! become jobs ([`Gateway::next_job`]), whose result is passed back as an event.
//!
//! All of it runs on one thread and never waits, so there is neither a lock nor a queue between a
//! connection and this state. For the same reason a simulation can drive the whole gateway.

mod admit;
pub mod attempt;
mod clients;
mod dispatch;
mod nodes;
mod rate_limit;
pub(super) mod reject;
mod reload;
pub mod verify;
pub mod write_queue;

use std::collections::VecDeque;
use std::rc::Rc;

use self::attempt::{Attempt, ClientInfo};
use self::clients::{AdmittedConnection, Connections};
use self::write_queue::{DiskJob, Ticket, WriteQueue};
use super::http::metrics::Counters;
use super::net::send_queue::{Frame, Queued, SendQueue};
use super::os::clock::Entropy;
use super::runtime_config::RuntimeConfig;
use crate::gate::facts::{Phase, Protocol};
use crate::gate::ids::{ConnId, DeviceId, Millis, Now, Role, Roles, Slot, TableAge};
use crate::gate::limits;
use crate::gate::pairing_requests::PairingRequests;
use crate::gate::rate_limit::RateLimiter;
use crate::gate::refusal::{Close, Refusal};
use crate::gate::session::Admitted;
use crate::gate::setup_codes::SetupCodes;
use crate::rpc::{
    self, Audience, Devices, Effect, Nodes, Presence, RejectionRecord, Reply, Status,
};
use crate::wire::frames;
use crate::wire::hello;
use crate::wire::json;

/// Input of the gateway state.
pub enum Event {
    /// A WebSocket was opened; `outbox` is its send queue.
    Opened { conn: ConnId, outbox: Rc<SendQueue> },
    /// A connect request was received.
    Connect { conn: ConnId, attempt: Box<Attempt> },
    /// The first message was not a valid connect request.
    TurnedAway { conn: ConnId, away: Box<InvalidFirstFrame> },
    /// An admitted client sent a message.
    Frame { conn: ConnId, message: Frame },
    /// The connection ended.
    Closed { conn: ConnId },
    /// The disk thread has done a job. `error` is set if the table could not be written.
    Committed { job: DiskJob, error: Option<String> },
    /// The time of [`Gateway::next_deadline`] was reached.
    Tick,
    /// The gateway is to stop.
    Stop,
}

/// An invalid first message.
pub struct InvalidFirstFrame {
    pub seen: ClientInfo,
    pub refusal: Refusal,
    /// Request id for the response, if the message has one.
    pub request: Option<String>,
    /// Errors in the connect parameters.
    pub problems: Option<String>,
}

/// Continuation after a commit.
pub(super) enum Continuation {
    /// Decides on the attempt, after the conflicting write of its device.
    Connect { conn: ConnId, attempt: Box<Attempt> },
    /// Admits the client, or rejects it if the pairing could not be stored and the client did not
    /// present the shared secret.
    Hello(Box<super::gateway::admit::Welcome>),
    /// Answers the call and applies its effects.
    Answer { conn: ConnId, id: String, reply: Box<Reply> },
    /// Answers the call with the result of the operation on the configuration file.
    File { conn: ConnId, id: String },
}

/// Complete state of a running gateway.
pub struct Gateway {
    pub(super) setup: Rc<RuntimeConfig>,
    pub(super) phase: Phase,
    pub(super) devices: Devices,
    /// Boxed because it has 56 KB, and the whole gateway is moved a few times before it runs.
    pub(super) pairing_requests: Box<PairingRequests>,
    pub(super) setup_codes: SetupCodes,
    /// Boxed like `pending`; it has 14 KB.
    pub(super) rate_limiter: Box<RateLimiter>,
    /// Signatures without a nonce that admitted a client, newest first: device and signature time.
    pub(super) signatures: VecDeque<(DeviceId, u64)>,
    pub(super) presence: Presence,
    pub(super) nodes: Nodes,
    pub(super) commits: WriteQueue<Continuation>,
    pub(super) conns: Connections,
    /// Number of admitted clients.
    pub(super) admitted: usize,
    pub(super) counts: Counters,
    pub(super) status: Status,
    /// Features in hello for protocols 3 and 4.
    pub(super) features: [Vec<u8>; 2],
    pub(super) entropy: Box<dyn Entropy>,
    /// Hash of the last configuration that is completely in force.
    pub(super) applied: String,
    /// Changed configuration keys that take effect only at the next start.
    pub(super) restart: Vec<&'static str>,
    refusals: VecDeque<RejectionRecord>,
    /// Start of the period in which logged refusals are counted, and their number.
    refusals_logged: (Millis, u32),
    /// Devices whose record in the file is older than in memory, in fields that decide nothing.
    unsaved: Vec<Slot>,
    age_at_start: TableAge,
    next_tick: Millis,
    next_health: Millis,
    next_ping: Millis,
    next_flush: Millis,
}

impl Gateway {
    /// Creates the state of a gateway that starts now.
    pub fn new(
        setup: Rc<RuntimeConfig>,
        devices: Devices,
        status: Status,
        entropy: Box<dyn Entropy>,
        now: Now,
    ) -> Gateway {
        Gateway {
            phase: Phase::Running,
            age_at_start: devices.age(),
            pairing_requests: Box::new(PairingRequests::new()),
            setup_codes: SetupCodes::new(),
            rate_limiter: Box::new(RateLimiter::new(setup.rate)),
            signatures: VecDeque::new(),
            presence: Presence::new(setup.machine.clone(), now.wall),
            nodes: Nodes::default(),
            commits: WriteQueue::default(),
            conns: Connections::default(),
            admitted: 0,
            counts: Counters::NONE,
            features: [Protocol::V3, Protocol::V4]
                .map(|protocol| hello::features(protocol, rpc::advertised(protocol), &rpc::EVENTS)),
            applied: String::new(),
            restart: Vec::new(),
            refusals: VecDeque::new(),
            refusals_logged: (now.at, 0),
            unsaved: Vec::new(),
            next_tick: now.at.plus(limits::TICK_MS),
            next_health: now.at.plus(limits::HEALTH_MS),
            next_ping: now.at.plus(limits::PING_MS),
            next_flush: now.at.plus(limits::SEEN_FLUSH_MS),
            setup,
            devices,
            status,
            entropy,
        }
    }

    /// Handles one event.
    pub fn handle(&mut self, event: Event, now: Now) {
        match event {
            Event::Opened { conn, outbox } => {
                outbox.heard();
                self.conns.open(conn, outbox);
            }
            Event::Connect { conn, attempt } => self.connect(conn, *attempt, now),
            Event::TurnedAway { conn, away } => self.turn_away(conn, *away, now),
            Event::Frame { conn, message } => self.frame(conn, &message, now),
            Event::Closed { conn } => self.closed(conn, now),
            Event::Committed { job, error } => self.committed(job, error, now),
            Event::Tick => self.tick(now),
            Event::Stop => self.stop(now),
        }
    }

    /// Removes and returns the next job for the disk thread.
    pub fn next_job(&mut self) -> Option<DiskJob> {
        self.commits.next_job()
    }

    /// Returns whether there is a job for the disk thread.
    pub fn has_jobs(&self) -> bool {
        self.commits.has_jobs()
    }

    /// Returns the time at which [`Event::Tick`] is due.
    pub fn next_deadline(&self) -> Millis {
        let own = self.next_tick.min(self.next_health).min(self.next_ping).min(self.next_flush);
        self.nodes.next_deadline().map_or(own, |next| own.min(next))
    }

    /// Returns whether the gateway runs and the last write to the table succeeded.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Running && !self.commits.is_failing()
    }

    /// Returns the setup in force.
    pub fn setup(&self) -> &Rc<RuntimeConfig> {
        &self.setup
    }

    /// Number of open WebSockets.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Number of open WebSockets whose client is not admitted.
    pub fn unauthenticated(&self) -> usize {
        self.conns.len() - self.admitted
    }

    fn committed(&mut self, mut job: DiskJob, error: Option<String>, now: Now) {
        if let Some(error) = &error {
            log::error!(
                "the pairing table could not be written: {error}; what changed is not kept"
            );
        }
        let well = error.is_none();
        let done = self.commits.done(&mut self.devices, &job, well);
        // a flush, which includes the age, moves no device to another slot
        if job.age.is_none() {
            job.changes.iter().for_each(|(slot, _)| self.note_connected(*slot));
        }
        for then in done {
            match then {
                Continuation::Connect { conn, .. } if self.conns.get(conn).is_none() => {}
                // there may be a further conflicting write, so this may wait again
                Continuation::Connect { conn, attempt } if well => {
                    self.connect(conn, *attempt, now)
                }
                Continuation::Connect { conn, attempt } => self.decide(conn, *attempt, false, now),
                Continuation::Hello(welcome) => self.welcome(*welcome, well, now),
                Continuation::Answer { conn, id, reply } => {
                    self.answer_committed(conn, &id, *reply, well, now)
                }
                Continuation::File { conn, id } => {
                    job.file
                        .take()
                        .into_iter()
                        .for_each(|work| self.file_done(conn, &id, *work, now));
                }
            }
        }
    }

    fn closed(&mut self, conn: ConnId, now: Now) {
        let Some(gone) = self.conns.close(conn) else { return };
        self.admitted -= usize::from(gone.admitted.is_some());
        self.counts.gone(gone.outbox.lost());
        if let Some(slot) = gone.admitted.as_ref().and_then(|client| self.slot_of(client)) {
            self.note_connected(slot);
            self.seen(slot, now);
        }
        self.left(conn, now);
        if self.presence.remove(conn) {
            self.broadcast_presence();
        }
    }

    /// Returns the slot of a client's device, if the device is still in it.
    pub(super) fn slot_of(&self, client: &Admitted) -> Option<Slot> {
        client
            .slot()
            .filter(|slot| self.devices.get(*slot).map(|device| device.id) == client.device())
    }

    /// Records whether the device in this slot is connected. Searched, not counted: a device can
    /// leave its slot and return to one while a connection of it is still being closed.
    pub(super) fn note_connected(&mut self, slot: Slot) {
        let mut clients = self.conns.iter().filter_map(|conn| conn.admitted.as_ref());
        let connected = clients.any(|client| self.slot_of(client) == Some(slot));
        self.devices.set_connected(slot, connected);
    }

    /// Records the time at which a device was last seen, in memory only; see [`Gateway::flush`].
    pub(super) fn seen(&mut self, slot: Slot, now: Now) {
        let age = self.devices.age();
        let there =
            self.devices.edit(slot, |device| (device.seen, device.seen_age) = (now.wall, age));
        if there && !self.unsaved.contains(&slot) {
            self.unsaved.push(slot);
        }
    }

    fn tick(&mut self, now: Now) {
        let hours = now.at.0 / 3_600_000;
        self.devices.set_age(TableAge(
            self.age_at_start.0.saturating_add(u32::try_from(hours).unwrap_or(u32::MAX)),
        ));
        if now.at >= self.next_tick {
            self.next_tick = now.at.plus(limits::TICK_MS);
            self.presence.expire(now.at);
            let payload = json::object(|o| o.u64("ts", now.wall.0));
            self.broadcast("tick", &payload, Audience::All, true);
            self.nodes_still_wait(now);
        }
        if now.at >= self.next_health {
            self.next_health = now.at.plus(limits::HEALTH_MS);
            let [v3, v4] =
                [Protocol::V3, Protocol::V4].map(|protocol| rpc::health_json(protocol, now.wall));
            let versions = Some((self.presence.version(), 1));
            self.broadcast_with("health", [&v3, &v4], versions, Audience::All, true);
        }
        let late = self.nodes.expire(now);
        self.happen(late, now);
        if now.at >= self.next_ping {
            self.next_ping = now.at.plus(limits::PING_MS);
            self.conns
                .iter()
                .filter(|conn| conn.admitted.is_some())
                .for_each(|conn| conn.outbox.ping());
        }
        if now.at >= self.next_flush {
            self.next_flush = now.at.plus(limits::SEEN_FLUSH_MS);
            self.flush(now);
        }
    }

    /// Queues a write of the last-seen times: at most hourly, and at stop, because SD cards wear
    /// out.
    fn flush(&mut self, now: Now) -> Option<Ticket> {
        let connected: Vec<Slot> =
            self.conns.iter().filter_map(|conn| self.slot_of(conn.admitted.as_ref()?)).collect();
        connected.into_iter().for_each(|slot| self.seen(slot, now));
        let unsaved = std::mem::take(&mut self.unsaved);
        (!unsaved.is_empty()).then(|| self.commits.flush(&self.devices, unsaved.into_iter()))
    }

    fn stop(&mut self, now: Now) {
        if self.phase == Phase::Stopping {
            return;
        }
        self.phase = Phase::Stopping;
        let unanswered = self.nodes.stop();
        self.happen(unanswered, now);
        // protocol 3 has null for an unknown time, protocol 4 leaves the member out
        let v3 = json::object(|o| {
            o.str("reason", "gateway stopping");
            o.null("restartExpectedMs");
        });
        let v4 = json::object(|o| o.str("reason", "gateway stopping"));
        self.broadcast_with("shutdown", [&v3, &v4], None, Audience::All, false);
        let (code, reason) = Close::Restart.words();
        self.conns.iter().for_each(|conn| conn.outbox.close(code, reason));
        self.flush(now);
    }

    // --- events to clients -------------------------------------------------------------------

    /// Sends an event to all clients that may see it. It is left out for a slow client if
    /// `droppable`.
    pub(super) fn broadcast(&mut self, name: &str, payload: &[u8], to: Audience, droppable: bool) {
        self.broadcast_with(name, [payload; 2], None, to, droppable);
    }

    pub(super) fn broadcast_presence(&mut self) {
        let [v3, v4] = [Protocol::V3, Protocol::V4].map(|protocol| {
            let list = self.presence.list(protocol);
            json::object(|o| o.raw("presence", &list))
        });
        let versions = Some((self.presence.version(), 1));
        let to = Audience::Scope { scope: crate::gate::scopes::Scope::Read, v3_all: true };
        self.broadcast_with("presence", [&v3, &v4], versions, to, true);
    }

    fn broadcast_with(
        &mut self,
        name: &str,
        payloads: [&[u8]; 2],
        versions: Option<(u64, u64)>,
        to: Audience,
        droppable: bool,
    ) {
        let mut too_large = 0_u32;
        for conn in self.conns.iter_mut() {
            let Some(client) = conn.admitted.as_ref().filter(|client| to.includes(client)) else {
                continue;
            };
            // a dropped event uses up its number, so that the client can detect the gap (protocol
            // 4)
            conn.seq += 1;
            let payload = payloads[(client.protocol() == Protocol::V4) as usize];
            let frame = frames::event(name, payload, Some(conn.seq), versions).into();
            let offer = if droppable { conn.outbox.may(frame) } else { conn.outbox.must(frame) };
            too_large += u32::from(offer == Queued::TooLarge);
        }
        if too_large > 0 {
            let bytes = payloads.map(<[u8]>::len).into_iter().max().unwrap_or(0);
            log::warn!("event {name} of {bytes} bytes was not sent to {too_large} clients: too large for a frame");
        }
    }

    /// Applies effects in order.
    pub(super) fn happen(&mut self, effects: Vec<Effect>, now: Now) {
        for effect in effects {
            match effect {
                Effect::Event { name, payload, to } => self.broadcast(name, &payload, to, true),
                Effect::Close { device, roles, why } => self.close_device(&device, roles, why),
                Effect::Frame { conn, frame } => self.send(conn, frame),
                Effect::Fail { conn, id, failure } => self.fail(conn, &id, &failure),
                Effect::Invoke { id, conn, frame } => self.invoke(id, conn, frame, now),
                Effect::Presence => self.broadcast_presence(),
                Effect::RemoveRequest(request) => self.pairing_requests.remove(request),
                Effect::RequestSurface(device) => self.node_offers(device, now),
            }
        }
    }

    fn close_device(&mut self, device: &DeviceId, roles: Roles, why: Close) {
        let (code, reason) = why.words();
        for conn in self.conns.iter() {
            let Some(client) = &conn.admitted else { continue };
            if client.device() == Some(*device) && roles.contains(client.role()) {
                conn.outbox.close(code, reason);
            }
        }
    }

    // --- refusals and status -----------------------------------------------------------------

    /// Logs a refusal, up to [`limits::REFUSALS_LOGGED`] per minute: unauthenticated clients must
    /// not wear out an SD card.
    pub(super) fn log_refusal(&mut self, line: std::fmt::Arguments<'_>, now: Now) {
        let (since, logged) = &mut self.refusals_logged;
        if now.at.since(*since) >= 60_000 {
            let left_out = logged.saturating_sub(limits::REFUSALS_LOGGED);
            if left_out > 0 {
                log::warn!("{left_out} more refusals were not logged; `gatelet explain --last` shows the latest");
            }
            (*since, *logged) = (now.at, 0);
        }
        *logged = logged.saturating_add(1);
        if *logged <= limits::REFUSALS_LOGGED {
            log::warn!("{line}");
        }
    }

    /// Stores a refusal for `gatelet explain --last`.
    pub(super) fn remember(&mut self, refused: RejectionRecord) {
        self.refusals.truncate(limits::REFUSALS_KEPT - 1);
        self.refusals.push_front(refused);
    }

    /// Returns the last refusals, newest first.
    pub(super) fn refusals(&self) -> &VecDeque<RejectionRecord> {
        &self.refusals
    }

    pub(super) fn count(&mut self, now: Now) {
        let roles = |role| {
            move |conn: &&AdmittedConnection| {
                conn.admitted.as_ref().is_some_and(|client| client.role() == role)
            }
        };
        self.status.uptime_ms = now.at.0;
        self.status.connections = self.conns.len();
        self.status.unauthenticated = self.unauthenticated();
        self.status.operators = self.conns.iter().filter(roles(Role::Operator)).count();
        self.status.waiting = (self.nodes.invokes.waiting(), self.nodes.approvals.waiting());
        self.status.nodes = self.conns.iter().filter(roles(Role::Node)).count();
    }
}
