//! What every connection shares: the owner, the clock, the waiting room, and the way to the disk.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

use smol::channel::{bounded, Receiver, Sender};
use smol::future::FutureExt;
use smol::Task;

use super::evidence::SignatureCheck;
use super::files::Fetch;
use super::gateway::{Event, Gateway};
use super::ports::Clock;
use super::runtime::{sleep, Offload};
use super::setup::Setup;
use crate::gate::facts::Proof;
use crate::gate::ids::{ConnId, Millis, Now};
use crate::gate::limits;
use crate::gate::net;

/// The shared part of a running gateway. One thread.
pub struct Shared {
    gateway: RefCell<Gateway>,
    clock: Box<dyn Clock>,
    /// There is something for the disk to do, or nothing comes any more.
    jobs: Signal,
    /// Something falls due before the time for which the clock's task was set.
    alarm: Signal,
    alarm_at: Cell<Millis>,
    pub lobby: Lobby,
    verifier: Offload,
    reader: Offload,
    next_conn: Cell<u64>,
    warned: RefCell<heapless::Vec<(IpAddr, Millis), { limits::PROXY_WARNINGS }>>,
}

impl Shared {
    /// Shares this gateway.
    pub fn new(gateway: Gateway, clock: Box<dyn Clock>) -> Rc<Shared> {
        Rc::new(Shared {
            gateway: RefCell::new(gateway),
            clock,
            jobs: Signal::new(),
            alarm: Signal::new(),
            alarm_at: Cell::new(Millis(0)),
            lobby: Lobby::default(),
            verifier: Offload::default(),
            reader: Offload::default(),
            next_conn: Cell::new(1),
            warned: RefCell::new(heapless::Vec::new()),
        })
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// Lets an event happen, and says so if the disk has something to do then.
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

    /// Waits until [`Gateway::next_job`] may have something; `false` if it is the last time.
    pub async fn jobs(&self) -> bool {
        self.jobs.wait().await
    }

    /// No more jobs come after those that are waiting.
    pub fn end_jobs(&self) {
        self.jobs.end();
    }

    /// Asks the owner something.
    pub fn ask<T>(&self, question: impl FnOnce(&mut Gateway) -> T) -> T {
        question(&mut self.gateway.borrow_mut())
    }

    /// What the gateway goes by.
    pub fn setup(&self) -> Rc<Setup> {
        self.gateway.borrow().setup().clone()
    }

    /// The name of the next connection.
    pub fn next_conn(&self) -> ConnId {
        self.next_conn.set(self.next_conn.get() + 1);
        ConnId(self.next_conn.get() - 1)
    }

    /// Checks a signature: here if few are waiting, else on a thread of its own, so that the loop goes on.
    pub async fn verify(&self, check: SignatureCheck) -> Proof {
        if self.lobby.len() <= FEW {
            return check.run();
        }
        let theirs = check.clone();
        self.verifier.run(move || theirs.run()).await.unwrap_or_else(|| check.run())
    }

    /// The next bytes of a file, read on a thread of its own: a slow disk stalls no more than the files. None at the end.
    pub async fn read(&self, mut fetch: Fetch) -> Option<(Fetch, Vec<u8>)> {
        let (fetch, piece) =
            self.reader.run(move || (fetch.next(), fetch)).await.map(|(piece, fetch)| (fetch, piece))?;
        (!piece.is_empty()).then_some((fetch, piece))
    }

    /// Warns once an hour for each peer that sends proxy headers without being trusted.
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

/// Says from anywhere on the thread that a task has something to do. A channel of one place: sent before the task waits, it is
/// not lost, and sent twice, it counts once.
struct Signal(Sender<()>, Receiver<()>);

impl Signal {
    fn new() -> Signal {
        let (sender, receiver) = bounded(1);
        Signal(sender, receiver)
    }

    fn send(&self) {
        let _ = self.0.try_send(());
    }

    /// No more is sent.
    fn end(&self) {
        self.0.close();
    }

    /// Waits until it was sent; `false` at the end.
    async fn wait(&self) -> bool {
        self.1.recv().await.is_ok()
    }
}

/// Connections in the lobby up to which a signature is checked on the spot.
const FEW: usize = 4;

/// Connections that were not let in yet. Bounded in all and for each address (IPv6: its /64); the oldest goes first.
#[derive(Default)]
pub struct Lobby(RefCell<Vec<Waiting>>);

struct Waiting {
    conn: ConnId,
    network: [u8; 8],
    /// Dropping it ends the connection.
    task: Option<Task<()>>,
}

impl Lobby {
    /// Makes room for a connection from that address and takes it in.
    pub fn enter(&self, conn: ConnId, address: IpAddr) {
        let mut waiting = self.0.borrow_mut();
        let network = net::network(address);
        let same = |entry: &Waiting| entry.network == network;
        let crowd = waiting.iter().filter(|entry| same(entry)).count();
        let crowded = crowd >= limits::UNAUTHENTICATED_PER_ADDRESS && !net::is_loopback(address);
        let out = if crowded {
            waiting.iter().position(same)
        } else if waiting.len() >= limits::UNAUTHENTICATED {
            Some(0)
        } else {
            None
        };
        if let Some(out) = out {
            let out = waiting.remove(out);
            log::debug!("conn={} had to make room in the lobby", out.conn);
        }
        waiting.push(Waiting { conn, network, task: None });
    }

    /// Gives the lobby the task of a connection that it took in.
    pub fn hold(&self, conn: ConnId, task: Task<()>) {
        match self.0.borrow_mut().iter_mut().find(|waiting| waiting.conn == conn) {
            Some(waiting) => waiting.task = Some(task),
            // it has come and gone already
            None => task.detach(),
        }
    }

    /// The connection was let in, or is gone.
    pub fn leave(&self, conn: ConnId) {
        let mut waiting = self.0.borrow_mut();
        let place = waiting.iter().position(|waiting| waiting.conn == conn);
        if let Some(task) = place.and_then(|place| waiting.remove(place).task) {
            task.detach();
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Does nobody wait?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
