//! `GET /metrics`: counters of the gateway in the Prometheus text format 0.0.4, for requests from
//! this machine or with the secret.
//!
//! Each event is counted where it is decided and logged; this module only writes the counters. All
//! label values are from closed lists, so unauthenticated clients cannot create time series.

use std::fmt::Display;

use crate::gate::facts::{AuthMode, Host, Origin};
use crate::gate::ids::Now;
use crate::gate::no_connect::NoConnect;
use crate::gate::refusal::Rule;
use crate::rpc::nodes::CallOutcomes;
use crate::server::gateway::attempt::ClientInfo;
use crate::server::gateway::Gateway;
use crate::server::os::host_info;
use crate::server::shared::Shared;
use crate::wire::http::{Bad, Head, ResponseHead};

/// Builds the complete HTTP response.
pub(crate) fn answer(head: &Head<'_>, client_info: &ClientInfo, shared: &Shared) -> Vec<u8> {
    let now = shared.now();
    let Some(text) = shared.with_gateway(|gateway| {
        gateway.may_count(head, client_info, now).then(|| gateway.metrics(now))
    }) else {
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
    fn may_count(&mut self, head: &Head<'_>, client_info: &ClientInfo, now: Now) -> bool {
        let here = client_info.local && client_info.host == Host::Loopback;
        matches!(client_info.origin, Origin::Absent | Origin::Same)
            && (here
                || self.runtime_config.policy.auth != AuthMode::None
                    && self.may_read(head.bearer(), client_info, now))
    }

    fn metrics(&mut self, now: Now) -> String {
        self.update_status(now);
        let (status, counts, outcomes) =
            (&self.status, &self.counters, &self.nodes.invokes.outcomes);
        let lost =
            self.connections.iter().fold(counts.lost, |sum, conn| sum.and(conn.send_queue.lost()));
        let by_role = [
            ("operator", status.operators as u64),
            ("node", status.nodes as u64),
            ("unauthenticated", status.unauthenticated as u64),
        ];
        let dropped = [("slow consumer", lost.slow), ("no pong", lost.silent)];
        let version = [(env!("CARGO_PKG_VERSION"), 1)];
        let nodes = self.nodes.registry.count();
        let (invokes, approvals) = (status.invokes, status.approvals);
        let mut page = Page::default();
        page.values("gatelet_build_info", "Version of the running program.", "version", version);
        let help = "Admitted clients, by the rule that admitted them.";
        let commands = [("gatelet command", counts.commands)];
        let rules = by_rule(&counts.admitted).chain(commands);
        page.values("gatelet_admissions_total", help, "rule", rules);
        let help = "Rejected clients, by the rule that rejected them.";
        page.values("gatelet_refusals_total", help, "rule", by_rule(&counts.refused));
        let help = "Rejected clients, by the code that they received.";
        page.values("gatelet_refusals_by_code_total", help, "code", counts.by_code());
        let help = "Requests that were meant to open a WebSocket and were rejected, by cause.";
        let causes = Bad::CAUSES.into_iter().zip(counts.requests);
        page.values("gatelet_upgrades_rejected_total", help, "cause", causes);
        let help = "WebSockets that ended without a connect request, by cause.";
        let causes = NoConnect::ALL.map(NoConnect::name).into_iter().zip(counts.no_connect);
        page.values("gatelet_handshakes_without_connect_total", help, "cause", causes);
        let help = "Calls to nodes that ended, by outcome.";
        page.values("gatelet_invokes_total", help, "result", outcomes.by_name());
        let help = "Time until a node answered.";
        page.durations("gatelet_invoke_duration_seconds", help, outcomes);
        let help = "Open WebSocket connections, by role or unauthenticated.";
        page.values("gatelet_connections", help, "state", by_role);
        let help = "Connections closed by the gateway, by reason.";
        page.values("gatelet_connections_dropped_total", help, "reason", dropped);
        let help = "Events left out because a client did not read.";
        page.value("gatelet_outbox_dropped_total", help, lost.frames);
        page.value("gatelet_uptime_seconds", "Time since the start.", now.at.0 / 1000);
        let help = "1 if clients are admitted and the pairing table can be written.";
        page.value("gatelet_ready", help, u8::from(self.is_ready()));
        page.value("gatelet_nodes", "Connected nodes.", nodes);
        page.value("gatelet_invokes_waiting", "Calls that nodes have not answered yet.", invokes);
        let help = "Command approvals without a decision.";
        page.value("gatelet_approvals_waiting", help, approvals);
        let help = "Devices that the pairing table can hold.";
        page.value("gatelet_table_capacity", help, self.devices.capacity());
        page.value("gatelet_table_devices", "Devices in the pairing table.", self.devices.len());
        let help = "Devices and nodes that wait for approval.";
        page.value("gatelet_pending_requests", help, self.pairing_requests.iter(now.at).count());
        let memory = host_info::kernel("/proc/self/status");
        if let Some(bytes) = memory.and_then(|text| host_info::bytes(&text, "VmRSS:")) {
            page.value("process_resident_memory_bytes", "Memory in use, in bytes.", bytes);
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
    use crate::gate::refusal::Refusal;
    use crate::rpc::nodes::CallOutcomes;
    use crate::server::gateway::counters::Counters;

    #[test]
    fn equal_codes_are_counted_together() {
        let mut counts = Counters::NONE;
        Refusal::ALL.into_iter().for_each(|refusal| counts.refused(Rule::Frame, refusal));
        assert_eq!(counts.codes[Refusal::OriginForeign as usize], 4);
        let all = Refusal::ALL.len() as u64;
        assert_eq!((counts.codes.iter().sum::<u64>(), counts.refused[0]), (all, all));
        let codes: Vec<_> = counts.by_code().collect();
        let different: std::collections::BTreeSet<_> = codes.iter().map(|(code, _)| code).collect();
        assert_eq!(different.len(), codes.len());
        assert_eq!(codes.iter().map(|(_, count)| count).sum::<u64>(), all);
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
