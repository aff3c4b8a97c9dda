//! `GET /metrics`: what the gateway counted, in the text format 0.0.4 of Prometheus, for this machine or for who has the secret.
//!
//! Each thing is counted where it is decided and logged; here the counts are only written down. Every label is a word of ours
//! from a closed list, so no stranger can make a series.

use super::attempt::Seen;
use super::gateway::Gateway;
use super::outbox::Lost;
use super::shared::Shared;
use crate::gate::facts::{AuthMode, Host, Origin};
use crate::gate::ids::Now;
use crate::gate::refusal::{Refusal, Rule};
use crate::rpc::relay::Ends;
use crate::wire::http::{Answer, Head};

const RULES: usize = Rule::ALL.len();

/// What happened since the start.
pub(super) struct Counts {
    admitted: [u64; RULES],
    refused: [u64; RULES],
    codes: [u64; Refusal::ALL.len()],
    /// What was lost on connections that are gone.
    lost: Lost,
}

impl Counts {
    pub const NONE: Counts =
        Counts { admitted: [0; RULES], refused: [0; RULES], codes: [0; Refusal::ALL.len()], lost: Lost::NONE };

    pub fn admitted(&mut self, rule: Rule) {
        self.admitted[rule as usize] += 1;
    }

    pub fn refused(&mut self, rule: Rule, refusal: Refusal) {
        self.refused[rule as usize] += 1;
        self.codes[refusal as usize] += 1;
    }

    pub fn gone(&mut self, lost: Lost) {
        self.lost = self.lost.and(lost);
    }
}

/// The whole answer.
pub(super) fn answer(head: &Head<'_>, seen: &Seen, shared: &Shared) -> Vec<u8> {
    let now = shared.now();
    let Some(text) = shared.ask(|gateway| gateway.may_count(head, seen, now).then(|| gateway.metrics(now))) else {
        return Answer { extra: &[("WWW-Authenticate", "Bearer")], ..Answer::TEXT.status(401) }.whole(CLOSED, head);
    };
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    Answer { content_type, ..Answer::TEXT }.whole(text.as_bytes(), head)
}

const CLOSED: &[u8] =
    b"metrics are for http://127.0.0.1 and http://localhost on this machine, and elsewhere for requests with \
    the gateway's token or password: `Authorization: Bearer TOKEN`\n";

impl Gateway {
    /// No page of another origin and no other name that leads here reads the counts; besides that, this machine does, and who
    /// is let in, but for mode `none`, where being here is all that lets in.
    fn may_count(&mut self, head: &Head<'_>, seen: &Seen, now: Now) -> bool {
        let here = seen.local && seen.host == Host::Loopback;
        matches!(seen.origin, Origin::Absent | Origin::Same)
            && (here || self.setup.policy.auth != AuthMode::None && self.may_read(head.bearer(), seen, now))
    }

    fn metrics(&mut self, now: Now) -> String {
        self.count(now);
        let (status, ends) = (&self.status, &self.relay.invokes.ends);
        let lost = self.conns.iter().fold(self.counts.lost, |sum, conn| sum.and(conn.outbox.lost()));
        let waiting = status.unauthenticated as u64;
        let states =
            [("operator", status.operators as u64), ("node", status.nodes as u64), ("unauthenticated", waiting)];
        let mut results = [("", 0); Ends::NAMES.len()];
        let named = Ends::NAMES.into_iter().zip(ends.counts);
        results.iter_mut().zip(named).for_each(|(to, from)| *to = from);
        let pending = self.pending.iter(now.at).count();
        let mut out = String::new();
        family(&mut out, BUILD, "version", &[(status.version, 1)]);
        family(&mut out, ADMISSIONS, "rule", &by_rule(&self.counts.admitted));
        family(&mut out, REFUSALS, "rule", &by_rule(&self.counts.refused));
        family(&mut out, CODES, "code", &self.counts.by_code());
        family(&mut out, CONNECTIONS, "state", &states);
        family(&mut out, DROPPED, "reason", &[("slow consumer", lost.slow), ("no pong", lost.silent)]);
        family(&mut out, INVOKES, "result", &results);
        latency(&mut out, ends);
        let values = [
            now.at.0 / 1000,
            u64::from(self.is_ready()),
            status.nodes as u64,
            status.waiting.0 as u64,
            status.waiting.1 as u64,
            self.devices.capacity() as u64,
            self.devices.len() as u64,
            pending as u64,
            lost.frames,
        ];
        PLAIN.into_iter().zip(values).for_each(|(about, value)| family(&mut out, about, "", &[("", value)]));
        if let Some(bytes) = resident() {
            family(&mut out, MEMORY, "", &[("", bytes)]);
        }
        out
    }
}

