//! The gateway state: one value with one entry point, [`Gateway::handle`]. Each call handles one
//! event of the event loop.
//!
//! It does no I/O. Sockets, the disk and the clock are outside: the input is an [`Event`] and the
//! time. Outgoing frames are put into the send queues of the connections. Changes of the table
//! become jobs ([`Gateway::next_job`]), whose result is passed back as an event.
//!
//! A handshake passes through four stages, each in a file of its own: [`parse`] (bytes to values),
//! [`verify`] (signature), `decide` (credentials, policy), and then `admit` (persist the pairing,
//! send hello) or `reject`.
//!
//! All of it runs on one thread and never waits, so there is neither a lock nor a queue between a
//! connection and this state. For the same reason a simulation can drive the whole gateway.

mod admission_log;
mod admit;
pub mod attempt;
mod broadcast;
mod budgets;
mod change_limiter;
mod connection_shares;
mod connections;
mod continuation;
pub(super) mod counters;
mod decide;
pub mod dispatch;
mod eviction_rate;
mod log_line;
mod nodes;
pub mod parse;
mod rate_limit;
mod reject;
mod reload;
mod send_budget;
pub mod verify;
pub mod write_queue;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;

use async_tungstenite::tungstenite::Utf8Bytes;

use self::admission_log::AdmissionLog;
use self::attempt::{Attempt, ClientInfo};
use self::broadcast::Announcement;
use self::budgets::SampledBudgets;
use self::change_limiter::ChangeLimiter;
use self::connections::Connections;
use self::continuation::Continuation;
use self::counters::Counters;
use self::eviction_rate::EvictionRate;
use self::log_line::RefusalLog;
use self::write_queue::{DiskJob, TableAccess, WriteOutcome, WriteQueue};
use super::config_file::FileWork;
use super::net::frame_budget::FrameBudget;
use super::net::send_pool::SendPool;
use super::net::send_queue::{Frame, SendQueue};
use super::os::clock::Entropy;
use super::os::hourly_warnings::HourlyWarnings;
use super::os::line_limit::PerMinute;
use super::os::logger;
use super::runtime_config::RuntimeConfig;
use crate::gate::budget::{Budget, Holder};
use crate::gate::connection_limits::ConnectionLimits;
use crate::gate::facts::{Phase, Protocol};
use crate::gate::ids::{ConnId, DeviceId, Millis, Now, Role, Roles, Slot, TableAge};
use crate::gate::limits;
use crate::gate::no_connect::NoConnect;
use crate::gate::pace::Pace;
use crate::gate::pairing_requests::PairingRequests;
use crate::gate::rate_limit::RateLimiter;
use crate::gate::refusal::{Close, Refusal};
use crate::gate::session::Admitted;
use crate::gate::setup_codes::SetupCodes;
use crate::rpc::{
    self, Audience, BudgetUse, Devices, Effect, Failure, LargeRequest, Nodes, Presence, Status,
};
use crate::wire::frames::BadFrame;
use crate::wire::hello;
use crate::wire::http::Bad;
use crate::wire::json;

/// Input of the gateway state.
pub enum Event {
    /// A WebSocket was opened; `send_queue` is its send queue.
    Opened { conn: ConnId, send_queue: Rc<SendQueue> },
    /// A connect request was received.
    Connect { conn: ConnId, attempt: Box<Attempt> },
    /// The first message was not a valid connect request.
    InvalidFirstFrame { conn: ConnId, frame: Box<InvalidFirstFrame> },
    /// A request was rejected that was meant to open a WebSocket.
    InvalidRequest { conn: ConnId, request: Box<InvalidRequest> },
    /// A WebSocket ended without a connect request.
    NoConnect { conn: ConnId, cause: NoConnect, client_info: Box<ClientInfo> },
    /// An admitted client sent a message.
    Frame { conn: ConnId, message: Frame },
    /// An admitted client sent a large message, which another thread has read.
    LargeFrame { conn: ConnId, read: Box<Result<LargeRequest<Utf8Bytes>, BadFrame>> },
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
    pub client_info: ClientInfo,
    pub refusal: Refusal,
    /// Request id for the response, if the message has one.
    pub request: Option<String>,
    /// Errors in the connect parameters.
    pub problems: Option<String>,
}

/// A rejected request that was meant to open a WebSocket.
pub struct InvalidRequest {
    pub reason: Bad,
    pub peer: IpAddr,
    /// Absent if the request could not be read.
    pub client_info: Option<ClientInfo>,
}

/// Reason why a connection did not come to a connect request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Request(Bad),
    NoConnect(NoConnect),
}

