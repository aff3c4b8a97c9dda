//! Fields of log lines about connection attempts.

use super::attempt::{Attempt, ClientInfo};
use crate::gate::facts::DeviceProof;
use crate::gate::ids::ConnId;
use crate::gate::net::Via;
use crate::gate::refusal::Rule;

/// Returns the path of the connection to the gateway, in one word for the log.
pub(crate) fn via_name(seen: &ClientInfo) -> &'static str {
    match (seen.via, seen.local) {
        (_, true) => "local",
        (Via::Direct, _) => "direct",
        (Via::TrustedProxy, _) => "proxy",
        (Via::UntrustedProxy, _) => "untrusted-proxy",
    }
}

/// Returns the start of each log line about an attempt. Headers chosen by the client are quoted and
/// have no control characters.
pub(crate) fn line(
    conn: ConnId,
    rule: Rule,
    seen: &ClientInfo,
    attempt: Option<&Attempt>,
) -> String {
    let device = attempt.map(|attempt| device_text(&attempt.proof)).unwrap_or_default();
    let client_id = attempt.map_or("", |attempt| attempt.about.client_id.as_str());
    format!(
        "conn={conn} rule=\"{}\" peer={} client={} via={} host={:?} origin={:?} clientId={} device={}",
        rule.title(),
        seen.peer,
        seen.client,
        via_name(seen),
        seen.host_text,
        seen.origin_text,
        client_id,
        device.get(..8).unwrap_or("-"),
    )
}

pub(super) fn device_text(proof: &DeviceProof) -> String {
    match proof {
        DeviceProof::Valid { id, .. } => id.to_string(),
        DeviceProof::Absent | DeviceProof::Invalid(_) => String::new(),
    }
}
