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
    nodes: Budget,
}

impl SampledBudgets {
    pub(super) const UNUSED: SampledBudgets = SampledBudgets {
        connections: Budget::new(limits::CONNECTIONS),
        unauthenticated: Budget::new(limits::UNAUTHENTICATED),
        nodes: Budget::new(limits::NODES),
    };
}

impl Gateway {
    /// Returns all budgets. Those in bytes have names that end with `bytes`; the others are counts.
    pub fn budgets(&mut self, now: Now) -> Vec<(&'static str, Budget)> {
        let unauthenticated = self.unauthenticated();
        let limits = self.connection_limits;
        let sampled = &mut self.sampled_budgets;
        let record = |budget: &mut Budget, used| {
            budget.record(used);
            *budget
        };
        let connections = record(&mut sampled.connections, self.admitted_count);
        let unauthenticated = record(&mut sampled.unauthenticated, unauthenticated);
        let nodes = record(&mut sampled.nodes, self.nodes.registry.count());
        vec![
            ("connections", connections.with_total(limits.admitted)),
            ("unauthenticated connections", unauthenticated.with_total(limits.unauthenticated)),
            ("send queue bytes", self.send_budget()),
            ("unfinished frame bytes", self.frame_budget.usage()),
            ("nodes", nodes),
            ("calls to nodes", self.nodes.invokes.budget()),
            ("command approvals", self.nodes.approvals.budget()),
            ("actions for phones", self.nodes.work.actions_budget()),
            ("work items", self.nodes.work.items_budget()),
            ("presence entries", self.presence.budget()),
            ("pairing requests", self.pairing_requests.budget(now.at)),
            ("setup codes", self.setup_codes.budget(now.at)),
            ("change bytes", self.change_budget(now)),
            ("waiting writes", self.write_queue.budget()),
        ]
    }
}
