//! Presence list: one entry per connection, the gateway itself, and devices that report themselves
//! (`rpc/system_event.rs`).

use std::net::IpAddr;

use super::system_event::Report;
use crate::gate::budget::{has_share, Budget, Holder};
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

/// Number of entries besides that of the gateway.
const ENTRIES: usize = limits::PRESENCE - 1;

/// Presence list, in the order in which the clients connected.
///
/// A device has a share of the connections listed, and of the reports; a further one replaces its
/// own oldest. All clients without a device have at most half of what is free. A full list gives up
/// the oldest entry of the client that has the most, unless each has one.
pub struct Presence {
    entries: Vec<(ConnId, PresenceEntry)>,
    /// Reports, the one that was renewed last at the end.
    reports: Vec<Report>,
    used: Budget,
    host: String,
    started: WallMs,
    version: u64,
}

impl Presence {
    /// Creates a list that has only the gateway, on the machine of that name.
    pub fn new(host: String, started: WallMs) -> Presence {
        let (entries, reports, used) = (Vec::new(), Vec::new(), Budget::new(limits::PRESENCE));
        Presence { entries, reports, used, host, started, version: 1 }
    }

    /// Returns the use of the list, counted in entries and reports.
    pub fn budget(&self) -> Budget {
        self.used.with_used(self.entries.len() + self.reports.len() + 1)
    }

    /// Returns the version, which increases with every change (`stateVersion.presence`).
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Adds a connection. Programs that connect for a moment only (`cli`, `probe`, `backend`) are
    /// not listed. Returns whether the entry was added.
    pub fn insert(&mut self, conn: ConnId, entry: PresenceEntry) -> bool {
        if matches!(entry.mode.as_str(), "cli" | "probe" | "backend") {
            return false;
        }
        if entry.role == Role::Node {
            // Removes the same node on an older connection.
            self.entries
                .retain(|(_, known)| known.role != Role::Node || known.device != entry.device);
        }
        let holders = self.entries.iter().map(|(_, entry)| entry.holder());
        match place(holders, self.entries.len(), entry.holder()) {
            Place::Free => {}
            Place::Instead(at) => drop(self.entries.remove(at)),
            Place::None => return false,
        }
        self.entries.push((conn, entry));
        while self.entries.len() + self.reports.len() > ENTRIES {
            let holders = self.reports.iter().map(|report| report.holder);
            let Some((at, _)) = oldest_of_largest(holders) else { break };
            self.reports.remove(at);
        }
        self.changed();
        true
    }

    /// Adds or renews a report of a device. New connections evict reports. Returns whether the
    /// report is listed.
    pub fn report(&mut self, mut new: Report) -> bool {
        if let Some(at) = self.reports.iter().position(|known| known.key == new.key) {
            let mut known = self.reports.remove(at);
            known.renew(new);
            new = known;
        }
        let holders = self.reports.iter().map(|report| report.holder);
        match place(holders, self.entries.len() + self.reports.len(), new.holder) {
            Place::Free => {}
            Place::Instead(at) => drop(self.reports.remove(at)),
            Place::None => return false,
        }
        self.reports.push(new);
        self.changed();
        true
    }

    fn changed(&mut self) {
        self.used.record(self.entries.len() + self.reports.len() + 1);
        self.version += 1;
    }

    /// Removes reports that are older than [`limits::REPORT_MS`].
    pub fn expire(&mut self, now: Millis) {
        let before = self.reports.len();
        self.reports.retain(|report| now.since(report.at) <= limits::REPORT_MS);
        self.version += u64::from(self.reports.len() < before);
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
                let report = self.reports.iter().find(|report| report.key == key);
                alone.retain(|report| report.key != key);
                list.item_obj(|shown| entry.render(protocol, report, shown));
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
        let host = &self.host;
        let text =
            format!("Gateway: {host} \u{b7} app {version} \u{b7} mode gateway \u{b7} reason self");
        own.str("text", &text);
        own.u64("ts", self.started.0);
    }
}

/// Place for a new entry in a list.
enum Place {
    Free,
    /// That of the entry with this index.
    Instead(usize),
    None,
}

/// Returns the place for a new entry of `holder` in a list whose entries have these holders, the
/// oldest first, while `used` of all entries are used.
fn place(holders: impl Iterator<Item = Holder> + Clone, used: usize, holder: Holder) -> Place {
    let own = holders.clone().filter(|one| *one == holder).count();
    let is_device = matches!(holder, Holder::Device(_));
    let max = if is_device { limits::PRESENCE_OF_ONE } else { ENTRIES };
    if has_share(own, used, ENTRIES, max) {
        return Place::Free;
    }
    if own > 0 {
        return holders.clone().position(|one| one == holder).map_or(Place::None, Place::Instead);
    }
    match oldest_of_largest(holders) {
        Some((at, count)) if count > 1 => Place::Instead(at),
        _ => Place::None,
    }
}

