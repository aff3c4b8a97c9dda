//! Nodes as people and programs see them, connected or not: `node.list`, `node.describe`,
//! `node.rename`, `environments.list`.

use super::registry::{sorted, ConnectedNode};
use crate::gate::device::Device;
use crate::gate::ids::{DeviceId, Role};
use crate::gate::limits;
use crate::gate::scopes::Scope;
use crate::gate::text::clip;
use crate::rpc::device_json::{self, known_time};
use crate::rpc::params::{ByNode, NodeRename, Nothing};
use crate::rpc::{answers, devices, Call, Failure, Reply};
use crate::wire::json::Writer;
use crate::wire::message::Params;

/// Node that is in the table, connected, or both.
struct Row<'a> {
    id: DeviceId,
    device: Option<&'a Device>,
    node: Option<&'a ConnectedNode>,
}

/// Amount of detail in a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Full,
    /// Without the fields that may have many kilobytes.
    Short,
}

/// Handles `node.list {}`. After [`limits::NODES_IN_FULL`] bytes, search paths and permissions of
/// the remaining nodes are left out, because each node may declare many kilobytes of them.
pub fn list(call: &mut Call<'_>, _: Nothing) -> Result<Reply, Failure> {
    let call = &*call;
    Ok(Reply::object(|o| {
        o.u64("ts", call.now.wall.0);
        o.arr("nodes", |list| {
            for row in rows(call) {
                let full = list.written() < limits::NODES_IN_FULL;
                let detail = if full { Detail::Full } else { Detail::Short };
                list.item_obj(|o| row.render(o, call, detail));
            }
        });
    }))
}

/// Handles `environments.list {}` (protocol 4): returns the machines of the gateway and of the
/// nodes; none hosts a session.
pub fn environments(call: &mut Call<'_>, _: Params<'_>) -> Result<Reply, Failure> {
    let call = &*call;
    Ok(Reply::object(|o| {
        o.arr("environments", |list| {
            list.item_obj(|o| o.fields(GATEWAY));
            for row in rows(call) {
                let id = row.id.to_string();
                list.item_obj(|o| {
                    o.str("id", &format!("node:{id}"));
                    o.str("type", "node");
                    o.str("label", if row.name().is_empty() { &id } else { row.name() });
                    o.str("status", if row.node.is_some() { "available" } else { "unavailable" });
                    o.bool("sessionHost", false);
                });
            }
        });
    }))
}

const GATEWAY: &str =
    r#""id":"gateway","type":"local","label":"Gateway","status":"available","sessionHost":false"#;

/// Returns all nodes, connected ones first, then by name.
fn rows<'a>(call: &'a Call<'_>) -> Vec<Row<'a>> {
    let devices = call.devices.iter().map(|(_, device)| device);
    let paired = devices.filter(|device| device.roles.contains(Role::Node));
    let mut rows: Vec<Row<'_>> = paired.map(|device| row(call, &device.id)).collect();
    let known = rows.len();
    for node in call.nodes.registry.iter() {
        if !rows[..known].iter().any(|row| row.id == node.device) {
            rows.push(row(call, &node.device));
        }
    }
    rows.sort_by_cached_key(|row| {
        (row.node.is_none(), row.name().to_lowercase(), row.id.to_string())
    });
    rows
}

/// Handles `node.describe {nodeId}`.
pub fn describe(call: &mut Call<'_>, params: ByNode) -> Result<Reply, Failure> {
    let call = &*call;
    let id = DeviceId::parse(params.node_id.trim()).ok_or_else(unknown_node)?;
    let row = row(call, &id);
    if row.device.is_none_or(|device| !device.roles.contains(Role::Node)) && row.node.is_none() {
        return Err(unknown_node());
    }
    Ok(Reply::object(|o| {
        o.u64("ts", call.now.wall.0);
        row.render(o, call, Detail::Full);
    }))
}

/// Handles `node.rename {nodeId, displayName}`: sets the owner's name for the node, which is stored
/// with the device.
pub fn rename(call: &mut Call<'_>, params: NodeRename) -> Result<Reply, Failure> {
    let (slot, device) = devices::find_node(call, &params.node_id, "node rename denied")?;
    let label = clip(&params.display_name);
    if label.is_empty() {
        return Err(Failure::invalid("displayName required"));
    }
    let reply = Reply::json(&answers::NodeRenamed { node_id: device.id, display_name: &label });
    Ok(devices::labeled(reply, slot, device, label))
}

pub(super) fn unknown_node() -> Failure {
    Failure::invalid("unknown nodeId")
}

