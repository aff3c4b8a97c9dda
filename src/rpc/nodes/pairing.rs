//! Decisions of the owner about what a node may offer: `node.pair.*` (protocol 3 and 4).
//!
//! A node is a device, so there is one list of pending requests: a request may be for the device,
//! for its surface, or for both, and one approval grants all of it. A request for more never
//! removes what was approved before.

use super::registry::ConnectedNode;
use crate::gate::commands::approval_scopes;
use crate::gate::device::Device;
use crate::gate::facts::Protocol;
use crate::gate::ids::{DeviceId, RequestId, Role, Roles, WallMs};
use crate::gate::pairing_requests::{PairingRequest, RequestContent};
use crate::gate::refusal::Close;
use crate::gate::scopes::{Scope, Scopes};
use crate::gate::surface::Surface;
use crate::rpc::params::{ByNode, ByRequest, NodeRequest, NodeVerify, Nothing};
use crate::rpc::{
    self, answers, device_json, devices, may_manage, Audience, Call, Effect, Failure, Reply,
};
use crate::store::tokens;
use crate::wire::frames;
use crate::wire::json::{self, Writer};

const PAIRING: Audience = Audience::Operators(Scope::Pairing);

/// Handles `node.pair.list {}`: returns pending requests and paired nodes, the latest first.
pub fn list(call: &mut Call<'_>, _: Nothing) -> Result<Reply, Failure> {
    let caller = call.caller;
    let listed =
        |request: &&PairingRequest| is_node(request) && may_manage(caller, &request.device);
    devices::mark_shown(call, listed);
    let mut pending: Vec<_> = call.pairing_requests.iter(call.now.at).filter(listed).collect();
    pending.sort_by_key(|request| std::cmp::Reverse(request.asked));
    let devices = call.devices.iter().map(|(_, device)| device);
    let mut paired: Vec<_> = devices.filter(|device| may_manage(caller, &device.id)).collect();
    let names = if pending.is_empty() {
        device_json::Names::default()
    } else {
        device_json::Names::of(&paired)
    };
    paired.retain(|device| device.roles.contains(Role::Node));
    paired.sort_by_key(|device| std::cmp::Reverse(device.approved));
    let (protocol, registry) = (call.caller.protocol(), &call.nodes.registry);
    Ok(Reply::object(|o| {
        o.arr("pending", |list| {
            for request in pending {
                let node = registry.get(&request.device);
                list.item_obj(|o| {
                    request_fields(o, request, node, protocol);
                    names.write_resembled(o, request);
                });
            }
        });
        o.arr("paired", |list| {
            for device in paired {
                let node = registry.get(&device.id);
                list.item_obj(|o| node_fields(o, device, node, protocol));
            }
        });
    }))
}

/// Handles `node.pair.approve {requestId}`: admits the device if that is pending, and approves its
/// surface.
pub fn approve(call: &mut Call<'_>, params: ByRequest) -> Result<Reply, Failure> {
    let named = params.request_id;
    let request = find_request(call, &named, "node pairing approval denied")?;
    devices::check_may_approve(call, Roles::of(Role::Node))?;
    if let Some(scope) = missing_scope(call, &request.surface, request.scopes) {
        return Err(Failure::scopes(scope, Scopes::of(Scope::Pairing).with(Scopes::of(scope))));
    }
    let (slot, mut device) = devices::approved_record(call, &request)?;
    approve_surface(&mut device, &request.surface, call)?;
    let node = call.nodes.registry.get(&device.id);
    let protocol = call.caller.protocol();
    let window = device.tokens[Role::Node as usize];
    let token = (protocol == Protocol::V3)
        .then(|| tokens::device_token(call.key, &device.id, Role::Node, window.current));
    let payload = json::object(|o| {
        o.str("requestId", &named);
        o.obj("node", |o| {
            node_fields(o, &device, node, protocol);
            o.opt_str("token", token.as_ref().map(|token| token.as_str()));
        });
    });
    let effects = decided(call, &request, "approved");
    Ok(Reply::of(payload).changing(slot, Some(device)).with(effects))
}

