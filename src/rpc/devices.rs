//! Management of the pairing table: `device.pair.*` and `device.token.*` (protocol 3 and 4).
//!
//! A caller that was authenticated by its device alone and lacks admin manages only that device
//! (protocol 4). No caller can grant rights that it does not have. Denials of this kind give no
//! reason, so that they reveal nothing about other devices.

use super::params::{ByDevice, ByRequest, DeviceList, DeviceRename, TokenRevoke, TokenRotate};
use super::{answers, device_json, json, may_manage, nodes};
use super::{Audience, Call, Effect, Failure, Reply};
use crate::gate::device::{Device, Provenance};
use crate::gate::facts::Protocol;
use crate::gate::ids::{DeviceId, RequestId, Role, Roles, Slot, WallMs};
use crate::gate::limits;
use crate::gate::pairing_requests::PairingRequest;
use crate::gate::refusal::Close;
use crate::gate::scopes::{Scope, Scopes};
use crate::gate::table::Vacancy;
use crate::gate::text::{clip, Text};
use crate::store::tokens::device_token;
use crate::wire::json::object;

const APPROVAL_DENIED: &str = "device pairing approval denied";
const PAIRING: Audience = Audience::Operators(Scope::Pairing);

/// Handles `device.pair.list {}`. With `surfaces: true`, which only gatelet's own commands send,
/// the answer also has the approved surface of each node.
pub fn list(call: &mut Call<'_>, params: DeviceList) -> Result<Reply, Failure> {
    let surfaces = params.surfaces == Some(true);
    let caller = call.caller;
    // Requests of admitted devices that only offer more as a node are listed by `node.pair.list`.
    let listed = |request: &&PairingRequest| {
        !request.roles.is_empty() && may_manage(caller, &request.device)
    };
    mark_shown(call, listed);
    let pending = call.pairing_requests.iter(call.now.at).filter(listed).collect();
    let devices = call.devices.iter().map(|(_, device)| device);
    let paired = devices.filter(|device| may_manage(caller, &device.id)).collect();
    let connected = |id: &DeviceId| {
        call.devices.find(id).is_some_and(|(slot, _)| call.devices.is_connected(slot))
    };
    Ok(Reply::object(|o| device_json::list(o, pending, paired, connected, surfaces)))
}

/// Protects the requests that the caller is shown from eviction, unless the caller manages only its
/// own device.
pub(super) fn mark_shown(call: &mut Call<'_>, is_shown: impl Fn(&&PairingRequest) -> bool) {
    if !call.caller.governs_only_itself() {
        call.pairing_requests.mark_shown(|request| is_shown(&request), call.now.at);
    }
}

/// Handles `device.pair.approve {requestId}`. In place of a request, the id of a revoked device
/// restores its roles.
pub fn approve(call: &mut Call<'_>, params: ByRequest) -> Result<Reply, Failure> {
    let named = params.request_id;
    if let Some(id) = DeviceId::parse(&named) {
        return restore(call, &named, &id);
    }
    let request = find_request(call, &named)?;
    if request.roles.is_empty() {
        return Err(unknown_request());
    }
    check_may_manage(call, &request.device, APPROVAL_DENIED)?;
    check_may_approve(call, request.roles)?;
    check_may_grant(call, request.scopes)?;
    let (slot, mut device) = approved_record(call, &request)?;
    let may_approve_surface = !call.caller.governs_only_itself()
        && nodes::missing_scope(call, &request.surface, Scopes::NONE).is_none();
    if !call.is_v4() && may_approve_surface {
        // In protocol 3 pairing is the only approval of a node. A caller that may not approve the
        // surface only admits the device.
        nodes::approve_surface(&mut device, &request.surface, call)?;
    }
    let payload = device_payload(&named, &device, is_connected(call, slot, &device));
    let mut effects = request_resolved(call.now.wall, &request, "approved");
    effects.push(Effect::RequestSurface(request.device));
    Ok(Reply::of(payload).changing(slot, Some(device)).with(effects))
}