fn row<'a>(call: &'a Call<'_>, id: &DeviceId) -> Row<'a> {
    let device = call.devices.find(id).map(|(_, device)| device);
    Row { id: *id, device, node: call.nodes.registry.get(id) }
}

impl<'a> Row<'a> {
    fn name(&self) -> &'a str {
        let named = self.device.map(Device::shown_name).filter(|name| !name.is_empty());
        named.or(self.node.map(|node| node.about.name.as_str())).unwrap_or("")
    }

    fn render(&self, o: &mut Writer<'_>, call: &Call<'_>, detail: Detail) {
        o.shown("nodeId", &self.id);
        device_json::opt_text(o, "displayName", self.name());
        if let Some(node) = self.node {
            device_json::opt_text(o, "platform", &node.about.platform);
            device_json::opt_text(o, "version", &node.version);
            device_json::opt_text(o, "deviceFamily", &node.about.family);
            device_json::opt_text(o, "modelIdentifier", &node.model);
            device_json::opt_ip(o, "remoteIp", node.about.remote);
        } else if let Some(device) = self.device {
            device_json::opt_text(o, "platform", &device.platform);
            device_json::opt_text(o, "deviceFamily", &device.family);
            device_json::opt_ip(o, "remoteIp", device.remote);
        }
        self.write_capabilities(o, call, detail);
        if call.is_v4() {
            self.write_v4(o, call);
        }
        o.opt_u64("connectedAtMs", self.node.map(|node| node.since.0));
        o.bool("paired", self.device.is_some_and(|device| device.roles.contains(Role::Node)));
        o.bool("connected", self.node.is_some());
    }

    /// Writes the capabilities and commands that can be used now; none if the node is not connected
    /// (protocol 3 and 4).
    fn write_capabilities(&self, o: &mut Writer<'_>, call: &Call<'_>, detail: Detail) {
        let Some(node) = self.node else {
            o.strs("caps", []);
            return o.strs("commands", []);
        };
        let approved = node.approved(call.devices);
        o.strs("caps", node.caps(approved));
        o.strs("commands", node.commands(call.commands, approved));
        o.opt_str("pathEnv", node.declared.path_env.as_deref().filter(|_| detail == Detail::Full));
        if detail == Detail::Full && !node.declared.permissions.is_empty() {
            o.obj("permissions", |o| {
                for (name, granted) in &node.declared.permissions {
                    o.bool(name, *granted && approved.has_permission(name));
                }
            });
        }
    }

    /// Writes the fields that only protocol 4 has.
    fn write_v4(&self, o: &mut Writer<'_>, call: &Call<'_>) {
        let about = self.node.map(|node| &node.about);
        let declared = about.map(|about| (about.client_id.as_str(), about.client_mode.as_str()));
        let recorded =
            self.device.map(|device| (device.client_id.as_str(), device.client_mode.as_str()));
        let (id, mode) = declared.or(recorded).unwrap_or_default();
        device_json::opt_text(o, "clientId", id);
        device_json::opt_text(o, "clientMode", mode);
        o.bool("sessionHost", false);
        if let Some(node) = self.node {
            o.fields(r#""nodePluginTools":[]"#);
            o.opt_raw("hostStats", node.stats.as_deref());
        }
        self.write_approval(o, call);
        if let Some(device) = self.device {
            let since = self.node.map(|node| node.since);
            let seen = known_time(since.unwrap_or(device.seen));
            let reason = if since.is_some() { "connect" } else { "disconnect" };
            o.opt_u64("lastConnectedAtMs", since.map(|since| since.0));
            o.opt_u64("lastSeenAtMs", seen);
            o.opt_str("lastSeenReason", seen.map(|_| reason));
            o.opt_u64("approvedAtMs", known_time(device.approved));
        }
    }

    /// Writes what is approved or pending for the node.
    fn write_approval(&self, o: &mut Writer<'_>, call: &Call<'_>) {
        let request = call.pairing_requests.of_device(&self.id, call.now.at);
        let request = request.filter(|request| !request.surface.is_empty());
        let approved = self.device.is_some_and(|device| device.surface_approved.0 > 0);
        let state = match (request, approved) {
            (Some(_), false) => "pending-approval",
            (Some(_), true) => "pending-reapproval",
            (None, false) => "unapproved",
            (None, true) => "approved",
        };
        o.str("approvalState", state);
        if let Some(request) = request.filter(|_| call.caller.may(Scope::Pairing)) {
            o.shown("pendingRequestId", &request.id);
            o.strs("pendingDeclaredCaps", sorted(request.surface.caps()));
            o.strs("pendingDeclaredCommands", sorted(request.surface.commands()));
        }
    }
}
