//! The two copies of a place: which of them counts, and in which order they are written.
//!
//! Pure. Invariant: the copy that is written first is never the only one known to be durable.

use std::cmp::Ordering;

use super::record::{Decoded, Fault, Value};

/// Why a copy was not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// An update ended (power cut, `kill`) before it came to this copy.
    Behind,
    /// It is damaged.
    Torn(Fault),
}

/// The copy that counts.
pub(super) struct Choice {
    pub(super) value: Value,
    pub(super) trust: [Trust; 2],
    /// The copy that does not count, and why.
    pub(super) flaw: Option<(usize, Flaw)>,
}

pub(super) fn choose(copies: [Decoded; 2]) -> Result<Choice, [Fault; 2]> {
    let (old, new) = (Trust::Durable, Trust::Read);
    match copies {
        [Decoded::Good(a, value), Decoded::Good(b, other)] => {
            let (a, b) = (a.generation, b.generation);
            if a == b && value != other {
                return Err([Fault::Conflict; 2]);
            }
            Ok(match a.cmp(&b) {
                Ordering::Equal => Choice { value, trust: [old(a), old(b)], flaw: None },
                Ordering::Less => Choice { value: other, trust: [old(a), new(b)], flaw: Some((0, Flaw::Behind)) },
                Ordering::Greater => Choice { value, trust: [new(a), old(b)], flaw: Some((1, Flaw::Behind)) },
            })
        }
        [Decoded::Good(a, value), torn] => {
            Ok(Choice { value, trust: [old(a.generation), Trust::Doubt], flaw: Some((1, Flaw::Torn(fault(&torn)))) })
        }
        [torn, Decoded::Good(b, value)] => {
            Ok(Choice { value, trust: [Trust::Doubt, old(b.generation)], flaw: Some((0, Flaw::Torn(fault(&torn)))) })
        }
        [a, b] => Err([fault(&a), fault(&b)]),
    }
}

pub(super) fn fault(decoded: &Decoded) -> Fault {
    match decoded {
        Decoded::Torn(fault) => *fault,
        Decoded::Good(..) | Decoded::Newer(_) => Fault::Misplaced,
    }
}

/// Which copy is written first, and the generation that both get.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    pub(super) first: usize,
    pub(super) generation: u64,
}

/// What is known of the two copies of a place.
#[derive(Clone, Copy)]
pub(super) struct Copies {
    pub(super) trust: [Trust; 2],
    /// The highest generation that was ever begun.
    pub(super) last: u64,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Trust {
    /// Damaged, or a write or sync of it failed: it may hold anything.
    Doubt,
    /// Read with this generation, but perhaps only from a cache: the process that wrote it may have ended before the sync.
    Read(u64),
    /// Known to be durable with this generation.
    Durable(u64),
}

impl Trust {
    pub(super) fn generation(self) -> u64 {
        match self {
            Trust::Doubt => 0,
            Trust::Read(generation) | Trust::Durable(generation) => generation,
        }
    }
}

impl Copies {
    /// The copy to write first is the one that is known least. Among equals it is the one that was written second last
    /// time, which the lowest bit of the generation tells: if that sync failed and only this process ended, the copy
    /// was read from the cache and the other one is all there is.
    pub(super) fn next_turn(&self) -> Turn {
        let first = match self.trust {
            [Trust::Doubt | Trust::Read(_), Trust::Durable(_)] => 0,
            [Trust::Durable(_), Trust::Doubt | Trust::Read(_)] => 1,
            _ => ((self.last + 1) & 1) as usize,
        };
        let next = self.last + 1;
        Turn { first, generation: next + u64::from(next & 1 != first as u64) }
    }

    /// A copy that was only read is written again as it is, so that no moment exists in which it is neither here nor there.
    pub(super) fn mending_turn(&self) -> Turn {
        match self.trust {
            [Trust::Read(generation), _] => Turn { first: 0, generation },
            [_, Trust::Read(generation)] => Turn { first: 1, generation },
            _ => self.next_turn(),
        }
    }

    /// The copy to mend from and its generation, unless both are as they should be.
    pub(super) fn source(&self) -> Option<(usize, u64)> {
        let [a, b] = self.trust.map(Trust::generation);
        let copy = usize::from(b > a);
        (a != b).then_some((copy, a.max(b)))
    }
}