/// Complete state of a running gateway.
pub struct Gateway {
    pub(super) runtime_config: Rc<RuntimeConfig>,
    pub(super) phase: Phase,
    pub(super) devices: Devices,
    /// Boxed because it has 56 KB, and the whole gateway is moved a few times before it runs.
    pub(super) pairing_requests: Box<PairingRequests>,
    pub(super) setup_codes: SetupCodes,
    /// Boxed like `pending`; it has 14 KB.
    pub(super) rate_limiter: Box<RateLimiter>,
    /// Signatures without a nonce that admitted a client, newest first: device and signature time.
    pub(super) accepted_signatures: VecDeque<(DeviceId, u64)>,
    pub(super) presence: Presence,
    pub(super) nodes: Nodes,
    write_queue: WriteQueue<Continuation>,
    pub(super) change_limiter: ChangeLimiter,
    pub(super) connections: Connections,
    send_pool: Rc<SendPool>,
    /// Unfinished frames of admitted clients.
    pub frame_budget: Rc<FrameBudget>,
    presence_pace: Pace,
    wake_words_pace: Pace,
    /// Number of admitted clients.
    admitted_count: usize,
    /// Limits that the descriptors of the process allow.
    pub connection_limits: ConnectionLimits,
    eviction_rate: EvictionRate,
    /// Devices for which a warning about their share of connections was logged. Absent until the
    /// first.
    share_warnings: Option<Box<HourlyWarnings<DeviceId>>>,
    sampled_budgets: SampledBudgets,
    pub(super) counters: Counters,
    pub(super) status: Status,
    /// Features in hello for protocols 3 and 4.
    pub(super) features: [Vec<u8>; 2],
    pub(super) entropy: Box<dyn Entropy>,
    /// Hash of the last configuration that is completely in force.
    pub(super) applied_hash: String,
    /// Length of the configuration file when it was last read or written.
    pub(super) config_len: usize,
    /// Changed configuration keys that take effect only at the next start.
    restart_keys: Vec<&'static str>,
    pub(super) refusal_log: RefusalLog,
    pub(super) admission_log: AdmissionLog,
    /// Lines about pending requests and nodes that were logged.
    pub(super) requests_logged: PerMinute,
    /// Networks and the faults of their connections for which a warning was logged.
    fault_warnings: HourlyWarnings<([u8; 8], Fault)>,
    /// Devices whose record in the file is older than in memory, in fields that decide nothing.
    unsaved: Vec<Slot>,
    age_at_start: TableAge,
    /// Time at which the log forgets the form of its lines in answers.
    forget_log_at: Option<Millis>,
    next_tick: Millis,
    next_health: Millis,
    next_ping: Millis,
    next_flush: Millis,
}

