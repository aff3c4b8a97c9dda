//! Rate limiting of attempts at passwords and setup codes. Generated tokens and device keys do not
//! need it.
//!
//! Attempts are limited in two ways:
//!
//! **Per pair** of address and device, in a table of fixed size: a pair with too many wrong
//! passwords is locked for a time, without effect on other pairs. This protects weak passwords of
//! paired devices. A device that proved its key is counted regardless of its address, an HTTP
//! client by its address only. If the table is full, the unlocked pair whose window began first is
//! evicted; if all are locked, a new pair is not counted and only the second limit applies.
//!
//! **Over all clients**, by an [`AttemptQueue`], because an attacker can make a new device key for
//! each attempt. After an initial burst, attempts of unauthenticated clients are checked one after
//! another at a fixed rate. Right and wrong attempts are delayed alike: a faster path for right
//! ones would let an attacker test more candidates, so only the rate limits how many are tested.
//! This limit locks no client out, and a right attempt does not count against the rate.
//!
//! A network that occupies `n` places of the queue gets another one only while more than `n` places
//! are free. One attacking network therefore leaves half of the queue to others, and up to 47 leave
//! at least one place. An attacker that exceeds the rate can block a new client with the right
//! secret at the same address, but only for as long as the attack lasts.

use core::net::IpAddr;

use super::ids::{DeviceId, Millis};
use super::limits;
use super::net;

/// Key for counting failed attempts: a network (IPv4 address or IPv6 /64) and a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttemptKey {
    network: [u8; 8],
    device: [u8; 8],
}

impl AttemptKey {
    /// Makes the pair of this address and device. Only the first eight bytes of the device id are
    /// kept.
    pub fn of(address: IpAddr, DeviceId(id): &DeviceId) -> AttemptKey {
        let mut pair = AttemptKey { network: net::network(address), device: [0; 8] };
        pair.device.copy_from_slice(&id[..8]);
        pair
    }
}

/// Limit for wrong passwords of one pair. The defaults are those of protocol 4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    pub tries: u32,
    pub window_ms: u64,
    pub lock_ms: u64,
}

impl Default for Rate {
    fn default() -> Rate {
        Rate {
            tries: limits::RATE_LIMIT_TRIES,
            window_ms: limits::RATE_LIMIT_WINDOW_MS,
            lock_ms: limits::RATE_LIMIT_LOCK_MS,
        }
    }
}

#[derive(Clone, Copy)]
struct Count {
    pair: AttemptKey,
    wrong: u32,
    since: Millis,
    locked_until: Option<Millis>,
}

/// Kind of credential that an attempt presents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CredentialKind {
    Password,
    Code,
}

/// Queue of attempts of unauthenticated clients at one kind of credential.
pub struct AttemptQueue {
    every_ms: u64,
    /// Time at which all accepted attempts are paid for, at one per `every_ms`.
    paid: Millis,
    waiting: heapless::Deque<([u8; 8], Millis), { limits::ATTEMPTS_WAITING }>,
}

impl AttemptQueue {
    /// Creates a queue that checks one attempt per `every_ms` after the first
    /// [`limits::ATTEMPTS_AT_ONCE`].
    const fn new(every_ms: u64) -> AttemptQueue {
        AttemptQueue { every_ms, paid: Millis(0), waiting: heapless::Deque::new() }
    }

    /// Queues an attempt from this address. Returns the milliseconds until it may be checked, or
    /// `None` if there is no free place; the attempt must be rejected unchecked then.
    pub fn reserve(&mut self, from: IpAddr, now: Millis) -> Option<u64> {
        while self.waiting.front().is_some_and(|(_, due)| *due <= now) {
            self.waiting.pop_front();
        }
        let network = net::network(from);
        let theirs = self.waiting.iter().filter(|(one, _)| *one == network).count();
        if theirs >= limits::ATTEMPTS_WAITING - self.waiting.len() {
            return None;
        }
        self.paid = self.paid.max(now).plus(self.every_ms);
        let wait = self.paid.since(now.plus(limits::ATTEMPTS_AT_ONCE * self.every_ms));
        if wait > 0 {
            let _ = self.waiting.push_back((network, now.plus(wait)));
        }
        Some(wait)
    }

    /// Records that an attempt was right: it does not count against the rate.
    pub fn refund(&mut self) {
        self.paid = Millis(self.paid.0.saturating_sub(self.every_ms));
    }
}

/// Rate limiter for all clients.
pub struct RateLimiter {
    rate: Rate,
    queues: [AttemptQueue; 2],
    counts: heapless::Vec<Count, { limits::RATE_LIMITED_PAIRS }>,
}

