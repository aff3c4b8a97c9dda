//! Report of a device about itself, merged into the presence of its connection or listed
//! separately: `system-event`.
//!
//! The key of a report is the device id, otherwise the instance id, otherwise its text. A value is
//! kept until the device sends another one, and for [`limits::REPORT_MS`] after the last report.
//! There is no agent for which such an event could be queued.

use super::params::SystemEvent;
use super::{stubs, Call, Effect, Failure, Reply};
use crate::gate::budget::Holder;
use crate::gate::facts::Protocol;
use crate::gate::ids::{Millis, Now, WallMs};
use crate::gate::limits;
use crate::gate::text::cut;
use crate::wire::json::{Kind, Value, Writer};
use crate::wire::message::Params;

/// Report of a device about itself.
pub struct Report {
    /// Key in lower case.
    pub key: String,
    /// Client that made the report.
    pub holder: Holder,
    /// Texts by name; empty if not sent.
    texts: [(&'static str, String); 11],
    /// Short JSON number, as it was sent.
    last_input: String,
    /// JSON arrays, as they were sent.
    roles: String,
    scopes: String,
    pub at: Millis,
    pub ts: WallMs,
}

impl Report {
    /// Creates a report without a key.
    fn new(sent: SystemEvent<'_>, holder: Holder, now: Now) -> Report {
        let text = |value: Option<Value<'_>>| {
            let text = value.and_then(|value| value.as_str()).unwrap_or_default();
            cut(text.trim(), limits::REPORT_TEXT_LEN).to_string()
        };
        let raw = |value: Option<Value<'_>>, max_len: usize| {
            let raw = value.map_or("", |value| value.raw());
            if raw.len() <= max_len {
                raw.to_string()
            } else {
                String::new()
            }
        };
        let texts = [
            ("host", sent.host),
            ("ip", sent.ip),
            ("version", sent.version),
            ("platform", sent.platform),
            ("deviceFamily", sent.device_family),
            ("modelIdentifier", sent.model_identifier),
            ("mode", sent.mode),
            ("reason", sent.reason),
            ("deviceId", sent.device_id),
            ("instanceId", sent.instance_id),
            ("text", sent.text),
        ];
        let number = sent.last_input.filter(|value| value.kind() == Kind::Number);
        let list_len = limits::SCOPES_SENT * limits::WORD_LEN;
        Report {
            key: String::new(),
            holder,
            texts: texts.map(|(name, value)| (name, text(value))),
            last_input: raw(number, limits::PLATFORM_LEN - 1),
            roles: raw(sent.roles, list_len),
            scopes: raw(sent.scopes, list_len),
            at: now.at,
            ts: now.wall,
        }
    }

    /// Replaces the values that are present in the new report.
    pub fn renew(&mut self, new: Report) {
        let old_texts = self.texts.iter_mut().map(|(_, text)| text);
        let old = old_texts.chain([&mut self.last_input, &mut self.roles, &mut self.scopes]);
        let new_texts = new.texts.into_iter().map(|(_, text)| text);
        for (old, new) in old.zip(new_texts.chain([new.last_input, new.roles, new.scopes])) {
            if !new.is_empty() {
                *old = new;
            }
        }
        (self.holder, self.at, self.ts) = (new.holder, new.at, new.ts);
    }

    /// Returns the text with this name; empty if none was sent.
    pub fn get(&self, name: &str) -> &str {
        self.texts.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| text)
    }

    /// Writes the number of seconds since the last input on the device, if it was sent.
    pub fn write_last_input(&self, shown: &mut Writer<'_>) {
        if !self.last_input.is_empty() {
            shown.raw("lastInputSeconds", self.last_input.as_bytes());
        }
    }

    /// Writes the report as an entry of its own.
    pub fn render(&self, shown: &mut Writer<'_>) {
        for (name, text) in self.texts.iter().filter(|(_, text)| !text.is_empty()) {
            shown.str(name, text);
        }
        self.write_last_input(shown);
        for (name, list) in [("roles", &self.roles), ("scopes", &self.scopes)] {
            if !list.is_empty() {
                shown.raw(name, list.as_bytes());
            }
        }
        shown.u64("ts", self.ts.0);
    }
}

