//! Limits how much admitted clients write to the disk by changing records and the configuration.
//!
//! Each change is counted for [`limits::CHANGES_WINDOW_MS`]. Limited are the number of changes of
//! one client by one method, the bytes written for one client, and the bytes written for all
//! clients. One client can use at most a tenth of the last limit. A client that changed nothing in
//! the window takes no memory.

use crate::gate::budget::{Budget, Holder};
use crate::gate::ids::Millis;
use crate::gate::limits;

/// A change that is counted.
struct Counted {
    number: u64,
    holder: Holder,
    method: &'static str,
    bytes: usize,
    at: Millis,
}

impl Counted {
    /// Returns the bytes that count towards the limit of all clients. A large change cannot take
    /// more than the share of its client.
    fn shared_bytes(&self) -> usize {
        self.bytes.min(limits::CHANGE_BYTES_OF_ONE)
    }

    /// Returns the time at which the change is no longer counted. A change of more bytes than a
    /// client has in one window is counted for as many windows as it needs.
    fn until(&self) -> Millis {
        let windows = self.bytes.div_ceil(limits::CHANGE_BYTES_OF_ONE).max(1);
        self.at.plus(windows as u64 * limits::CHANGES_WINDOW_MS)
    }
}

/// Number of a counted change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChangeNumber(u64);

/// Limit that a change would exceed, with the milliseconds until it no longer would.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeLimit {
    /// Number of changes of the client by the method.
    Method(u64),
    /// Bytes written for the client.
    Client(u64),
    /// Bytes written for all clients, or number of counted changes.
    All(u64),
}

/// Changes that are counted.
pub struct ChangeLimiter {
    changes: Vec<Counted>,
    bytes: Budget,
    next: u64,
}

impl Default for ChangeLimiter {
    /// Creates a limiter that counted no change.
    fn default() -> ChangeLimiter {
        ChangeLimiter { changes: Vec::new(), bytes: Budget::new(limits::CHANGE_BYTES), next: 0 }
    }
}

impl ChangeLimiter {
    /// Counts a change of this many bytes. Error if it would exceed a limit; it is then not
    /// counted. A client that has nothing counted may exceed its own limit by one change.
    pub fn count(
        &mut self,
        holder: Holder,
        method: &'static str,
        bytes: usize,
        now: Millis,
    ) -> Result<ChangeNumber, ChangeLimit> {
        self.expire(now);
        self.check_own(holder, method, bytes, now)?;
        self.check_all(bytes, now)?;
        Ok(self.add(holder, method, bytes, now))
    }

    /// Counts a revocation. Only the limits of its client apply, so that other clients cannot
    /// delay it.
    pub fn count_revocation(
        &mut self,
        holder: Holder,
        method: &'static str,
        bytes: usize,
        now: Millis,
    ) -> Result<ChangeNumber, ChangeLimit> {
        self.expire(now);
        self.check_own(holder, method, bytes, now)?;
        Ok(self.add(holder, method, bytes, now))
    }

    fn add(
        &mut self,
        holder: Holder,
        method: &'static str,
        bytes: usize,
        at: Millis,
    ) -> ChangeNumber {
        let change = Counted { number: self.next, holder, method, bytes, at };
        self.bytes.take(change.shared_bytes());
        self.changes.push(change);
        self.next += 1;
        ChangeNumber(self.next - 1)
    }

    /// Corrects the bytes of a change, if it is still counted.
    pub fn correct(&mut self, ChangeNumber(number): ChangeNumber, bytes: usize) {
        if let Some(change) = self.changes.iter_mut().find(|change| change.number == number) {
            self.bytes.give(change.shared_bytes());
            change.bytes = bytes;
            self.bytes.take(change.shared_bytes());
        }
    }

    /// Returns the budget of all clients, in bytes.
    pub fn budget(&mut self, now: Millis) -> Budget {
        self.expire(now);
        self.bytes
    }

