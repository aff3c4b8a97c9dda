//! `GET /metrics`: what the gateway counted, in the text format 0.0.4 of Prometheus, for this machine or for who has the secret.
//!
//! Each thing is counted where it is decided and logged; here the counts are only written down. Every label is a word of ours
//! from a closed list, so no stranger can make a series.

use super::attempt::Seen;
use super::gateway::Gateway;
use super::machine;
use super::outbox::Lost;
use super::shared::Shared;
use crate::gate::facts::{AuthMode, Host, Origin};
use crate::gate::ids::Now;
use crate::gate::refusal::{Refusal, Rule};
use crate::wire::http::{Answer, Head};

/// What happened since the start.
pub(super) struct Counts {
    /// By rule.
    admitted: [u64; Rule::ALL.len()],
    refused: [u64; Rule::ALL.len()],
    /// By refusal; those that clients know by the same code are counted as the first of them.
    codes: [u64; Refusal::ALL.len()],
    /// What was lost on connections that are gone.
    lost: Lost,
}

impl Counts {
    pub const NONE: Counts = Counts {
        admitted: [0; Rule::ALL.len()],
        refused: [0; Rule::ALL.len()],
        codes: [0; Refusal::ALL.len()],
        lost: Lost::NONE,
    };

    pub fn admitted(&mut self, rule: Rule) {
        self.admitted[rule as usize] += 1;
    }

    pub fn refused(&mut self, rule: Rule, refusal: Refusal) {
        self.refused[rule as usize] += 1;
        self.codes[first(refusal.words().code)] += 1;
    }

    pub fn gone(&mut self, lost: Lost) {
        self.lost = self.lost.and(lost);
    }
}

/// The place of the first refusal with that code.
fn first(code: &str) -> usize {
    Refusal::ALL.iter().position(|one| one.words().code == code).unwrap_or(0)
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
        let (status, counts, ends) = (&self.status, &self.counts, &self.relay.invokes.ends);
        let lost = self.conns.iter().fold(counts.lost, |sum, conn| sum.and(conn.outbox.lost()));
        // in the order of METRICS
        let mut values = vec![1];
        values.extend_from_slice(&counts.admitted);
        values.extend_from_slice(&counts.refused);
        values.extend_from_slice(&counts.codes);
        values.extend_from_slice(&ends.counts);
        let mut answered = 0;
        for count in ends.took {
            answered += count;
            values.push(answered);
        }
        values.extend_from_slice(&[
            ends.sum_ms,
            answered,
            status.operators as u64,
            status.nodes as u64,
            status.unauthenticated as u64,
            lost.slow,
            lost.silent,
            lost.frames,
            now.at.0 / 1000,
            u64::from(self.is_ready()),
            self.relay.nodes.count() as u64,
            status.waiting.0 as u64,
            status.waiting.1 as u64,
            self.devices.capacity() as u64,
            self.devices.len() as u64,
            self.pending.iter(now.at).count() as u64,
        ]);
        values.extend(machine::kernel("/proc/self/status").and_then(|text| machine::bytes(&text, "VmRSS:")));
        page(&values)
    }
}

/// Every metric: name, kind, meaning, label and the words of the label, or no label. Which words a rule or a code can be is known
/// elsewhere. What has no kind belongs to the metric above it.
const METRICS: &str = concat!(
    "gatelet_build_info|gauge|The version that runs.|version|",
    env!("CARGO_PKG_VERSION"),
    "
gatelet_admissions_total|counter|Clients let in, by the rule that did it.|rule
gatelet_refusals_total|counter|Clients turned away, by the rule that did it.|rule
gatelet_refusals_by_code_total|counter|Clients turned away, by the code they were told.|code
gatelet_invokes_total|counter|Calls for nodes that ended, by how.|result|ok|error|timeout|disconnected|abandoned|busy|stopping|refused
gatelet_invoke_duration_seconds|histogram|How long nodes took to answer.|le|0.005|0.01|0.025|0.05|0.1|0.25|0.5|1|2.5|5|10|30|+Inf
gatelet_invoke_duration_seconds_sum|
gatelet_invoke_duration_seconds_count|
gatelet_connections|gauge|Open WebSockets, by role, or not let in yet.|state|operator|node|unauthenticated
gatelet_connections_dropped_total|counter|WebSockets closed by us for not keeping up.|reason|slow consumer|no pong
gatelet_outbox_dropped_total|counter|Frames left out because a client did not read.
gatelet_uptime_seconds|gauge|Time since the start.
gatelet_ready|gauge|1 if clients are let in and the pairing table can be written.
gatelet_nodes|gauge|Nodes that are connected.
gatelet_invokes_waiting|gauge|Calls that nodes have not answered yet.
gatelet_approvals_waiting|gauge|Approvals of commands that nobody has decided yet.
gatelet_table_capacity|gauge|Devices that the pairing table has room for.
gatelet_table_devices|gauge|Devices in the pairing table.
gatelet_pending_requests|gauge|Devices and nodes that wait for the owner.
process_resident_memory_bytes|gauge|Memory in use."
);

