//! gatelet's own methods: what the command line and the page ask beyond the protocol.

use super::params::{Nothing, Refusals};
use super::{Call, Failure, Reply};
use crate::gate::ids::WallMs;
use crate::gate::limits;
use crate::wire::json::{self, Writer};

/// A refusal as it is kept for `gatelet explain --last`: what the gateway saw, which rule spoke, what to do. No secret.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    pub at: WallMs,
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
    pub client_id: String,
    /// 8 hexadecimal digits, or empty.
    pub device: String,
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
    Ok(Reply::of(json::object(|o| {
        o.str("version", status.version);
        o.u64("pid", u64::from(status.pid));
        o.u64("uptimeMs", status.uptime_ms);
        o.strings("listening", &status.listening);
        o.str("url", &status.url);
        o.str("authMode", status.auth_mode);
        o.str("pairingMode", status.pairing_mode);
        o.str("secretSource", &status.secret_source);
        o.str("secretFingerprint", &status.secret_fingerprint);
        o.obj("table", |table| {
            table.u64("capacity", devices.capacity() as u64);
            table.u64("used", devices.len() as u64);
            table.u64("ageHours", u64::from(devices.age().0));
        });
        o.u64("connections", status.connections as u64);
        o.u64("unauthenticated", status.unauthenticated as u64);
        o.u64("operators", status.operators as u64);
        o.u64("nodes", status.nodes as u64);
        o.u64("invokes", status.waiting.0 as u64);
        o.u64("approvals", status.waiting.1 as u64);
        o.strings("warnings", &status.warnings);
    })))
}

/// `gatelet.refusals {limit?}`: the last refusals, the newest first.
pub fn refusals(call: &mut Call<'_>, params: Refusals) -> Result<Reply, Failure> {
    let limit = params.limit.unwrap_or(u64::MAX);
    let most = usize::try_from(limit).unwrap_or(usize::MAX).min(limits::REFUSALS_KEPT);
    let last = call.refused.iter().take(most);
    Ok(Reply::of(json::object(|o| {
        o.arr("refusals", |list| last.for_each(|refused| list.item_obj(|o| refused.render(o))));
    })))
}

impl Refused {
    fn render(&self, o: &mut Writer<'_>) {
        o.u64("ts", self.at.0);
        o.u64("conn", self.conn);
        o.str("rule", self.rule);
        o.str("code", self.code);
        o.str("message", &self.message);
        o.str("hint", &self.hint);
        o.str("peer", &self.peer);
        o.str("client", &self.client);
        o.str("via", self.via);
        o.str("host", &self.host);
        o.str("origin", &self.origin);
        o.str("clientId", &self.client_id);
        o.str("device", &self.device);
        o.str("requestId", &self.request);
    }
}
