//! Pending requests for the owner's approval of a role or of a node's surface. Kept in memory only,
//! bounded in number, expiring.
//!
//! A device has at most one request. Asking again renews it and keeps its id, so that a command
//! copied by the owner stays valid. Asking for more, or under another name, platform or client id,
//! gives the request a new id, so that an approval never grants anything else than what the owner
//! could read. Roles and scopes accumulate; of the surface only the newest counts, because a node
//! offers only that.
//!
//! A network has a share of the list. A request beyond it evicts the one of the same network that
//! was renewed least recently, and among those renewed in the same millisecond the one that was
//! added first. If the list is full, the first request of a network evicts one of the network that
//! has the most. A request that an operator was shown in the last two minutes is not evicted,
//! because the operator may be reading it. Without a place, nothing is added.

use core::net::IpAddr;

use super::budget::{has_share, oldest_of_largest, Budget};
use super::ids::{DeviceId, Millis, PublicKey, RequestId, Role, Roles, WallMs};
use super::limits;
use super::net;
use super::scopes::Scopes;
use super::surface::Surface;
use super::text::Text;

/// Self-description of a client, shown to the owner.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct About {
    pub name: Text<{ limits::NAME_LEN }>,
    pub platform: Text<{ limits::PLATFORM_LEN }>,
    pub family: Text<{ limits::PLATFORM_LEN }>,
    pub client_id: Text<{ limits::CLIENT_ID_LEN }>,
    pub client_mode: Text<{ limits::CLIENT_MODE_LEN }>,
    /// Client address; `None` if local.
    pub remote: Option<IpAddr>,
}

impl About {
    /// Returns the key of the client's network; that of the address 0.0.0.0 for this machine.
    fn network(&self) -> [u8; 8] {
        self.remote.map_or([0; 8], net::network)
    }

    /// Returns whether the owner would see the same name, platform and client.
    fn is_shown_as(&self, other: &About) -> bool {
        (&self.name, &self.platform, &self.family) == (&other.name, &other.platform, &other.family)
            && (&self.client_id, &self.client_mode) == (&other.client_id, &other.client_mode)
    }
}

/// A pending request of one device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PairingRequest {
    pub id: RequestId,
    pub device: DeviceId,
    pub key: PublicKey,
    /// Requested roles; empty if only the surface is to be approved.
    pub roles: Roles,
    pub scopes: Scopes,
    /// Commands, capabilities and permissions offered as a node.
    pub surface: Surface,
    pub about: About,
    /// Whether the device is already in the table and asks for more.
    pub known: bool,
    /// Wall-clock time at which the request got its current id, for display.
    pub asked: WallMs,
    renewed: Millis,
    /// Time until which it is not evicted, because an operator was shown it.
    kept_until: Millis,
}

impl PairingRequest {
    /// Returns one role for display to clients that support only one: operator if requested, else
    /// node.
    pub fn role(&self) -> Role {
        if self.roles.contains(Role::Operator) {
            Role::Operator
        } else {
            Role::Node
        }
    }

    /// Renews the request and adds what `ask` contains. If that is more than before, or shown
    /// differently, gives it the id `fresh` and returns its old state.
    fn merge(
        &mut self,
        ask: RequestContent,
        fresh: RequestId,
        now: Millis,
        wall: WallMs,
    ) -> (RequestId, Option<PairingRequest>) {
        let (roles, scopes) = (self.roles.with(ask.roles), self.scopes.with(ask.scopes));
        // of a node and an app with the same key, the node describes the device
        let is_described = is_node(ask.roles, &ask.surface) || !is_node(self.roles, &self.surface);
        let about = if is_described { ask.about } else { self.about.clone() };
        let is_different = roles != self.roles
            || scopes != self.scopes
            || !self.surface.covers(&ask.surface)
            || !self.about.is_shown_as(&about);
        let replaced = is_different.then(|| self.clone());
        if is_different {
            (self.id, self.asked) = (fresh, wall);
        }
        (self.roles, self.scopes, self.about, self.known) = (roles, scopes, about, ask.known);
        if !ask.surface.is_empty() {
            self.surface = ask.surface;
        }
        self.renewed = now;
        (self.id, replaced)
    }

