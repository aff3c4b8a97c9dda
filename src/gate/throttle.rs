//! Wrong passwords, counted for each pair of address and device. Generated tokens need no such thing.
//!
//! A fixed table: a pair that guesses too often waits, and nobody else does. The pair that was quiet the longest gives way
//! when the table is full, a waiting one only to nobody: then a new pair is not counted, which costs a guesser 256 locked
//! pairs and gains it what it had anyway, a fresh pair.

use core::net::IpAddr;

use super::ids::{DeviceId, Millis};
use super::limits;
use super::net;

/// Whose guesses are counted together: an address (IPv6: its /64) and a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pair {
    network: [u8; 8],
    device: [u8; 8],
}

impl Pair {
    /// The pair of that address and that device, or that address and no device.
    pub fn of(address: IpAddr, device: Option<&DeviceId>) -> Pair {
        let mut pair = Pair { network: [0; 8], device: [0; 8] };
        match net::fold(address) {
            IpAddr::V4(v4) => pair.network[4..].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => pair.network.copy_from_slice(&v6.octets()[..8]),
        }
        if let Some(DeviceId(id)) = device {
            pair.device.copy_from_slice(&id[..8]);
        }
        pair
    }
}

/// How many wrong passwords a pair has, and how long they count. The defaults are those of protocol 4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    pub tries: u32,
    pub window_ms: u64,
    pub lock_ms: u64,
}

impl Default for Rate {
    fn default() -> Rate {
        Rate { tries: limits::THROTTLE_TRIES, window_ms: limits::THROTTLE_WINDOW_MS, lock_ms: limits::THROTTLE_LOCK_MS }
    }
}

#[derive(Clone, Copy)]
struct Count {
    pair: Pair,
    wrong: u32,
    since: Millis,
    locked_until: Option<Millis>,
}

/// The wrong guesses of everybody.
pub struct Throttle {
    rate: Rate,
    counts: heapless::Vec<Count, { limits::THROTTLES }>,
}

impl Throttle {
    /// Nobody has guessed yet.
    pub const fn new(rate: Rate) -> Throttle {
        Throttle { rate, counts: heapless::Vec::new() }
    }

    /// How many milliseconds this pair must wait before its next guess is looked at; 0 if none.
    pub fn wait(&self, pair: Pair, now: Millis) -> u64 {
        let lock = self.counts.iter().find(|count| count.pair == pair).and_then(|count| count.locked_until);
        lock.map_or(0, |until| until.since(now))
    }

    /// The pair guessed wrong.
    pub fn wrong(&mut self, pair: Pair, now: Millis) {
        let rate = self.rate;
        let Some(count) = self.entry(pair, now) else { return };
        if now.since(count.since) > rate.window_ms || count.locked_until.is_some_and(|until| until <= now) {
            *count = Count { pair, wrong: 0, since: now, locked_until: None };
        }
        count.wrong += 1;
        if count.wrong >= rate.tries && count.locked_until.is_none() {
            count.locked_until = Some(now.plus(rate.lock_ms));
        }
    }

    /// The pair was right: what it guessed before is forgotten.
    pub fn right(&mut self, pair: Pair) {
        if let Some(at) = self.counts.iter().position(|count| count.pair == pair) {
            self.counts.swap_remove(at);
        }
    }

    fn entry(&mut self, pair: Pair, now: Millis) -> Option<&mut Count> {
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

    fn pair(n: u32) -> Pair {
        Pair::of(IpAddr::from([10, 0, (n >> 8) as u8, n as u8]), None)
    }

    #[test]
    fn the_tenth_wrong_guess_locks_the_pair_and_nobody_else() {
        let mut throttle = Throttle::new(Rate::default());
        let device = DeviceId([1; 32]);
        let beside = Pair::of(IpAddr::from([10, 0, 0, 1]), Some(&device));
        for _ in 0..9 {
            throttle.wrong(pair(1), Millis(5));
        }
        assert_eq!(throttle.wait(pair(1), Millis(6)), 0);
        throttle.wrong(pair(1), Millis(7));
        assert_eq!(throttle.wait(pair(1), Millis(7)), limits::THROTTLE_LOCK_MS);
        assert_eq!(throttle.wait(beside, Millis(7)), 0);
        assert_eq!(throttle.wait(pair(2), Millis(7)), 0);
        assert_eq!(throttle.wait(pair(1), Millis(7 + limits::THROTTLE_LOCK_MS)), 0);
    }

    #[test]
    fn guesses_are_forgotten_after_the_window_and_after_a_right_one() {
        let mut throttle = Throttle::new(Rate::default());
        for n in 0..30u64 {
            throttle.wrong(pair(1), Millis(n * 10_000));
        }
        assert_eq!(throttle.wait(pair(1), Millis(300_000)), 0, "seven a minute are not ten");
        for _ in 0..9 {
            throttle.wrong(pair(2), Millis(0));
        }
        throttle.right(pair(2));
        throttle.wrong(pair(2), Millis(1));
        assert_eq!(throttle.wait(pair(2), Millis(1)), 0);
    }

    #[test]
    fn a_full_table_keeps_who_waits() {
        let mut throttle = Throttle::new(Rate { tries: 1, ..Rate::default() });
        throttle.wrong(pair(0), Millis(0));
        let mut lenient = Throttle::new(Rate::default());
        for n in 0..10_000 {
            throttle.wrong(pair(n), Millis(u64::from(n)));
            lenient.wrong(pair(n), Millis(u64::from(n)));
        }
        assert!(throttle.wait(pair(0), Millis(10_000)) > 0);
        assert_eq!(throttle.counts.len(), limits::THROTTLES);
        assert_eq!(lenient.counts.len(), limits::THROTTLES);
        assert!(lenient.counts.iter().any(|count| count.pair == pair(9_999)));
    }

    #[test]
    fn a_mapped_address_is_its_own_and_a_64_is_one() {
        let v4: IpAddr = "10.1.2.3".parse().unwrap();
        let mapped: IpAddr = "::ffff:10.1.2.3".parse().unwrap();
        assert_eq!(Pair::of(v4, None), Pair::of(mapped, None));
        let (a, b): (IpAddr, IpAddr) = ("fd00::1".parse().unwrap(), "fd00::2:3".parse().unwrap());
        assert_eq!(Pair::of(a, None), Pair::of(b, None));
    }
}