/// Adds the surface to what was approved before.
pub fn approve_surface(
    device: &mut Device,
    surface: &Surface,
    call: &Call<'_>,
) -> Result<(), Failure> {
    if device.surface.merge(surface).is_err() {
        let message =
            "the node offers more names than its record can hold; remove it and pair it anew";
        return Err(Failure::invalid(message));
    }
    if !surface.is_empty() {
        device.surface_approved = call.now.wall;
    }
    Ok(())
}

/// Handles `node.pair.reject {requestId}`.
pub fn reject(call: &mut Call<'_>, params: ByRequest) -> Result<Reply, Failure> {
    let named = params.request_id;
    let request = find_request(call, &named, "node pairing rejection denied")?;
    let answer = answers::NodeRejected { request_id: &named, node_id: request.device };
    let effects = decided(call, &request, "rejected");
    Ok(Reply::json(&answer).with(effects))
}

/// Handles `node.pair.remove {nodeId}` (protocol 4): removes the node role, and a device that has
/// no other role.
pub fn remove(call: &mut Call<'_>, params: ByNode) -> Result<Reply, Failure> {
    let (slot, mut device) =
        devices::find_node(call, &params.node_id, "node pairing removal denied")?;
    let id = device.id;
    let kept = device.remove_node();
    let mut effects =
        vec![Effect::Close { device: id, roles: Roles::of(Role::Node), why: Close::DeviceRemoved }];
    if let Some(request) = call.pairing_requests.of_device(&id, call.now.at) {
        effects.extend(decided(call, request, "rejected"));
    }
    effects.push(resolved_event("", &id, "removed", call.now.wall));
    effects.push(devices::changed());
    Ok(Reply::json(&answers::NodeAnswer { node_id: id })
        .changing(slot, kept.then_some(device))
        .with(effects))
}

/// Handles `node.pair.request {nodeId, ...}` (protocol 3): creates a request for a node that is
/// already paired. Other nodes pair by connecting with their own key, which no other client can do
/// for them.
pub fn request(call: &mut Call<'_>, params: NodeRequest) -> Result<Reply, Failure> {
    let Some(device) = call.paired_node(&params.node_id) else {
        return Err(Failure::invalid("unknown nodeId: a node asks by connecting with its own key"));
    };
    let content = RequestContent {
        device: device.id,
        key: device.key,
        roles: Roles::of(Role::Node),
        scopes: Scopes::NONE,
        about: device.about(),
        surface: device.surface.clone(),
        known: true,
    };
    let now = call.now;
    let pending = call.pairing_requests.of_device(&content.device, now.at);
    let (id, created) = match pending.map(|request| request.id) {
        Some(id) => (id, false),
        None => (call.new_id(), true),
    };
    let node = call.nodes.registry.get(&content.device);
    let mut effects = Vec::new();
    if created {
        let added = call.pairing_requests.add(content, id, now.at, now.wall);
        let ended = added.and_then(|added| added.ended);
        effects.extend(ended.iter().flat_map(|old| request_ended(now.wall, old, "rejected")));
    }
    let request = call.pairing_requests.get(id, now.at);
    let request = request
        .ok_or_else(|| Failure::share("too many devices wait for approval; retry later", None))?;
    let payload = json::object(|o| {
        o.str("status", "pending");
        o.obj("request", |o| request_fields(o, request, node, Protocol::V3));
        o.bool("created", created);
    });
    effects.extend(created.then(|| requested(request, node)));
    Ok(Reply::of(payload).with(effects))
}

/// Handles `node.pair.verify {nodeId, token}` (protocol 3): checks the device token of a node.
pub fn verify(call: &mut Call<'_>, params: NodeVerify) -> Result<Reply, Failure> {
    let id = DeviceId::parse(params.node_id.trim());
    let device = id.and_then(|id| call.devices.find(&id)).map(|(_, device)| device);
    let valid =
        |device: &&Device| tokens::check(call.key, device, Role::Node, &params.token).is_some();
    let device = device.filter(valid);
    Ok(Reply::object(|o| {
        o.bool("ok", device.is_some());
        if let Some(device) = device {
            let node = call.nodes.registry.get(&device.id);
            o.obj("node", |o| node_fields(o, device, node, Protocol::V3));
        }
    }))
}

