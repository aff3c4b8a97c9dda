//! Sources of time and randomness. The third port of the gateway is `store::Disk`.

#![expect(clippy::disallowed_methods, reason = "the ports of the running gateway")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::gate::ids::{Millis, Now, WallMs};

/// Source of time.
pub trait Clock {
    /// Reads both clocks.
    fn now(&self) -> Now;
}

/// Clocks of the system. The monotonic clock starts at 0 when this value is created.
pub struct SystemClock(Instant);

impl SystemClock {
    /// Creates a clock that starts now.
    pub fn start() -> SystemClock {
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64);
        Now { at: Millis(self.0.elapsed().as_millis() as u64), wall: WallMs(wall) }
    }
}

/// Returns the time from which the duration of a turn of the event loop is measured.
pub fn turn_start() -> Instant {
    Instant::now()
}

/// Source of random bytes.
pub trait Entropy {
    /// Fills `bytes` with unpredictable bytes.
    fn fill(&mut self, bytes: &mut [u8]);
}

impl dyn Entropy + '_ {
    /// Returns `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}

/// Random bytes of the operating system.
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// Panics if the operating system has no random bytes: a gateway with predictable secrets must
    /// not run.
    fn fill(&mut self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}
