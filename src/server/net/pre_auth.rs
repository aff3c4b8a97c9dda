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
pub struct PreAuthConnections(RefCell<Vec<PreAuthConnection>>);

struct PreAuthConnection {
    conn: ConnId,
    network: [u8; 8],
    /// Task of the connection. Dropping it ends the connection.
    task: Option<Task<()>>,
}

impl PreAuthConnections {
    /// Adds a connection, and evicts another one if a limit is reached.
    pub fn add(&self, conn: ConnId, address: IpAddr) {
        let mut connections = self.0.borrow_mut();
        let network = net::network(address);
        let is_same = |entry: &PreAuthConnection| entry.network == network;
        let same = connections.iter().filter(|entry| is_same(entry)).count();
        let evicted = if same >= limits::UNAUTHENTICATED_PER_ADDRESS && !net::is_loopback(address) {
            connections.iter().position(is_same)
        } else if connections.len() >= limits::UNAUTHENTICATED {
            Some(0)
        } else {
            None
        };
        if let Some(index) = evicted {
            let evicted = connections.remove(index);
            log::debug!("conn={} evicted before authentication", evicted.conn);
        }
        connections.push(PreAuthConnection { conn, network, task: None });
    }

    /// Stores the task of a connection that was added before.
    pub fn set_task(&self, conn: ConnId, task: Task<()>) {
        match self.0.borrow_mut().iter_mut().find(|entry| entry.conn == conn) {
            Some(entry) => entry.task = Some(task),
            // the connection was already removed
            None => task.detach(),
        }
    }

    /// Removes a connection that is admitted, delayed or closed.
    pub fn remove(&self, conn: ConnId) {
        let mut connections = self.0.borrow_mut();
        let index = connections.iter().position(|entry| entry.conn == conn);
        if let Some(task) = index.and_then(|index| connections.remove(index).task) {
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
