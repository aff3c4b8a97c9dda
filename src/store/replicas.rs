//! The two replicas of a place: selection of the valid one, and the order in which they are
//! written.
//!
//! Pure functions. Invariant: the replica that is written first is never the only one known to be
//! durable.

use std::cmp::Ordering;

use super::record::{Decoded, Fault, SlotContents};

/// Reason why a replica was not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// Older generation: an update ended (power cut, `kill`) before it reached this replica.
    Behind,
    /// Damaged.
    Torn(Fault),
}

/// The selected replica.
pub(crate) struct Choice {
    pub(crate) value: SlotContents,
    pub(crate) trust: [Trust; 2],
    /// Index of the replica that was not used, and the reason.
    pub(crate) flaw: Option<(usize, Flaw)>,
}

pub(crate) fn choose(replicas: [Decoded; 2]) -> Result<Choice, [Fault; 2]> {
    let (old, new) = (Trust::Durable, Trust::Read);
    match replicas {
        [Decoded::Good(a, value), Decoded::Good(b, other)] => {
            let (a, b) = (a.generation, b.generation);
            if a == b && value != other {
                return Err([Fault::Conflict; 2]);
            }
            Ok(match a.cmp(&b) {
                Ordering::Equal => Choice { value, trust: [old(a), old(b)], flaw: None },
                Ordering::Less => {
                    Choice { value: other, trust: [old(a), new(b)], flaw: Some((0, Flaw::Behind)) }
                }
                Ordering::Greater => {
                    Choice { value, trust: [new(a), old(b)], flaw: Some((1, Flaw::Behind)) }
                }
            })
        }
        [Decoded::Good(a, value), torn] => Ok(Choice {
            value,
            trust: [old(a.generation), Trust::Doubt],
            flaw: Some((1, Flaw::Torn(fault(&torn)))),
        }),
        [torn, Decoded::Good(b, value)] => Ok(Choice {
            value,
            trust: [Trust::Doubt, old(b.generation)],
            flaw: Some((0, Flaw::Torn(fault(&torn)))),
        }),
        [a, b] => Err([fault(&a), fault(&b)]),
    }
}

pub(crate) fn fault(decoded: &Decoded) -> Fault {
    match decoded {
        Decoded::Torn(fault) => *fault,
        Decoded::Good(..) | Decoded::Newer(_) => Fault::Misplaced,
    }
}

/// Replica to write first, and the generation that both get.
#[derive(Clone, Copy)]
pub(crate) struct PlannedWrite {
    pub(crate) first: usize,
    pub(crate) generation: u64,
}

/// State of the two replicas of a place.
#[derive(Clone, Copy)]
pub(crate) struct Replicas {
    pub(crate) trust: [Trust; 2],
    /// Highest generation of any write that was started, successful or not.
    pub(crate) last: u64,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Trust {
    /// Contents unknown: damaged, or a write or sync failed.
    Doubt,
    /// Read with this generation, but possibly only from a cache: the process that wrote it may
    /// have ended before the sync.
    Read(u64),
    /// Durable with this generation.
    Durable(u64),
}

impl Trust {
    pub(crate) fn generation(self) -> u64 {
        match self {
            Trust::Doubt => 0,
            Trust::Read(generation) | Trust::Durable(generation) => generation,
        }
    }
}

impl Replicas {
    /// Returns the next write: the replica with the least certain state goes first.
    ///
    /// Among equals it is the one that was written second last time, which the lowest bit of the
    /// generation tells. If the sync of that write failed and only the process ended, this replica
    /// was read from the cache and the other one is the only durable one.
    pub(crate) fn next_write(&self) -> PlannedWrite {
        let first = match self.trust {
            [Trust::Doubt | Trust::Read(_), Trust::Durable(_)] => 0,
            [Trust::Durable(_), Trust::Doubt | Trust::Read(_)] => 1,
            _ => ((self.last + 1) & 1) as usize,
        };
        let next = self.last + 1;
        PlannedWrite { first, generation: next + u64::from(next & 1 != first as u64) }
    }

    /// Returns the write that repairs the place. A replica that was only read is rewritten with the
    /// same bytes, so that a torn write cannot damage it if it is already durable.
    pub(crate) fn repair_write(&self) -> PlannedWrite {
        match self.trust {
            [Trust::Read(generation), _] => PlannedWrite { first: 0, generation },
            [_, Trust::Read(generation)] => PlannedWrite { first: 1, generation },
            _ => self.next_write(),
        }
    }

    /// Returns the replica to repair from and its generation, or `None` if both replicas have the
    /// same generation.
    pub(crate) fn source(&self) -> Option<(usize, u64)> {
        let [a, b] = self.trust.map(Trust::generation);
        let copy = usize::from(b > a);
        (a != b).then_some((copy, a.max(b)))
    }
}
