//! Outcomes of calls to nodes, counted for `/metrics` where each call ends.

/// Outcome of a call to a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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

/// Counters of all outcomes since the start.
#[derive(Default)]
pub struct CallOutcomes {
    /// Number of calls by [`CallOutcome`].
    pub counts: [u64; CallOutcome::Refused as usize + 1],
    /// Number of answers of nodes by latency; the last entry counts those above all bounds.
    pub took: [u64; CallOutcomes::BOUNDS.len() + 1],
    /// Sum of the latencies of all answers, in milliseconds.
    pub sum_ms: u64,
}

impl CallOutcomes {
    /// Upper bounds of latency, in milliseconds.
    pub const BOUNDS: [u64; 12] =
        [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];

    /// Counts a call with this outcome.
    pub fn count(&mut self, how: CallOutcome) {
        self.counts[how as usize] += 1;
    }

    /// Counts a call that its node answered after `ms` milliseconds.
    pub fn answered(&mut self, ok: bool, ms: u64) {
        self.count(if ok { CallOutcome::Ok } else { CallOutcome::Error });
        self.took[CallOutcomes::BOUNDS.iter().take_while(|bound| ms > **bound).count()] += 1;
        self.sum_ms += ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_counted_in_their_bucket() {
        let mut ends = CallOutcomes::default();
        [0, 5, 6, 30_000, 30_001].into_iter().for_each(|ms| ends.answered(ms != 6, ms));
        assert_eq!((ends.counts[..2].to_vec(), ends.sum_ms), (vec![4, 1], 60_012));
        assert_eq!(ends.took, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    }
}