    fn network(&self) -> [u8; 8] {
        self.about.network()
    }

    fn is_valid(&self, now: Millis) -> bool {
        now.since(self.renewed) < limits::PENDING_MS
    }
}

/// Returns whether a request is that of a node.
fn is_node(roles: Roles, surface: &Surface) -> bool {
    roles.contains(Role::Node) || !surface.is_empty()
}

/// No request may be evicted for another one.
struct NoPlace;

/// Result of adding a request.
#[derive(Debug, PartialEq)]
pub struct Added {
    /// Id of the request of the device.
    pub id: RequestId,
    /// Request that this one ended: the older one of the same device if this one asks for more or
    /// is shown differently, or an evicted one.
    pub ended: Option<PairingRequest>,
}

/// All pending requests, in the order in which their devices first asked.
pub struct PairingRequests {
    requests: heapless::Vec<PairingRequest, { limits::PENDING }>,
    used: Budget,
}

/// Content of a request.
#[derive(Clone, Debug)]
pub struct RequestContent {
    pub device: DeviceId,
    pub key: PublicKey,
    /// Requested roles; empty if only the surface is to be approved.
    pub roles: Roles,
    pub scopes: Scopes,
    /// Offered surface; empty for an operator. If empty, the surface that the same device requested
    /// earlier as a node is kept.
    pub surface: Surface,
    pub about: About,
    pub known: bool,
}

impl Default for PairingRequests {
    fn default() -> PairingRequests {
        PairingRequests::new()
    }
}

impl PairingRequests {
    /// Creates an empty list.
    pub const fn new() -> PairingRequests {
        PairingRequests { requests: heapless::Vec::new(), used: Budget::new(limits::PENDING) }
    }

    /// Returns the use of the list, counted in requests.
    pub fn budget(&mut self, now: Millis) -> Budget {
        self.expire(now);
        self.used.with_used(self.requests.len())
    }

    /// Adds the request of a device, or renews and extends the existing one.
    ///
    /// A new request, or one that asks for more than before or is shown differently, gets the id
    /// `fresh`. Returns `None` if there is no place for the request.
    pub fn add(
        &mut self,
        ask: RequestContent,
        fresh: RequestId,
        now: Millis,
        wall: WallMs,
    ) -> Option<Added> {
        self.expire(now);
        let known = self.requests.iter_mut().find(|request| request.device == ask.device);
        if let Some(request) = known {
            let (id, ended) = request.merge(ask, fresh, now, wall);
            return Some(Added { id, ended });
        }
        let ended = self.make_room(ask.about.network(), now).ok()?;
        let request = PairingRequest {
            id: fresh,
            device: ask.device,
            key: ask.key,
            roles: ask.roles,
            scopes: ask.scopes,
            surface: ask.surface,
            about: ask.about,
            known: ask.known,
            asked: wall,
            renewed: now,
            kept_until: Millis(0),
        };
        let _ = self.requests.push(request);
        self.used.record(self.requests.len());
        Some(Added { id: fresh, ended })
    }

    /// Protects the requests that an operator is shown from eviction for
    /// [`limits::PENDING_SHOWN_MS`].
    pub fn mark_shown(&mut self, is_shown: impl Fn(&PairingRequest) -> bool, now: Millis) {
        for request in self.requests.iter_mut().filter(|request| is_shown(request)) {
            request.kept_until = now.plus(limits::PENDING_SHOWN_MS);
        }
    }

    /// Returns the request with this id, unless it has expired.
    pub fn get(&mut self, id: RequestId, now: Millis) -> Option<&PairingRequest> {
        self.expire(now);
        self.requests.iter().find(|request| request.id == id)
    }

    /// Returns the request of this device, unless it has expired.
    pub fn of_device(&self, device: &DeviceId, now: Millis) -> Option<&PairingRequest> {
        self.requests.iter().find(|request| request.device == *device && request.is_valid(now))
    }

