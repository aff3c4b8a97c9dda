//! Time and randomness: the two ports through which they enter (the third port is `store::Disk`).

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::gate::ids::{Millis, Now, WallMs};

/// Where time comes from.
pub trait Clock {
    /// Reads both clocks.
    fn now(&self) -> Now;
}

/// The machine's clocks; the monotonic one starts at 0 with this value.
pub struct SystemClock(Instant);

impl SystemClock {
    /// A clock that starts now.
    pub fn start() -> SystemClock {
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Now { at: Millis(self.0.elapsed().as_millis() as u64), wall: WallMs(wall) }
    }
}

/// Where random bytes come from.
pub trait Entropy {
    /// Fills `bytes` with bytes that nobody can guess.
    fn fill(&mut self, bytes: &mut [u8]);
}

impl dyn Entropy + '_ {
    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}

/// The operating system's randomness.
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// Panics if the operating system has none to give: a gateway that could be guessed must not run.
    fn fill(&mut self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}
