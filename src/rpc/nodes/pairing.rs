//! Decisions of the owner about what a node may offer: `node.pair.*` (protocol 3 and 4).
//!
//! A node is a device, so there is one list of pending requests: a request may be for the device,
//! for its surface, or for both, and one approval grants all of it. A request for more never
//! removes what was approved before.

use super::list::unknown_node;
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
use crate::rpc::{self, answers, device_json, devices, Audience, Call, Effect, Failure, Reply};
use crate::store::tokens;
use crate::wire::frames;
use crate::wire::json::{self, Writer};

const PAIRING: Audience = Audience::Scope { scope: Scope::Pairing, v3_all: false };

/// Handles `node.pair.list {}`: returns pending requests and paired nodes, the latest first.
pub fn list(call: &mut Call<'_>, _: Nothing) -> Result<Reply, Failure> {
    let only = call.caller.governs_only_itself().then(|| call.caller.device()).flatten();
    let shown = |id: &DeviceId| only.is_none_or(|own| own == *id);
    let mut pending: Vec<&PairingRequest> = call
        .pairing_requests
        .iter(call.now.at)
        .filter(|one| is_node(one) && shown(&one.device))
        .collect();
    pending.sort_by_key(|request| std::cmp::Reverse(request.asked));
    let devices = call.devices.iter().map(|(_, device)| device);
    let mut paired: Vec<&Device> =
        devices.filter(|device| device.roles.contains(Role::Node) && shown(&device.id)).collect();
    paired.sort_by_key(|device| std::cmp::Reverse(device.approved));
    let (v4, nodes) = (call.caller.protocol() == Protocol::V4, &call.nodes.registry);
    Ok(Reply::of(json::object(|o| {
        o.arr("pending", |list| {
            pending.iter().for_each(|one| {
                list.item_obj(|o| request_fields(o, one, nodes.get(&one.device), v4))
            });
        });
        o.arr("paired", |list| {
            paired
                .iter()
                .for_each(|one| list.item_obj(|o| node_fields(o, one, nodes.get(&one.id), v4)));
        });
    })))
}

/// Handles `node.pair.approve {requestId}`: admits the device if that is pending, and approves its
/// surface.
pub fn approve(call: &mut Call<'_>, params: ByRequest) -> Result<Reply, Failure> {
    let named = params.request_id;
    let request = find(call, &named, "node pairing approval denied")?;
    devices::check_may_approve(call, Roles::of(Role::Node))?;
    if let Some(scope) = lacks(call, &request.surface, request.scopes) {
        return Err(Failure::scopes(scope, Scopes::of(Scope::Pairing).with(Scopes::of(scope))));
    }
    let (slot, mut device) = devices::approved(call, &request)?;
    widen(&mut device, &request.surface, call)?;
    let live = call.nodes.registry.get(&device.id);
    let v3 = call.caller.protocol() == Protocol::V3;
    let window = device.tokens[Role::Node as usize];
    let token = v3.then(|| tokens::device_token(call.key, &device.id, Role::Node, window.current));
    let payload = json::object(|o| {
        o.str("requestId", &named);
        o.obj("node", |o| {
            node_fields(o, &device, live, !v3);
            o.opt_str("token", token.as_ref().map(|token| token.as_str()));
        });
    });
    let effects = resolved(call, &request, "approved");
    Ok(Reply::of(payload).changing(slot, Some(device)).with(effects))
}

/// Adds the surface to what was approved before.
pub fn widen(device: &mut Device, surface: &Surface, call: &Call<'_>) -> Result<(), Failure> {
    let fits = device.surface.merge(surface);
    fits.map_err(|_| {
        Failure::invalid(
            "the node offers more names than its record can hold; remove it and pair it anew",
        )
    })?;
    if !surface.is_empty() {
        device.surface_approved = call.now.wall;
    }
    Ok(())
}

