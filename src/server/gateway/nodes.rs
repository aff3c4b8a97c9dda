//! Node connections: how they are registered and removed, and how calls reach them. The messages
//! are in `rpc::nodes`.

use super::attempt::Attempt;
use super::Gateway;
use crate::gate::budget::Holder;
use crate::gate::device::Device;
use crate::gate::ids::{ConnId, DeviceId, Now, RequestId, Role, Roles};
use crate::gate::limits;
use crate::gate::pace::Pace;
use crate::gate::pairing_requests::{Added, PairingRequest, RequestContent};
use crate::gate::policy::Registration;
use crate::gate::scopes::{Scope, Scopes};
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
            let reason = "is not stored, so its commands cannot be approved";
            return self.warn_of_node(client.conn(), device, reason, now);
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
        let (conn, commands) = (node.conn, &self.runtime_config.commands);
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
                if self.add_pending_request(content, now).is_none() {
                    let reason =
                        "declares commands that need approval, but too many devices wait; \
                                  no request was created";
                    self.warn_of_node(conn, device, reason, now);
                }
            }
            Err(_) => {
                let reason = "declares more names than a record can hold; no request was created";
                self.warn_of_node(conn, device, reason, now);
            }
        }
    }

    /// Logs a warning about a node.
    fn warn_of_node(&mut self, conn: ConnId, device: DeviceId, reason: &str, now: Now) {
        if self.may_log_request(now) {
            log::warn!("conn={conn} node {} {reason}", device.short());
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

    /// Returns whether a line about a request or a node is to be logged. A node that reconnects in
    /// a loop must not fill the log; the requests are also listed.
    fn may_log_request(&mut self, now: Now) -> bool {
        self.requests_logged.end_minute(now.at);
        self.requests_logged.add(limits::REQUESTS_LOGGED)
    }

    /// Creates or renews a pending request, and notifies clients that can approve it. Returns
    /// `None` if there is no place for it.
    pub(super) fn add_pending_request(
        &mut self,
        content: RequestContent,
        now: Now,
    ) -> Option<RequestId> {
        let fresh = RequestId::from_random(self.entropy.bytes());
        let (device, for_device) = (content.device, !content.roles.is_empty());
        let is_notable = !content.surface.is_empty() || self.devices.find(&device).is_some();
        let Added { id, ended } = self.pairing_requests.add(content, fresh, now.at, now.wall)?;
        if id == fresh && self.has_approver() {
            self.pairing_requests.mark_shown(|request| request.id == fresh, now.at);
        }
        let may_log = id == fresh && is_notable && self.may_log_request(now);
        let Some(request) = self.pairing_requests.get(id, now.at).filter(|_| id == fresh) else {
            return Some(id);
        };
        let mut events: Vec<_> =
            ended.iter().flat_map(|old| request_ended(now.wall, old, "rejected")).collect();
        if for_device {
            events.push(crate::rpc::pair_requested(request));
            let known = self.devices.find(&device).map(|(_, known)| known);
            if let Some(known) = known.filter(|_| may_log) {
                let command = &self.runtime_config.command;
                log::info!("{}; run `{command} devices approve {id}`", more_rights(known, request));
            }
        }
        if !request.surface.is_empty() {
            events.push(requested(request, self.nodes.registry.get(&device)));
            if may_log {
                let command = &self.runtime_config.command;
                log::info!(
                    "node {} declares commands that need approval; run `{command} nodes approve {id}`",
                    device.short()
                );
            }
        }
        self.apply_effects(events, now);
        Some(id)
    }

    /// Returns whether an operator is connected that receives pending requests of other devices.
    fn has_approver(&self) -> bool {
        let mut clients = self.connections.clients();
        clients.any(|client| client.may(Scope::Pairing) && !client.governs_only_itself())
    }

    /// Removes a closed connection from the state of the nodes, and notifies the callers that
    /// waited for it.
    pub(super) fn remove_node_connection(
        &mut self,
        conn: ConnId,
        holder: Option<Holder>,
        now: Now,
    ) {
        let connections = &self.connections;
        let is_connected =
            |device: DeviceId| connections.clients().any(|client| client.device() == Some(device));
        let effects = self.nodes.remove_connection((conn, holder), is_connected, now);
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

/// Describes the request of a paired device for more rights.
fn more_rights(known: &Device, request: &PairingRequest) -> String {
    let rights = |roles: Roles, scopes: Scopes| {
        let roles = roles.iter().filter(|role| *role == Role::Node || scopes.is_empty());
        scopes.iter().map(Scope::name).chain(roles.map(Role::name)).collect::<Vec<_>>().join(",")
    };
    let (device, name) = (known.id.short(), known.shown_name());
    let (has, asked) = (rights(known.roles, known.scopes), rights(request.roles, request.scopes));
    format!("device {device} ({name:?}) is already paired, has {has}, asks for {asked}")
}