impl Counts {
    /// Refusals that clients know by the same code are one.
    fn by_code(&self) -> Vec<(&'static str, u64)> {
        let mut codes: Vec<(&'static str, u64)> = Vec::new();
        for (refusal, count) in Refusal::ALL.into_iter().zip(self.codes) {
            let code = refusal.words().code;
            match codes.iter_mut().find(|(known, _)| *known == code) {
                Some((_, sum)) => *sum += count,
                None => codes.push((code, count)),
            }
        }
        codes
    }
}

fn by_rule(counts: &[u64; RULES]) -> Vec<(&'static str, u64)> {
    Rule::ALL.into_iter().map(|rule| (rule.title(), counts[rule as usize])).collect()
}

/// Name, kind and meaning.
type About = (&'static str, &'static str, &'static str);

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";
const BUILD: About = ("gatelet_build_info", GAUGE, "The version that runs.");
const ADMISSIONS: About = ("gatelet_admissions_total", COUNTER, "Clients let in, by the rule that did it.");
const REFUSALS: About = ("gatelet_refusals_total", COUNTER, "Clients turned away, by the rule that did it.");
const CODES: About = ("gatelet_refusals_by_code_total", COUNTER, "Clients turned away, by the code they were told.");
const CONNECTIONS: About = ("gatelet_connections", GAUGE, "Open WebSockets, by role, or not let in yet.");
const DROPPED: About = ("gatelet_connections_dropped_total", COUNTER, "WebSockets closed by us for not keeping up.");
const INVOKES: About = ("gatelet_invokes_total", COUNTER, "Calls for nodes that ended, by how.");
const LATENCY: About = ("gatelet_invoke_duration_seconds", "histogram", "How long nodes took to answer calls.");
const MEMORY: About = ("process_resident_memory_bytes", GAUGE, "Memory in use.");

/// What has no labels.
const PLAIN: [About; 9] = [
    ("gatelet_uptime_seconds", GAUGE, "Time since the start."),
    ("gatelet_ready", GAUGE, "1 if clients are let in and the pairing table can be written."),
    ("gatelet_nodes", GAUGE, "Nodes that are connected."),
    ("gatelet_invokes_waiting", GAUGE, "Calls that nodes have not answered yet."),
    ("gatelet_approvals_waiting", GAUGE, "Approvals of commands that nobody has decided yet."),
    ("gatelet_table_capacity", GAUGE, "Devices that the pairing table has room for."),
    ("gatelet_table_devices", GAUGE, "Devices in the pairing table."),
    ("gatelet_pending_requests", GAUGE, "Devices and nodes that wait for the owner."),
    ("gatelet_outbox_dropped_total", COUNTER, "Frames left out because a client did not read."),
];

/// One metric with all its values; no label if that is empty.
fn family(out: &mut String, about: About, label: &str, values: &[(&str, u64)]) {
    header(out, about);
    values.iter().for_each(|(word, value)| sample(out, about.0, label, word, &value.to_string()));
}

fn header(out: &mut String, (name, kind, help): About) {
    ["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n"].iter().for_each(|part| out.push_str(part));
}

/// Our words need no escapes.
fn sample(out: &mut String, name: &str, label: &str, word: &str, value: &str) {
    out.push_str(name);
    if !label.is_empty() {
        ["{", label, "=\"", word, "\"}"].iter().for_each(|part| out.push_str(part));
    }
    [" ", value, "\n"].iter().for_each(|part| out.push_str(part));
}

fn latency(out: &mut String, ends: &Ends) {
    header(out, LATENCY);
    let mut sum = 0;
    let bounds = Ends::BOUNDS.iter().map(|(_, text)| *text).chain(["+Inf"]);
    for (bound, count) in bounds.zip(ends.took) {
        sum += count;
        sample(out, "gatelet_invoke_duration_seconds_bucket", "le", bound, &sum.to_string());
    }
    let seconds = format!("{}.{:03}", ends.sum_ms / 1000, ends.sum_ms % 1000);
    sample(out, "gatelet_invoke_duration_seconds_sum", "", "", &seconds);
    sample(out, "gatelet_invoke_duration_seconds_count", "", "", &sum.to_string());
}

/// Bytes of memory, where the system has a file that says so.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