/// Handles `node.pair.reject {requestId}`.
pub fn reject(call: &mut Call<'_>, params: ByRequest) -> Result<Reply, Failure> {
    let named = params.request_id;
    let request = find(call, &named, "node pairing rejection denied")?;
    let answer = answers::NodeRejected { request_id: &named, node_id: request.device };
    let effects = resolved(call, &request, "rejected");
    Ok(Reply::json(&answer).with(effects))
}

/// Handles `node.pair.remove {nodeId}` (protocol 4): removes the node role, and a device that has
/// no other role.
pub fn remove(call: &mut Call<'_>, params: ByNode) -> Result<Reply, Failure> {
    let (slot, mut device) = devices::find(
        call,
        params.node_id.trim(),
        "node pairing removal denied",
        "unknown nodeId",
    )?;
    if !device.roles.contains(Role::Node) {
        return Err(unknown_node());
    }
    let id = device.id;
    let kept = device.remove_node();
    let mut effects =
        vec![Effect::Close { device: id, roles: Roles::of(Role::Node), why: Close::DeviceRemoved }];
    let waits = call.pairing_requests.of_device(&id, call.now.at);
    effects.extend(waits.into_iter().flat_map(|request| resolved(call, request, "rejected")));
    effects.push(told("", &id, "removed", call.now.wall));
    effects.push(devices::changed());
    Ok(Reply::json(&answers::NodeAnswer { node_id: id })
        .changing(slot, kept.then_some(device))
        .with(effects))
}

/// Handles `node.pair.request {nodeId, ...}` (protocol 3): creates a request for a node that is
/// already paired. Other nodes pair by connecting with their own key, which no other client can do
/// for them.
pub fn request(call: &mut Call<'_>, params: NodeRequest) -> Result<Reply, Failure> {
    let known = DeviceId::parse(params.node_id.trim()).and_then(|id| call.devices.find(&id));
    let Some((_, device)) = known.filter(|(_, device)| device.roles.contains(Role::Node)) else {
        return Err(Failure::invalid("unknown nodeId: a node asks by connecting with its own key"));
    };
    let waits = call.pairing_requests.of_device(&device.id, call.now.at).map(|request| request.id);
    let id = waits.unwrap_or_else(|| call.new_id());
    if waits.is_none() {
        let ask = RequestContent {
            device: device.id,
            key: device.key,
            roles: Roles::of(Role::Node),
            scopes: Scopes::NONE,
            about: device.about(),
            surface: device.surface.clone(),
            known: true,
        };
        call.pairing_requests.add(ask, id, call.now.at, call.now.wall);
    }
    let live = call.nodes.registry.get(&device.id);
    let request = call.pairing_requests.get(id, call.now.at);
    let request =
        request.ok_or_else(|| Failure::unavailable("too many devices wait; retry later"))?;
    let payload = json::object(|o| {
        o.str("status", "pending");
        o.obj("request", |o| request_fields(o, request, live, false));
        o.bool("created", waits.is_none());
    });
    let effects = if waits.is_none() { vec![requested(request, live)] } else { Vec::new() };
    Ok(Reply::of(payload).with(effects))
}

/// Handles `node.pair.verify {nodeId, token}` (protocol 3): checks the device token of a node.
pub fn verify(call: &mut Call<'_>, params: NodeVerify) -> Result<Reply, Failure> {
    let device = DeviceId::parse(params.node_id.trim())
        .and_then(|id| call.devices.find(&id))
        .map(|(_, device)| device);
    let right = device
        .filter(|device| tokens::check(call.key, device, Role::Node, &params.token).is_some());
    Ok(Reply::of(json::object(|o| {
        o.bool("ok", right.is_some());
        if let Some(device) = right {
            o.obj("node", |o| node_fields(o, device, call.nodes.registry.get(&device.id), false));
        }
    })))
}

/// Returns the event that a node offers something that is not approved.
pub fn requested(request: &PairingRequest, live: Option<&ConnectedNode>) -> Effect {
    let payload = json::object(|o| request_fields(o, request, live, true));
    Effect::Event { name: "node.pair.requested", payload, to: PAIRING }
}

