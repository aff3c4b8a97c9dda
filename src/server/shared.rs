//! State shared by all tasks: gateway state, clock, unauthenticated connections, and access to
//! other threads.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

use smol::channel::{bounded, unbounded, Receiver, Sender};

use super::gateway::verify::SignatureCheck;
use super::gateway::write_queue::DiskJob;
use super::gateway::{Event, Gateway};
use super::net::frame_budget::FrameBudget;
use super::net::pre_auth::PreAuthConnections;
use super::os::clock::Clock;
use super::os::hourly_warnings::HourlyWarnings;
use super::os::line_limit::PerMinute;
use super::runtime::{within, Offload};
use super::runtime_config::RuntimeConfig;
use crate::gate::facts::DeviceProof;
use crate::gate::ids::{ConnId, Millis, Now};
use crate::gate::limits;

/// Shared part of a running gateway. Used on one thread.
pub struct Shared {
    gateway: RefCell<Gateway>,
    clock: Box<dyn Clock>,
    jobs: Sender<DiskJob>,
    /// Whether the disk thread has a job. Later ones wait in the gateway state, where they can be
    /// merged.
    is_disk_busy: Cell<bool>,
    /// Channel with a capacity of one, for a signal that a deadline is earlier than `timer_at`.
    /// Two signals count as one, and one that is sent before the task waits is not lost.
    deadline_signal: (Sender<()>, Receiver<()>),
    /// Time for which [`Shared::wait_for_deadline`] waits.
    timer_at: Cell<Millis>,
    pub pre_auth: PreAuthConnections,
    /// Budget of all unfinished frames of admitted clients.
    pub frame_budget: Rc<FrameBudget>,
    signature_offload: Offload,
    /// Reads large messages.
    pub frame_offload: Offload,
    /// Reads files of `gateway.controlUi.root`.
    pub file_offload: Offload,
    next_conn: Cell<u64>,
    /// Connections that the gateway ended and logged.
    closes_logged: RefCell<PerMinute>,
    /// Peers for which a warning about proxy headers was logged.
    proxy_warnings: RefCell<HourlyWarnings<IpAddr>>,
}

impl Shared {
    /// Creates the shared state of a gateway. Returns it with the jobs for the disk thread.
    pub fn new(gateway: Gateway, clock: Box<dyn Clock>) -> (Rc<Shared>, Receiver<DiskJob>) {
        let (jobs, job_receiver) = unbounded();
        let pre_auth = PreAuthConnections::new(gateway.connection_limits);
        let frame_budget = gateway.frame_budget.clone();
        let closes_logged = RefCell::new(PerMinute::new(clock.now().at));
        let shared = Shared {
            closes_logged,
            gateway: RefCell::new(gateway),
            clock,
            jobs,
            is_disk_busy: Cell::new(false),
            deadline_signal: bounded(1),
            timer_at: Cell::new(Millis(0)),
            pre_auth,
            frame_budget,
            signature_offload: Offload::default(),
            frame_offload: Offload::default(),
            file_offload: Offload::default(),
            next_conn: Cell::new(1),
            proxy_warnings: RefCell::default(),
        };
        (Rc::new(shared), job_receiver)
    }

    /// Reads both clocks.
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// Passes an event to the gateway state. Then passes a job to the disk thread if it has none,
    /// and wakes the clock's task as needed.
    pub fn dispatch(&self, event: Event) {
        let mut gateway = self.gateway.borrow_mut();
        if matches!(event, Event::Committed { .. }) {
            self.is_disk_busy.set(false);
        }
        gateway.handle(event, self.now());
        if !self.is_disk_busy.get() {
            self.send_job(&mut gateway);
        }
        if gateway.next_deadline() < self.timer_at.get() {
            let _ = self.deadline_signal.0.try_send(());
        }
    }

    /// Waits until [`Event::Tick`] is due.
    pub async fn wait_for_deadline(&self) {
        loop {
            let deadline = self.with_gateway(|gateway| gateway.next_deadline());
            self.timer_at.set(deadline);
            let delay = deadline.since(self.now().at).max(1);
            if within(delay, self.deadline_signal.1.recv()).await.is_none() {
                return;
            }
        }
    }

    /// Passes the next job to the disk thread. Returns whether there was one.
    fn send_job(&self, gateway: &mut Gateway) -> bool {
        let job = gateway.next_job();
        let is_sent = job.is_some_and(|job| self.jobs.try_send(job).is_ok());
        self.is_disk_busy.set(is_sent || self.is_disk_busy.get());
        is_sent
    }

    /// Passes all queued jobs to the disk thread, and ends them: none follow.
    pub fn end_jobs(&self) {
        let mut gateway = self.gateway.borrow_mut();
        while self.send_job(&mut gateway) {}
        self.jobs.close();
    }

    /// Calls a function with the gateway state.
    pub fn with_gateway<T>(&self, call: impl FnOnce(&mut Gateway) -> T) -> T {
        call(&mut self.gateway.borrow_mut())
    }

    /// Returns the runtime configuration in force.
    pub fn runtime_config(&self) -> Rc<RuntimeConfig> {
        self.gateway.borrow().runtime_config().clone()
    }

    /// Returns the id for the next connection.
    pub fn next_conn(&self) -> ConnId {
        ConnId(self.next_conn.replace(self.next_conn.get() + 1))
    }

    /// Verifies a signature: at once if few connections are unauthenticated, otherwise on another
    /// thread, so that the event loop is not delayed. If too many wait for that thread, verifies it
    /// at once.
    pub async fn verify_signature(&self, check: SignatureCheck) -> DeviceProof {
        if self.pre_auth.len() <= VERIFIED_AT_ONCE {
            return check.verify();
        }
        let copy = check.clone();
        let proof = self.signature_offload.run(move || copy.verify()).await;
        proof.unwrap_or_else(|| check.verify())
    }

    /// Logs a warning about a connection that the gateway ends, up to [`limits::CLOSES_LOGGED`] per
    /// minute. A client that reconnects and does not read must not fill the log.
    pub fn warn_of_close(&self, conn: ConnId, peer: IpAddr, reason: &str) {
        let mut logged = self.closes_logged.borrow_mut();
        let count = logged.end_minute(self.now().at).unwrap_or(0);
        let left_out = count.saturating_sub(limits::CLOSES_LOGGED);
        if left_out > 0 {
            log::warn!("{left_out} more connections were closed and not logged");
        }
        if logged.add(limits::CLOSES_LOGGED) {
            log::warn!("conn={conn} peer={peer} is closed: {reason}");
        }
    }

    /// Logs a warning, once per hour and peer, about a peer that sends proxy headers without being
    /// trusted.
    pub fn warn_of_proxy(&self, peer: IpAddr) {
        if !self.proxy_warnings.borrow_mut().add(peer, self.now().at) {
            return;
        }
        log::warn!(
            "proxy headers from {peer}, which is not trusted: its clients count as remote, and their addresses are not known. \
             If it is your proxy, add gateway.trustedProxies: [\"{peer}\"] to the configuration and restart"
        );
    }
}

/// Number of unauthenticated connections up to which a signature is verified at once.
const VERIFIED_AT_ONCE: usize = 4;
