//! Nodes as people and programs see them, connected or not: `node.list`, `node.describe`,
//! `node.rename`, `environments.list`.

use super::registry::{sorted, ConnectedNode};
use crate::gate::device::Device;
use crate::gate::facts::Protocol;
use crate::gate::ids::{DeviceId, Role};
use crate::gate::limits;
use crate::gate::scopes::Scope;
use crate::gate::text::clip;
use crate::rpc::params::{ByNode, NodeRename, Nothing};
use crate::rpc::{answers, device_json, devices, Call, Failure, Reply};
use crate::wire::json::{self, Writer};
use crate::wire::message::Params;

/// Node that is in the table, connected, or both.
struct Row<'a> {
    id: DeviceId,
    device: Option<&'a Device>,
    live: Option<&'a ConnectedNode>,
}

/// Handles `node.list {}`. After [`limits::NODES_IN_FULL`] bytes, search paths and permissions of
/// the remaining nodes are left out, because each node may declare many kilobytes of them.
pub fn list(call: &mut Call<'_>, _: Nothing) -> Result<Reply, Failure> {
    let call = &*call;
    Ok(Reply::of(json::object(|o| {
        o.u64("ts", call.now.wall.0);
        o.arr("nodes", |list| {
            for row in rows(call) {
                let full = list.written() < limits::NODES_IN_FULL;
                list.item_obj(|o| row.render(o, call, full));
            }
        });
    })))
}

/// Handles `environments.list {}` (protocol 4): returns the machines of the gateway and of the
/// nodes; none hosts a session.
pub fn environments(call: &mut Call<'_>, _: Params<'_>) -> Result<Reply, Failure> {
    let call = &*call;
    Ok(Reply::of(json::object(|o| {
        o.arr("environments", |list| {
            list.item_obj(|o| o.fields(GATEWAY));
            for row in rows(call) {
                let id = row.id.to_string();
                list.item_obj(|o| {
                    o.str("id", &["node:", &id].concat());
                    o.str("type", "node");
                    o.str("label", if row.name().is_empty() { &id } else { row.name() });
                    o.str("status", if row.live.is_some() { "available" } else { "unavailable" });
                    o.bool("sessionHost", false);
                });
            }
        });
    })))
}

const GATEWAY: &str =
    r#""id":"gateway","type":"local","label":"Gateway","status":"available","sessionHost":false"#;

/// Returns all nodes, connected ones first, then by name.
fn rows<'a>(call: &'a Call<'_>) -> Vec<Row<'a>> {
    let devices = call
        .devices
        .iter()
        .map(|(_, device)| device)
        .filter(|device| device.roles.contains(Role::Node));
    let row = |device| row(call, device);
    let mut rows: Vec<Row<'_>> = devices.map(|device| row(&device.id)).collect();
    let known = rows.len();
    for node in call.nodes.registry.iter() {
        if !rows[..known].iter().any(|row| row.id == node.device) {
            rows.push(row(&node.device));
        }
    }
    rows.sort_by_cached_key(|row| {
        (row.live.is_none(), row.name().to_lowercase(), row.id.to_string())
    });
    rows
}

/// Handles `node.describe {nodeId}`.
pub fn describe(call: &mut Call<'_>, params: ByNode) -> Result<Reply, Failure> {
    let call = &*call;
    let id = DeviceId::parse(params.node_id.trim()).ok_or_else(unknown_node)?;
    let row = row(call, &id);
    if row.device.is_none_or(|device| !device.roles.contains(Role::Node)) && row.live.is_none() {
        return Err(unknown_node());
    }
    Ok(Reply::of(json::object(|o| {
        o.u64("ts", call.now.wall.0);
        row.render(o, call, true);
    })))
}

/// Handles `node.rename {nodeId, displayName}`: sets the owner's name for the node, which is stored
/// with the device.
pub fn rename(call: &mut Call<'_>, params: NodeRename) -> Result<Reply, Failure> {
    let (slot, mut device) =
        devices::find(call, params.node_id.trim(), "node rename denied", "unknown nodeId")?;
    if !device.roles.contains(Role::Node) {
        return Err(unknown_node());
    }
    device.label = clip(&params.display_name);
    if device.label.is_empty() {
        return Err(Failure::invalid("displayName required"));
    }
    let reply =
        Reply::json(&answers::NodeRenamed { node_id: device.id, display_name: &device.label });
    Ok(reply.changing(slot, Some(device)).with(vec![devices::changed()]))
}

pub(crate) fn unknown_node() -> Failure {
    Failure::invalid("unknown nodeId")
}