impl Gateway {
    /// Creates the state of a gateway that starts now.
    pub fn new(
        runtime_config: Rc<RuntimeConfig>,
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
            rate_limiter: Box::new(RateLimiter::new(runtime_config.rate)),
            accepted_signatures: VecDeque::new(),
            presence: Presence::new(runtime_config.machine.clone(), now.wall),
            nodes: Nodes::default(),
            write_queue: WriteQueue::default(),
            change_limiter: ChangeLimiter::default(),
            connections: Connections::default(),
            send_pool: Rc::default(),
            frame_budget: Rc::default(),
            presence_pace: Pace::default(),
            wake_words_pace: Pace::default(),
            admitted_count: 0,
            connection_limits: ConnectionLimits::FULL,
            eviction_rate: EvictionRate::default(),
            share_warnings: None,
            sampled_budgets: SampledBudgets::UNUSED,
            counters: Counters::NONE,
            features: [Protocol::V3, Protocol::V4]
                .map(|protocol| hello::features(protocol, rpc::advertised(protocol), &rpc::EVENTS)),
            applied_hash: String::new(),
            config_len: 0,
            restart_keys: Vec::new(),
            refusal_log: RefusalLog::new(now.at),
            admission_log: AdmissionLog::new(now.at),
            requests_logged: PerMinute::new(now.at),
            fault_warnings: HourlyWarnings::default(),
            unsaved: Vec::new(),
            forget_log_at: None,
            next_tick: now.at.plus(limits::TICK_MS),
            next_health: now.at.plus(limits::HEALTH_MS),
            next_ping: now.at.plus(limits::PING_MS),
            next_flush: now.at.plus(limits::SEEN_FLUSH_MS),
            runtime_config,
            devices,
            status,
            entropy,
        }
    }

    /// Handles one event.
    pub fn handle(&mut self, event: Event, now: Now) {
        self.send_pool.set_now(now.at);
        match event {
            Event::Opened { conn, send_queue } => {
                send_queue.join(&self.send_pool);
                send_queue.mark_alive();
                self.connections.open(conn, send_queue);
            }
            Event::Connect { conn, attempt } => self.connect(conn, *attempt, now),
            Event::InvalidFirstFrame { conn, frame } => self.reject_first_frame(conn, &frame, now),
            Event::InvalidRequest { conn, request } => self.reject_request(conn, &request, now),
            Event::NoConnect { conn, cause, client_info } => {
                self.report_no_connect(conn, cause, &client_info, now);
            }
            Event::Frame { conn, message } => self.handle_frame(conn, &message, now),
            Event::LargeFrame { conn, read } => self.handle_large(conn, *read, now),
            Event::Closed { conn } => self.closed(conn, now),
            Event::Committed { job, error } => self.committed(job, error, now),
            Event::Tick => self.tick(now),
            Event::Stop => self.stop(now),
        }
    }

    /// Removes and returns the next job for the disk thread.
    pub fn next_job(&mut self) -> Option<DiskJob> {
        self.write_queue.next_job()
    }

    /// Returns the time at which [`Event::Tick`] is due.
    pub fn next_deadline(&self) -> Millis {
        let own = self.next_tick.min(self.next_health).min(self.next_ping).min(self.next_flush);
        let others = [self.nodes.next_deadline(), self.next_state(), self.forget_log_at];
        others.into_iter().flatten().fold(own, Millis::min)
    }

    /// Returns whether the gateway runs and the last write to the table succeeded.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Running && !self.write_queue.is_failing()
    }

    /// Returns the runtime configuration in force.
    pub fn runtime_config(&self) -> &Rc<RuntimeConfig> {
        &self.runtime_config
    }

    /// Returns the budget of the bytes that clients may write in one window.
    pub fn change_budget(&mut self, now: Now) -> Budget {
        self.change_limiter.budget(now.at)
    }

    /// Number of open WebSockets.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Number of open WebSockets whose client is not admitted.
    pub fn unauthenticated(&self) -> usize {
        self.connections.len() - self.admitted_count
    }

    fn committed(&mut self, mut job: DiskJob, error: Option<String>, now: Now) {
        if let Some(error) = &error {
            log::error!("the pairing table could not be written: {error}; the change was undone");
        }
        let outcome = if error.is_none() { WriteOutcome::Durable } else { WriteOutcome::Failed };
        let continuations = self.write_queue.complete(&mut self.devices, &job, outcome);
        // a flush, which includes the age, moves no device to another slot
        if job.age.is_none() {
            for (slot, _) in &job.changes {
                self.update_connected(*slot);
            }
        }
        for continuation in continuations {
            self.resume(continuation, &mut job.file, outcome, now);
        }
    }

    /// Continues an action that waited for a write. `file` is the operation that the same job did.
    fn resume(
        &mut self,
        continuation: Continuation,
        file: &mut Option<Box<FileWork>>,
        outcome: WriteOutcome,
        now: Now,
    ) {
        match (continuation, outcome) {
            (Continuation::Connect { conn, .. }, _) if self.connections.get(conn).is_none() => {}
            // there may be a further conflicting write, so this may wait again
            (Continuation::Connect { conn, attempt }, WriteOutcome::Durable) => {
                self.connect(conn, *attempt, now)
            }
            (Continuation::Connect { conn, attempt }, WriteOutcome::Failed) => {
                self.decide(conn, *attempt, TableAccess::ReadOnly, now)
            }
            (Continuation::Admit(pending), _) => self.complete_admission(*pending, outcome, now),
            (Continuation::Answer { conn, id, reply }, WriteOutcome::Durable) => {
                self.send_reply(conn, &id, *reply, now)
            }
            (Continuation::Answer { conn, id, .. }, WriteOutcome::Failed) => {
                let message = "the pairing table could not be written; see the gateway's log";
                self.send_error(conn, &id, &Failure::unavailable(message));
            }
            (Continuation::File { conn, id, counted }, _) => {
                if let Some(work) = file.take() {
                    if let Some(change) = counted {
                        self.change_limiter.correct(change, work.written());
                    }
                    self.complete_file_work(conn, &id, *work, now);
                }
            }
        }
    }

    fn closed(&mut self, conn: ConnId, now: Now) {
        let Some(closed) = self.connections.close(conn) else { return };
        self.admitted_count -= usize::from(closed.admitted.is_some());
        self.counters.add_lost(closed.send_queue.lost());
        if let Some(slot) = closed.admitted.as_ref().and_then(|client| self.slot_of(client)) {
            self.update_connected(slot);
            self.mark_seen(slot, now);
        }
        let holder = closed.admitted.as_ref().map(Admitted::holder);
        self.remove_node_connection(conn, holder, now);
        if self.presence.remove(conn) {
            self.presence_changed(now);
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
    pub(super) fn update_connected(&mut self, slot: Slot) {
        let connected = self.devices.get(slot).is_some_and(|device| {
            let held = self.connections.held_by(Holder::Device(device.id));
            let mut clients = held.filter_map(|open| open.admitted.as_ref());
            clients.any(|client| client.slot() == Some(slot))
        });
        self.devices.set_connected(slot, connected);
    }

    /// Records the time at which a device was last seen, in memory only; see [`Gateway::flush`].
    pub(super) fn mark_seen(&mut self, slot: Slot, now: Now) {
        let age = self.devices.age();
        let is_known =
            self.devices.edit(slot, |device| (device.seen, device.seen_age) = (now.wall, age));
        if is_known && !self.unsaved.contains(&slot) {
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
            self.admission_log.report(now.at);
            self.budgets(now);
            let payload = json::object(|o| o.u64("ts", now.wall.0));
            self.broadcast(Announcement::of("tick", Audience::All), &payload);
            self.renew_node_requests(now);
        }
        if now.at >= self.next_health {
            self.next_health = now.at.plus(limits::HEALTH_MS);
            let event =
                Announcement::of("health", Audience::All).versioned(self.presence.version());
            self.broadcast_each(event, |_, protocol| rpc::health_json(protocol, now.wall));
        }
        self.send_due_states(now);
        if self.forget_log_at.is_some_and(|at| now.at >= at) {
            self.forget_log_at = None;
            logger::forget_shown();
        }
        let expired = self.nodes.expire(now);
        self.apply_effects(expired, now);
        if now.at >= self.next_ping {
            self.next_ping = now.at.plus(limits::PING_MS);
            for open in self.connections.iter().filter(|open| open.admitted.is_some()) {
                open.send_queue.ping();
            }
        }
        if now.at >= self.next_flush {
            self.next_flush = now.at.plus(limits::SEEN_FLUSH_MS);
            self.flush(now);
        }
    }

    /// Queues a write of the last-seen times: at most hourly, and at stop, because SD cards wear
    /// out.
    fn flush(&mut self, now: Now) {
        let connected: Vec<Slot> =
            self.connections.clients().filter_map(|client| self.slot_of(client)).collect();
        for slot in connected {
            self.mark_seen(slot, now);
        }
        let unsaved = std::mem::take(&mut self.unsaved);
        if !unsaved.is_empty() {
            self.write_queue.flush(&self.devices, unsaved.into_iter());
        }
    }

    fn stop(&mut self, now: Now) {
        if self.phase == Phase::Stopping {
            return;
        }
        self.phase = Phase::Stopping;
        let unanswered = self.nodes.stop();
        self.apply_effects(unanswered, now);
        let event = Announcement::of("shutdown", Audience::All).last();
        self.broadcast_each(event, |_, protocol| {
            json::object(|o| {
                o.str("reason", "gateway stopping");
                // protocol 4 leaves an unknown time out
                if protocol == Protocol::V3 {
                    o.null("restartExpectedMs");
                }
            })
        });
        for open in self.connections.iter() {
            open.send_queue.close_for(Close::Restart);
        }
        self.flush(now);
    }

    /// Applies effects in order.
    pub(super) fn apply_effects(&mut self, effects: Vec<Effect>, now: Now) {
        for effect in effects {
            match effect {
                Effect::Event { name, payload, to } => {
                    self.broadcast(Announcement::of(name, to), &payload)
                }
                Effect::Close { device, roles, why } => self.close_device(&device, roles, why),
                Effect::Frame { conn, frame } => self.send_frame(conn, frame),
                Effect::Fail { conn, id, failure } => self.send_error(conn, &id, &failure),
                Effect::Invoke { id, conn, frame } => self.invoke(id, conn, frame, now),
                Effect::Presence => self.presence_changed(now),
                Effect::HostStats => self.send_host_stats(now),
                Effect::RemoveRequest(request) => self.pairing_requests.remove(request),
                Effect::RequestSurface(device) => self.update_node_request(device, now),
                Effect::SetWakeWords(triggers) => {
                    self.nodes.triggers = triggers;
                    self.wake_words_changed(now);
                }
            }
        }
    }

    /// Closes the connections of a device that have one of these roles.
    fn close_device(&mut self, device: &DeviceId, roles: Roles, reason: Close) {
        for open in self.connections.iter() {
            let Some(client) = &open.admitted else { continue };
            if client.device() == Some(*device) && roles.contains(client.role()) {
                open.send_queue.close_for(reason);
            }
        }
    }

    /// Updates the numbers in the status.
    pub(super) fn update_status(&mut self, now: Now) {
        let count =
            |role| self.connections.clients().filter(|client| client.role() == role).count();
        (self.status.operators, self.status.nodes) = (count(Role::Operator), count(Role::Node));
        self.status.uptime_ms = now.at.0;
        self.status.connections = self.connections.len();
        self.status.unauthenticated = self.unauthenticated();
        self.status.invokes = self.nodes.invokes.count();
        self.status.approvals = self.nodes.approvals.undecided();
        self.status.budgets = self.budgets(now).into_iter().map(BudgetUse::of).collect();
    }
}
