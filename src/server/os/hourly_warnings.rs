//! Warnings that are logged once per hour and peer.

use crate::gate::ids::Millis;
use crate::gate::limits;

/// Peers, or faults of peers, for which a warning was logged in the last hour.
pub struct HourlyWarnings<K>(heapless::Vec<(K, Millis), { limits::PEER_WARNINGS }>);

impl<K> Default for HourlyWarnings<K> {
    fn default() -> Self {
        HourlyWarnings(heapless::Vec::new())
    }
}

impl<K: PartialEq> HourlyWarnings<K> {
    /// Adds a warning. Returns whether it is to be logged: not if it was within the last hour, or
    /// if too many others were.
    pub fn add(&mut self, key: K, now: Millis) -> bool {
        self.0.retain(|(_, at)| now.since(*at) < limits::PEER_WARNING_MS);
        !self.0.iter().any(|(known, _)| *known == key) && self.0.push((key, now)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_due_once_per_hour_and_bounded_in_number() {
        let mut warnings = HourlyWarnings::default();
        let full = limits::PEER_WARNINGS;
        let mut due =
            |at, keys: usize| (0..keys).filter(|key| warnings.add(*key, Millis(at))).count();
        assert_eq!((due(0, 1), due(1, 1), due(2, 2)), (1, 0, 1));
        assert_eq!(due(3, 2 * full), full - 2);
        assert_eq!(due(limits::PEER_WARNING_MS - 1, 2 * full), 0);
        assert_eq!(due(limits::PEER_WARNING_MS, 2), 1);
    }
}
