//! Node connections: how they are registered and removed, and how calls reach them. The messages
//! are in `rpc::nodes`.

use super::attempt::Attempt;
use super::Gateway;
use crate::gate::ids::{ConnId, DeviceId, Now, RequestId, Roles};
use crate::gate::pairing_requests::RequestContent;
use crate::gate::policy::Registration;
use crate::gate::scopes::Scopes;
use crate::gate::session::Admitted;
use crate::gate::surface::Surface;
use crate::rpc::nodes::{over, requested, requested_surface, ConnectedNode};
use crate::server::net::send_queue::Queued;
use crate::wire::frames;

impl Gateway {
    /// Registers a node after its admission. Declared commands that are not approved become a
    /// pending request.
    pub(crate) fn node_came(
        &mut self,
        client: &Admitted,
        attempt: Attempt,
        registration: Registration,
        now: Now,
    ) {
        let (Some(device), Some(declared)) = (client.device(), attempt.node) else { return };
        let words = frames::event("voicewake.changed", &self.nodes.triggers.json(), None, None);
        self.send(client.conn(), words);
        self.nodes.registry.insert(ConnectedNode {
            conn: client.conn(),
            device,
            protocol: client.protocol(),
            about: attempt.about,
            version: attempt.version,
            model: attempt.model,
            declared: *declared,
            since: now.wall,
            stats: None,
        });
        if matches!(registration, Registration::None(_)) {
            return log::warn!(
                "conn={} node {} is not remembered, so nothing that it offers can be approved",
                client.conn(),
                device.short()
            );
        }
        self.node_offers(device, now);
    }

    /// Creates or renews a pending request if a connected node declares more than is approved;
    /// removes it otherwise.
    pub(crate) fn node_offers(&mut self, device: DeviceId, now: Now) {
        let Some((node, (_, known))) =
            self.nodes.registry.get(&device).zip(self.devices.find(&device))
        else {
            return;
        };
        match requested_surface(node.protocol, &node.about, &node.declared, &self.setup.commands) {
            Ok(asked) if known.surface.covers(&asked) => self.asks_no_more(&device, now),
            Ok(surface) => {
                let (key, about) = (known.key, node.about.clone());
                let ask = RequestContent { device, key, roles: Roles::NONE, scopes: Scopes::NONE, about, surface, known: true };
                self.ask_for(ask, now);
            }
            Err(_) => log::warn!(
                "conn={} node {} offers more names than a record can hold; none of it waits for approval",
                node.conn,
                device.short()
            ),
        }
    }

    /// Removes the pending request of a device whose declared commands are all approved. A request
    /// that is also for a role stays.
    fn asks_no_more(&mut self, device: &DeviceId, now: Now) {
        let waits = self
            .pairing_requests
            .of_device(device, now.at)
            .filter(|request| request.roles.is_empty());
        if let Some(id) = waits.map(|request| request.id) {
            self.pairing_requests.remove(id);
        }
    }

    /// Returns what a node that is not admitted yet declares, to be approved together with the
    /// device.
    pub(crate) fn offered(&self, attempt: &Attempt) -> Surface {
        let Some(declared) = &attempt.node else { return Surface::NONE };
        let protocol = super::reject::protocol_of(attempt);
        requested_surface(protocol, &attempt.about, declared, &self.setup.commands)
            .unwrap_or(Surface::NONE)
    }

    /// Creates or renews a pending request, and notifies clients that can approve it.
    pub(crate) fn ask_for(&mut self, ask: RequestContent, now: Now) -> RequestId {
        let fresh = RequestId::from_random(self.entropy.bytes());
        let (device, for_device) = (ask.device, !ask.roles.is_empty());
        let (id, replaced) = self.pairing_requests.add(ask, fresh, now.at, now.wall);
        let Some(request) = self.pairing_requests.get(id, now.at).filter(|_| id == fresh) else {
            return id;
        };
        let mut events: Vec<_> =
            replaced.iter().flat_map(|old| over(now.wall, old, "rejected")).collect();
        if for_device {
            events.push(crate::rpc::pair_requested(request));
        }
        if !request.surface.is_empty() {
            events.push(requested(request, self.nodes.registry.get(&device)));
            let command = &self.setup.command;
            log::info!(
                "node {} offers what waits for approval; run `{command} nodes approve {id}`",
                device.short()
            );
        }
        self.happen(events, now);
        id
    }

    /// Removes a closed connection from the relay, and notifies the callers that waited for it.
    pub(crate) fn left(&mut self, conn: ConnId, now: Now) {
        let effects = self.nodes.leave(conn);
        self.happen(effects, now);
    }

    /// Renews the pending requests of connected nodes, so that they do not expire.
    pub(crate) fn nodes_still_wait(&mut self, now: Now) {
        self.nodes
            .registry
            .iter()
            .for_each(|node| self.pairing_requests.renew(&node.device, now.at));
    }

    /// Sends a call to its node. If it cannot be queued, the caller gets an error.
    pub(crate) fn invoke(&mut self, id: RequestId, conn: ConnId, frame: Vec<u8>, now: Now) {
        let offer = self.conns.get(conn).map(|conn| conn.outbox.may(frame.into()));
        if offer != Some(Queued::Queued) {
            let failed = self.nodes.invokes.unsent(id);
            self.happen(failed.into_iter().collect(), now);
        }
    }
}