    /// Renews the request of this device as if it had asked again; used while the device stays
    /// connected.
    pub fn renew(&mut self, device: &DeviceId, now: Millis) {
        let live = self
            .requests
            .iter_mut()
            .find(|request| request.device == *device && request.is_valid(now));
        if let Some(request) = live {
            request.renewed = now;
        }
    }

    /// Removes the request with this id.
    pub fn remove(&mut self, id: RequestId) {
        self.requests.retain(|request| request.id != id);
    }

    /// Returns all requests, in the order in which their devices first asked.
    pub fn iter(&mut self, now: Millis) -> impl Iterator<Item = &PairingRequest> {
        self.expire(now);
        self.requests.iter()
    }

    /// Makes a place for a request from this network. Returns the request that was evicted, if any.
    fn make_room(
        &mut self,
        network: [u8; 8],
        now: Millis,
    ) -> Result<Option<PairingRequest>, NoPlace> {
        let networks = self.requests.iter().map(PairingRequest::network);
        let own = networks.clone().filter(|one| *one == network).count();
        if has_share(own, self.requests.len(), limits::PENDING, limits::PENDING_OF_ONE) {
            return Ok(None);
        }
        let crowded = if own > 0 {
            network
        } else {
            let largest = oldest_of_largest(networks).filter(|(_, count)| *count > 1);
            let (at, _) = largest.ok_or(NoPlace)?;
            self.requests[at].network()
        };
        let evictable = self
            .requests
            .iter()
            .enumerate()
            .filter(|(_, request)| request.network() == crowded && request.kept_until <= now);
        let (at, _) = evictable.min_by_key(|(_, request)| request.renewed).ok_or(NoPlace)?;
        Ok(Some(self.requests.remove(at)))
    }

    fn expire(&mut self, now: Millis) {
        self.requests.retain(|request| request.is_valid(now));
    }
}

#[cfg(test)]
mod tests {
    use super::super::scopes::Scope;
    use super::*;

