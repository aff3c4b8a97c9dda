//! Shares of connections: a device has at most [`limits::OPERATOR_CONNECTIONS`] as an operator and
//! [`limits::NODE_CONNECTIONS`] as a node, and if the gateway has all that it may have, the holder
//! with the most loses one. Connections are free for an admitted client, so without shares one
//! device could take all of them.
//!
//! A connection that is evicted is idle: the one without unanswered calls that was active the
//! longest time ago.

use super::connections::Connections;
use super::eviction_rate::EvictionRate;
use super::Gateway;
use crate::gate::budget::Holder;
use crate::gate::connection_limits::ConnectionLimits;
use crate::gate::ids::{ConnId, DeviceId, Millis, Now, Role};
use crate::gate::limits;
use crate::gate::refusal::{Close, Refusal};
use crate::gate::session::Admitted;

/// Place for a further connection of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ConnectionPlace {
    Free,
    /// Taken from this connection of the same device, which is closing anyway.
    FromClosing(ConnId),
    /// Taken from this connection of the same device, which has its whole share.
    FromOwn(ConnId, DeviceId),
    /// Taken from this connection of the holder with the most.
    FromLargest(ConnId),
    None(Refusal),
}

impl Gateway {
    /// Number of admitted connections that are possible at the same time.
    pub fn connection_limit(&self) -> usize {
        self.connection_limits.admitted
    }

    /// Number of connections of the holder with the most.
    pub fn connections_of_largest_holder(&self) -> usize {
        self.connections.largest_holder(|_, _| true).map_or(0, |(_, count)| count)
    }

    /// Returns the place for a further connection of this client.
    pub(super) fn connection_place(&self, client: &Admitted, now: Now) -> ConnectionPlace {
        let shares = ConnectionShares {
            connections: &self.connections,
            limits: &self.connection_limits,
            rate: &self.eviction_rate,
            with_calls: &|| self.nodes.connections_with_calls(),
            now: now.at,
        };
        shares.place(client.holder(), client.role())
    }

    /// Takes the place of an admitted client, and evicts the connection that has it. Returns the
    /// refusal if there is no place any more.
    pub(super) fn take_connection_place(
        &mut self,
        client: &Admitted,
        now: Now,
    ) -> Result<(), Refusal> {
        match self.connection_place(client, now) {
            ConnectionPlace::Free => {}
            ConnectionPlace::FromOwn(conn, device) => {
                self.eviction_rate.add(device, now.at);
                self.warn_of_share(client, device, now.at);
                self.evict(conn, Close::DeviceShare);
            }
            ConnectionPlace::FromClosing(conn) | ConnectionPlace::FromLargest(conn) => {
                self.evict(conn, Close::Crowded)
            }
            ConnectionPlace::None(refusal) => return Err(refusal),
        }
        Ok(())
    }

    fn evict(&mut self, conn: ConnId, reason: Close) {
        log::debug!("conn={conn} evicted: {}", reason.words().1);
        self.connections.evict(conn, reason);
    }

    /// Logs a warning, once per hour and device, about a device that has its whole share.
    fn warn_of_share(&mut self, client: &Admitted, device: DeviceId, now: Millis) {
        if !self.share_warnings.get_or_insert_default().add(device, now) {
            return;
        }
        let known = self.devices.find(&device);
        let name = known.map_or("", |(_, device)| device.shown_name());
        let (role, command) = (client.role(), &self.runtime_config.command);
        log::warn!(
            "device {} ({name:?}) has all connections that one device may have ({} as {}): a further one closes the one \
             that was idle the longest. Close clients of this device that are not needed. If they are not yours, run \
             `{command} devices revoke {device}`. Not logged again for this device within an hour",
            device.short(),
            share(role),
            role.name()
        );
    }
}

/// Connections, and what limits them.
struct ConnectionShares<'a> {
    connections: &'a Connections,
    limits: &'a ConnectionLimits,
    rate: &'a EvictionRate,
    /// Returns the connections with unanswered calls, sorted.
    with_calls: &'a dyn Fn() -> Vec<ConnId>,
    now: Millis,
}