impl RateLimiter {
    /// Creates a rate limiter without any recorded attempts.
    pub const fn new(rate: Rate) -> RateLimiter {
        let queues = [
            AttemptQueue::new(limits::PASSWORD_EVERY_MS),
            AttemptQueue::new(limits::CODE_EVERY_MS),
        ];
        RateLimiter { rate, queues, counts: heapless::Vec::new() }
    }

    /// Returns the queue for this kind of credential.
    pub fn queue(&mut self, kind: CredentialKind) -> &mut AttemptQueue {
        &mut self.queues[kind as usize]
    }

    /// Returns the milliseconds for which the pair is still locked; 0 if it is not locked.
    pub fn locked_for(&self, pair: AttemptKey, now: Millis) -> u64 {
        let lock = self
            .counts
            .iter()
            .find(|count| count.pair == pair)
            .and_then(|count| count.locked_until);
        lock.map_or(0, |until| until.since(now))
    }

    /// Records a wrong attempt of the pair.
    pub fn record_failure(&mut self, pair: AttemptKey, now: Millis) {
        let rate = self.rate;
        let Some(count) = self.entry(pair, now) else { return };
        if now.since(count.since) > rate.window_ms
            || count.locked_until.is_some_and(|until| until <= now)
        {
            *count = Count { pair, wrong: 0, since: now, locked_until: None };
        }
        count.wrong += 1;
        if count.wrong >= rate.tries && count.locked_until.is_none() {
            count.locked_until = Some(now.plus(rate.lock_ms));
        }
    }

    /// Removes the record of the pair after a right attempt.
    pub fn record_success(&mut self, pair: AttemptKey) {
        if let Some(at) = self.counts.iter().position(|count| count.pair == pair) {
            self.counts.swap_remove(at);
        }
    }

