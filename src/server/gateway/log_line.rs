//! Log lines about connection attempts, and the latest refusals.

use std::collections::VecDeque;
use std::fmt::Arguments;

use super::attempt::{Attempt, ClientInfo};
use crate::gate::ids::{ConnId, Millis};
use crate::gate::limits;
use crate::gate::refusal::Rule;
use crate::rpc::RejectionRecord;
use crate::server::os::line_limit::PerMinute;

/// Returns the fields at the start of each log line about an attempt. Headers chosen by the client
/// are quoted and have no control characters.
pub(super) fn attempt_fields(
    conn: ConnId,
    rule: Rule,
    client_info: &ClientInfo,
    attempt: Option<&Attempt>,
) -> String {
    let device = attempt.map(Attempt::device_text).unwrap_or_default();
    let client_id = attempt.map_or("", |attempt| attempt.about.client_id.as_str());
    format!(
        "conn={conn} rule=\"{}\" peer={} client={} via={} host={:?} origin={:?} clientId={} device={}",
        rule.title(),
        client_info.peer,
        client_info.client,
        client_info.via_name(),
        client_info.host_text,
        client_info.origin_text,
        client_id,
        device.get(..8).unwrap_or("-"),
    )
}

/// Latest refusals, and a limit for the number of those that are logged.
pub(in crate::server) struct RefusalLog {
    recent: VecDeque<RejectionRecord>,
    logged: PerMinute,
}

impl RefusalLog {
    pub fn new(now: Millis) -> RefusalLog {
        RefusalLog { recent: VecDeque::new(), logged: PerMinute::new(now) }
    }

    /// Logs a refusal, up to [`limits::REFUSALS_LOGGED`] per minute: unauthenticated clients must
    /// not wear out an SD card.
    pub fn warn(&mut self, line: Arguments<'_>, now: Millis) {
        let count = self.logged.end_minute(now).unwrap_or(0);
        let left_out = count.saturating_sub(limits::REFUSALS_LOGGED);
        if left_out > 0 {
            log::warn!("{left_out} more refusals were not logged; `gatelet explain --last` shows the latest");
        }
        if self.logged.add(limits::REFUSALS_LOGGED) {
            log::warn!("{line}");
        }
    }

    /// Stores a refusal for `gatelet explain --last`.
    pub fn remember(&mut self, refused: RejectionRecord) {
        self.recent.truncate(limits::REFUSALS_KEPT - 1);
        self.recent.push_front(refused);
    }

    /// Stores a refusal instead of an earlier one with the same reason and peer: clients repeat
    /// such requests for as long as the fault exists, and must not displace the other refusals.
    pub fn remember_once(&mut self, refused: RejectionRecord) {
        let is_repeated = |one: &RejectionRecord| {
            (one.rule, &one.peer, &one.message) == (refused.rule, &refused.peer, &refused.message)
        };
        self.recent.retain(|one| !is_repeated(one));
        self.remember(refused);
    }

    /// Returns the latest refusals, newest first.
    pub fn recent(&self) -> Vec<RejectionRecord> {
        self.recent.iter().cloned().collect()
    }
}