/// Handles `device.pair.reject {requestId}`.
pub fn reject(call: &mut Call<'_>, params: ByRequest) -> Result<Reply, Failure> {
    let named = params.request_id;
    let request = find_request(call, &named)?;
    check_may_manage(call, &request.device, "device pairing rejection denied")?;
    let answer = answers::DeviceRejected { request_id: &named, device_id: request.device };
    Ok(Reply::json(&answer).with(request_resolved(call.now.wall, &request, "rejected")))
}

/// Handles `device.pair.remove {deviceId}` (protocol 4).
pub fn remove(call: &mut Call<'_>, params: ByDevice) -> Result<Reply, Failure> {
    let (slot, device) =
        find(call, &params.device_id, "device pairing removal denied", "unknown deviceId")?;
    let answer = answers::DeviceAnswer { device_id: device.id };
    let mut effects =
        vec![Effect::Close { device: device.id, roles: all_roles(), why: Close::DeviceRemoved }];
    if let Some(request) = call.pairing_requests.of_device(&device.id, call.now.at) {
        effects.extend(request_resolved(call.now.wall, request, "rejected"));
    }
    effects.push(changed());
    Ok(Reply::json(&answer).changing(slot, None).with(effects))
}

/// Handles `device.pair.rename {deviceId, label}` (protocol 4: at most 64 characters).
pub fn rename(call: &mut Call<'_>, params: DeviceRename) -> Result<Reply, Failure> {
    let (slot, device) =
        find(call, &params.device_id, "device pairing rename denied", "unknown deviceId")?;
    let label = clip(&params.label);
    if label.is_empty() {
        return Err(Failure::invalid("label required"));
    }
    let reply = Reply::json(&answers::DeviceRenamed { device_id: device.id, label: &label });
    Ok(labeled(reply, slot, device, label))
}

/// Handles `device.token.rotate {deviceId, role, scopes?}`: issues a new token; the old one is
/// valid until the new one is used. `scopes` can only narrow the scopes of the device; if it does,
/// the device's operator connections are closed.
pub fn rotate(call: &mut Call<'_>, params: TokenRotate) -> Result<Reply, Failure> {
    let mut effects = vec![changed()];
    let denied = denied(call, "device token rotation denied");
    let (slot, mut device) = find(call, &params.device_id, denied, denied)?;
    let role = Role::parse(&params.role)
        .filter(|role| device.roles.contains(*role))
        .ok_or_else(|| Failure::invalid(denied))?;
    if let (Some(list), Role::Operator) = (&params.scopes, role) {
        let wanted: Scopes = list.iter().filter_map(|name| Scope::parse(name)).collect();
        if !device.scopes.covers(wanted) || !call.caller.scopes().covers(wanted) {
            return Err(Failure::invalid(denied));
        }
        if !wanted.covers(device.scopes) {
            let (roles, why) = (Roles::of(role), Close::TokenRotated);
            effects.push(Effect::Close { device: device.id, roles, why });
        }
        device.scopes = wanted;
    }
    device.tokens[role as usize].rotate();
    let own = call.caller.device() == Some(device.id);
    let in_band = own || !call.is_v4();
    let token = device_token(call.key, &device.id, role, device.tokens[role as usize].current);
    let delivery = if in_band { "in-band" } else { "withheld-cross-device" };
    let answer = answers::TokenRotated {
        device_id: device.id,
        role: role.name(),
        token: in_band.then(|| token.as_str()),
        scopes: scopes_of(&device, role),
        at: call.now.wall.0,
        delivery: call.is_v4().then_some(delivery),
    };
    Ok(Reply::json(&answer).changing(slot, Some(device)).with(effects))
}

