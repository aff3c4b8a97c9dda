//! Outcomes of calls to nodes, counted for `/metrics` where each call ends.

/// Outcome of a call to a node.
#[derive(Clone, Copy, Debug)]
pub enum CallOutcome {
    /// Success, reported by the node.
    Ok,
    /// Error, reported by the node.
    Error,
    Timeout,
    /// The node disconnected.
    Disconnected,
    /// The caller disconnected.
    Abandoned,
    /// The node did not read fast enough, so the call could not be sent.
    Busy,
    /// The gateway stopped.
    Stopping,
    /// The call was rejected before it was sent.
    Refused,
}

impl CallOutcome {
    /// Names of all outcomes, in their order.
    const NAMES: [&str; CallOutcome::Refused as usize + 1] =
        ["ok", "error", "timeout", "disconnected", "abandoned", "busy", "stopping", "refused"];
}

/// Counters of all outcomes since the start.
#[derive(Default)]
pub struct CallOutcomes {
    /// Number of calls by [`CallOutcome`].
    counts: [u64; CallOutcome::NAMES.len()],
    /// Number of answers of nodes by latency; the last entry counts those above all bounds.
    pub took: [u64; CallOutcomes::BOUNDS.len() + 1],
    /// Sum of the latencies of all answers, in milliseconds.
    pub sum_ms: u64,
}

impl CallOutcomes {
    /// Upper bounds of latency: as text in seconds, and in milliseconds.
    pub const BOUNDS: [(&'static str, u64); 12] = [
        ("0.005", 5),
        ("0.01", 10),
        ("0.025", 25),
        ("0.05", 50),
        ("0.1", 100),
        ("0.25", 250),
        ("0.5", 500),
        ("1", 1_000),
        ("2.5", 2_500),
        ("5", 5_000),
        ("10", 10_000),
        ("30", 30_000),
    ];

    /// Returns the number of calls by the name of their outcome.
    pub fn by_name(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CallOutcome::NAMES.into_iter().zip(self.counts)
    }

    /// Counts a call with this outcome.
    pub fn count(&mut self, how: CallOutcome) {
        self.counts[how as usize] += 1;
    }

    /// Counts a call that its node answered after `ms` milliseconds.
    pub fn answered(&mut self, ok: bool, ms: u64) {
        self.count(if ok { CallOutcome::Ok } else { CallOutcome::Error });
        self.took[CallOutcomes::BOUNDS.iter().take_while(|(_, bound)| ms > *bound).count()] += 1;
        self.sum_ms += ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bounds_match_their_values() {
        use CallOutcome::*;
        let all = [Ok, Error, Timeout, Disconnected, Abandoned, Busy, Stopping, Refused];
        for (outcome, name) in all.into_iter().zip(CallOutcome::NAMES) {
            let mut outcomes = CallOutcomes::default();
            outcomes.count(outcome);
            assert_eq!(format!("{outcome:?}").to_lowercase(), name);
            assert!(outcomes.by_name().all(|(one, count)| count == u64::from(one == name)));
        }
        for (seconds, ms) in CallOutcomes::BOUNDS {
            assert_eq!(seconds.parse::<f64>().unwrap() * 1000.0, ms as f64);
        }
    }

    #[test]
    fn latencies_are_counted_in_their_bucket() {
        let mut ends = CallOutcomes::default();
        [0, 5, 6, 30_000, 30_001].into_iter().for_each(|ms| ends.answered(ms != 6, ms));
        assert_eq!((ends.counts[..2].to_vec(), ends.sum_ms), (vec![4, 1], 60_012));
        assert_eq!(ends.took, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    }
}
