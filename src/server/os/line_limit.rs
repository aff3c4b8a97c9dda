//! Bounds the growth of the log, whatever causes its lines, and the number of some of them.

use crate::gate::ids::Millis;
use crate::gate::limits;

/// Lines logged in the current minute.
pub struct LineLimit {
    /// Number of the current minute.
    minute: u64,
    bytes: usize,
    left_out: u64,
}

impl LineLimit {
    /// Limit without lines.
    pub const NEW: LineLimit = LineLimit { minute: 0, bytes: 0, left_out: 0 };

    /// Ends the previous minute if it is over. Returns the number of lines left out in it.
    pub fn end_minute(&mut self, minute: u64) -> u64 {
        if self.minute == minute {
            return 0;
        }
        let left_out = self.left_out;
        *self = LineLimit { minute, ..LineLimit::NEW };
        left_out
    }

    /// Counts a line. Returns whether it is to be written.
    pub fn add(&mut self, len: usize) -> bool {
        let fits = self.bytes + len <= limits::LOG_BYTES_PER_MINUTE;
        if fits {
            self.bytes += len;
        } else {
            self.left_out += 1;
        }
        fits
    }
}

/// Number of events in the current minute.
pub struct PerMinute {
    minute: Millis,
    count: u32,
}

impl PerMinute {
    /// Creates a count without events.
    pub fn new(now: Millis) -> PerMinute {
        PerMinute { minute: now, count: 0 }
    }

    /// Starts the next minute if the current one is over. Returns the number of events in it.
    pub fn end_minute(&mut self, now: Millis) -> Option<u32> {
        (now.since(self.minute) >= 60_000)
            .then(|| std::mem::replace(self, PerMinute::new(now)).count)
    }

    /// Counts an event. Returns whether there were at most `max` in this minute.
    pub fn add(&mut self, max: u32) -> bool {
        self.count = self.count.saturating_add(1);
        self.count <= max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_per_minute_are_bounded_and_left_out_lines_are_counted() {
        let mut limit = LineLimit::NEW;
        let lines = limits::LOG_BYTES_PER_MINUTE / 100;
        assert_eq!((0..lines + 7).filter(|_| limit.add(100)).count(), lines);
        assert_eq!((limit.end_minute(0), limit.end_minute(1)), (0, 7));
        assert!(limit.add(100));
        assert_eq!(limit.end_minute(2), 0);
    }
}
