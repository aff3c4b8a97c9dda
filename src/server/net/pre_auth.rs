//! Unauthenticated connections, which are bounded in number.

use std::cell::RefCell;
use std::net::IpAddr;

use smol::Task;

use crate::gate::ids::ConnId;
use crate::gate::limits;
use crate::gate::net;

/// Unauthenticated connections, without those whose attempt the rate limiter delays. Bounded in
/// total and per address (IPv6: /64; not for loopback). The oldest one is evicted.
#[derive(Default)]
pub struct PreAuthConnections(RefCell<Vec<Waiting>>);

struct Waiting {
    conn: ConnId,
    network: [u8; 8],
    /// Task of the connection. Dropping it ends the connection.
    task: Option<Task<()>>,
}

impl PreAuthConnections {
    /// Adds a connection, and evicts another one if a limit is reached.
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

    /// Stores the task of a connection that was added before.
    pub fn hold(&self, conn: ConnId, task: Task<()>) {
        match self.0.borrow_mut().iter_mut().find(|waiting| waiting.conn == conn) {
            Some(waiting) => waiting.task = Some(task),
            // the connection was already removed
            None => task.detach(),
        }
    }

    /// Removes a connection that is admitted, delayed or closed.
    pub fn leave(&self, conn: ConnId) {
        let mut waiting = self.0.borrow_mut();
        let place = waiting.iter().position(|waiting| waiting.conn == conn);
        if let Some(task) = place.and_then(|place| waiting.remove(place).task) {
            task.detach();
        }
    }

    /// Number of connections.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