    fn check_own(
        &self,
        holder: Holder,
        method: &'static str,
        bytes: usize,
        now: Millis,
    ) -> Result<(), ChangeLimit> {
        let own = || self.changes.iter().filter(|one| one.holder == holder);
        let by_method = own().filter(|one| one.method == method);
        if by_method.clone().count() >= limits::CHANGES_OF_METHOD {
            let one_less = by_method.map(|one| (one.until(), 1));
            return Err(ChangeLimit::Method(wait(one_less, 1, now)));
        }
        let used: usize = own().map(|one| one.bytes).sum();
        let excess = (used + bytes).saturating_sub(limits::CHANGE_BYTES_OF_ONE).min(used);
        if excess > 0 && bytes > 0 {
            let amounts = own().map(|one| (one.until(), one.bytes));
            return Err(ChangeLimit::Client(wait(amounts, excess, now)));
        }
        Ok(())
    }

    fn check_all(&self, bytes: usize, now: Millis) -> Result<(), ChangeLimit> {
        let excess = bytes.min(limits::CHANGE_BYTES_OF_ONE).saturating_sub(self.bytes.free());
        if excess > 0 {
            let amounts = self.changes.iter().map(|one| (one.until(), one.shared_bytes()));
            return Err(ChangeLimit::All(wait(amounts, excess, now)));
        }
        if self.changes.len() >= limits::CHANGES {
            let one_less = self.changes.iter().map(|one| (one.until(), 1));
            return Err(ChangeLimit::All(wait(one_less, 1, now)));
        }
        Ok(())
    }

    fn expire(&mut self, now: Millis) {
        let bytes = &mut self.bytes;
        self.changes.retain(|change| {
            let is_counted = now < change.until();
            if !is_counted {
                bytes.give(change.shared_bytes());
            }
            is_counted
        });
        if self.changes.is_empty() {
            self.changes = Vec::new();
        }
    }
}