/// Returns the effects of a decision. A node of protocol 4 is notified too, so that it sends again
/// what it sent before it was approved.
pub fn resolved(call: &Call<'_>, request: &PairingRequest, decision: &str) -> Vec<Effect> {
    let mut effects = over(call.now.wall, request, decision);
    if is_node(request) {
        let live =
            call.nodes.registry.get(&request.device).filter(|node| node.protocol == Protocol::V4);
        if let (Some(node), Some(Effect::Event { payload, .. })) = (live, effects.last()) {
            let frame = frames::event_with("node.pair.resolved", payload.len(), &mut |o| {
                o.raw("payload", payload)
            });
            effects.push(Effect::Frame { conn: node.conn, frame });
        }
    }
    effects
}

/// Returns the effects that end the request and notify the clients that could have decided.
pub fn over(wall: WallMs, request: &PairingRequest, decision: &str) -> Vec<Effect> {
    let mut effects = match request.roles.is_empty() {
        true => vec![Effect::RemoveRequest(request.id)],
        false => devices::resolved(wall, request, decision),
    };
    if is_node(request) {
        effects.push(told(&request.id.to_string(), &request.device, decision, wall));
    }
    effects
}

fn told(request_id: &str, node: &DeviceId, decision: &str, wall: WallMs) -> Effect {
    let payload =
        rpc::json(&answers::NodeResolved { request_id, node_id: *node, decision, ts: wall.0 });
    Effect::Event { name: "node.pair.resolved", payload, to: PAIRING }
}

fn is_node(request: &PairingRequest) -> bool {
    request.roles.contains(Role::Node) || !request.surface.is_empty()
}

/// Returns a scope that the caller lacks for approving the surface and these scopes.
pub fn lacks(call: &Call<'_>, surface: &Surface, scopes: Scopes) -> Option<Scope> {
    needed(surface).with(scopes).iter().find(|scope| !call.caller.may(*scope))
}

/// Returns the scopes needed to approve the surface.
fn needed(surface: &Surface) -> Scopes {
    approval_scopes(surface.commands())
}

fn find(call: &mut Call<'_>, named: &str, denied: &str) -> Result<PairingRequest, Failure> {
    let unknown = || Failure::invalid("unknown requestId");
    let id = RequestId::parse(named).ok_or_else(unknown)?;
    let request = call
        .pairing_requests
        .get(id, call.now.at)
        .filter(|request| is_node(request))
        .cloned()
        .ok_or_else(unknown)?;
    devices::check_governs(call, &request.device, denied)?;
    Ok(request)
}

fn request_fields(
    o: &mut Writer<'_>,
    request: &PairingRequest,
    live: Option<&ConnectedNode>,
    v4: bool,
) {
    o.shown("requestId", &request.id);
    o.shown("nodeId", &request.device);
    device_json::about(o, &request.about);
    device_json::opt_text(o, "version", live.map_or("", |live| &live.version));
    device_json::surface_fields(o, &request.surface);
    if v4 {
        o.scopes("requiredApproveScopes", needed(&request.surface));
    } else {
        o.bool("isRepair", request.known);
    }
    o.bool("silent", false);
    o.u64("ts", request.asked.0);
}

fn node_fields(o: &mut Writer<'_>, device: &Device, live: Option<&ConnectedNode>, v4: bool) {
    o.shown("nodeId", &device.id);
    let mut about = live.map_or_else(|| device.about(), |live| live.about.clone());
    if !device.label.is_empty() {
        about.name = device.label.clone();
    }
    device_json::about(o, &about);
    device_json::opt_text(o, "version", live.map_or("", |live| &live.version));
    device_json::surface_fields(o, &device.surface);
    o.u64("createdAtMs", device.created.0);
    o.u64("approvedAtMs", device.approved.0.max(device.surface_approved.0));
    if v4 {
        o.opt_u64("lastSeenAtMs", Some(device.seen.0).filter(|seen| *seen > 0));
    }
    o.opt_u64("lastConnectedAtMs", live.map(|live| live.since.0));
}