/// Handles `device.token.revoke {deviceId, role}`: revokes the role, for the device key as well,
/// until the owner restores it.
pub fn revoke(call: &mut Call<'_>, params: TokenRevoke) -> Result<Reply, Failure> {
    let denied = denied(call, "device token revocation denied");
    let (slot, mut device) = find(call, &params.device_id, denied, denied)?;
    let known = device.roles.with(device.revoked);
    let role = Role::parse(&params.role)
        .filter(|role| known.contains(*role))
        .ok_or_else(|| Failure::invalid(denied))?;
    let is_revoked = !device.roles.contains(role);
    if !is_revoked {
        device.revoke(role);
    }
    let id = device.id;
    let answer = answers::TokenRevoked { device_id: id, role: role.name(), at: call.now.wall.0 };
    let reply = Reply::json(&answer).changing(slot, Some(device));
    if is_revoked {
        return Ok(reply);
    }
    let close = Effect::Close { device: id, roles: Roles::of(role), why: Close::DeviceRevoked };
    Ok(reply.with(vec![close, changed()]))
}

/// Sets the label of a device, as the change of a reply. The same label has no effects.
pub(super) fn labeled(
    reply: Reply,
    slot: Slot,
    mut device: Device,
    label: Text<{ limits::NAME_LEN }>,
) -> Reply {
    let effects = if device.label == label { Vec::new() } else { vec![changed()] };
    device.label = label;
    reply.changing(slot, Some(device)).with(effects)
}

/// Returns the event that a device waits for approval.
pub fn requested(request: &PairingRequest) -> Effect {
    let payload = object(|o| device_json::pending_fields(o, request));
    Effect::Event { name: "device.pair.requested", payload, to: PAIRING }
}

/// Returns the event that the list of devices has changed (protocol 4).
pub fn changed() -> Effect {
    let to = Audience::OperatorsOfV4(Scope::Pairing);
    Effect::Event { name: "device.pair.changed", payload: b"{}".to_vec(), to }
}

/// Returns the effects of a decision: the request is removed, and clients that may see it are
/// notified.
pub(super) fn request_resolved(
    wall: WallMs,
    request: &PairingRequest,
    decision: &str,
) -> Vec<Effect> {
    let (request_id, device_id) = (request.id, request.device);
    let payload = json(&answers::DeviceResolved { request_id, device_id, decision, ts: wall.0 });
    let event = Effect::Event { name: "device.pair.resolved", payload, to: PAIRING };
    vec![Effect::RemoveRequest(request.id), event, changed()]
}

/// Returns the record that results from approving the request, and its slot.
pub(super) fn approved_record(
    call: &Call<'_>,
    request: &PairingRequest,
) -> Result<(Slot, Device), Failure> {
    let (slot, mut device) = match call.device(&request.device) {
        Some(known) => known,
        None => {
            let mut device = Device::new(request.device, request.key, Provenance::Owner);
            device.created = call.now.wall;
            device.seen_age = call.devices.age();
            (free_slot(call)?, device)
        }
    };
    device.describe(&request.about);
    device.provenance = Provenance::Owner;
    request.roles.iter().for_each(|role| device.approve(role, request.scopes, call.now.wall));
    Ok((slot, device))
}

fn free_slot(call: &Call<'_>) -> Result<Slot, Failure> {
    match call.devices.vacancy(Provenance::Owner) {
        Vacancy::Free(slot) | Vacancy::Evict(slot) => Ok(slot),
        Vacancy::Full => {
            Err(Failure::unavailable("the pairing table is full; remove a device first"))
        }
    }
}

/// Restores the revoked roles of a device, by decision of an operator.
fn restore(call: &mut Call<'_>, named: &str, id: &DeviceId) -> Result<Reply, Failure> {
    check_may_manage(call, id, APPROVAL_DENIED)?;
    check_may_approve(call, Roles::NONE)?;
    let revoked = call.device(id).filter(|(_, device)| !device.revoked.is_empty());
    let (slot, mut device) = revoked.ok_or_else(unknown_request)?;
    if device.revoked.contains(Role::Operator) {
        check_may_grant(call, device.scopes)?;
    }
    device.revoked.iter().for_each(|role| device.approve(role, Scopes::NONE, call.now.wall));
    let payload = device_payload(named, &device, is_connected(call, slot, &device));
    Ok(Reply::of(payload).changing(slot, Some(device)).with(vec![changed()]))
}