/// Returns the index of the oldest entry of the holder that has the most, and their number. It
/// sorts, because the list of a large installation is always full.
fn oldest_of_largest(holders: impl Iterator<Item = Holder>) -> Option<(usize, usize)> {
    let mut sorted: Vec<(Holder, usize)> = holders.zip(0..).collect();
    sorted.sort_unstable();
    let largest = sorted.chunk_by(|one, next| one.0 == next.0).max_by_key(|own| own.len())?;
    Some((largest[0].1, largest.len()))
}

impl PresenceEntry {
    fn holder(&self) -> Holder {
        self.device.map_or(Holder::Keyless, Holder::Device)
    }

    /// Returns the key by which a report of the same device is found; empty if there is none.
    fn key(&self) -> String {
        self.device.map_or_else(|| self.instance.to_ascii_lowercase(), |device| device.to_string())
    }

    fn render(&self, protocol: Protocol, report: Option<&Report>, shown: &mut Writer<'_>) {
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
            let reported = report.map_or("", |report| report.get(name));
            // A report does not replace the ids of the connection.
            let proved = name.ends_with("Id") && !own.is_empty();
            let text = if reported.is_empty() || proved { own } else { reported };
            shown.opt_str(name, Some(text).filter(|text| !text.is_empty()));
        }
        if let Some(report) = report {
            report.write_last_input(shown);
        }
        shown.u64("ts", report.map_or(self.since, |report| report.ts).0);
        shown.strs("roles", [self.role.name()]);
        shown.scopes("scopes", self.scopes);
        if protocol == Protocol::V4 {
            shown.str("clientId", &self.client_id);
            shown.u64("onlineSince", self.since.0);
        }
    }

    fn text(&self) -> String {
        let address = self.ip.map_or(String::new(), |ip| format!(" ({ip})"));
        let version = match self.version.as_str() {
            "" => String::new(),
            version => format!(" \u{b7} app {version}"),
        };
        let (host, mode) = (&self.host, &self.mode);
        format!("Node: {host}{address}{version} \u{b7} mode {mode} \u{b7} reason connect")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(holder: u8, role: Role) -> PresenceEntry {
        PresenceEntry {
            host: Text::default(),
            ip: None,
            version: Text::default(),
            platform: Text::default(),
            family: Text::default(),
            model: Text::default(),
            client_id: Text::default(),
            mode: Text::default(),
            instance: Text::default(),
            device: (holder > 0).then_some(DeviceId([holder; 32])),
            role,
            scopes: Scopes::NONE,
            since: WallMs(0),
        }
    }

    fn count(presence: &Presence, holder: u8) -> usize {
        let holder = entry(holder, Role::Operator).holder();
        presence.entries.iter().filter(|(_, entry)| entry.holder() == holder).count()
    }

    #[test]
    fn one_client_leaves_entries_to_others_and_nothing_of_others_is_lost() {
        for seed in 0..30 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut presence = Presence::new("here".into(), WallMs(0));
            assert!(presence.insert(ConnId(0), entry(200, Role::Operator)));
            for conn in 1..2000 {
                // clients of which few connect often
                let last = random.u8(1..150);
                let holder = random.u8(0..last);
                assert!(presence.insert(ConnId(conn), entry(holder, Role::Operator)));
                assert!(presence.entries.len() <= ENTRIES);
                assert!(holder == 0 || count(&presence, holder) <= limits::PRESENCE_OF_ONE);
                if random.bool() {
                    presence.remove(ConnId(random.u64(1..=conn)));
                }
            }
            assert_eq!(presence.entries[0].0, ConnId(0), "seed {seed}");
        }
    }

    #[test]
    fn a_node_keeps_its_entry_in_a_full_list() {
        let mut presence = Presence::new("here".into(), WallMs(0));
        for n in 1..=199 {
            assert!(presence.insert(ConnId(u64::from(n)), entry(n, Role::Node)));
        }
        assert!(!presence.insert(ConnId(500), entry(201, Role::Node)), "each has one entry");
        assert!(presence.insert(ConnId(501), entry(7, Role::Node)), "it replaces its own");
        assert_eq!((presence.entries.len(), count(&presence, 7)), (ENTRIES, 1));
    }
}
