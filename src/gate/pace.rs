//! Pace of an event that carries a whole state: the first change is sent at once, further ones
//! together at the end of an interval.

use super::ids::Millis;

/// Times at which one event may be sent.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Earliest time of the next event.
    next: Millis,
    /// Whether the state has changed since the last event.
    is_changed: bool,
}

impl Pace {
    /// Records that the state has changed.
    pub fn change(&mut self) {
        self.is_changed = true;
    }

    /// Returns the time at which an event is due, if the state has changed since the last one.
    pub fn deadline(&self) -> Option<Millis> {
        self.is_changed.then_some(self.next)
    }

    /// Returns whether an event is due. It then counts as sent; [`Pace::rest`] delays the next one.
    pub fn take(&mut self, now: Millis) -> bool {
        let is_due = self.is_changed && now >= self.next;
        self.is_changed &= !is_due;
        is_due
    }

    /// Delays the next event until `ms` after now.
    pub fn rest(&mut self, now: Millis, ms: u64) {
        self.next = now.plus(ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_sent_within_an_interval_and_events_are_an_interval_apart() {
        const INTERVAL: u64 = 4;
        // all patterns of changes in 12 steps of time
        for pattern in 0..1_u32 << 12 {
            let (mut pace, mut unsent, mut last) = (Pace::default(), None, None);
            for at in 0..12 + INTERVAL {
                if pattern >> at & 1 == 1 {
                    pace.change();
                    unsent.get_or_insert(at);
                }
                assert_eq!(pace.deadline().is_some(), unsent.is_some());
                let is_due = pace.deadline().is_some_and(|due| due.0 <= at);
                assert_eq!(pace.take(Millis(at)), is_due);
                if is_due {
                    pace.rest(Millis(at), INTERVAL);
                    let changed = unsent.take().unwrap();
                    assert!(at - changed < INTERVAL, "{pattern:b}: {changed} was sent at {at}");
                    assert!(last.is_none_or(|last| at - last >= INTERVAL), "{pattern:b}: {at}");
                    let is_delayed = last.is_some_and(|last| changed < last + INTERVAL);
                    assert!(is_delayed || at == changed, "{pattern:b}: {changed} waited");
                    last = Some(at);
                }
            }
            assert_eq!(unsent, None, "{pattern:b}: a change was never sent");
        }
    }
}
