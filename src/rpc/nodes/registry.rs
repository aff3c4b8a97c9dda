//! Connected nodes: what each declared, and which commands may be invoked on it.

use crate::gate::commands::{Lists, NodeDescription as Described, Rules};
use crate::gate::facts::Protocol;
use crate::gate::ids::{ConnId, DeviceId, Millis, WallMs};
use crate::gate::limits;
use crate::gate::pace::Pace;
use crate::gate::pairing_requests::About;
use crate::gate::surface::{DoesNotFit, Surface};
use crate::gate::text::Text;
use crate::rpc::{Call, Commands, Devices, Failure};
use crate::wire::json;

/// Declaration of a node in `connect`. Bounded by the reader of `connect`.
#[derive(Clone, Default, Debug)]
pub struct Declared {
    pub caps: Vec<String>,
    pub commands: Vec<String>,
    pub permissions: Vec<(String, bool)>,
    pub path_env: Option<String>,
}

/// Connected node.
pub struct ConnectedNode {
    pub conn: ConnId,
    pub device: DeviceId,
    pub protocol: Protocol,
    pub about: About,
    pub version: Text<{ limits::PLATFORM_LEN }>,
    pub model: Text<{ limits::PLATFORM_LEN }>,
    pub declared: Declared,
    pub since: WallMs,
    /// Statistics of its machine as last sent, one JSON object (protocol 4).
    pub stats: Option<Vec<u8>>,
    /// Pace of the event with these statistics.
    pub stats_pace: Pace,
}

/// Connected nodes, the latest at the end; each device once.
#[derive(Default)]
pub struct NodeRegistry {
    nodes: Vec<ConnectedNode>,
    /// Earliest time at which changed statistics of a node are due.
    stats_due: Option<Millis>,
}

impl NodeRegistry {
    /// Adds a node. It replaces a node with the same device on an older connection; that connection
    /// stays open, and may still answer the calls that it was sent.
    pub fn insert(&mut self, node: ConnectedNode) {
        self.nodes.retain(|known| known.device != node.device);
        self.nodes.push(node);
    }

    /// Removes the node of a closed connection.
    pub fn remove(&mut self, conn: ConnId) {
        self.nodes.retain(|node| node.conn != conn);
    }

    /// Returns the node with this device.
    pub fn get(&self, device: &DeviceId) -> Option<&ConnectedNode> {
        self.nodes.iter().find(|node| node.device == *device)
    }

    /// Returns the node on this connection.
    pub fn on_connection(&mut self, conn: ConnId) -> Option<&mut ConnectedNode> {
        self.nodes.iter_mut().find(|node| node.conn == conn)
    }

    /// Records that the statistics of the node on this connection have changed.
    pub fn stats_changed(&mut self, conn: ConnId) {
        let Some(node) = self.on_connection(conn) else { return };
        node.stats_pace.change();
        let due = node.stats_pace.deadline();
        self.stats_due = self.stats_due.into_iter().chain(due).min();
    }

    /// Returns the earliest time at which changed statistics of a node are due.
    pub fn stats_due(&self) -> Option<Millis> {
        self.stats_due
    }

    /// Returns the statistics that have changed and are due, each with the connection of its node:
    /// the payloads of the events `node.hostStats`.
    pub fn take_due_stats(&mut self, now: Millis) -> Vec<(ConnId, Vec<u8>)> {
        if self.stats_due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let mut payloads = Vec::new();
        for node in &mut self.nodes {
            if node.stats_pace.take(now) {
                node.stats_pace.rest(now, limits::NODE_STATE_MS);
                payloads.extend(node.stats_event().map(|payload| (node.conn, payload)));
            }
        }
        self.stats_due = self.nodes.iter().filter_map(|node| node.stats_pace.deadline()).min();
        payloads
    }

    /// Returns all nodes.
    pub fn iter(&self) -> std::slice::Iter<'_, ConnectedNode> {
        self.nodes.iter()
    }

    /// Returns the number of nodes.
    pub fn count(&self) -> usize {
        self.nodes.len()
    }
}

impl ConnectedNode {
    fn stats_event(&self) -> Option<Vec<u8>> {
        let stats = self.stats.as_deref()?;
        Some(json::object(|event| {
            event.shown("nodeId", &self.device);
            event.raw("hostStats", stats);
        }))
    }

    /// Returns the rules for the commands of the node.
    pub fn rules<'a>(
        &'a self,
        commands: &'a Commands,
        approved: &Surface,
    ) -> Rules<'a, String, String> {
        let talk = self.declared.caps.iter().any(|cap| cap == "talk") && approved.has_cap("talk");
        rules_for(self.protocol, &self.about, &self.declared, talk, commands)
    }

    /// Returns the approved surface of the node; empty if the table does not know the device.
    pub fn approved<'t>(&self, devices: &'t Devices) -> &'t Surface {
        let device = devices.find(&self.device).map(|(_, device)| device);
        device.map_or(&NOTHING, |device| &device.surface)
    }

    /// Returns the commands that may be invoked, sorted.
    pub fn commands<'a>(&'a self, commands: &'a Commands, approved: &Surface) -> Vec<&'a str> {
        let rules = self.rules(commands, approved);
        let may = |name: &&str| rules.invoke(name, &|name| approved.has_command(name)).is_ok();
        sorted(rules.offered().filter(may))
    }

    /// Returns the declared capabilities that were approved, sorted.
    pub fn caps(&self, approved: &Surface) -> Vec<&str> {
        sorted(self.declared.caps.iter().map(String::as_str).filter(|cap| approved.has_cap(cap)))
    }
}

static NOTHING: Surface = Surface::NONE;

/// Returns the surface for which a node with this declaration requests approval: the commands that
/// may be offered, its capabilities, and the permissions that it was granted.
pub fn requested_surface(
    protocol: Protocol,
    about: &About,
    declared: &Declared,
    commands: &Commands,
) -> Result<Surface, DoesNotFit> {
    let talk = declared.caps.iter().any(|cap| cap == "talk");
    let mut surface = Surface::NONE;
    let rules = rules_for(protocol, about, declared, talk, commands);
    rules.offered().try_for_each(|name| surface.add_command(name))?;
    declared.caps.iter().try_for_each(|cap| surface.add_cap(cap))?;
    let granted = declared.permissions.iter().filter(|(_, granted)| *granted);
    granted.map(|(name, _)| name).try_for_each(|name| surface.add_permission(name))?;
    Ok(surface)
}

fn rules_for<'a>(
    protocol: Protocol,
    about: &'a About,
    declared: &'a Declared,
    talk: bool,
    commands: &'a Commands,
) -> Rules<'a, String, String> {
    let (platform, family) = (about.platform.as_str(), about.family.as_str());
    let is_host = about.client_id.as_str() == "node-host" && about.client_mode.as_str() == "node";
    let declared = declared.commands.as_slice();
    let node = Described { protocol, platform, family, is_host, talk, declared };
    Rules::new(node, Lists { allow: &commands.allow, deny: &commands.deny })
}

/// Returns the device id of the calling node.
pub(crate) fn calling_node(call: &Call<'_>) -> Result<DeviceId, Failure> {
    call.caller.device().ok_or_else(|| Failure::invalid("nodeId required"))
}

/// Returns the names sorted, each once.
pub(crate) fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}
