//! Methods of gatelet that the protocols do not have, for the command line and the dashboard.

use nanoserde::SerJson;

use super::params::{Nothing, Refusals};
use super::{answers, Call, Failure, Reply};
use crate::gate::budget::Budget;
use crate::gate::limits;

/// Rejection as kept for `gatelet explain --last`: the connection as the gateway saw it, the rule,
/// and the hint. Contains no secret.
#[derive(Clone, Debug, Default, SerJson)]
pub struct RejectionRecord {
    /// Time in milliseconds since 1970.
    #[nserde(rename = "ts")]
    pub at: u64,
    pub conn: u64,
    /// Rule as in `7.3 new device, shared secret`.
    pub rule: &'static str,
    pub code: &'static str,
    pub message: String,
    pub hint: String,
    pub peer: String,
    pub client: String,
    pub via: &'static str,
    pub host: String,
    pub origin: String,
    #[nserde(rename = "clientId")]
    pub client_id: String,
    /// Start of the device id, 8 hexadecimal digits, or empty.
    pub device: String,
    #[nserde(rename = "requestId")]
    pub request: String,
}

/// Status of the gateway: values from its configuration, and its counters at the time of the call.
#[derive(Clone, Debug, Default)]
pub struct Status {
    pub version: &'static str,
    pub pid: u32,
    /// Name of the machine.
    pub host: String,
    pub uptime_ms: u64,
    pub listening: Vec<String>,
    /// URL to open in a browser, without the token.
    pub url: String,
    /// URLs at which other devices reach the gateway, the best first.
    pub urls: Vec<String>,
    /// Addresses of the page, without the token.
    pub pages: Vec<String>,
    /// URL at which this machine reaches the gateway.
    pub near_url: String,
    /// Path of gatelet's page below these URLs; `None` if there is no page.
    pub page: Option<&'static str>,
    pub auth_mode: &'static str,
    pub pairing_mode: &'static str,
    pub secret_source: String,
    pub secret_fingerprint: String,
    pub connections: usize,
    pub unauthenticated: usize,
    pub operators: usize,
    pub nodes: usize,
    /// Number of calls that nodes have not answered.
    pub invokes: usize,
    /// Number of approvals that are undecided.
    pub approvals: usize,
    pub budgets: Vec<BudgetUse>,
    pub machine: Machine,
    /// Warnings about the configuration and the table, as printed at start.
    pub warnings: Vec<String>,
}

/// Use of one budget, as a count or in bytes.
#[derive(Clone, Debug, SerJson)]
pub struct BudgetUse {
    pub kind: &'static str,
    pub used: usize,
    /// Most that was used at the same time.
    pub peak: usize,
    pub limit: usize,
}

impl BudgetUse {
    /// Returns the use of the budget of that name.
    pub fn of((kind, budget): (&'static str, Budget)) -> BudgetUse {
        BudgetUse { kind, used: budget.used(), peak: budget.peak(), limit: budget.total() }
    }
}

/// State of the machine at the time of the call; zero or empty where it is unknown.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Operating system, as in `Linux`.
    pub family: &'static str,
    /// Release of the kernel.
    pub release: String,
    pub processors: u64,
    /// JSON array of three load averages.
    pub load: Option<String>,
    /// Total memory in bytes.
    pub memory_total: u64,
    /// Free memory in bytes.
    pub memory_free: u64,
}

/// Handles `gatelet.status {}`.
pub fn status(call: &mut Call<'_>, _: Nothing) -> Result<Reply, Failure> {
    let status = call.status;
    let devices = call.devices;
    Ok(Reply::json(&answers::StatusAnswer {
        version: status.version,
        pid: status.pid,
        uptime: status.uptime_ms,
        listening: &status.listening,
        url: &status.url,
        pages: &status.pages,
        urls: &status.urls,
        auth: status.auth_mode,
        pairing: status.pairing_mode,
        source: &status.secret_source,
        fingerprint: &status.secret_fingerprint,
        table: answers::TableState {
            capacity: devices.capacity(),
            used: devices.len(),
            age: devices.age().0,
        },
        connections: status.connections,
        unauthenticated: status.unauthenticated,
        operators: status.operators,
        nodes: status.nodes,
        invokes: status.invokes,
        approvals: status.approvals,
        budgets: &status.budgets,
        warnings: &status.warnings,
    }))
}

/// Handles `gatelet.refusals {limit?}`: returns the last rejections, the newest first.
pub fn refusals(call: &mut Call<'_>, params: Refusals) -> Result<Reply, Failure> {
    let limit = params.limit.unwrap_or(u64::MAX);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(limits::REFUSALS_KEPT);
    let refusals = call.rejections.iter().take(limit).cloned().collect();
    Ok(Reply::json(&Rejections { refusals }))
}

/// Answer of `gatelet.refusals`.
#[derive(SerJson)]
struct Rejections {
    refusals: Vec<RejectionRecord>,
}
