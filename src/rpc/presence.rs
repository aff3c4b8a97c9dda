//! Presence list: one entry per connection, the gateway itself, and devices that report themselves
//! (`rpc/system_event.rs`).

use std::net::IpAddr;

use super::system_event::Report;
use crate::gate::facts::Protocol;
use crate::gate::ids::{ConnId, DeviceId, Millis, Role, WallMs};
use crate::gate::limits;
use crate::gate::scopes::Scopes;
use crate::gate::text::Text;
use crate::wire::json::{self, Writer};

/// Description of a connection that other clients see.
#[derive(Clone, Debug)]
pub struct PresenceEntry {
    pub host: Text<{ limits::NAME_LEN }>,
    /// Address of the client. Absent for local clients.
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

/// Presence list, in the order in which the clients connected.
pub struct Presence {
    entries: Vec<(ConnId, PresenceEntry)>,
    /// Reports, the one that was renewed last at the end.
    reports: Vec<Report>,
    host: String,
    started: WallMs,
    version: u64,
}

impl Presence {
    /// Creates a list that has only the gateway, on the machine of that name.
    pub fn new(host: String, started: WallMs) -> Presence {
        Presence { entries: Vec::new(), reports: Vec::new(), host, started, version: 1 }
    }

    /// Returns the version, which increases with every change (`stateVersion.presence`).
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Adds a connection. Programs that connect for a moment only (`cli`, `probe`, `backend`) are
    /// not listed, nor are connections beyond [`limits::PRESENCE`]. Returns whether the entry was
    /// added.
    pub fn insert(&mut self, conn: ConnId, entry: PresenceEntry) -> bool {
        let passing = matches!(entry.mode.as_str(), "cli" | "probe" | "backend");
        if passing || self.entries.len() + 1 >= limits::PRESENCE {
            return false;
        }
        if entry.role == Role::Node {
            // Removes the same node on an older connection.
            self.entries
                .retain(|(_, known)| known.role != Role::Node || known.device != entry.device);
        }
        self.entries.push((conn, entry));
        self.make_room();
        self.version += 1;
        true
    }

    /// Adds or renews a report of a device. The oldest reports are evicted, by new connections as
    /// well.
    pub fn report(&mut self, new: Report) {
        let known = self.reports.iter().position(|known| known.key == new.key);
        let report = match known.map(|at| self.reports.remove(at)) {
            Some(mut known) => {
                known.renew(new);
                known
            }
            None => new,
        };
        self.reports.push(report);
        self.make_room();
        self.version += 1;
    }

    /// Removes reports that are older than [`limits::REPORT_MS`].
    pub fn expire(&mut self, now: Millis) {
        let before = self.reports.len();
        self.reports.retain(|report| now.since(report.at) <= limits::REPORT_MS);
        self.version += u64::from(self.reports.len() < before);
    }

    fn make_room(&mut self) {
        let over = (self.entries.len() + self.reports.len() + 1).saturating_sub(limits::PRESENCE);
        self.reports.drain(..over.min(self.reports.len()));
    }

    /// Removes a connection, and its report unless another connection has the same key. Returns
    /// whether the connection was listed.
    pub fn remove(&mut self, conn: ConnId) -> bool {
        let Some(place) = self.entries.iter().position(|(known, _)| *known == conn) else {
            return false;
        };
        let (_, gone) = self.entries.remove(place);
        if !self.entries.iter().any(|(_, entry)| entry.key() == gone.key()) {
            self.reports.retain(|report| report.key != gone.key());
        }
        self.version += 1;
        true
    }

    /// Writes the list in the form of the protocol.
    pub fn list(&self, protocol: Protocol) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 * (1 + self.entries.len()));
        json::arr(&mut out, |list| {
            list.item_obj(|own| self.own_entry(own));
            let mut alone: Vec<&Report> = self.reports.iter().collect();
            for (_, entry) in &self.entries {
                let key = entry.key();
                let said = self.reports.iter().find(|report| report.key == key);
                alone.retain(|report| report.key != key);
                list.item_obj(|shown| entry.render(protocol, said, shown));
            }
            alone.iter().for_each(|report| list.item_obj(|shown| report.render(shown)));
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
            &[
                "Gateway: ",
                &self.host,
                " \u{b7} app ",
                version,
                " \u{b7} mode gateway \u{b7} reason self",
            ]
            .concat(),
        );
        own.u64("ts", self.started.0);
    }
}

impl PresenceEntry {
    /// Returns the key by which a report of the same device is found; empty if there is none.
    fn key(&self) -> String {
        self.device.map_or_else(|| self.instance.to_ascii_lowercase(), |device| device.to_string())
    }

    fn render(&self, protocol: Protocol, said: Option<&Report>, shown: &mut Writer<'_>) {
        let ip = self.ip.map(|ip| ip.to_string()).unwrap_or_default();
        let text = self.text();
        let device = self.device.map(|device| device.to_string()).unwrap_or_default();
        let own: [(&str, &str); 11] = [
            ("host", &self.host),
            ("ip", &ip),
            ("version", &self.version),
            ("platform", &self.platform),
            ("deviceFamily", &self.family),
            ("modelIdentifier", &self.model),
            ("mode", &self.mode),
            ("reason", "connect"),
            ("text", &text),
            ("deviceId", &device),
            ("instanceId", &self.instance),
        ];
        for (name, own) in own {
            let said = said.map_or("", |report| report.get(name));
            // A report does not replace the ids of the connection.
            let proved = name.ends_with("Id") && !own.is_empty();
            let text = if said.is_empty() || proved { own } else { said };
            shown.opt_str(name, Some(text).filter(|text| !text.is_empty()));
        }
        if let Some(report) = said {
            report.last_input(shown);
        }
        shown.u64("ts", said.map_or(self.since, |report| report.ts).0);
        shown.strs("roles", [self.role.name()]);
        shown.scopes("scopes", self.scopes);
        if protocol == Protocol::V4 {
            shown.str("clientId", &self.client_id);
            shown.u64("onlineSince", self.since.0);
        }
    }

    fn text(&self) -> String {
        let address = self.ip.map_or(String::new(), |ip| format!(" ({ip})"));
        let version = if self.version.is_empty() {
            String::new()
        } else {
            [" \u{b7} app ", &self.version].concat()
        };
        [
            "Node: ",
            &self.host,
            &address,
            &version,
            " \u{b7} mode ",
            &self.mode,
            " \u{b7} reason connect",
        ]
        .concat()
    }
}