fn row<'a>(call: &'a Call<'_>, id: &DeviceId) -> Row<'a> {
    let device = call.devices.find(id).map(|(_, device)| device);
    Row { id: *id, device, live: call.nodes.registry.get(id) }
}

impl<'a> Row<'a> {
    fn name(&self) -> &'a str {
        let named = self.device.map(Device::shown_name).filter(|name| !name.is_empty());
        named.or(self.live.map(|live| live.about.name.as_str())).unwrap_or("")
    }

    /// Writes the fields; without those that may have many kilobytes unless `full`.
    fn render(&self, o: &mut Writer<'_>, call: &Call<'_>, full: bool) {
        o.shown("nodeId", &self.id);
        device_json::opt_text(o, "displayName", self.name());
        if let Some(live) = self.live {
            device_json::opt_text(o, "platform", &live.about.platform);
            device_json::opt_text(o, "version", &live.version);
            device_json::opt_text(o, "deviceFamily", &live.about.family);
            device_json::opt_text(o, "modelIdentifier", &live.model);
            device_json::opt_ip(o, "remoteIp", live.about.remote);
        } else if let Some(device) = self.device {
            device_json::opt_text(o, "platform", &device.platform);
            device_json::opt_text(o, "deviceFamily", &device.family);
            device_json::opt_ip(o, "remoteIp", device.remote);
        }
        self.abilities(o, call, full);
        if call.caller.protocol() == Protocol::V4 {
            self.more(o, call);
        }
        o.opt_u64("connectedAtMs", self.live.map(|live| live.since.0));
        o.bool("paired", self.device.is_some_and(|device| device.roles.contains(Role::Node)));
        o.bool("connected", self.live.is_some());
    }

    /// Writes the capabilities and commands that can be used now; none if the node is not connected
    /// (protocol 3 and 4).
    fn abilities(&self, o: &mut Writer<'_>, call: &Call<'_>, full: bool) {
        let Some(live) = self.live else {
            o.strs("caps", []);
            return o.strs("commands", []);
        };
        let approved = live.approved(call.devices);
        o.strs("caps", live.caps(approved));
        o.strs("commands", live.commands(call.commands, approved));
        o.opt_str("pathEnv", live.declared.path_env.as_deref().filter(|_| full));
        if full && !live.declared.permissions.is_empty() {
            o.obj("permissions", |o| {
                for (name, granted) in &live.declared.permissions {
                    o.bool(name, *granted && approved.has_permission(name));
                }
            });
        }
    }

    /// Writes the fields that only protocol 4 has.
    fn more(&self, o: &mut Writer<'_>, call: &Call<'_>) {
        let about = self.live.map(|live| &live.about);
        let told = about.map(|about| (about.client_id.as_str(), about.client_mode.as_str()));
        let kept =
            self.device.map(|device| (device.client_id.as_str(), device.client_mode.as_str()));
        let (id, mode) = told.or(kept).unwrap_or_default();
        device_json::opt_text(o, "clientId", id);
        device_json::opt_text(o, "clientMode", mode);
        o.bool("sessionHost", false);
        if let Some(live) = self.live {
            o.fields(r#""nodePluginTools":[]"#);
            o.opt_raw("hostStats", live.stats.as_deref());
        }
        let waits = call
            .pairing_requests
            .of_device(&self.id, call.now.at)
            .filter(|request| !request.surface.is_empty());
        let approved_at = self.device.map_or(0, |device| device.surface_approved.0);
        let state = match (waits, approved_at) {
            (Some(_), 0) => "pending-approval",
            (Some(_), _) => "pending-reapproval",
            (None, 0) => "unapproved",
            (None, _) => "approved",
        };
        o.str("approvalState", state);
        if let Some(request) = waits.filter(|_| call.caller.may(Scope::Pairing)) {
            o.shown("pendingRequestId", &request.id);
            o.strs("pendingDeclaredCaps", sorted(request.surface.caps()));
            o.strs("pendingDeclaredCommands", sorted(request.surface.commands()));
        }
        if let Some(device) = self.device {
            let seen = self.live.map_or(device.seen.0, |live| live.since.0);
            o.opt_u64("lastConnectedAtMs", self.live.map(|live| live.since.0));
            o.opt_u64("lastSeenAtMs", Some(seen).filter(|seen| *seen > 0));
            o.opt_str(
                "lastSeenReason",
                (seen > 0).then_some(if self.live.is_some() { "connect" } else { "disconnect" }),
            );
            o.opt_u64("approvedAtMs", Some(device.approved.0).filter(|at| *at > 0));
        }
    }
}