fn device_payload(request: &str, device: &Device, connected: bool) -> Vec<u8> {
    object(|o| {
        o.str("requestId", request);
        o.obj("device", |o| device_json::device_fields(o, device, connected));
    })
}

fn is_connected(call: &Call<'_>, slot: Slot, device: &Device) -> bool {
    call.devices.get(slot).is_some_and(|there| there.id == device.id)
        && call.devices.is_connected(slot)
}

/// Returns a copy of the record of the device with this id, and its slot.
pub(super) fn find(
    call: &Call<'_>,
    named: &str,
    denied: &str,
    unknown: &str,
) -> Result<(Slot, Device), Failure> {
    let id = DeviceId::parse(named).ok_or_else(|| Failure::invalid(unknown))?;
    check_may_manage(call, &id, denied)?;
    call.device(&id).ok_or_else(|| Failure::invalid(unknown))
}

/// Returns a copy of the record of the paired node with this id, and its slot.
pub(super) fn find_node(
    call: &Call<'_>,
    named: &str,
    denied: &str,
) -> Result<(Slot, Device), Failure> {
    let (slot, device) = find(call, named.trim(), denied, "unknown nodeId")?;
    if !device.roles.contains(Role::Node) {
        return Err(Failure::invalid("unknown nodeId"));
    }
    Ok((slot, device))
}

/// Returns the pending request with this id.
fn find_request(call: &mut Call<'_>, named: &str) -> Result<PairingRequest, Failure> {
    let id = RequestId::parse(named);
    let request = id.and_then(|id| call.pairing_requests.get(id, call.now.at));
    request.cloned().ok_or_else(unknown_request)
}

/// Returns the text of a denial. Protocol 3 reports what is unknown where protocol 4 only denies.
fn denied(call: &Call<'_>, v4: &'static str) -> &'static str {
    match call.caller.protocol() {
        Protocol::V3 => "unknown deviceId/role",
        Protocol::V4 => v4,
    }
}

/// Checks that the caller may manage the device.
pub(super) fn check_may_manage(
    call: &Call<'_>,
    device: &DeviceId,
    denied: &str,
) -> Result<(), Failure> {
    if may_manage(call.caller, device) {
        return Ok(());
    }
    Err(Failure::invalid(denied))
}

/// Checks that a caller that manages only its own device approves nothing but the operator role. It
/// may widen its scopes, but neither restore a revoked role nor become a node.
pub(super) fn check_may_approve(call: &Call<'_>, roles: Roles) -> Result<(), Failure> {
    if call.caller.governs_only_itself() && roles != Roles::of(Role::Operator) {
        return Err(Failure::invalid(APPROVAL_DENIED));
    }
    Ok(())
}

/// Checks that the caller has every scope that it grants; admin covers all operator scopes.
fn check_may_grant(call: &Call<'_>, scopes: Scopes) -> Result<(), Failure> {
    match scopes.without(call.caller.scopes().closure()).iter().next() {
        None => Ok(()),
        Some(scope) => Err(Failure::invalid(format!("missing scope: {}", scope.name()))),
    }
}

fn scopes_of(device: &Device, role: Role) -> Scopes {
    match role {
        Role::Operator => device.scopes,
        Role::Node => Scopes::NONE,
    }
}

fn all_roles() -> Roles {
    Role::ALL.into_iter().fold(Roles::NONE, |all, role| all.with(Roles::of(role)))
}

fn unknown_request() -> Failure {
    Failure::invalid("unknown requestId")
}