/// Returns the event that a node offers something that is not approved.
pub fn requested(request: &PairingRequest, node: Option<&ConnectedNode>) -> Effect {
    let payload = json::object(|o| request_fields(o, request, node, Protocol::V4));
    Effect::Event { name: "node.pair.requested", payload, to: PAIRING }
}

/// Returns the effects of a decision. A node of protocol 4 is notified too, so that it sends again
/// what it sent before it was approved.
fn decided(call: &Call<'_>, request: &PairingRequest, decision: &str) -> Vec<Effect> {
    let mut effects = request_ended(call.now.wall, request, decision);
    let node = call.nodes.registry.get(&request.device);
    let node = node.filter(|node| node.protocol == Protocol::V4 && is_node(request));
    if let (Some(node), Some(Effect::Event { payload, .. })) = (node, effects.last()) {
        let frame = frames::event("node.pair.resolved", payload);
        effects.push(Effect::Frame { conn: node.conn, frame });
    }
    effects
}

/// Returns the effects that end the request and notify the clients that could have decided.
pub fn request_ended(wall: WallMs, request: &PairingRequest, decision: &str) -> Vec<Effect> {
    let mut effects = if request.roles.is_empty() {
        vec![Effect::RemoveRequest(request.id)]
    } else {
        devices::request_resolved(wall, request, decision)
    };
    if is_node(request) {
        effects.push(resolved_event(&request.id.to_string(), &request.device, decision, wall));
    }
    effects
}

fn resolved_event(request_id: &str, node: &DeviceId, decision: &str, wall: WallMs) -> Effect {
    let payload =
        rpc::json(&answers::NodeResolved { request_id, node_id: *node, decision, ts: wall.0 });
    Effect::Event { name: "node.pair.resolved", payload, to: PAIRING }
}

fn is_node(request: &PairingRequest) -> bool {
    request.roles.contains(Role::Node) || !request.surface.is_empty()
}

/// Returns a scope that the caller lacks for approving the surface and these scopes.
pub fn missing_scope(call: &Call<'_>, surface: &Surface, scopes: Scopes) -> Option<Scope> {
    let needed = approval_scopes(surface.commands()).with(scopes);
    needed.iter().find(|scope| !call.caller.may(*scope))
}

/// Returns the pending request of a node with this id.
fn find_request(call: &mut Call<'_>, named: &str, denied: &str) -> Result<PairingRequest, Failure> {
    let id = RequestId::parse(named);
    let request = id.and_then(|id| call.pairing_requests.get(id, call.now.at));
    let request = request.filter(|request| is_node(request)).cloned();
    let request = request.ok_or_else(|| Failure::invalid("unknown requestId"))?;
    devices::check_may_manage(call, &request.device, denied)?;
    Ok(request)
}

fn request_fields(
    o: &mut Writer<'_>,
    request: &PairingRequest,
    node: Option<&ConnectedNode>,
    protocol: Protocol,
) {
    o.shown("requestId", &request.id);
    o.shown("nodeId", &request.device);
    device_json::about(o, &request.about);
    device_json::opt_text(o, "version", node.map_or("", |node| &node.version));
    device_json::surface_fields(o, &request.surface);
    if protocol == Protocol::V4 {
        o.scopes("requiredApproveScopes", approval_scopes(request.surface.commands()));
    } else {
        o.bool("isRepair", request.known);
    }
    o.bool("silent", false);
    o.u64("ts", request.asked.0);
}

fn node_fields(
    o: &mut Writer<'_>,
    device: &Device,
    node: Option<&ConnectedNode>,
    protocol: Protocol,
) {
    o.shown("nodeId", &device.id);
    let mut about = node.map_or_else(|| device.about(), |node| node.about.clone());
    if !device.label.is_empty() {
        about.name = device.label.clone();
    }
    device_json::about(o, &about);
    device_json::opt_text(o, "version", node.map_or("", |node| &node.version));
    device_json::surface_fields(o, &device.surface);
    o.u64("createdAtMs", device.created.0);
    o.u64("approvedAtMs", device.approved.0.max(device.surface_approved.0));
    if protocol == Protocol::V4 {
        o.opt_u64("lastSeenAtMs", device_json::known_time(device.seen));
    }
    o.opt_u64("lastConnectedAtMs", node.map(|node| node.since.0));
}
