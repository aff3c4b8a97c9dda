//! `GET /metrics`: counters of the gateway in the Prometheus text format 0.0.4, for requests from
//! this machine or with the secret.
//!
//! Each event is counted where it is decided and logged; this module only writes the counters. All
//! label values are from closed lists, so unauthenticated clients cannot create time series.

use crate::gate::facts::{AuthMode, Host, Origin};
use crate::gate::ids::Now;
use crate::gate::refusal::{Refusal, Rule};
use crate::server::gateway::attempt::ClientInfo;
use crate::server::gateway::Gateway;
use crate::server::net::send_queue::Lost;
use crate::server::os::host_info;
use crate::server::shared::Shared;
use crate::wire::http::{Head, ResponseHead};

/// Counters since the start.
pub(crate) struct Counters {
    /// Admissions by rule.
    admitted: [u64; Rule::ALL.len()],
    /// Refusals by rule.
    refused: [u64; Rule::ALL.len()],
    /// Refusals by code. Those with the same code are counted at the index of the first of them.
    codes: [u64; Refusal::ALL.len()],
    /// Losses on connections that are closed.
    lost: Lost,
}

impl Counters {
    pub const NONE: Counters = Counters {
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

/// Returns the index of the first refusal with this code.
fn first(code: &str) -> usize {
    Refusal::ALL.iter().position(|one| one.words().code == code).unwrap_or(0)
}

/// Builds the complete HTTP response.
pub(crate) fn answer(head: &Head<'_>, seen: &ClientInfo, shared: &Shared) -> Vec<u8> {
    let now = shared.now();
    let Some(text) =
        shared.ask(|gateway| gateway.may_count(head, seen, now).then(|| gateway.metrics(now)))
    else {
        return ResponseHead {
            extra: &[("WWW-Authenticate", "Bearer")],
            ..ResponseHead::TEXT.status(401)
        }
        .whole(CLOSED, head);
    };
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ResponseHead { content_type, ..ResponseHead::TEXT }.whole(text.as_bytes(), head)
}

const CLOSED: &[u8] =
    b"metrics are for http://127.0.0.1 and http://localhost on this machine, and elsewhere for requests with \
    the gateway's token or password: `Authorization: Bearer TOKEN`\n";

impl Gateway {
    /// Returns whether the request may read the counters. A page of another origin may not. Other
    /// requests may if they are local and use a loopback name, or if they are authenticated
    /// (`may_read`). The latter does not apply in mode `none`, which needs no secret.
    fn may_count(&mut self, head: &Head<'_>, seen: &ClientInfo, now: Now) -> bool {
        let here = seen.local && seen.host == Host::Loopback;
        matches!(seen.origin, Origin::Absent | Origin::Same)
            && (here
                || self.setup.policy.auth != AuthMode::None
                    && self.may_read(head.bearer(), seen, now))
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
            self.pairing_requests.iter(now.at).count() as u64,
        ]);
        values.extend(
            host_info::kernel("/proc/self/status")
                .and_then(|text| host_info::bytes(&text, "VmRSS:")),
        );
        page(&values)
    }
}

/// Metrics, one per line: name, kind, help, label and label values. The label may be missing. The
/// values of `rule` and `code` are those of [`Rule`] and [`Refusal`]. A line without a kind belongs
/// to the metric above it.
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

/// Writes the text of all metrics for which there are values. No label value needs an escape.
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
            out.push_str(
                &["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n"].concat(),
            );
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
            // counted at the first refusal with this code
            if label == "code" && first(word) != at {
                continue;
            }
            let value = match name.ends_with("_sum") {
                true => format!("{}.{:03}", value / 1000, value % 1000),
                false => value.to_string(),
            };
            let bucket = if label == "le" { "_bucket" } else { "" };
            let labels = if label.is_empty() {
                String::new()
            } else {
                ["{", label, "=\"", word, "\"}"].concat()
            };
            out.push_str(&[name, bucket, &labels, " ", &value, "\n"].concat());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::nodes::{CallOutcome, CallOutcomes};

    /// Returns the label values of this metric.
    fn words(name: &str) -> Vec<&str> {
        let line = METRICS.lines().find(|line| line.split('|').next() == Some(name)).unwrap();
        line.split('|').skip(4).collect()
    }

    #[test]
    fn label_values_match_the_counters_in_order() {
        let ends = words("gatelet_invokes_total");
        assert_eq!(ends.len(), CallOutcomes::default().counts.len());
        for (at, end) in END_OF_ALL.into_iter().enumerate() {
            assert_eq!((end as usize, ends[at]), (at, format!("{end:?}").to_lowercase().as_str()));
        }
        let bounds = words("gatelet_invoke_duration_seconds");
        assert_eq!(bounds.len(), CallOutcomes::BOUNDS.len() + 1);
        for (text, ms) in bounds.iter().zip(CallOutcomes::BOUNDS) {
            assert_eq!(text.parse::<f64>().unwrap() * 1000.0, ms as f64);
        }
    }

    const END_OF_ALL: [CallOutcome; 8] = [
        CallOutcome::Ok,
        CallOutcome::Error,
        CallOutcome::Timeout,
        CallOutcome::Disconnected,
        CallOutcome::Abandoned,
        CallOutcome::Busy,
        CallOutcome::Stopping,
        CallOutcome::Refused,
    ];

    #[test]
    fn every_value_is_written_once_and_equal_codes_are_merged() {
        let mut counts = Counters::NONE;
        Refusal::ALL.into_iter().for_each(|refusal| counts.refused(Rule::Frame, refusal));
        assert_eq!(counts.codes[Refusal::OriginForeign as usize], 3);
        assert_eq!((counts.codes.iter().sum::<u64>(), counts.refused[0]), (35, 35));
        let lines =
            |values: &[u64]| page(values).lines().filter(|line| !line.starts_with('#')).count();
        let many = vec![7; 500];
        let unsaid = counts.codes.iter().filter(|count| **count == 0).count();
        let all = lines(&many) + unsaid;
        assert_eq!(
            (lines(&many[..all]), lines(&many[..all - 1])),
            (all - unsaid, all - unsaid - 1)
        );
        assert!(
            page(&many[..all]).contains("resident") && !page(&many[..all - 1]).contains("resident")
        );
    }
}
