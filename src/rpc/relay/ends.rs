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
    pub counts: [u64; Ends::NAMES.len()],
    /// What nodes answered, by how long that took; the last one is for what took longer than every bound.
    pub took: [u64; Ends::BOUNDS.len() + 1],
    /// Of all answers, in milliseconds.
    pub sum_ms: u64,
}

impl Ends {
    /// Of [`End`], in its order.
    pub const NAMES: [&'static str; 8] =
        ["ok", "error", "timeout", "disconnected", "abandoned", "busy", "stopping", "refused"];

    /// Upper bounds of latency, in milliseconds and in seconds as text.
    pub const BOUNDS: [(u64, &'static str); 12] = [
        (5, "0.005"),
        (10, "0.01"),
        (25, "0.025"),
        (50, "0.05"),
        (100, "0.1"),
        (250, "0.25"),
        (500, "0.5"),
        (1_000, "1"),
        (2_500, "2.5"),
        (5_000, "5"),
        (10_000, "10"),
        (30_000, "30"),
    ];

    /// A call ended like that.
    pub fn count(&mut self, how: End) {
        self.counts[how as usize] += 1;
    }

    /// Its node answered, after so many milliseconds.
    pub fn answered(&mut self, ok: bool, ms: u64) {
        self.count(if ok { End::Ok } else { End::Error });
        self.took[Ends::BOUNDS.iter().take_while(|(bound, _)| ms > *bound).count()] += 1;
        self.sum_ms += ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_name_and_every_latency_its_place() {
        assert_eq!(format!("{:?}", End::Refused).to_lowercase(), Ends::NAMES[End::Refused as usize]);
        assert_eq!(Ends::NAMES.len(), End::Refused as usize + 1);
        for (ms, text) in Ends::BOUNDS {
            assert_eq!(text.parse::<f64>().unwrap() * 1000.0, ms as f64);
        }
        let mut ends = Ends::default();
        [0, 5, 6, 30_000, 30_001].into_iter().for_each(|ms| ends.answered(ms != 6, ms));
        assert_eq!((ends.counts[..2].to_vec(), ends.sum_ms), (vec![4, 1], 60_012));
        assert_eq!(ends.took, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    }
}
