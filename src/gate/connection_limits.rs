//! Numbers of connections that a gateway may have: those of [`limits`], or fewer if the process may
//! open few descriptors.
//!
//! Each connection takes one descriptor, and an unauthenticated one perhaps a second for the file
//! that it is sent. The limits leave [`limits::OWN_DESCRIPTORS`] for everything else, so a
//! connection can be accepted and a file be opened at any time, however many clients are admitted.

use super::limits;

/// Maximum numbers of connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionLimits {
    /// Admitted connections, including those reserved for the command line of this machine.
    pub admitted: usize,
    /// Admitted connections reserved for the command line of this machine.
    pub admitted_local: usize,
    /// Unauthenticated connections, not counting those delayed by the rate limiter.
    pub unauthenticated: usize,
    /// Unauthenticated connections of one network.
    pub unauthenticated_per_address: usize,
    /// Unauthenticated connections reserved for programs on this machine.
    pub unauthenticated_local: usize,
    /// Unauthenticated connections delayed by the rate limiter.
    pub delayed: usize,
}

impl ConnectionLimits {
    /// Limits without a limit of descriptors.
    pub const FULL: ConnectionLimits = ConnectionLimits::within(usize::MAX);

    /// Returns the limits for a process that may open that many descriptors. With less than 64 they
    /// are those for 64, and may not be reached.
    pub const fn within(descriptors: usize) -> ConnectionLimits {
        let descriptors = if descriptors < 64 { 64 } else { descriptors };
        let unauthenticated = min(limits::UNAUTHENTICATED, descriptors / 8);
        let delayed = min(2 * limits::ATTEMPTS_WAITING, descriptors / 8);
        let reserved = limits::OWN_DESCRIPTORS + 2 * unauthenticated + delayed;
        let admitted = min(limits::CONNECTIONS, descriptors - reserved);
        ConnectionLimits {
            admitted,
            admitted_local: min(limits::LOCAL_CONNECTIONS, admitted / 4),
            unauthenticated,
            unauthenticated_per_address: min(
                limits::UNAUTHENTICATED_PER_ADDRESS,
                unauthenticated / 2,
            ),
            unauthenticated_local: min(limits::UNAUTHENTICATED_LOCAL, unauthenticated / 4),
            delayed,
        }
    }

    /// Returns the number of descriptors that these limits need.
    pub const fn descriptors(&self) -> usize {
        limits::OWN_DESCRIPTORS + self.admitted + 2 * self.unauthenticated + self.delayed
    }
}

const fn min(a: usize, b: usize) -> usize {
    if a < b {
        a
    } else {
        b
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_fit_into_the_descriptors_and_leave_each_kind_a_part() {
        let mut before = ConnectionLimits::within(0);
        for descriptors in 0..ConnectionLimits::FULL.descriptors() + 100 {
            let now = ConnectionLimits::within(descriptors);
            assert!(now.descriptors() <= descriptors.max(64), "{descriptors}: {now:?}");
            // one descriptor more may give each other kind one more
            assert!(now.admitted + 2 >= before.admitted && now.admitted > now.admitted_local);
            assert!(now.unauthenticated >= before.unauthenticated && now.delayed > 0);
            assert!(now.unauthenticated_per_address * 2 <= now.unauthenticated);
            assert!(now.unauthenticated_local * 2 <= now.unauthenticated);
            let reserves = [now.admitted_local, now.unauthenticated_local];
            assert!(reserves.iter().all(|reserve| *reserve > 0) && now.admitted >= 8);
            before = now;
        }
        assert_eq!(before, ConnectionLimits::FULL);
        assert_eq!((before.admitted, before.unauthenticated), (16_384, 256));
        assert_eq!(ConnectionLimits::within(512).admitted, 288);
        assert_eq!(ConnectionLimits::within(1024).admitted, 640);
    }
}