    fn entry(&mut self, pair: AttemptKey, now: Millis) -> Option<&mut Count> {
        let fresh = Count { pair, wrong: 0, since: now, locked_until: None };
        let known = self.counts.iter().position(|count| count.pair == pair);
        let at = match known {
            Some(at) => at,
            None if !self.counts.is_full() => {
                let _ = self.counts.push(fresh);
                self.counts.len() - 1
            }
            None => {
                let waits = |count: &Count| count.locked_until.is_some_and(|until| until > now);
                let quiet = self
                    .counts
                    .iter()
                    .enumerate()
                    .filter(|(_, count)| !waits(count))
                    .min_by_key(|(_, count)| count.since);
                let at = quiet.map(|(at, _)| at)?;
                self.counts[at] = fresh;
                at
            }
        };
        self.counts.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(n: u32) -> AttemptKey {
        AttemptKey::of(IpAddr::from([10, 0, (n >> 8) as u8, n as u8]), &DeviceId([0; 32]))
    }

    #[test]
    fn tenth_wrong_attempt_locks_only_its_pair() {
        let mut rate_limiter = RateLimiter::new(Rate::default());
        let device = DeviceId([1; 32]);
        let beside = AttemptKey::of(IpAddr::from([10, 0, 0, 1]), &device);
        for _ in 0..9 {
            rate_limiter.record_failure(pair(1), Millis(5));
        }
        assert_eq!(rate_limiter.locked_for(pair(1), Millis(6)), 0);
        rate_limiter.record_failure(pair(1), Millis(7));
        assert_eq!(rate_limiter.locked_for(pair(1), Millis(7)), limits::RATE_LIMIT_LOCK_MS);
        assert_eq!(rate_limiter.locked_for(beside, Millis(7)), 0);
        assert_eq!(rate_limiter.locked_for(pair(2), Millis(7)), 0);
        assert_eq!(rate_limiter.locked_for(pair(1), Millis(7 + limits::RATE_LIMIT_LOCK_MS)), 0);
    }

    #[test]
    fn attempts_are_reset_after_the_window_and_after_a_right_one() {
        let mut rate_limiter = RateLimiter::new(Rate::default());
        for n in 0..30u64 {
            rate_limiter.record_failure(pair(1), Millis(n * 10_000));
        }
        assert_eq!(
            rate_limiter.locked_for(pair(1), Millis(300_000)),
            0,
            "seven a minute are not ten"
        );
        for _ in 0..9 {
            rate_limiter.record_failure(pair(2), Millis(0));
        }
        rate_limiter.record_success(pair(2));
        rate_limiter.record_failure(pair(2), Millis(1));
        assert_eq!(rate_limiter.locked_for(pair(2), Millis(1)), 0);
    }

    #[test]
    fn full_rate_limiter_keeps_locked_pairs() {
        let mut rate_limiter = RateLimiter::new(Rate { tries: 1, ..Rate::default() });
        rate_limiter.record_failure(pair(0), Millis(0));
        let mut lenient = RateLimiter::new(Rate::default());
        for n in 0..10_000 {
            rate_limiter.record_failure(pair(n), Millis(u64::from(n)));
            lenient.record_failure(pair(n), Millis(u64::from(n)));
        }
        assert!(rate_limiter.locked_for(pair(0), Millis(10_000)) > 0);
        assert_eq!(rate_limiter.counts.len(), limits::RATE_LIMITED_PAIRS);
        assert_eq!(lenient.counts.len(), limits::RATE_LIMITED_PAIRS);
        assert!(lenient.counts.iter().any(|count| count.pair == pair(9_999)));
    }

    #[test]
    fn mapped_addresses_are_folded_and_ipv6_counts_per_64() {
        let v4: IpAddr = "10.1.2.3".parse().unwrap();
        let mapped: IpAddr = "::ffff:10.1.2.3".parse().unwrap();
        let device = DeviceId([1; 32]);
        assert_eq!(AttemptKey::of(v4, &device), AttemptKey::of(mapped, &device));
        let (a, b): (IpAddr, IpAddr) = ("fd00::1".parse().unwrap(), "fd00::2:3".parse().unwrap());
        assert_eq!(AttemptKey::of(a, &device), AttemptKey::of(b, &device));
    }

    fn host(n: u32) -> IpAddr {
        IpAddr::from([10, 1, (n >> 8) as u8, n as u8])
    }

    /// Makes password attempts from these hosts, each as often as possible, for `ms` milliseconds.
    fn flood(line: &mut AttemptQueue, hosts: u32, from: u64, ms: u64) -> usize {
        let tries = |now: u64| (0..hosts).map(move |n| (host(n), Millis(now)));
        (from..from + ms)
            .step_by(10)
            .flat_map(tries)
            .filter(|(host, now)| line.reserve(*host, *now).is_some())
            .count()
    }

    #[test]
    fn total_attempt_rate_does_not_depend_on_the_number_of_hosts() {
        for hosts in [1, 3, 40, 1000] {
            let mut line = AttemptQueue::new(limits::PASSWORD_EVERY_MS);
            let seen = flood(&mut line, hosts, 0, 60_000) as u64;
            let rate = 60_000 / limits::PASSWORD_EVERY_MS;
            let most = limits::ATTEMPTS_AT_ONCE + rate + limits::ATTEMPTS_WAITING as u64;
            assert!((limits::ATTEMPTS_AT_ONCE + rate..=most).contains(&seen), "{hosts}: {seen}");
            assert!(line.waiting.len() <= limits::ATTEMPTS_WAITING);
        }
    }

    #[test]
    fn new_host_gets_a_place_in_a_full_attempt_queue() {
        for hosts in [1, 40] {
            let mut line = AttemptQueue::new(limits::PASSWORD_EVERY_MS);
            flood(&mut line, hosts, 0, 60_000);
            let wait = line.reserve(host(2000), Millis(60_000)).expect("a place");
            assert!(
                (1..=limits::ATTEMPTS_WAITING as u64 * limits::PASSWORD_EVERY_MS).contains(&wait),
                "{wait}"
            );
            line.reserve(host(0), Millis(60_000));
            assert_eq!(
                line.reserve(host(0), Millis(60_000)),
                None,
                "but for the turn that is over, a guesser has no more"
            );
        }
    }

    #[test]
    fn right_attempts_are_free_and_idle_time_restores_the_burst() {
        let mut line = AttemptQueue::new(limits::PASSWORD_EVERY_MS);
        for _ in 0..1000 {
            assert_eq!(line.reserve(host(1), Millis(7)), Some(0));
            line.refund();
        }
        flood(&mut line, 1, 7, 10_000);
        assert!(line.reserve(host(2), Millis(10_007)).is_some_and(|wait| wait > 0));
        let rested = 10_007 + 2 * limits::ATTEMPTS_AT_ONCE * limits::PASSWORD_EVERY_MS;
        for _ in 0..limits::ATTEMPTS_AT_ONCE {
            assert_eq!(line.reserve(host(3), Millis(rested)), Some(0));
        }
        assert_eq!(line.reserve(host(3), Millis(rested)), Some(limits::PASSWORD_EVERY_MS));
    }
}