/// Handles `system-event {text, deviceId?, instanceId?, host?, ip?, mode?, version?, platform?,
/// ...}`.
pub fn event(call: &mut Call<'_>, params: Params<'_>) -> Result<Reply, Failure> {
    let sent: SystemEvent<'_> = match call.caller.protocol() {
        // Protocol 3 ignores values that it cannot read.
        Protocol::V3 => params.read_sound(),
        Protocol::V4 => params.read()?,
    };
    let wake = sent.wake == Some(true);
    let mut report = Report::new(sent, call.caller.holder(), call.now);
    if report.get("text").is_empty() {
        return Err(Failure::invalid("text required"));
    }
    if wake {
        return Err(stubs::unavailable("system-event with wake"));
    }
    let keys = ["deviceId", "instanceId", "text"].map(|name| report.get(name));
    let key = keys.into_iter().find(|key| !key.is_empty()).unwrap_or_default();
    report.key = cut(key, limits::NAME_LEN).to_ascii_lowercase();
    let effects = if call.presence.report(report) { vec![Effect::Presence] } else { Vec::new() };
    Ok(Reply::ok().with(effects))
}

#[cfg(test)]
mod tests {
    use super::super::Presence;
    use super::*;
    use crate::gate::ids::DeviceId;
    use crate::wire::json::parse;

    fn report(host: &str, key: &str, at: u64) -> Report {
        report_by(Holder::Keyless, host, key, at)
    }

    fn report_by(holder: Holder, host: &str, key: &str, at: u64) -> Report {
        let host = format!("\"{host}\"");
        let host = Some(parse(host.as_bytes(), 1).unwrap());
        let now = Now { at: Millis(at), wall: WallMs(at) };
        let report = Report::new(SystemEvent { host, ..SystemEvent::default() }, holder, now);
        Report { key: key.to_string(), ..report }
    }

    fn hosts(presence: &Presence) -> Vec<String> {
        let list = presence.list(Protocol::V4);
        let hosts = parse(&list, 8)
            .unwrap()
            .items()
            .map(|entry| entry.get("host").unwrap().as_str().unwrap().to_string());
        hosts.skip(1).collect()
    }

    #[test]
    fn reports_are_renewed_and_expire() {
        let mut presence = Presence::new("here".into(), WallMs(0));
        for report in [report("one", "a", 0), report("two", "b", 5), report("", "a", 10)] {
            assert!(presence.report(report));
        }
        assert_eq!(
            hosts(&presence),
            ["two", "one"],
            "a report without a host leaves the host as it was"
        );
        let version = presence.version();
        presence.expire(Millis(limits::REPORT_MS + 5));
        assert_eq!((hosts(&presence).len(), presence.version()), (2, version));
        presence.expire(Millis(limits::REPORT_MS + 6));
        assert_eq!((hosts(&presence), presence.version()), (vec!["one".to_string()], version + 1));
    }

    #[test]
    fn reports_of_one_client_evict_only_its_own_oldest() {
        let device = |n: u8| Holder::Device(DeviceId([n; 32]));
        let mut presence = Presence::new("here".into(), WallMs(0));
        let add = |presence: &mut Presence, holder, key: &str| {
            presence.report(report_by(holder, key, key, 0))
        };
        assert!(add(&mut presence, device(0), "kept"));
        (0..20).for_each(|n| assert!(add(&mut presence, device(1), &format!("{n}"))));
        let expected: Vec<String> =
            ["kept".to_string()].into_iter().chain((12..20).map(|n| n.to_string())).collect();
        assert_eq!(hosts(&presence), expected);
        (0..400).for_each(|n| assert!(add(&mut presence, Holder::Keyless, &format!("no {n}"))));
        assert_eq!(hosts(&presence).len(), 9 + 95, "half of what was free");
        for n in 2..100 {
            (0..20).for_each(|one| _ = add(&mut presence, device(n), &format!("{n} {one}")));
            assert_eq!(hosts(&presence)[0], "kept");
        }
        assert_eq!(presence.budget().used(), limits::PRESENCE);
        assert!(add(&mut presence, device(200), "new"), "the client with the most gives one up");
        assert!(add(&mut presence, device(0), "another"), "it replaces the oldest of its device");
        assert!(hosts(&presence).iter().all(|host| host != "kept"));
    }
}
