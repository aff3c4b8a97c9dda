//! Nodes, and what passes between them and operators: calls and their answers, approvals, pending
//! work.
//!
//! Like everything in `rpc` it only keeps state and returns effects; sending is the task of
//! `server`. Payloads stay the bytes that were received: they are scanned once and written into the
//! frame of the recipient, never converted to values.
//!
//! Invariants: every list is bounded by `gate::limits`; a call that was passed on is answered
//! exactly once, by its node, at its deadline, or because one of the two connections closed; no
//! command is invoked that `gate::commands` does not allow.

mod events;
mod exec_approvals;
mod invoke;
mod list;
mod outcomes;
mod pairing;
mod pending_invokes;
mod pending_work;
mod prepared;
mod registry;
mod voicewake;

use crate::gate::budget::Holder;
use crate::gate::ids::{ConnId, DeviceId, Millis, Now};

pub use events::{event, plugin_surface, plugin_tools, runner_inventory, skills, skills_bins};
pub use exec_approvals::{
    get as approval_get, list as approval_list, request as approval_request,
    resolve as approval_resolve, wait as approval_wait, Approvals,
};
pub use invoke::{invoke, node_approvals_get, node_approvals_set, progress, result};
pub use list::{describe, environments, list, rename};
pub use outcomes::{CallOutcome, CallOutcomes};
pub use pairing::{
    approve, approve_surface, list as pair_list, missing_scope, reject, remove, request,
    request_ended, requested, verify,
};
pub use pending_invokes::PendingInvokes;
pub use pending_work::{ack, drain, enqueue, pull, PendingWork, WORK_KINDS};
pub use prepared::{PreparedInvoke, PreparedResult};
pub use registry::{requested_surface, ConnectedNode, Declared, NodeRegistry};
pub use voicewake::{get as voicewake_get, set as voicewake_set, Triggers};

use super::Effect;

/// State of the nodes and of what operators ask of them, in memory only.
#[derive(Default)]
pub struct Nodes {
    pub registry: NodeRegistry,
    pub invokes: PendingInvokes,
    pub approvals: Approvals,
    pub work: PendingWork,
    pub triggers: Triggers,
}

impl Nodes {
    /// Returns the next time at which a call or an approval expires.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.invokes.next_deadline().into_iter().chain(self.approvals.next_deadline()).min()
    }

    /// Ends the calls and approvals that have expired, and returns the effects.
    pub fn expire(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = self.invokes.expire(now.at);
        effects.extend(self.approvals.expire(now));
        effects
    }

    /// Answers all pending requests, because the gateway is stopping.
    pub fn stop(&mut self) -> Vec<Effect> {
        let mut effects = self.invokes.stop();
        effects.extend(self.approvals.stop());
        effects
    }

    /// Returns the connections that wait for an answer or owe one, sorted.
    pub fn connections_with_calls(&self) -> Vec<ConnId> {
        let mut connections: Vec<ConnId> =
            self.invokes.connections().chain(self.approvals.connections()).collect();
        connections.sort_unstable();
        connections
    }

    /// Removes a closed connection of this holder, a node or an operator, and returns the effects.
    /// `is_connected` says whether a device has another connection.
    pub fn remove_connection(
        &mut self,
        (conn, holder): (ConnId, Option<Holder>),
        is_connected: impl Fn(DeviceId) -> bool,
        now: Now,
    ) -> Vec<Effect> {
        self.approvals.remove_connection((conn, holder), is_connected, now.at);
        self.registry.remove(conn);
        self.invokes.remove_connection(conn)
    }
}
