//! Unauthenticated connections, which are bounded in number.
//!
//! If a limit is reached, one connection is evicted: the oldest of the network that has the most.
//! Programs on this machine, such as probes and commands, have a reserve: connections of other
//! networks do not evict them from it. A connection from loopback counts as one of this machine
//! until its request shows that a proxy forwarded it; behind a trusted proxy it then counts for the
//! network of its client. A proxy that forwards bytes, without proxy headers, cannot be told apart
//! from this machine: its clients share the places of loopback, of which the oldest is evicted.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;

use smol::Task;

use crate::gate::connection_limits::ConnectionLimits;
use crate::gate::ids::ConnId;
use crate::gate::net;

/// Unauthenticated connections, without those whose attempt the rate limiter delays. Bounded in
/// total and per network (IPv4 address, IPv6 /64; not for loopback).
pub struct PreAuthConnections {
    connections: RefCell<Vec<PreAuthConnection>>,
    /// Connections whose attempt was delayed, until they are admitted or closed. They are not
    /// evicted.
    delayed: RefCell<Vec<ConnId>>,
    limits: Cell<ConnectionLimits>,
}

/// Origin of a connection, by which connections are counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Network {
    /// This machine.
    Loopback,
    Remote([u8; 8]),
}

struct PreAuthConnection {
    conn: ConnId,
    network: Network,
    /// Task of the connection. Dropping it ends the connection.
    task: Option<Task<()>>,
}

impl Default for PreAuthConnections {
    fn default() -> PreAuthConnections {
        PreAuthConnections::new(ConnectionLimits::FULL)
    }
}

impl PreAuthConnections {
    /// Creates an empty list with these limits.
    pub fn new(limits: ConnectionLimits) -> PreAuthConnections {
        PreAuthConnections {
            connections: RefCell::default(),
            delayed: RefCell::default(),
            limits: Cell::new(limits),
        }
    }

    /// Adds a connection, and evicts another one if a limit is reached.
    pub fn add(&self, conn: ConnId, address: IpAddr) {
        let mut connections = self.connections.borrow_mut();
        let network = if net::is_loopback(address) {
            Network::Loopback
        } else {
            Network::Remote(net::network(address))
        };
        if let Some(index) = to_evict(&connections, network, &self.limits.get()) {
            let evicted = connections.remove(index);
            log::debug!("conn={} evicted before authentication", evicted.conn);
        }
        connections.push(PreAuthConnection { conn, network, task: None });
    }

    /// Counts a connection, which a proxy forwarded, for the network of its client.
    pub fn set_client(&self, conn: ConnId, client: IpAddr) {
        let mut connections = self.connections.borrow_mut();
        if let Some(entry) = connections.iter_mut().find(|entry| entry.conn == conn) {
            entry.network = Network::Remote(net::network(client));
        }
    }

    /// Stores the task of a connection that was added before.
    pub fn set_task(&self, conn: ConnId, task: Task<()>) {
        match self.connections.borrow_mut().iter_mut().find(|entry| entry.conn == conn) {
            Some(entry) => entry.task = Some(task),
            // the connection was already removed
            None => task.detach(),
        }
    }

    /// Excepts a connection from eviction while the rate limiter, which bounds them, delays its
    /// attempt. It stays evictable if there are too many of them for the descriptors.
    pub fn delay(&self, conn: ConnId) {
        if self.delayed.borrow().len() < self.limits.get().delayed {
            self.remove(conn);
            self.delayed.borrow_mut().push(conn);
        }
    }

    /// Removes a connection that is admitted or closed.
    pub fn remove(&self, conn: ConnId) {
        let mut connections = self.connections.borrow_mut();
        match connections.iter().position(|entry| entry.conn == conn) {
            Some(index) => {
                if let Some(task) = connections.remove(index).task {
                    task.detach();
                }
            }
            None => self.delayed.borrow_mut().retain(|delayed| *delayed != conn),
        }
    }

