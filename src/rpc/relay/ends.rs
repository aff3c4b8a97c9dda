//! How calls for nodes ended, counted for `/metrics` where each of them ends.

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Its node did it.
    Ok,
    /// Its node said that it could not.
    Error,
    Timeout,
    /// Its node is gone.
    Disconnected,
    /// Who asked is gone.
    Abandoned,
    /// Its node does not read.
    Busy,
    /// The gateway goes down.
    Stopping,
    /// It was not passed on.
    Refused,
}

/// All of them since the start.
#[derive(Default)]
pub struct Ends {
    /// By [`End`].
    pub counts: [u64; End::Refused as usize + 1],
    /// What nodes answered, by how long that took; the last one is for what took longer than every bound.
    pub took: [u64; Ends::BOUNDS.len() + 1],
    /// Of all answers, in milliseconds.
    pub sum_ms: u64,
}

impl Ends {
    /// Upper bounds of latency, in milliseconds.
    pub const BOUNDS: [u64; 12] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];

    /// A call ended like that.
    pub fn count(&mut self, how: End) {
        self.counts[how as usize] += 1;
    }

    /// Its node answered, after so many milliseconds.
    pub fn answered(&mut self, ok: bool, ms: u64) {
        self.count(if ok { End::Ok } else { End::Error });
        self.took[Ends::BOUNDS.iter().take_while(|bound| ms > **bound).count()] += 1;
        self.sum_ms += ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_has_its_place() {
        let mut ends = Ends::default();
        [0, 5, 6, 30_000, 30_001].into_iter().for_each(|ms| ends.answered(ms != 6, ms));
        assert_eq!((ends.counts[..2].to_vec(), ends.sum_ms), (vec![4, 1], 60_012));
        assert_eq!(ends.took, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    }
}
