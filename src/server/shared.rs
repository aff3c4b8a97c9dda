//! State shared by all connections: gateway state, clock, unauthenticated connections, and access
//! to other threads.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

use smol::channel::{bounded, Receiver, Sender};
use smol::future::FutureExt;

use super::gateway::verify::SignatureCheck;
use super::gateway::{Event, Gateway};
use super::http::static_files::Fetch;
use super::net::pre_auth::PreAuthConnections;
use super::os::clock::Clock;
use super::runtime::{sleep, Offload};
use super::runtime_config::RuntimeConfig;
use crate::gate::facts::DeviceProof;
use crate::gate::ids::{ConnId, Millis, Now};
use crate::gate::limits;

/// Shared part of a running gateway. Used on one thread.
pub struct Shared {
    gateway: RefCell<Gateway>,
    clock: Box<dyn Clock>,
    /// Sent when there is a job for the disk thread. Closed when there will be no more.
    jobs: Signal,
    /// Sent when a deadline is earlier than the time for which the clock's task waits.
    alarm: Signal,
    alarm_at: Cell<Millis>,
    pub lobby: PreAuthConnections,
    verifier: Offload,
    reader: Offload,
    next_conn: Cell<u64>,
    warned: RefCell<heapless::Vec<(IpAddr, Millis), { limits::PROXY_WARNINGS }>>,
}

impl Shared {
    /// Creates the shared state of a gateway.
    pub fn new(gateway: Gateway, clock: Box<dyn Clock>) -> Rc<Shared> {
        Rc::new(Shared {
            gateway: RefCell::new(gateway),
            clock,
            jobs: Signal::new(),
            alarm: Signal::new(),
            alarm_at: Cell::new(Millis(0)),
            lobby: PreAuthConnections::default(),
            verifier: Offload::default(),
            reader: Offload::default(),
            next_conn: Cell::new(1),
            warned: RefCell::new(heapless::Vec::new()),
        })
    }

    /// Reads both clocks.
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// Passes an event to the gateway state. Then wakes the task for disk jobs and the clock's task
    /// as needed.
    pub fn happen(&self, event: Event) {
        let mut gateway = self.gateway.borrow_mut();
        gateway.handle(event, self.now());
        if gateway.has_jobs() {
            self.jobs.send();
        }
        if gateway.next_deadline() < self.alarm_at.get() {
            self.alarm.send();
        }
    }

    /// Waits until [`Event::Tick`] is due.
    pub async fn due(&self) {
        loop {
            let due = self.ask(|gateway| gateway.next_deadline());
            self.alarm_at.set(due);
            let wait = due.since(self.now().at).max(1);
            let early = async {
                self.alarm.wait().await;
                false
            };
            let rings = async {
                sleep(wait).await;
                true
            };
            if early.or(rings).await {
                return;
            }
        }
    }

    /// Waits until [`Gateway::next_job`] may have a job. Returns `false` when no more will follow.
    pub async fn jobs(&self) -> bool {
        self.jobs.wait().await
    }

    /// Ends the jobs: none follow those that are already queued.
    pub fn end_jobs(&self) {
        self.jobs.end();
    }

    /// Calls a function with the gateway state.
    pub fn ask<T>(&self, question: impl FnOnce(&mut Gateway) -> T) -> T {
        question(&mut self.gateway.borrow_mut())
    }

    /// Returns the setup in force.
    pub fn setup(&self) -> Rc<RuntimeConfig> {
        self.gateway.borrow().setup().clone()
    }

    /// Returns the id for the next connection.
    pub fn next_conn(&self) -> ConnId {
        self.next_conn.set(self.next_conn.get() + 1);
        ConnId(self.next_conn.get() - 1)
    }

    /// Verifies a signature: at once if few connections are unauthenticated, otherwise on another
    /// thread, so that the event loop is not delayed. If too many wait for that thread, verifies it
    /// at once.
    pub async fn verify(&self, check: SignatureCheck) -> DeviceProof {
        if self.lobby.len() <= FEW {
            return check.run();
        }
        let theirs = check.clone();
        self.verifier.run(move || theirs.run()).await.unwrap_or_else(|| check.run())
    }

    /// Returns the next bytes of a file, read on another thread, so that a slow disk delays only
    /// files. Returns `None` at the end, or if too many other reads wait.
    pub async fn read(&self, mut fetch: Fetch) -> Option<(Fetch, Vec<u8>)> {
        let (fetch, piece) = self
            .reader
            .run(move || (fetch.next(), fetch))
            .await
            .map(|(piece, fetch)| (fetch, piece))?;
        (!piece.is_empty()).then_some((fetch, piece))
    }

    /// Logs a warning, once per hour and peer, about a peer that sends proxy headers without being
    /// trusted.
    pub fn warn_of_proxy(&self, peer: IpAddr) {
        let now = self.now().at;
        let mut warned = self.warned.borrow_mut();
        warned.retain(|(_, at)| now.since(*at) < limits::PROXY_WARNING_MS);
        if warned.iter().any(|(known, _)| *known == peer) || warned.push((peer, now)).is_err() {
            return;
        }
        log::warn!(
            "proxy headers from {peer}, which is not trusted: its clients count as remote, and their addresses are not known. \
             If it is your proxy, add gateway.trustedProxies: [\"{peer}\"] to the configuration and restart"
        );
    }
}

/// Wakes a task from anywhere on the thread. It is a channel with a capacity of one: a signal that
/// is sent before the task waits is not lost, and two of them count as one.
struct Signal(Sender<()>, Receiver<()>);

impl Signal {
    fn new() -> Signal {
        let (sender, receiver) = bounded(1);
        Signal(sender, receiver)
    }

    fn send(&self) {
        let _ = self.0.try_send(());
    }

    /// Ends the signals.
    fn end(&self) {
        self.0.close();
    }

    /// Waits for a signal. Returns `false` at the end.
    async fn wait(&self) -> bool {
        self.1.recv().await.is_ok()
    }
}

/// Number of unauthenticated connections up to which a signature is verified at once.
const FEW: usize = 4;
