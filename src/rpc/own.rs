//! gatelet's own methods: what the command line and the page ask beyond the protocol.

use nanoserde::SerJson;

use super::params::{Nothing, Refusals};
use super::{answers, Call, Failure, Reply};
use crate::gate::limits;

/// A refusal as it is kept for `gatelet explain --last`: what the gateway saw, which rule spoke, what to do. No secret.
#[derive(Clone, Debug, Default, SerJson)]
pub struct Refused {
    /// Milliseconds since 1970.
    #[nserde(rename = "ts")]
    pub at: u64,
    pub conn: u64,
    /// As in `7.3 new device, shared secret`.
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
    /// 8 hexadecimal digits, or empty.
    pub device: String,
    #[nserde(rename = "requestId")]
    pub request: String,
}

/// What the gateway can say of itself by its configuration, and its counters as of this call.
#[derive(Clone, Debug, Default)]
pub struct Status {
    pub version: &'static str,
    pub pid: u32,
    /// The machine's name.
    pub host: String,
    pub uptime_ms: u64,
    pub listening: Vec<String>,
    /// The origin to open, without the token.
    pub url: String,
    /// Origins at which other machines may find the gateway, the best first.
    pub urls: Vec<String>,
    pub auth_mode: &'static str,
    pub pairing_mode: &'static str,
    pub secret_source: String,
    pub secret_fingerprint: String,
    pub connections: usize,
    pub unauthenticated: usize,
    pub operators: usize,
    pub nodes: usize,
    /// Calls that nodes have not answered, and approvals that nobody has decided.
    pub waiting: (usize, usize),
    pub machine: Machine,
    /// Warnings of the configuration and of the table, as printed at start.
    pub warnings: Vec<String>,
}

/// How the machine is, as of a call that asks; zero or empty where that is not known.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// As in `Linux`.
    pub family: &'static str,
    /// Of the kernel.
    pub release: String,
    pub processors: u64,
    /// A JSON array of three.
    pub load: Option<String>,
    /// All and free, in bytes.
    pub memory: (u64, u64),
}

/// `gatelet.status {}`
pub fn status(call: &mut Call<'_>, _: Nothing) -> Result<Reply, Failure> {
    let status = call.status;
    let devices = call.devices;
    Ok(Reply::json(&answers::Status {
        version: status.version,
        pid: status.pid,
        uptime: status.uptime_ms,
        listening: &status.listening,
        url: &status.url,
        auth: status.auth_mode,
        pairing: status.pairing_mode,
        source: &status.secret_source,
        fingerprint: &status.secret_fingerprint,
        table: answers::TableState { capacity: devices.capacity(), used: devices.len(), age: devices.age().0 },
        connections: status.connections,
        unauthenticated: status.unauthenticated,
        operators: status.operators,
        nodes: status.nodes,
        invokes: status.waiting.0,
        approvals: status.waiting.1,
        warnings: &status.warnings,
    }))
}

/// `gatelet.refusals {limit?}`: the last refusals, the newest first.
pub fn refusals(call: &mut Call<'_>, params: Refusals) -> Result<Reply, Failure> {
    let limit = params.limit.unwrap_or(u64::MAX);
    let most = usize::try_from(limit).unwrap_or(usize::MAX).min(limits::REFUSALS_KEPT);
    let refusals = call.refused.iter().take(most).cloned().collect();
    Ok(Reply::json(&Last { refusals }))
}

/// The answer of `gatelet.refusals`.
#[derive(SerJson)]
struct Last {
    refusals: Vec<Refused>,
}
