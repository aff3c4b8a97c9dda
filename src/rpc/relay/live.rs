//! Nodes that are connected: what each said of itself, and what it may therefore be asked.

use crate::gate::commands::{Lists, Node as Described, Rules};
use crate::gate::facts::Dialect;
use crate::gate::ids::{ConnId, DeviceId, WallMs};
use crate::gate::limits;
use crate::gate::pending::About;
use crate::gate::surface::{DoesNotFit, Surface};
use crate::gate::text::Text;
use crate::rpc::{Call, Commands, Devices, Failure};

/// What a node declared when it connected. Bounded by the reader of connect.
#[derive(Clone, Default, Debug)]
pub struct Declared {
    pub caps: Vec<String>,
    pub commands: Vec<String>,
    pub permissions: Vec<(String, bool)>,
    pub path_env: Option<String>,
}

/// One connected node.
pub struct Node {
    pub conn: ConnId,
    pub device: DeviceId,
    pub dialect: Dialect,
    pub about: About,
    pub version: Text<{ limits::PLATFORM_LEN }>,
    pub model: Text<{ limits::PLATFORM_LEN }>,
    pub declared: Declared,
    pub since: WallMs,
    /// How its machine is, as it last told: one JSON object (protocol 4).
    pub stats: Option<Vec<u8>>,
}

/// The connected nodes, the one that came last at the end; each device once.
#[derive(Default)]
pub struct Nodes(Vec<Node>);

impl Nodes {
    /// A node came. If the same device is here on an older connection, this one takes its place; the older connection stays open,
    /// and what it was asked it may still answer.
    pub fn enter(&mut self, node: Node) {
        self.0.retain(|known| known.device != node.device);
        self.0.push(node);
    }

    /// That connection is gone.
    pub fn leave(&mut self, conn: ConnId) {
        self.0.retain(|node| node.conn != conn);
    }

    /// The node that is that device.
    pub fn of(&self, device: &DeviceId) -> Option<&Node> {
        self.0.iter().find(|node| node.device == *device)
    }

    /// The node on that connection.
    pub fn on(&mut self, conn: ConnId) -> Option<&mut Node> {
        self.0.iter_mut().find(|node| node.conn == conn)
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Node> {
        self.0.iter()
    }

    /// How many are here.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl Node {
    /// The rules for what it may be asked.
    pub fn rules<'a>(&'a self, commands: &'a Commands, approved: &Surface) -> Rules<'a, String, String> {
        let talk = self.declared.caps.iter().any(|cap| cap == "talk") && approved.has_cap("talk");
        described(self.dialect, &self.about, &self.declared, talk, commands)
    }

    /// What the owner approved of it; nothing if the table does not know it.
    pub fn approved<'t>(&self, devices: &'t Devices) -> &'t Surface {
        let device = devices.find(&self.device).map(|(_, device)| device);
        device.map_or(&NOTHING, |device| &device.surface)
    }

    /// What may be invoked, sorted.
    pub fn commands<'a>(&'a self, commands: &'a Commands, approved: &Surface) -> Vec<&'a str> {
        let rules = self.rules(commands, approved);
        let may = |name: &&str| rules.invoke(name, &|name| approved.has_command(name)).is_ok();
        sorted(rules.offered().filter(may))
    }

    /// The capabilities that it has and that were approved, sorted.
    pub fn caps(&self, approved: &Surface) -> Vec<&str> {
        sorted(self.declared.caps.iter().map(String::as_str).filter(|cap| approved.has_cap(cap)))
    }
}

static NOTHING: Surface = Surface::NONE;

/// What a node that said this of itself wants approved: the commands that may be offered, its capabilities and what it was permitted.
pub fn asked_of(
    dialect: Dialect,
    about: &About,
    declared: &Declared,
    commands: &Commands,
) -> Result<Surface, DoesNotFit> {
    let talk = declared.caps.iter().any(|cap| cap == "talk");
    let mut surface = Surface::NONE;
    let rules = described(dialect, about, declared, talk, commands);
    rules.offered().try_for_each(|name| surface.add_command(name))?;
    declared.caps.iter().try_for_each(|cap| surface.add_cap(cap))?;
    let granted = declared.permissions.iter().filter(|(_, granted)| *granted);
    granted.map(|(name, _)| name).try_for_each(|name| surface.add_permission(name))?;
    Ok(surface)
}

fn described<'a>(
    dialect: Dialect,
    about: &'a About,
    declared: &'a Declared,
    talk: bool,
    commands: &'a Commands,
) -> Rules<'a, String, String> {
    let (platform, family) = (about.platform.as_str(), about.family.as_str());
    let node = Described { dialect, platform, family, talk, declared: declared.commands.as_slice() };
    Rules::new(node, Lists { allow: &commands.allow, deny: &commands.deny })
}

/// The node that calls.
pub(super) fn own(call: &Call<'_>) -> Result<DeviceId, Failure> {
    call.caller.device().ok_or_else(|| Failure::invalid("nodeId required"))
}

/// The same names in order, each once.
pub(super) fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}
