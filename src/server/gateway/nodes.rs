//! Node connections: how they are registered and removed, and how calls reach them. The messages
//! are in `rpc::nodes`.

use super::attempt::Attempt;
use super::Gateway;
use crate::gate::ids::{ConnId, DeviceId, Now, RequestId, Roles};
use crate::gate::pace::Pace;
use crate::gate::pairing_requests::RequestContent;
use crate::gate::policy::Registration;
use crate::gate::scopes::Scopes;
use crate::gate::session::Admitted;
use crate::gate::surface::Surface;
use crate::rpc::nodes::{request_ended, requested, requested_surface, ConnectedNode};
use crate::server::net::send_queue::Queued;
use crate::wire::frames;

impl Gateway {
    /// Registers a node after its admission. Declared commands that are not approved become a
    /// pending request.
    pub(super) fn register_node(
        &mut self,
        client: &Admitted,
        attempt: Attempt,
        registration: Registration,
        now: Now,
    ) {
        let (Some(device), Some(declared)) = (client.device(), attempt.node) else { return };
        let triggers = frames::event("voicewake.changed", &self.nodes.triggers.json());
        self.send_frame(client.conn(), triggers);
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
            stats_pace: Pace::default(),
        });
        if matches!(registration, Registration::None(_)) {
            return log::warn!(
                "conn={} node {} is not stored, so its commands cannot be approved",
                client.conn(),
                device.short()
            );
        }
        self.update_node_request(device, now);
    }

    /// Creates or renews a pending request if a connected node declares more than is approved;
    /// removes it otherwise.
    pub(super) fn update_node_request(&mut self, device: DeviceId, now: Now) {
        let Some((node, (_, known))) =
            self.nodes.registry.get(&device).zip(self.devices.find(&device))
        else {
            return;
        };
        let commands = &self.runtime_config.commands;
        match requested_surface(node.protocol, &node.about, &node.declared, commands) {
            Ok(declared) if known.surface.covers(&declared) => {
                self.drop_approved_request(&device, now)
            }
            Ok(surface) => {
                let content = RequestContent {
                    device,
                    key: known.key,
                    roles: Roles::NONE,
                    scopes: Scopes::NONE,
                    about: node.about.clone(),
                    surface,
                    known: true,
                };
                self.add_pending_request(content, now);
            }
            Err(_) => log::warn!(
                "conn={} node {} declares more names than a record can hold; no request was created",
                node.conn,
                device.short()
            ),
        }
    }

    /// Removes the pending request of a device whose declared commands are all approved. A request
    /// that is also for a role stays.
    fn drop_approved_request(&mut self, device: &DeviceId, now: Now) {
        let request = self
            .pairing_requests
            .of_device(device, now.at)
            .filter(|request| request.roles.is_empty());
        if let Some(id) = request.map(|request| request.id) {
            self.pairing_requests.remove(id);
        }
    }

    /// Returns what a node that is not admitted yet declares, to be approved together with the
    /// device.
    pub(super) fn declared_surface(&self, attempt: &Attempt) -> Surface {
        let Some(declared) = &attempt.node else { return Surface::NONE };
        requested_surface(
            attempt.protocol(),
            &attempt.about,
            declared,
            &self.runtime_config.commands,
        )
        .unwrap_or(Surface::NONE)
    }

    /// Creates or renews a pending request, and notifies clients that can approve it.
    pub(super) fn add_pending_request(&mut self, content: RequestContent, now: Now) -> RequestId {
        let fresh = RequestId::from_random(self.entropy.bytes());
        let (device, for_device) = (content.device, !content.roles.is_empty());
        let (id, replaced) = self.pairing_requests.add(content, fresh, now.at, now.wall);
        let Some(request) = self.pairing_requests.get(id, now.at).filter(|_| id == fresh) else {
            return id;
        };
        let mut events: Vec<_> =
            replaced.iter().flat_map(|old| request_ended(now.wall, old, "rejected")).collect();
        if for_device {
            events.push(crate::rpc::pair_requested(request));
        }
        if !request.surface.is_empty() {
            events.push(requested(request, self.nodes.registry.get(&device)));
            let command = &self.runtime_config.command;
            log::info!(
                "node {} declares commands that need approval; run `{command} nodes approve {id}`",
                device.short()
            );
        }
        self.apply_effects(events, now);
        id
    }

    /// Removes a closed connection from the state of the nodes, and notifies the callers that
    /// waited for it.
    pub(super) fn remove_node_connection(&mut self, conn: ConnId, now: Now) {
        let effects = self.nodes.remove_connection(conn);
        self.apply_effects(effects, now);
    }

    /// Renews the pending requests of connected nodes, so that they do not expire.
    pub(super) fn renew_node_requests(&mut self, now: Now) {
        for node in self.nodes.registry.iter() {
            self.pairing_requests.renew(&node.device, now.at);
        }
    }

    /// Sends a call to its node. If it cannot be queued, the caller gets an error.
    pub(super) fn invoke(&mut self, id: RequestId, conn: ConnId, frame: Vec<u8>, now: Now) {
        let queued = self.connections.get(conn).map(|open| {
            if self.make_room(open.send_queue.held(), frame.len()) {
                open.send_queue.send_droppable(frame.into())
            } else {
                Queued::Dropped
            }
        });
        if queued != Some(Queued::Queued) {
            let failed = self.nodes.invokes.send_failed(id);
            self.apply_effects(failed.into_iter().collect(), now);
        }
    }
}
