//! Report of a device about itself, merged into the presence of its connection or listed
//! separately: `system-event`.
//!
//! The key of a report is the device id, otherwise the instance id, otherwise its text. A value is
//! kept until the device sends another one, and for [`limits::REPORT_MS`] after the last report.
//! There is no agent for which such an event could be queued.

use super::params::SystemEvent;
use super::{stubs, Call, Effect, Failure, Reply};
use crate::gate::facts::Protocol;
use crate::gate::ids::{Millis, WallMs};
use crate::gate::limits;
use crate::gate::text::cut;
use crate::wire::json::{Kind, Value, Writer};
use crate::wire::message::Params;

/// Names of the texts of a report, in the order of [`Report::texts`].
const NAMES: [&str; 11] = [
    "host",
    "ip",
    "version",
    "platform",
    "deviceFamily",
    "modelIdentifier",
    "mode",
    "reason",
    "deviceId",
    "instanceId",
    "text",
];

/// Report of a device about itself.
pub struct Report {
    /// Key in lower case.
    pub key: String,
    texts: [String; NAMES.len()],
    /// Short JSON number, as it was sent.
    last_input: String,
    /// JSON arrays, as they were sent.
    roles: String,
    scopes: String,
    pub at: Millis,
    pub ts: WallMs,
}

impl Report {
    /// Replaces the values that are present in the new report.
    pub fn renew(&mut self, new: Report) {
        let old =
            self.texts.iter_mut().chain([&mut self.last_input, &mut self.roles, &mut self.scopes]);
        for (old, new) in
            old.zip(new.texts.into_iter().chain([new.last_input, new.roles, new.scopes]))
        {
            if !new.is_empty() {
                *old = new;
            }
        }
        (self.at, self.ts) = (new.at, new.ts);
    }

    /// Returns the text with this name; empty if none was sent.
    pub fn get(&self, name: &str) -> &str {
        NAMES.iter().position(|known| *known == name).map_or("", |at| &self.texts[at])
    }

    /// Writes the number of seconds since the last input on the device, if it was sent.
    pub fn last_input(&self, shown: &mut Writer<'_>) {
        if !self.last_input.is_empty() {
            shown.raw("lastInputSeconds", self.last_input.as_bytes());
        }
    }

    /// Writes the report as an entry of its own.
    pub fn render(&self, shown: &mut Writer<'_>) {
        for (name, text) in NAMES.iter().zip(&self.texts).filter(|(_, text)| !text.is_empty()) {
            shown.str(name, text);
        }
        self.last_input(shown);
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
    let said: SystemEvent<'_> = match call.caller.protocol() {
        // Protocol 3 ignores values that it cannot read.
        Protocol::V3 => params.read_sound(),
        Protocol::V4 => params.read()?,
    };
    let short = |text: Option<Value<'_>>| {
        let text = text.and_then(|text| text.as_str()).unwrap_or_default();
        cut(text.trim(), limits::REPORT_TEXT_LEN).to_string()
    };
    let texts = [
        said.host,
        said.ip,
        said.version,
        said.platform,
        said.device_family,
        said.model_identifier,
    ];
    let more = [said.mode, said.reason, said.device_id, said.instance_id, said.text];
    let mut texts = texts.into_iter().chain(more).map(short);
    let texts = NAMES.map(|_| texts.next().unwrap_or_default());
    let number =
        |one: &Value<'_>| one.kind() == Kind::Number && one.raw().len() < limits::PLATFORM_LEN;
    let most = limits::SCOPES_SENT * limits::WORD_LEN;
    let list = |list: Option<Value<'_>>| {
        list.filter(|list| list.raw().len() <= most)
            .map(|list| list.raw().to_string())
            .unwrap_or_default()
    };
    let mut report = Report {
        key: String::new(),
        texts,
        last_input: said
            .last_input
            .filter(number)
            .map(|number| number.raw().to_string())
            .unwrap_or_default(),
        roles: list(said.roles),
        scopes: list(said.scopes),
        at: call.now.at,
        ts: call.now.wall,
    };
    if report.get("text").is_empty() {
        return Err(Failure::invalid("text required"));
    }
    if said.wake == Some(true) {
        return Err(stubs::unavailable("system-event with wake"));
    }
    let key = ["deviceId", "instanceId", "text"]
        .into_iter()
        .map(|name| report.get(name))
        .find(|key| !key.is_empty());
    report.key = cut(key.unwrap_or_default(), limits::NAME_LEN).to_ascii_lowercase();
    call.presence.report(report);
    Ok(Reply::of(b"{\"ok\":true}".to_vec()).with(vec![Effect::Presence]))
}

#[cfg(test)]
mod tests {
    use super::super::Presence;
    use super::*;
    use crate::wire::json::parse;

    fn report(host: &str, key: &str, at: u64) -> Report {
        let mut texts = NAMES.map(|_| String::new());
        texts[0] = host.to_string();
        let empty = String::new;
        Report {
            key: key.to_string(),
            texts,
            last_input: empty(),
            roles: empty(),
            scopes: empty(),
            at: Millis(at),
            ts: WallMs(at),
        }
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
        presence.report(report("one", "a", 0));
        presence.report(report("two", "b", 5));
        presence.report(report("", "a", 10));
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
    fn reports_are_bounded_and_the_oldest_evicted() {
        let mut presence = Presence::new("here".into(), WallMs(0));
        (0..2 * limits::PRESENCE as u64)
            .for_each(|at| presence.report(report(&at.to_string(), &at.to_string(), at)));
        let hosts = hosts(&presence);
        assert_eq!((hosts.len() + 1, hosts[0].as_str()), (limits::PRESENCE, "201"));
    }
}
