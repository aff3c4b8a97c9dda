//! Pending requests for the owner's approval of a role or of a node's surface. Kept in memory only,
//! bounded in number, expiring.
//!
//! A device has at most one request. Asking again renews it and keeps its id, so that a command
//! copied by the owner stays valid. Asking for more, or under another name, platform or client id,
//! gives the request a new id, so that an approval never grants anything else than what the owner
//! could read. Roles and scopes accumulate; of the surface only
//! the newest counts, because a node offers only that. If the list is full, the request that was
//! renewed least recently is evicted; among those renewed in the same millisecond, the one that was
//! added first.

use core::net::IpAddr;

use super::ids::{DeviceId, Millis, PublicKey, RequestId, Role, Roles, WallMs};
use super::limits;
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

    fn is_valid(&self, now: Millis) -> bool {
        now.since(self.renewed) < limits::PENDING_MS
    }
}

/// Returns whether a request is that of a node.
fn is_node(roles: Roles, surface: &Surface) -> bool {
    roles.contains(Role::Node) || !surface.is_empty()
}

/// All pending requests, in the order in which their devices first asked.
#[derive(Default)]
pub struct PairingRequests {
    requests: heapless::Vec<PairingRequest, { limits::PENDING }>,
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

impl PairingRequests {
    /// Creates an empty list.
    pub const fn new() -> PairingRequests {
        PairingRequests { requests: heapless::Vec::new() }
    }

    /// Adds the request of a device, or renews and extends the existing one.
    ///
    /// A new request, or one that asks for more than before or is shown differently, gets the id
    /// `fresh`. Returns the id of the request and, if it got a new one, the request that it
    /// replaces.
    pub fn add(
        &mut self,
        ask: RequestContent,
        fresh: RequestId,
        now: Millis,
        wall: WallMs,
    ) -> (RequestId, Option<PairingRequest>) {
        self.expire(now);
        let known = self.requests.iter_mut().find(|request| request.device == ask.device);
        if let Some(request) = known {
            return request.merge(ask, fresh, now, wall);
        }
        if self.requests.is_full() {
            self.evict();
        }
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
        };
        let _ = self.requests.push(request);
        (fresh, None)
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

    /// Removes the request that was renewed least recently.
    fn evict(&mut self) {
        let oldest = self.requests.iter().enumerate().min_by_key(|(_, request)| request.renewed);
        if let Some(at) = oldest.map(|(at, _)| at) {
            self.requests.remove(at);
        }
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
            let (request, replaced) =
                pairing_requests.add(ask(1, scopes), id(n), Millis(ms), WallMs(ms));
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
            let (request, replaced) =
                pairing_requests.add(ask, id(n), Millis(u64::from(n)), WallMs(0));
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
            let (id, replaced) = pairing_requests.add(content, id(n), Millis(0), WallMs(0));
            let shown = pairing_requests.get(id, Millis(0)).map(|one| one.about.name.to_string());
            (id, replaced.map(|old| old.about.name.to_string()), shown.unwrap())
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

    #[test]
    fn full_list_evicts_the_least_recently_renewed_request() {
        let mut pairing_requests = PairingRequests::new();
        for n in 0..limits::PENDING as u16 {
            pairing_requests.add(ask(n, Scopes::NONE), id(n), Millis(u64::from(n)), WallMs(0));
        }
        pairing_requests.add(ask(0, Scopes::NONE), id(99), Millis(1000), WallMs(0));
        pairing_requests.add(ask(500, Scopes::NONE), id(200), Millis(1001), WallMs(0));
        assert_eq!(pairing_requests.iter(Millis(1001)).count(), limits::PENDING);
        assert!(pairing_requests.get(id(0), Millis(1001)).is_some());
        assert!(pairing_requests.get(id(1), Millis(1001)).is_none());
    }

    #[test]
    fn requests_of_one_millisecond_are_evicted_oldest_first() {
        let mut pairing_requests = PairingRequests::new();
        let full = limits::PENDING as u16;
        let all = |pairing_requests: &mut PairingRequests| {
            pairing_requests.iter(Millis(0)).map(|one| one.id).collect::<Vec<_>>()
        };
        (0..full).for_each(|n| {
            _ = pairing_requests.add(ask(n, Scopes::NONE), id(n), Millis(0), WallMs(0))
        });
        for n in full..full + 3 {
            pairing_requests.add(ask(n, Scopes::NONE), id(n), Millis(0), WallMs(0));
            assert_eq!(
                all(&mut pairing_requests),
                (n + 1 - full..=n).map(id).collect::<Vec<_>>(),
                "with request {n}"
            );
        }
        [id(4), id(6), id(200)].into_iter().for_each(|id| pairing_requests.remove(id));
        let left: Vec<_> = (3..full + 3).filter(|n| ![4, 6].contains(n)).map(id).collect();
        assert_eq!(all(&mut pairing_requests), left, "after two were removed");
    }
}
