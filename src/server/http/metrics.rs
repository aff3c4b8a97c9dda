//! `GET /metrics`: counters of the gateway in the Prometheus text format 0.0.4, for requests from
//! this machine or with the secret.
//!
//! Each event is counted where it is decided and logged; this module only writes the counters. All
//! label values are from closed lists, so unauthenticated clients cannot create time series.

use std::fmt::Display;

use crate::gate::facts::{AuthMode, Host, Origin};
use crate::gate::ids::Now;
use crate::gate::refusal::{Refusal, Rule};
use crate::rpc::nodes::CallOutcomes;
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

    /// Returns the counts by code, each code once.
    fn by_code(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let codes = Refusal::ALL.iter().map(|refusal| refusal.words().code);
        let counts = codes.zip(self.codes).enumerate();
        counts.filter(|(at, (code, _))| first(code) == *at).map(|(_, count)| count)
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
        let (status, counts, outcomes) = (&self.status, &self.counts, &self.nodes.invokes.outcomes);
        let lost = self.conns.iter().fold(counts.lost, |sum, conn| sum.and(conn.outbox.lost()));
        let by_role = [
            ("operator", status.operators as u64),
            ("node", status.nodes as u64),
            ("unauthenticated", status.unauthenticated as u64),
        ];
        let dropped = [("slow consumer", lost.slow), ("no pong", lost.silent)];
        let version = [(env!("CARGO_PKG_VERSION"), 1)];
        let nodes = self.nodes.registry.len();
        let (invokes, approvals) = status.waiting;
        let mut page = Page::default();
        page.values("gatelet_build_info", "The version that runs.", "version", version);
        let help = "Clients let in, by the rule that did it.";
        page.values("gatelet_admissions_total", help, "rule", by_rule(&counts.admitted));
        let help = "Clients turned away, by the rule that did it.";
        page.values("gatelet_refusals_total", help, "rule", by_rule(&counts.refused));
        let help = "Clients turned away, by the code they were told.";
        page.values("gatelet_refusals_by_code_total", help, "code", counts.by_code());
        let help = "Calls for nodes that ended, by how.";
        page.values("gatelet_invokes_total", help, "result", outcomes.by_name());
        let help = "How long nodes took to answer.";
        page.durations("gatelet_invoke_duration_seconds", help, outcomes);
        let help = "Open WebSockets, by role, or not let in yet.";
        page.values("gatelet_connections", help, "state", by_role);
        let help = "WebSockets closed by us for not keeping up.";
        page.values("gatelet_connections_dropped_total", help, "reason", dropped);
        let help = "Frames left out because a client did not read.";
        page.value("gatelet_outbox_dropped_total", help, lost.frames);
        page.value("gatelet_uptime_seconds", "Time since the start.", now.at.0 / 1000);
        let help = "1 if clients are let in and the pairing table can be written.";
        page.value("gatelet_ready", help, u8::from(self.is_ready()));
        page.value("gatelet_nodes", "Nodes that are connected.", nodes);
        page.value("gatelet_invokes_waiting", "Calls that nodes have not answered yet.", invokes);
        let help = "Approvals of commands that nobody has decided yet.";
        page.value("gatelet_approvals_waiting", help, approvals);
        let help = "Devices that the pairing table has room for.";
        page.value("gatelet_table_capacity", help, self.devices.capacity());
        page.value("gatelet_table_devices", "Devices in the pairing table.", self.devices.len());
        let help = "Devices and nodes that wait for the owner.";
        page.value("gatelet_pending_requests", help, self.pairing_requests.iter(now.at).count());
        let memory = host_info::kernel("/proc/self/status");
        if let Some(bytes) = memory.and_then(|text| host_info::bytes(&text, "VmRSS:")) {
            page.value("process_resident_memory_bytes", "Memory in use.", bytes);
        }
        page.0
    }
}

/// Returns the counts with the titles of their rules.
fn by_rule(counts: &[u64; Rule::ALL.len()]) -> impl Iterator<Item = (&'static str, u64)> + '_ {
    Rule::ALL.iter().map(|rule| rule.title()).zip(counts.iter().copied())
}

/// Metrics in the text format. No label value needs an escape.
#[derive(Default)]
struct Page(String);

impl Page {
    /// Writes a metric that has one value.
    fn value(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help, kind(name));
        self.0.push_str(&format!("{name} {value}\n"));
    }

    /// Writes a metric that has a value for each value of a label.
    fn values<'l>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'l str, u64)>,
    ) {
        self.head(name, help, kind(name));
        for (word, value) in values {
            self.0.push_str(&format!("{name}{{{label}=\"{word}\"}} {value}\n"));
        }
    }

    /// Writes the latencies of calls as a histogram.
    fn durations(&mut self, name: &str, help: &str, outcomes: &CallOutcomes) {
        let mut count = 0;
        let bounds = CallOutcomes::BOUNDS.map(|(seconds, _)| seconds);
        let buckets = bounds.into_iter().chain(["+Inf"]).zip(outcomes.took).map(|(le, took)| {
            count += took;
            (le, count)
        });
        self.head(name, help, "histogram");
        for (le, count) in buckets {
            self.0.push_str(&format!("{name}_bucket{{le=\"{le}\"}} {count}\n"));
        }
        let (seconds, ms) = (outcomes.sum_ms / 1000, outcomes.sum_ms % 1000);
        self.0.push_str(&format!("{name}_sum {seconds}.{ms:03}\n{name}_count {count}\n"));
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }
}

/// Returns the kind of a metric: the names of counters, and only those, end with `_total`.
fn kind(name: &str) -> &'static str {
    if name.ends_with("_total") {
        "counter"
    } else {
        "gauge"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_codes_are_counted_together() {
        let mut counts = Counters::NONE;
        Refusal::ALL.into_iter().for_each(|refusal| counts.refused(Rule::Frame, refusal));
        assert_eq!(counts.codes[Refusal::OriginForeign as usize], 3);
        assert_eq!((counts.codes.iter().sum::<u64>(), counts.refused[0]), (35, 35));
        let codes: Vec<_> = counts.by_code().collect();
        let different: std::collections::BTreeSet<_> = codes.iter().map(|(code, _)| code).collect();
        assert_eq!(different.len(), codes.len());
        assert_eq!(codes.iter().map(|(_, count)| count).sum::<u64>(), 35);
    }

    #[test]
    fn buckets_add_up_and_the_sum_is_in_seconds() {
        let mut outcomes = CallOutcomes::default();
        [3, 7, 7, 40_000].into_iter().for_each(|ms| outcomes.answered(true, ms));
        let mut page = Page::default();
        page.durations("d", "Help.", &outcomes);
        let Page(text) = page;
        assert!(text.starts_with("# HELP d Help.\n# TYPE d histogram\nd_bucket{le=\"0.005\"} 1\n"));
        assert!(text.contains("d_bucket{le=\"0.01\"} 3\n") && text.contains("le=\"30\"} 3\n"));
        assert!(text.ends_with("d_bucket{le=\"+Inf\"} 4\nd_sum 40.017\nd_count 4\n"), "{text}");
    }
}