/// Returns the milliseconds until amounts of `excess` in total have expired.
fn wait(amounts: impl Iterator<Item = (Millis, usize)>, mut excess: usize, now: Millis) -> u64 {
    let mut amounts: Vec<_> = amounts.collect();
    amounts.sort_unstable();
    let last = amounts.into_iter().find(|(_, amount)| {
        let is_enough = *amount >= excess;
        excess = excess.saturating_sub(*amount);
        is_enough
    });
    last.map_or(0, |(until, _)| until.since(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::ids::DeviceId;

    const ONE: usize = limits::CHANGE_LEN;

    fn device(n: u8) -> Holder {
        Holder::Device(DeviceId([n; 32]))
    }

    /// Counts changes as often as possible. Returns their number and the limit that ended them.
    fn fill(
        limiter: &mut ChangeLimiter,
        holder: Holder,
        method: &'static str,
        bytes: usize,
        at: u64,
    ) -> (usize, ChangeLimit) {
        let mut counted = 0;
        loop {
            match limiter.count(holder, method, bytes, Millis(at)) {
                Ok(_) => counted += 1,
                Err(limit) => return (counted, limit),
            }
        }
    }

    #[test]
    fn changes_of_one_method_and_bytes_of_one_client_are_limited() {
        let mut limiter = ChangeLimiter::default();
        assert_eq!(fill(&mut limiter, device(1), "a", 0, 0), (30, ChangeLimit::Method(60_000)));
        assert_eq!(fill(&mut limiter, device(1), "b", ONE, 10), (22, ChangeLimit::Client(60_000)));
        assert_eq!(fill(&mut limiter, device(1), "c", ONE, 20), (0, ChangeLimit::Client(59_990)));
        assert!(limiter.count(device(1), "c", 0, Millis(30)).is_ok(), "it writes nothing");
        assert_eq!(fill(&mut limiter, device(2), "b", ONE, 40).0, 22, "other clients may write");
        assert_eq!(fill(&mut limiter, device(1), "a", 0, 59_999), (0, ChangeLimit::Method(1)));
        assert_eq!(fill(&mut limiter, device(1), "a", 0, 60_000).0, 30);
        assert_eq!(fill(&mut limiter, device(1), "b", ONE, 60_010).0, 22);
    }

    #[test]
    fn all_clients_together_are_limited() {
        let mut limiter = ChangeLimiter::default();
        for client in 0..10 {
            fill(&mut limiter, device(client), "a", ONE, u64::from(client));
        }
        assert_eq!(
            fill(&mut limiter, Holder::Keyless, "a", ONE, 100),
            (0, ChangeLimit::All(59_900))
        );
        let budget = limiter.budget(Millis(100));
        assert_eq!((budget.used(), budget.free()), (limits::CHANGE_BYTES, 0));
        assert_eq!(fill(&mut limiter, Holder::Keyless, "a", ONE, 60_000).0, 22);
        let budget = limiter.budget(Millis(200_000));
        assert_eq!((budget.used(), budget.peak()), (0, limits::CHANGE_BYTES));
        assert_eq!(limiter.changes.capacity(), 0, "an idle limiter takes no memory");
    }

    #[test]
    fn a_large_change_is_paid_for_by_time() {
        let mut limiter = ChangeLimiter::default();
        let large = 3 * limits::CHANGE_BYTES_OF_ONE;
        let number = limiter.count(device(1), "a", large, Millis(0)).unwrap();
        assert_eq!(limiter.budget(Millis(0)).used(), limits::CHANGE_BYTES_OF_ONE);
        assert_eq!(fill(&mut limiter, device(1), "a", ONE, 1), (0, ChangeLimit::Client(179_999)));
        limiter.correct(number, ONE);
        assert_eq!(limiter.budget(Millis(1)).used(), ONE);
        assert_eq!(fill(&mut limiter, device(1), "a", ONE, 2).0, 21);
    }

    #[test]
    fn revocations_do_not_depend_on_other_clients() {
        let mut limiter = ChangeLimiter::default();
        (0..10).for_each(|client| _ = fill(&mut limiter, device(client), "a", ONE, 0));
        let mut revoke = |at| limiter.count_revocation(device(99), "b", 2 * ONE, Millis(at));
        (0..11).for_each(|at| assert!(revoke(at).is_ok()));
        assert_eq!(revoke(11), Err(ChangeLimit::Client(59_989)));
        assert!(limiter.budget(Millis(11)).used() > limits::CHANGE_BYTES);
        assert_eq!(limiter.budget(Millis(70_000)).used(), 0);
    }

    /// Compares with a plain implementation: every change of a client within any window.
    #[test]
    fn no_client_exceeds_its_limits_and_every_wait_is_exact() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20 {
            let (mut limiter, mut now) = (ChangeLimiter::default(), 0);
            let mut written: Vec<(u8, u64, usize)> = Vec::new();
            for _ in 0..2000 {
                now += random.u64(0..3000);
                let (client, bytes) = (random.u8(0..3), [0, ONE, 2 * ONE][random.usize(0..3)]);
                let method = ["a", "b", "c"][random.usize(0..3)];
                match limiter.count(device(client), method, bytes, Millis(now)) {
                    Ok(_) => written.push((client, now, bytes)),
                    Err(
                        ChangeLimit::Method(wait)
                        | ChangeLimit::Client(wait)
                        | ChangeLimit::All(wait),
                    ) => {
                        let mut later = |at| {
                            let number = limiter.count(device(client), method, bytes, Millis(at));
                            number.is_ok()
                        };
                        assert!(!later(now + wait - 1) && later(now + wait));
                        now += wait;
                        written.push((client, now, bytes));
                    }
                }
                let recent = written.iter().filter(|(_, at, _)| now - at < 60_000);
                let of_one = recent.filter(|(one, ..)| *one == client);
                let bytes: usize = of_one.map(|(.., bytes)| bytes).sum();
                assert!(bytes <= limits::CHANGE_BYTES_OF_ONE, "{bytes} bytes");
            }
        }
    }
}
