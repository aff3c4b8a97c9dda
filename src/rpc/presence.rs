//! Who is here: one entry a connection, and the gateway itself.

use std::net::IpAddr;

use crate::gate::facts::Dialect;
use crate::gate::ids::{ConnId, DeviceId, Role, WallMs};
use crate::gate::limits;
use crate::gate::scopes::Scopes;
use crate::gate::text::Text;
use crate::wire::json::{self, Writer};

/// What others see of a connection.
#[derive(Clone, Debug)]
pub struct Entry {
    pub host: Text<{ limits::NAME_LEN }>,
    /// Absent for local clients.
    pub ip: Option<IpAddr>,
    pub version: Text<{ limits::PLATFORM_LEN }>,
    pub platform: Text<{ limits::PLATFORM_LEN }>,
    pub family: Text<{ limits::PLATFORM_LEN }>,
    pub model: Text<{ limits::PLATFORM_LEN }>,
    pub client_id: Text<{ limits::CLIENT_ID_LEN }>,
    pub mode: Text<{ limits::CLIENT_MODE_LEN }>,
    pub instance: Text<{ limits::NAME_LEN }>,
    pub device: Option<DeviceId>,
    pub role: Role,
    pub scopes: Scopes,
    pub since: WallMs,
}

/// Everybody who is here, in the order in which they came.
pub struct Presence {
    entries: Vec<(ConnId, Entry)>,
    host: String,
    started: WallMs,
    version: u64,
}

impl Presence {
    /// Nobody but the gateway, on the machine of that name.
    pub fn new(host: String, started: WallMs) -> Presence {
        Presence { entries: Vec::new(), host, started, version: 1 }
    }

    /// Counts every change (`stateVersion.presence`).
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Somebody came. Programs that only look in (`cli`, `probe`, `backend`) are not shown, nor is anybody beyond
    /// [`limits::PRESENCE`]; says whether the entry was taken.
    pub fn enter(&mut self, conn: ConnId, entry: Entry) -> bool {
        let passing = matches!(entry.mode.as_str(), "cli" | "probe" | "backend");
        if passing || self.entries.len() + 1 >= limits::PRESENCE {
            return false;
        }
        if entry.role == Role::Node {
            // the same node on an older connection
            self.entries.retain(|(_, known)| known.role != Role::Node || known.device != entry.device);
        }
        self.entries.push((conn, entry));
        self.version += 1;
        true
    }

    /// Somebody left; says whether anybody saw it.
    pub fn leave(&mut self, conn: ConnId) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(known, _)| *known != conn);
        let seen = self.entries.len() < before;
        self.version += u64::from(seen);
        seen
    }

    /// The list, as clients of that dialect read it.
    pub fn list(&self, dialect: Dialect) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 * (1 + self.entries.len()));
        json::arr(&mut out, |list| {
            list.item_obj(|own| self.own_entry(own));
            for (_, entry) in &self.entries {
                list.item_obj(|shown| entry.render(dialect, shown));
            }
        });
        out
    }

    fn own_entry(&self, own: &mut Writer<'_>) {
        let version = env!("CARGO_PKG_VERSION");
        own.str("host", &self.host);
        own.str("version", version);
        own.str("platform", std::env::consts::OS);
        own.str("mode", "gateway");
        own.str("reason", "self");
        own.str(
            "text",
            &["Gateway: ", &self.host, " \u{b7} app ", version, " \u{b7} mode gateway \u{b7} reason self"].concat(),
        );
        own.u64("ts", self.started.0);
    }
}

impl Entry {
    fn render(&self, dialect: Dialect, shown: &mut Writer<'_>) {
        let given = |text: &'_ str| (!text.is_empty()).then(|| text.to_string());
        shown.str("host", &self.host);
        if let Some(ip) = self.ip {
            shown.shown("ip", &ip);
        }
        shown.opt_str("version", given(&self.version).as_deref());
        shown.opt_str("platform", given(&self.platform).as_deref());
        shown.opt_str("deviceFamily", given(&self.family).as_deref());
        shown.opt_str("modelIdentifier", given(&self.model).as_deref());
        shown.str("mode", &self.mode);
        shown.str("reason", "connect");
        shown.str("text", &self.text());
        shown.u64("ts", self.since.0);
        if let Some(device) = self.device {
            shown.shown("deviceId", &device);
        }
        shown.strs("roles", [self.role.name()]);
        shown.scopes("scopes", self.scopes);
        shown.opt_str("instanceId", given(&self.instance).as_deref());
        if dialect == Dialect::V4 {
            shown.str("clientId", &self.client_id);
            shown.u64("onlineSince", self.since.0);
        }
    }

    fn text(&self) -> String {
        let address = self.ip.map_or(String::new(), |ip| format!(" ({ip})"));
        let version = if self.version.is_empty() { String::new() } else { [" \u{b7} app ", &self.version].concat() };
        ["Node: ", &self.host, &address, &version, " \u{b7} mode ", &self.mode, " \u{b7} reason connect"].concat()
    }
}