    fn ask(n: u16, scopes: Scopes) -> RequestContent {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&n.to_le_bytes());
        let (device, key) = (DeviceId(id), PublicKey(id));
        let roles = Roles::of(Role::Operator);
        RequestContent {
            device,
            key,
            roles,
            scopes,
            surface: Surface::NONE,
            about: About::default(),
            known: false,
        }
    }

    fn id(n: u16) -> RequestId {
        RequestId([n as u8; 16])
    }

    #[test]
    fn repeated_request_keeps_its_id_and_a_larger_one_gets_a_new_id() {
        let mut pairing_requests = PairingRequests::new();
        let (read, write) = (Scopes::of(Scope::Read), Scopes::of(Scope::Write));
        let mut ask = |scopes, n, ms| {
            let Added { id: request, ended: replaced } =
                pairing_requests.add(ask(1, scopes), id(n), Millis(ms), WallMs(ms)).unwrap();
            let scopes = pairing_requests
                .get(request, Millis(ms))
                .map(|request| (request.scopes, request.asked.0));
            (request, replaced.map(|old| (old.id, old.scopes)), scopes)
        };
        let (last, later) = (limits::PENDING_MS - 1, limits::PENDING_MS);
        assert_eq!(ask(read, 1, 0), (id(1), None, Some((read, 0))));
        assert_eq!(ask(read, 2, last), (id(1), None, Some((read, 0))));
        let both = read.with(write);
        assert_eq!(ask(write, 3, later), (id(3), Some((id(1), read)), Some((both, later))));
        assert_eq!(
            ask(read, 4, later),
            (id(3), None, Some((both, later))),
            "asking for less changes nothing"
        );
        assert_eq!(
            pairing_requests.get(id(1), Millis(later)),
            None,
            "the old id cannot approve more than the owner read"
        );
        let over = later + limits::PENDING_MS;
        assert!(pairing_requests.get(id(3), Millis(over - 1)).is_some());
        assert_eq!(
            pairing_requests.get(id(3), Millis(over)),
            None,
            "it expires five minutes after the last request"
        );
    }

    #[test]
    fn newest_offered_commands_replace_older_ones_and_only_additions_get_a_new_id() {
        let offering = |names: &[&str]| {
            let mut surface = Surface::NONE;
            names.iter().try_for_each(|name| surface.add_command(name)).unwrap();
            RequestContent { roles: Roles::NONE, surface, known: true, ..ask(1, Scopes::NONE) }
        };
        let mut pairing_requests = PairingRequests::new();
        let mut ask = |ask: RequestContent, n| {
            let Added { id: request, ended: replaced } =
                pairing_requests.add(ask, id(n), Millis(u64::from(n)), WallMs(0)).unwrap();
            assert_eq!(replaced.is_some(), n > 1 && request == id(n), "{n}");
            let request = pairing_requests.get(request, Millis(10)).unwrap();
            let commands = request.surface.commands().map(str::to_string).collect::<Vec<_>>();
            (request.id, commands, request.roles, request.role())
        };
        let walk = vec!["robot.walk".to_string()];
        let run = vec!["system.run".to_string()];
        assert_eq!(
            ask(offering(&["system.run"]), 1),
            (id(1), run.clone(), Roles::NONE, Role::Node)
        );
        assert_eq!(ask(offering(&["system.run"]), 2), (id(1), run, Roles::NONE, Role::Node));
        assert_eq!(
            ask(offering(&["robot.walk"]), 3),
            (id(3), walk.clone(), Roles::NONE, Role::Node)
        );
        let operator = Roles::of(Role::Operator);
        let app = self::ask(1, Scopes::of(Scope::Read));
        assert_eq!(
            ask(app, 4),
            (id(4), walk.clone(), operator, Role::Operator),
            "the operator app of the same device"
        );
        assert_eq!(ask(offering(&["robot.walk"]), 5), (id(4), walk, operator, Role::Operator));
    }

    #[test]
    fn changed_description_gets_a_new_id() {
        let mut pairing_requests = PairingRequests::new();
        let mut ask = |name: &str, roles: Role, n: u16| {
            let about = About { name: crate::gate::text::clip(name), ..About::default() };
            let roles = Roles::of(roles);
            let content = RequestContent { about, roles, ..ask(1, Scopes::of(Scope::Read)) };
            let added = pairing_requests.add(content, id(n), Millis(0), WallMs(0)).unwrap();
            let Added { id, ended } = added;
            let shown = pairing_requests.get(id, Millis(0)).map(|one| one.about.name.to_string());
            (id, ended.map(|old| old.about.name.to_string()), shown.unwrap())
        };
        let old = |name: &str| Some(name.to_string());
        assert_eq!(ask("Phone", Role::Operator, 1), (id(1), None, "Phone".into()));
        assert_eq!(ask("Phone", Role::Operator, 2), (id(1), None, "Phone".into()));
        assert_eq!(ask("Kitchen", Role::Operator, 3), (id(3), old("Phone"), "Kitchen".into()));
        assert_eq!(ask("Shed", Role::Node, 4), (id(4), old("Kitchen"), "Shed".into()));
        // the app beside the node changes nothing
        assert_eq!(ask("Kitchen", Role::Operator, 5), (id(4), None, "Shed".into()));
    }

    #[test]
    fn request_of_a_connected_device_is_renewed() {
        let mut pairing_requests = PairingRequests::new();
        let device = ask(1, Scopes::NONE).device;
        pairing_requests.add(ask(1, Scopes::NONE), id(1), Millis(0), WallMs(0));
        pairing_requests.renew(&device, Millis(limits::PENDING_MS - 1));
        pairing_requests.renew(&ask(2, Scopes::NONE).device, Millis(0));
        let last = 2 * limits::PENDING_MS - 2;
        assert_eq!(
            pairing_requests.of_device(&device, Millis(last)).map(|request| request.id),
            Some(id(1))
        );
        assert_eq!(pairing_requests.of_device(&device, Millis(last + 1)), None);
        pairing_requests.renew(&device, Millis(last + 1));
        assert_eq!(
            pairing_requests.get(id(1), Millis(last + 1)),
            None,
            "an expired request cannot be renewed"
        );
    }

    /// Adds the request of device `n` from a network. Returns whether there was a place, and the
    /// device whose request was evicted.
    fn add(requests: &mut PairingRequests, n: u16, network: u8, at: u64) -> (bool, Option<u16>) {
        let mut ask = ask(n, Scopes::NONE);
        ask.about.remote = (network > 0).then(|| IpAddr::from([10, 0, 0, network]));
        let added = requests.add(ask, id(n), Millis(at), WallMs(at));
        let evicted = added.as_ref().and_then(|added| added.ended.as_ref());
        (added.is_some(), evicted.map(number))
    }

    fn number(request: &PairingRequest) -> u16 {
        u16::from_le_bytes([request.device.0[0], request.device.0[1]])
    }

    #[test]
    fn network_beyond_its_share_evicts_its_own_least_recently_renewed_request() {
        let mut requests = PairingRequests::new();
        let full = limits::PENDING_OF_ONE as u16;
        add(&mut requests, 1000, 1, 0);
        for n in 0..full - 1 {
            // two of them in each millisecond
            assert_eq!(add(&mut requests, n, 0, 1 + u64::from(n) / 2), (true, None));
        }
        assert_eq!(add(&mut requests, 0, 0, 90), (true, None), "renewed");
        let evicted: Vec<_> = (0..4).map(|n| add(&mut requests, 500 + n, 0, 100).1).collect();
        assert_eq!(evicted, [None, Some(1), Some(2), Some(3)]);
        assert_eq!(requests.budget(Millis(100)).used(), 1 + usize::from(full));
        requests.remove(id(500));
        assert_eq!(add(&mut requests, 600, 0, 100), (true, None));
        let left: Vec<u16> = requests.iter(Millis(100)).map(number).collect();
        let expected = [1000, 0].into_iter().chain(4..full - 1).chain([501, 502, 503, 600]);
        assert_eq!(left, expected.collect::<Vec<_>>(), "in the order in which they first asked");
    }

    #[test]
    fn shown_requests_are_kept_and_without_a_place_none_is_added() {
        let mut requests = PairingRequests::new();
        let full = limits::PENDING_OF_ONE as u16;
        (0..full).for_each(|n| _ = add(&mut requests, n, 1, u64::from(n)));
        requests.mark_shown(|request| number(request) < 2, Millis(100));
        assert_eq!(add(&mut requests, 100, 1, 101), (true, Some(2)));
        requests.mark_shown(|_| true, Millis(200));
        let last = 200 + limits::PENDING_SHOWN_MS - 1;
        assert_eq!(add(&mut requests, 101, 1, last), (false, None));
        assert_eq!(add(&mut requests, 5, 1, last), (true, None), "known requests are renewed");
        assert_eq!(add(&mut requests, 102, 2, last), (true, None), "another network");
        assert_eq!(add(&mut requests, 101, 1, last + 1), (true, Some(0)));
    }

    #[test]
    fn attacking_networks_leave_places_to_others_and_evict_nothing_of_them() {
        for seed in 0..40 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut requests = PairingRequests::new();
            let networks = random.u8(1..60);
            assert_eq!(add(&mut requests, 9999, 200, 0), (true, None));
            for n in 0..1500 {
                let network = random.u8(1..=networks);
                let (added, evicted) = add(&mut requests, n, network, u64::from(n));
                assert_ne!(evicted, Some(9999), "seed {seed}: the only request of its network");
                assert!(added, "seed {seed}: nothing was shown");
                let of = |network: u8| {
                    let key = net::network(IpAddr::from([10, 0, 0, network]));
                    requests.requests.iter().filter(|one| one.network() == key).count()
                };
                assert!((1..=networks).all(|one| of(one) <= limits::PENDING_OF_ONE));
            }
            // a network that had none gets a place
            assert!(add(&mut requests, 8888, 201, 1500).0, "seed {seed}");
        }
        // each place is of another network: none is evicted, even if it was never shown
        let mut requests = PairingRequests::new();
        (0..limits::PENDING as u16).for_each(|n| _ = add(&mut requests, n, n as u8, 0));
        assert_eq!(add(&mut requests, 100, 100, 1), (false, None));
        assert_eq!(
            add(&mut requests, 101, 7, 1),
            (true, Some(7)),
            "one of its own network is evicted"
        );
    }
}
