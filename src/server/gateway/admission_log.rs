//! Decides which admissions are logged: the first one of a client, then their number once a minute.
//! Clients that reconnect in a loop must not wear out an SD card.

use crate::gate::budget::Holder;
use crate::gate::ids::{Millis, Role};
use crate::gate::limits;
use crate::gate::refusal::Rule;

/// Admissions with the same log line, apart from connection and port.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AdmissionKind {
    pub holder: Holder,
    pub role: Role,
    pub rule: Rule,
    /// Network of the client, as in [`crate::gate::net::network`].
    pub network: [u8; 8],
    pub remembered: &'static str,
}

/// Kinds of admissions of the current minute.
pub struct AdmissionLog {
    /// Kinds that were logged, with the number of admissions since.
    logged: Vec<(AdmissionKind, u32)>,
    /// Number of admissions of other kinds.
    others: u32,
    minute: Millis,
}

impl AdmissionLog {
    /// Creates a log without admissions.
    pub fn new(now: Millis) -> AdmissionLog {
        AdmissionLog { logged: Vec::new(), others: 0, minute: now }
    }

    /// Counts an admission. Returns whether it is to be logged.
    pub fn add(&mut self, kind: AdmissionKind, now: Millis) -> bool {
        self.report(now);
        if let Some((_, count)) = self.logged.iter_mut().find(|(known, _)| *known == kind) {
            *count = count.saturating_add(1);
            return false;
        }
        let is_logged = self.logged.len() < limits::ADMISSIONS_LOGGED;
        if is_logged {
            self.logged.push((kind, 0));
        } else {
            self.others = self.others.saturating_add(1);
        }
        is_logged
    }

    /// Logs the numbers of the last minute when it is over. A kind without further admissions is
    /// logged again the next time.
    pub fn report(&mut self, now: Millis) {
        if now.since(self.minute) < 60_000 {
            return;
        }
        for line in self.end_minute(now) {
            log::info!("{line}");
        }
    }

    fn end_minute(&mut self, now: Millis) -> Vec<String> {
        self.minute = now;
        self.logged.retain(|(_, count)| *count > 0);
        let mut lines: Vec<String> =
            self.logged.iter().map(|(kind, count)| line(kind, *count)).collect();
        self.logged.iter_mut().for_each(|(_, count)| *count = 0);
        let others = std::mem::take(&mut self.others);
        if others > 0 {
            lines.push(format!("{others} admissions of other clients were not logged"));
        }
        if self.logged.is_empty() {
            self.logged = Vec::new();
        }
        lines
    }
}

fn line(kind: &AdmissionKind, count: u32) -> String {
    let (rule, role) = (kind.rule.title(), kind.role.name());
    match &kind.holder {
        Holder::Device(id) => {
            let device = id.short();
            format!("{count} more admissions of device={device} role={role} rule=\"{rule}\" were not logged")
        }
        // the command line of this machine is logged at level debug only
        Holder::Keyless | Holder::Local => format!(
            "{count} more admissions of clients without a device role={role} rule=\"{rule}\" were not logged"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::ids::DeviceId;

    fn kind(n: u16) -> AdmissionKind {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&n.to_be_bytes());
        let (rule, remembered) = (Rule::KnownDevice, "known");
        let holder = Holder::Device(DeviceId(id));
        AdmissionKind { holder, role: Role::Operator, rule, network: [0; 8], remembered }
    }

    #[test]
    fn first_admission_is_logged_then_their_number_once_a_minute() {
        let mut log = AdmissionLog::new(Millis(0));
        let logged = (0..1000).filter(|at| log.add(kind(1), Millis(*at))).count();
        assert_eq!(logged, 1);
        assert!(log.add(kind(2), Millis(1000)));
        assert!(log.add(AdmissionKind { rule: Rule::StaleToken, ..kind(1) }, Millis(1000)));
        let lines = log.end_minute(Millis(60_000));
        let expected = "999 more admissions of device=00010000 role=operator rule=\"7.1 known \
                        device\" were not logged";
        assert_eq!(lines, [expected]);
        assert!(!log.add(kind(1), Millis(60_001)), "it goes on");
        assert!(log.add(kind(2), Millis(60_002)), "it was not repeated");
        assert_eq!(log.end_minute(Millis(120_000)).len(), 1);
        assert!(log.end_minute(Millis(180_000)).is_empty());
        assert_eq!(log.logged.capacity(), 0);
    }

    #[test]
    fn lines_are_bounded_for_any_number_of_devices() {
        let mut log = AdmissionLog::new(Millis(0));
        let logged = (0..5000).filter(|n| log.add(kind(*n), Millis(5))).count();
        assert_eq!(logged, limits::ADMISSIONS_LOGGED);
        let others = 5000 - limits::ADMISSIONS_LOGGED;
        let lines = log.end_minute(Millis(60_000));
        assert_eq!(lines, [format!("{others} admissions of other clients were not logged")]);
    }
}