impl ConnectionShares<'_> {
    /// Returns the place for a further connection of this holder.
    fn place(&self, holder: Holder, role: Role) -> ConnectionPlace {
        if let Holder::Device(device) = holder {
            if self.held_as(holder, role) >= share(role) {
                return self.own_place(device, Some(role));
            }
        }
        if !self.is_crowded(holder) {
            return ConnectionPlace::Free;
        }
        let largest = self.holder_to_lose_one(holder);
        match (largest, holder) {
            (Some(largest), Holder::Device(device)) if largest == holder => {
                self.own_place(device, None)
            }
            _ => match largest.and_then(|largest| self.most_idle(largest, None)) {
                Some(conn) => ConnectionPlace::FromLargest(conn),
                None => ConnectionPlace::None(Refusal::TooManyConnections),
            },
        }
    }

    /// Returns the place of one of the device's own connections, in this role if one is given.
    fn own_place(&self, device: DeviceId, role: Option<Role>) -> ConnectionPlace {
        let is_closing = |conn: &ConnId| {
            self.connections.get(*conn).is_some_and(|open| open.send_queue.is_closed())
        };
        match self.most_idle(Holder::Device(device), role) {
            Some(conn) if is_closing(&conn) => ConnectionPlace::FromClosing(conn),
            Some(conn) if self.rate.allows(&device, self.now) => {
                ConnectionPlace::FromOwn(conn, device)
            }
            _ => ConnectionPlace::None(Refusal::TooManyOfDevice),
        }
    }

    /// Number of connections that a holder has in this role.
    fn held_as(&self, holder: Holder, role: Role) -> usize {
        let held = self.connections.held_by(holder).filter_map(|open| open.admitted.as_ref());
        held.filter(|client| client.role() == role).count()
    }

    /// Returns whether the gateway has all connections that it may have. The part of the command
    /// line's reserve that is not in use is not for others.
    fn is_crowded(&self, holder: Holder) -> bool {
        let (held, reserve) = (self.connections.held(), self.limits.admitted_local);
        if held + reserve < self.limits.admitted {
            return false;
        }
        let unused = match holder {
            Holder::Local => 0,
            Holder::Device(_) | Holder::Keyless => {
                reserve.saturating_sub(self.connections.held_by(Holder::Local).count())
            }
        };
        held + unused >= self.limits.admitted
    }

    /// Returns the holder that loses a connection to `holder`: the one with the most, if it then
    /// still has at least as many; else `holder` itself. Holders with as many as each other
    /// therefore do not evict each other.
    fn holder_to_lose_one(&self, holder: Holder) -> Option<Holder> {
        let own = self.connections.held_by(holder).count();
        let reserve = self.limits.admitted_local;
        let may_lose =
            |other, count| count > own + 1 && (other != Holder::Local || count > reserve);
        let largest = self.connections.largest_holder(may_lose).map(|(other, _)| other);
        largest.or((own > 0).then_some(holder))
    }

    /// Returns the connection of a holder to evict, in this role if one is given: one that is
    /// closing anyway if there is one.
    fn most_idle(&self, holder: Holder, role: Option<Role>) -> Option<ConnId> {
        let with_calls = (self.with_calls)();
        let in_role = |client: &Admitted| role.is_none_or(|role| client.role() == role);
        let held = self.connections.held_by(holder);
        let evictable = held.filter(|open| open.admitted.as_ref().is_some_and(in_role));
        let most_idle = evictable.min_by_key(|open| {
            let has_calls = with_calls.binary_search(&open.id).is_ok();
            (!open.send_queue.is_closed(), has_calls, open.last_active)
        });
        most_idle.map(|open| open.id)
    }
}