/// The text of all metrics, as far as there are values. No word of ours needs an escape.
fn page(mut values: &[u64]) -> String {
    let mut out = String::new();
    for about in METRICS.lines() {
        if values.is_empty() {
            break;
        }
        let mut parts = about.split('|');
        let mut part = || parts.next().unwrap_or("");
        let (name, kind, help, label) = (part(), part(), part(), part());
        if !kind.is_empty() {
            out.push_str(&["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n"].concat());
        }
        for at in 0.. {
            let word = match label {
                "" => (at == 0).then_some(""),
                "rule" => Rule::ALL.get(at).map(|rule| rule.title()),
                "code" => Refusal::ALL.get(at).map(|refusal| refusal.words().code),
                _ => parts.next(),
            };
            let (Some(word), Some((value, rest))) = (word, values.split_first()) else { break };
            values = rest;
            // what is counted elsewhere
            if label == "code" && first(word) != at {
                continue;
            }
            let value = match name.ends_with("_sum") {
                true => format!("{}.{:03}", value / 1000, value % 1000),
                false => value.to_string(),
            };
            let bucket = if label == "le" { "_bucket" } else { "" };
            let labels = if label.is_empty() { String::new() } else { ["{", label, "=\"", word, "\"}"].concat() };
            out.push_str(&[name, bucket, &labels, " ", &value, "\n"].concat());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::relay::{End, Ends};

    /// The words of the label of that metric.
    fn words(name: &str) -> Vec<&str> {
        let line = METRICS.lines().find(|line| line.split('|').next() == Some(name)).unwrap();
        line.split('|').skip(4).collect()
    }

    #[test]
    fn the_words_are_those_that_are_counted_in_their_order() {
        let ends = words("gatelet_invokes_total");
        assert_eq!(ends.len(), Ends::default().counts.len());
        for (at, end) in END_OF_ALL.into_iter().enumerate() {
            assert_eq!((end as usize, ends[at]), (at, format!("{end:?}").to_lowercase().as_str()));
        }
        let bounds = words("gatelet_invoke_duration_seconds");
        assert_eq!(bounds.len(), Ends::BOUNDS.len() + 1);
        for (text, ms) in bounds.iter().zip(Ends::BOUNDS) {
            assert_eq!(text.parse::<f64>().unwrap() * 1000.0, ms as f64);
        }
    }

    const END_OF_ALL: [End; 8] =
        [End::Ok, End::Error, End::Timeout, End::Disconnected, End::Abandoned, End::Busy, End::Stopping, End::Refused];

    #[test]
    fn every_value_has_its_place_and_codes_that_are_one_are_counted_as_one() {
        let mut counts = Counts::NONE;
        Refusal::ALL.into_iter().for_each(|refusal| counts.refused(Rule::Frame, refusal));
        assert_eq!(counts.codes[Refusal::OriginForeign as usize], 3);
        assert_eq!((counts.codes.iter().sum::<u64>(), counts.refused[0]), (35, 35));
        let lines = |values: &[u64]| page(values).lines().filter(|line| !line.starts_with('#')).count();
        let many = vec![7; 500];
        let unsaid = counts.codes.iter().filter(|count| **count == 0).count();
        let all = lines(&many) + unsaid;
        assert_eq!((lines(&many[..all]), lines(&many[..all - 1])), (all - unsaid, all - unsaid - 1));
        assert!(page(&many[..all]).contains("resident") && !page(&many[..all - 1]).contains("resident"));
    }
}