    /// Number of connections.
    pub fn len(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Returns the connection that is evicted for a new one of this network.
fn to_evict(
    connections: &[PreAuthConnection],
    network: Network,
    limits: &ConnectionLimits,
) -> Option<usize> {
    let oldest_of = |network| connections.iter().position(|entry| entry.network == network);
    let own = connections.iter().filter(|entry| entry.network == network).count();
    if network != Network::Loopback && own >= limits.unauthenticated_per_address {
        return oldest_of(network);
    }
    if connections.len() < limits.unauthenticated {
        return None;
    }
    let mut networks: Vec<Network> = connections.iter().map(|entry| entry.network).collect();
    networks.sort_unstable();
    let count = |network: Network| {
        let start = networks.partition_point(|other| *other < network);
        networks[start..].partition_point(|other| *other == network)
    };
    let reserved =
        |network, count| network == Network::Loopback && count <= limits.unauthenticated_local;
    // the new connection counts too, so a network with many evicts its own
    let weight = |entry: &PreAuthConnection| {
        let count = count(entry.network) + usize::from(entry.network == network);
        if reserved(entry.network, count) {
            0
        } else {
            count
        }
    };
    let heaviest = connections.iter().map(weight).max()?;
    connections.iter().position(|entry| weight(entry) == heaviest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        unauthenticated: 24,
        unauthenticated_per_address: 12,
        unauthenticated_local: 4,
        delayed: 2,
        ..ConnectionLimits::FULL
    };

    fn networks(list: &PreAuthConnections) -> Vec<(ConnId, Network)> {
        list.connections.borrow().iter().map(|entry| (entry.conn, entry.network)).collect()
    }

    fn remote(number: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, number))
    }

    #[test]
    fn eviction_follows_its_rules_whatever_connects() {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let list = PreAuthConnections::new(LIMITS);
            let addresses = random.u8(1..40);
            for conn in 0..200 {
                let before = networks(&list);
                let address = match random.u8(..addresses) {
                    0 => IpAddr::V4(Ipv4Addr::LOCALHOST),
                    number => remote(number),
                };
                list.add(ConnId(conn), address);
                let after = networks(&list);
                let mut counts = BTreeMap::<Network, usize>::new();
                after.iter().for_each(|(_, network)| *counts.entry(*network).or_default() += 1);
                assert!(after.len() <= LIMITS.unauthenticated);
                let remote = |network: &&Network| **network != Network::Loopback;
                let most = counts.iter().filter(|(network, _)| remote(network)).map(|(_, n)| *n);
                assert!(most.max().unwrap_or(0) <= LIMITS.unauthenticated_per_address);
                let gone: Vec<_> = before.iter().filter(|old| !after.contains(old)).collect();
                assert!(gone.len() <= 1, "{seed}");
                let Some((evicted, network)) = gone.first() else { continue };
                let first = before.iter().find(|(_, other)| other == network).unwrap();
                assert_eq!(first.0, *evicted, "the oldest of its network");
                let left = counts.get(network).copied().unwrap_or(0);
                let is_local = *network == Network::Loopback;
                assert!(!is_local || left >= LIMITS.unauthenticated_local, "{seed}: the reserve");
                let more = counts.iter().find(|(other, count)| {
                    let reserved =
                        **other == Network::Loopback && **count <= LIMITS.unauthenticated_local;
                    **count > left + 1 && !reserved
                });
                let own = before.len() < LIMITS.unauthenticated;
                assert!(own || more.is_none(), "{seed}: a network with more lost none");
                if random.u8(..10) == 0 {
                    list.remove(ConnId(random.u64(..=conn)));
                }
            }
        }
    }

    #[test]
    fn a_crowd_of_other_machines_leaves_places_to_this_one() {
        let list = PreAuthConnections::new(LIMITS);
        let local = [1, 2, 3, 4].map(ConnId);
        local.iter().for_each(|conn| list.add(*conn, IpAddr::V4(Ipv4Addr::LOCALHOST)));
        for conn in 10..1000 {
            list.add(ConnId(conn), remote((conn % 200) as u8));
        }
        let left = networks(&list);
        assert!(local.iter().all(|conn| left.contains(&(*conn, Network::Loopback))));
        assert_eq!(left.len(), LIMITS.unauthenticated);
    }

    #[test]
    fn clients_of_a_proxy_on_this_machine_do_not_use_its_reserve() {
        let list = PreAuthConnections::new(LIMITS);
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        list.add(ConnId(1), localhost);
        for conn in 2..500 {
            list.add(ConnId(conn), localhost);
            let client = if conn % 2 == 0 { localhost } else { remote((conn % 100) as u8) };
            list.set_client(ConnId(conn), client);
        }
        assert!(networks(&list).contains(&(ConnId(1), Network::Loopback)));
    }

    #[test]
    fn delayed_connections_are_not_evicted_and_bounded() {
        let list = PreAuthConnections::new(LIMITS);
        for conn in 0..4 {
            list.add(ConnId(conn), remote(1));
            list.delay(ConnId(conn));
        }
        assert_eq!((list.len(), list.delayed.borrow().len()), (2, 2));
        list.remove(ConnId(0));
        list.delay(ConnId(2));
        assert_eq!((list.len(), list.delayed.borrow().len()), (1, 2));
        (0..4).for_each(|conn| list.remove(ConnId(conn)));
        assert_eq!((list.len(), list.delayed.borrow().len()), (0, 0));
    }
}
