//! Use of all budgets, for `gatelet.status` and `/metrics`.

use super::Gateway;
use crate::gate::budget::Budget;
use crate::gate::ids::Now;
use crate::gate::limits;

/// Budgets of pools that know only how many entries they have. Their peaks are those at ticks and
/// at queries.
pub(super) struct SampledBudgets {
    connections: Budget,
    unauthenticated: Budget,
    send_queues: Budget,
    nodes: Budget,
    invokes: Budget,
    approvals: Budget,
    requests: Budget,
}

impl SampledBudgets {
    pub(super) const UNUSED: SampledBudgets = SampledBudgets {
        connections: Budget::new(limits::CONNECTIONS),
        unauthenticated: Budget::new(limits::UNAUTHENTICATED),
        send_queues: Budget::new(limits::SEND_QUEUES),
        nodes: Budget::new(limits::NODES),
        invokes: Budget::new(limits::INVOKES),
        approvals: Budget::new(limits::EXEC_APPROVALS),
        requests: Budget::new(limits::PENDING),
    };
}

impl Gateway {
    /// Returns all budgets. Those in bytes have names that end with `bytes`; the others are counts.
    pub fn budgets(&mut self, now: Now) -> Vec<(&'static str, Budget)> {
        let queued = self.connections.iter().map(|open| open.send_queue.bytes()).sum();
        let unauthenticated = self.unauthenticated();
        let sampled = &mut self.sampled_budgets;
        let record = |budget: &mut Budget, used| {
            budget.record(used);
            *budget
        };
        vec![
            ("connections", record(&mut sampled.connections, self.admitted_count)),
            ("unauthenticated connections", record(&mut sampled.unauthenticated, unauthenticated)),
            ("send queue bytes", record(&mut sampled.send_queues, queued)),
            ("nodes", record(&mut sampled.nodes, self.nodes.registry.count())),
            ("calls to nodes", record(&mut sampled.invokes, self.nodes.invokes.count())),
            ("command approvals", record(&mut sampled.approvals, self.nodes.approvals.undecided())),
            (
                "pairing requests",
                record(&mut sampled.requests, self.pairing_requests.iter(now.at).count()),
            ),
        ]
    }
}
