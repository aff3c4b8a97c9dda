//! Budgets: totals that admitted clients share, and the share of one of them.
//!
//! A client can open many connections, so a limit for each connection bounds nothing. A limited
//! resource has one [`Budget`] for all clients, and each [`Holder`] has at most a share of it.

use super::ids::DeviceId;

/// Client in whose name a resource is held: all connections of one device together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Holder {
    /// Device that proved its key.
    Device(DeviceId),
    /// All clients without a device key together, except the command line of this machine.
    Keyless,
    /// Command line of this machine, which authenticates with the control token.
    Local,
}

/// Use of a resource that has a total, in bytes or as a count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    total: usize,
    used: usize,
    peak: usize,
}

impl Budget {
    /// Creates a budget of which nothing is used.
    pub const fn new(total: usize) -> Budget {
        Budget { total, used: 0, peak: 0 }
    }

    /// Takes `amount` if that much is free. Returns whether it was taken.
    pub fn try_take(&mut self, amount: usize) -> bool {
        let fits = amount <= self.free();
        if fits {
            self.take(amount);
        }
        fits
    }

    /// Takes `amount`, even beyond the total. The caller then frees something else.
    pub fn take(&mut self, amount: usize) {
        self.used = self.used.saturating_add(amount);
        self.peak = self.peak.max(self.used);
    }

    /// Sets how much is used, for a pool that counts its own entries.
    pub fn record(&mut self, used: usize) {
        self.used = used;
        self.peak = self.peak.max(used);
    }

    /// Returns the budget with this much used, for a pool that counts its own entries.
    pub fn with_used(mut self, used: usize) -> Budget {
        self.record(used);
        self
    }

    /// Gives `amount` back.
    pub fn give(&mut self, amount: usize) {
        debug_assert!(amount <= self.used, "more is given back than was taken");
        self.used = self.used.saturating_sub(amount);
    }

    /// Sets the total, which may be less than what is used.
    pub fn with_total(self, total: usize) -> Budget {
        Budget { total, ..self }
    }

    /// Returns the total.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Returns how much is used.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Returns the most that was used at the same time.
    pub fn peak(&self) -> usize {
        self.peak
    }

    /// Returns how much is free; 0 if more than the total is used.
    pub fn free(&self) -> usize {
        self.total.saturating_sub(self.used)
    }
}

/// Returns whether a holder that has `own` of the `used` places of a pool may take another one: a
/// place is free, the holder has fewer than `max`, and no more than are free afterwards. One holder
/// therefore takes at most half of a pool, and the next one half of the rest.
pub fn has_share(own: usize, used: usize, total: usize, max: usize) -> bool {
    used < total && own < max && own < total - used
}

/// Returns the index of the first entry of the holder that has the most entries, and their number.
/// A full pool that evicts this entry takes nothing from a holder with fewer.
pub fn oldest_of_largest<T: PartialEq>(
    holders: impl Iterator<Item = T> + Clone,
) -> Option<(usize, usize)> {
    let count = |holder: &T| holders.clone().filter(|one| one == holder).count();
    let counted = holders.clone().enumerate().map(|(at, holder)| (at, count(&holder)));
    counted.reduce(|most, one| if one.1 > most.1 { one } else { most })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_counts_what_is_taken_and_given() {
        let mut budget = Budget::new(10);
        assert!(budget.try_take(10));
        assert!(!budget.try_take(1));
        assert_eq!((budget.used(), budget.free(), budget.peak()), (10, 0, 10));
        budget.take(5);
        assert_eq!((budget.used(), budget.free(), budget.peak()), (15, 0, 15));
        budget.give(14);
        assert_eq!((budget.used(), budget.free(), budget.peak()), (1, 9, 15));
        budget.record(4);
        assert_eq!((budget.used(), budget.free(), budget.peak()), (4, 6, 15));
    }

    #[test]
    fn largest_holder_is_found_with_its_first_entry() {
        let find = |holders: &str| oldest_of_largest(holders.chars());
        assert_eq!((find(""), find("a"), find("ab")), (None, Some((0, 1)), Some((0, 1))));
        assert_eq!((find("abcb"), find("abcbaa")), (Some((1, 2)), Some((0, 3))));
    }

    #[test]
    fn holders_take_half_of_what_is_free() {
        // holders that each take as much as they can, one after the other
        let mut used = 0;
        let mut shares = Vec::new();
        for _ in 0..6 {
            let mut own = 0;
            while has_share(own, used, 64, 40) {
                (own, used) = (own + 1, used + 1);
            }
            shares.push(own);
        }
        assert_eq!(shares, [32, 16, 8, 4, 2, 1]);
        assert!(!has_share(0, 64, 64, 40), "the pool is full");
        assert!(!has_share(8, 8, 64, 8), "the holder has its maximum");
    }
}