/// Returns the maximum number of connections of one device in this role.
fn share(role: Role) -> usize {
    match role {
        Role::Operator => limits::OPERATOR_CONNECTIONS,
        Role::Node => limits::NODE_CONNECTIONS,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use super::*;
    use crate::gate::facts::{AuthMethod, Protocol, Unremembered};
    use crate::gate::policy::{Admission, Registration};
    use crate::gate::scopes::Scopes;

    /// Connection as a model of it.
    #[derive(Clone)]
    struct Held {
        conn: ConnId,
        holder: Holder,
        role: Role,
        last_active: u64,
        is_closing: bool,
        has_calls: bool,
    }

    /// Connections, a list of them as the model, and what limits them.
    struct World {
        connections: Connections,
        model: Vec<Held>,
        limits: ConnectionLimits,
        rate: EvictionRate,
        now: u64,
        next: u64,
    }

    fn client(conn: ConnId, holder: Holder, role: Role) -> Admitted {
        let admission = Admission {
            protocol: Protocol::V4,
            role,
            scopes: Scopes::NONE,
            method: AuthMethod::Token,
            registration: Registration::None(Unremembered::TableFull),
            pending_scopes: Scopes::NONE,
        };
        match holder {
            Holder::Device(id) => Admitted::by(&admission, conn, Some(id)),
            Holder::Keyless => Admitted::by(&admission, conn, None),
            Holder::Local => Admitted::by(&admission, conn, None).as_command(),
        }
    }

    impl World {
        fn new(limits: ConnectionLimits) -> World {
            let connections = Connections::default();
            let rate = EvictionRate::default();
            World { connections, model: Vec::new(), limits, rate, now: 0, next: 1 }
        }

        fn place(&self, holder: Holder, role: Role) -> ConnectionPlace {
            let with_calls = || {
                let with_calls = self.model.iter().filter(|held| held.has_calls);
                with_calls.map(|held| held.conn).collect()
            };
            let shares = ConnectionShares {
                connections: &self.connections,
                limits: &self.limits,
                rate: &self.rate,
                with_calls: &with_calls,
                now: Millis(self.now),
            };
            shares.place(holder, role)
        }

        fn count(&self, holder: Holder) -> usize {
            self.model.iter().filter(|held| held.holder == holder).count()
        }

        /// Returns the connection to evict among those that `is_one` returns.
        fn most_idle(&self, is_one: impl Fn(&Held) -> bool) -> Option<ConnId> {
            let evictable = self.model.iter().filter(|held| is_one(held));
            let most_idle = evictable
                .min_by_key(|held| (!held.is_closing, held.has_calls, held.last_active, held.conn));
            most_idle.map(|held| held.conn)
        }

        /// Connects a client, if there is a place for it.
        fn connect(&mut self, holder: Holder, role: Role) -> ConnectionPlace {
            let place = self.place(holder, role);
            match place {
                ConnectionPlace::Free => {}
                ConnectionPlace::FromOwn(conn, device) => {
                    self.rate.add(device, Millis(self.now));
                    self.evict(conn);
                }
                ConnectionPlace::FromClosing(conn) | ConnectionPlace::FromLargest(conn) => {
                    self.evict(conn)
                }
                ConnectionPlace::None(_) => return place,
            }
            let conn = ConnId(self.next);
            self.next += 1;
            self.connections.open(conn, Rc::default());
            self.connections.admit(&client(conn, holder, role), "", Millis(self.now));
            let (last_active, is_closing, has_calls) = (self.now, false, false);
            self.model.push(Held { conn, holder, role, last_active, is_closing, has_calls });
            place
        }

        fn evict(&mut self, conn: ConnId) {
            self.connections.evict(conn, Close::Crowded);
            assert!(self.connections.get(conn).unwrap().send_queue.is_evicted());
            self.model.retain(|held| held.conn != conn);
        }

        fn close(&mut self, conn: ConnId) {
            self.connections.close(conn);
            self.model.retain(|held| held.conn != conn);
        }

        /// Changes a random connection.
        fn change(&mut self, random: &mut fastrand::Rng) {
            if self.model.is_empty() {
                return;
            }
            let index = random.usize(..self.model.len());
            let held = &mut self.model[index];
            let conn = held.conn;
            match random.u8(..8) {
                0 => self.close(conn),
                1 => {
                    held.is_closing = true;
                    self.connections.get(conn).unwrap().send_queue.close_for(Close::Restart);
                }
                2 => held.has_calls = !held.has_calls,
                _ => {
                    held.last_active = self.now;
                    self.connections.get_mut(conn).unwrap().last_active = Millis(self.now);
                }
            }
        }

        /// Checks the place of a client that is about to connect.
        fn check_place(&self, holder: Holder, role: Role) {
            let place = self.place(holder, role);
            let (own, all) = (self.count(holder), self.model.len());
            let local = self.count(Holder::Local);
            let unused = self.limits.admitted_local.saturating_sub(local);
            let is_full = match holder {
                Holder::Local => all >= self.limits.admitted,
                _ => all + unused >= self.limits.admitted,
            };
            let of_role = |held: &Held| held.holder == holder && held.role == role;
            let has_share = matches!(holder, Holder::Device(_))
                && self.model.iter().filter(|held| of_role(held)).count() >= share(role);
            let others = self.model.iter().map(|held| held.holder).filter(|one| *one != holder);
            let may_lose = |one: &Holder| {
                *one != Holder::Local || unused == 0 && local > self.limits.admitted_local
            };
            let most = others.filter(may_lose).map(|one| self.count(one)).max().unwrap_or(0);
            if let ConnectionPlace::FromOwn(conn, _) | ConnectionPlace::FromClosing(conn) = place {
                let taken = self.model.iter().find(|held| held.conn == conn).unwrap();
                let counts = matches!(place, ConnectionPlace::FromOwn(..));
                assert_eq!(counts, !taken.is_closing, "only evictions that a client notices count");
            }
            match place {
                ConnectionPlace::Free => assert!(!is_full && !has_share),
                ConnectionPlace::FromClosing(conn) | ConnectionPlace::FromOwn(conn, _)
                    if has_share =>
                {
                    assert_eq!(Some(conn), self.most_idle(of_role));
                }
                ConnectionPlace::FromClosing(conn) | ConnectionPlace::FromOwn(conn, _) => {
                    assert!(is_full && most <= own + 1);
                    assert_eq!(Some(conn), self.most_idle(|held| held.holder == holder));
                }
                ConnectionPlace::FromLargest(conn) => {
                    assert!(is_full && !has_share);
                    let loser = self.model.iter().find(|held| held.conn == conn).unwrap().holder;
                    assert_eq!(Some(conn), self.most_idle(|held| held.holder == loser));
                    assert!(
                        loser == holder && most <= own + 1
                            || self.count(loser) == most && most > own + 1
                    );
                    assert!(
                        loser != Holder::Local
                            || holder == Holder::Local
                            || local > self.limits.admitted_local
                    );
                }
                ConnectionPlace::None(Refusal::TooManyOfDevice) => {
                    let Holder::Device(device) = holder else { panic!("only devices have shares") };
                    assert!(has_share || is_full && most <= own + 1);
                    assert!(!self.rate.allows(&device, Millis(self.now)));
                }
                ConnectionPlace::None(refusal) => {
                    assert_eq!(refusal, Refusal::TooManyConnections);
                    assert!(is_full && !has_share && own == 0 && most <= 1);
                }
            }
        }

        fn check(&self) {
            assert_eq!(self.connections.held(), self.model.len());
            assert!(self.model.len() <= self.limits.admitted);
            let mut counts = BTreeMap::<(Holder, Role), usize>::new();
            for held in &self.model {
                *counts.entry((held.holder, held.role)).or_default() += 1;
            }
            for ((holder, role), count) in counts {
                let held = self.connections.held_by(holder).map(|open| open.id);
                let model = self.model.iter().filter(|held| held.holder == holder);
                assert!(held.eq(model.map(|held| held.conn)));
                assert!(!matches!(holder, Holder::Device(_)) || count <= share(role));
            }
        }
    }

    fn device(number: u8) -> Holder {
        Holder::Device(DeviceId([number + 1; 32]))
    }

    #[test]
    fn shares_hold_whatever_clients_do() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut world = World::new(ConnectionLimits::within(random.usize(64..400)));
            let devices = random.u8(1..60);
            for _ in 0..600 {
                let holder = match random.u8(..10) {
                    0 => Holder::Local,
                    1..=3 => Holder::Keyless,
                    // some devices connect more often than others
                    _ => device(random.u8(..devices).min(random.u8(..devices))),
                };
                let is_node = matches!(holder, Holder::Device(_)) && random.u8(..6) == 0;
                let role = if is_node { Role::Node } else { Role::Operator };
                world.check_place(holder, role);
                world.connect(holder, role);
                world.check();
                world.change(&mut random);
                world.now += random.u64(..2000) * random.u64(..3);
            }
        }
    }

    #[test]
    fn a_new_device_and_the_command_line_always_get_a_place() {
        let limits = ConnectionLimits::within(512);
        for attacker in [device(9), Holder::Keyless] {
            let mut world = World::new(limits);
            for number in 100..110 {
                for _ in 0..limits.admitted {
                    world.connect(device(number), Role::Operator);
                    world.connect(attacker, Role::Operator);
                }
            }
            for number in 0..9 {
                let place = world.connect(device(number), Role::Operator);
                assert!(!matches!(place, ConnectionPlace::None(_)), "{place:?}");
            }
            for _ in 0..4 * limits.admitted_local {
                let place = world.connect(Holder::Local, Role::Operator);
                assert!(!matches!(place, ConnectionPlace::None(_)), "{place:?}");
            }
            let (local, new) = (world.count(Holder::Local), world.count(device(3)));
            for _ in 0..1000 {
                world.connect(attacker, Role::Operator);
            }
            assert!(
                local >= limits.admitted_local
                    && world.count(Holder::Local) >= limits.admitted_local
            );
            assert_eq!((new, world.count(device(3))), (1, 1), "none of a small holder is evicted");
        }
    }

    #[test]
    fn clients_of_one_device_that_reconnect_at_once_do_not_evict_each_other_for_ever() {
        let mut world = World::new(ConnectionLimits::FULL);
        for _ in 0..limits::OPERATOR_CONNECTIONS {
            assert_eq!(world.connect(device(1), Role::Operator), ConnectionPlace::Free);
        }
        let mut evictions = 0;
        for _ in 0..600 {
            world.now += 1000;
            let place = world.connect(device(1), Role::Operator);
            evictions += u64::from(matches!(place, ConnectionPlace::FromOwn(..)));
        }
        let most = limits::EVICTIONS_AT_ONCE + 600_000 / limits::EVICTION_EVERY_MS;
        assert!((most - 1..=most).contains(&evictions), "{evictions}");
    }
}
