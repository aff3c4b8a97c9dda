//! Turns of the event loop, divided by time: the next turn goes to the holder that used the least.
//!
//! A turn is one poll of a task. Each task belongs to a [`TurnHolder`], which may have many. The
//! time of a turn counts for its holder, and turns of one holder are in the order in which they
//! were asked for. A holder that asks after a pause is treated like the one whose turn it is:
//! neither unused time nor a debt from before the loop was idle is remembered.
//!
//! If one holder alone asks for turns, it gets them without a delay.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::gate::budget::Holder;

/// Party for which a task uses the event loop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TurnHolder {
    /// Gateway itself: ticks, results of the disk thread. Its time is not counted.
    Gateway,
    /// Accepting connections, and unauthenticated connections, in order. More are therefore
    /// accepted only when those before had their turns.
    Unauthenticated,
    /// Admitted connections of one client.
    Client(Holder),
}

/// Items that wait for a turn, by holder.
pub struct Turns<T> {
    holders: Vec<Waiting<T>>,
    /// Holders that wait: time used, order of asking, and index. The holder whose turn it is is
    /// added when its turn ends.
    next: BinaryHeap<Reverse<(u64, u64, usize)>>,
    /// Number of entries that were added to `next`.
    asked: u64,
    /// Holder whose turn it is.
    current: Option<usize>,
    /// Time used by that holder before its turn: the least of all that wait.
    now: u64,
    /// Most time used by any holder.
    latest: u64,
}

/// Number of holders that wait for which an idle loop keeps memory.
const IDLE_ENTRIES: usize = 16;

struct Waiting<T> {
    /// Absent if the place is free.
    holder: Option<TurnHolder>,
    tasks: u32,
    /// Time used, in nanoseconds.
    used: u64,
    /// Item that waits first. Most holders have one task, and need no list.
    first: Option<T>,
    rest: VecDeque<T>,
}

impl<T> Default for Turns<T> {
    fn default() -> Turns<T> {
        Turns {
            holders: Vec::new(),
            next: BinaryHeap::new(),
            asked: 0,
            current: None,
            now: 0,
            latest: 0,
        }
    }
}

impl<T> Turns<T> {
    /// Adds a task of the holder. Returns the holder's index, which is valid until as many tasks
    /// were removed as were added.
    pub fn add_task(&mut self, holder: TurnHolder) -> usize {
        let known = self.holders.iter().position(|waiting| waiting.holder == Some(holder));
        let index = known.unwrap_or_else(|| self.add_holder(holder));
        self.holders[index].tasks += 1;
        index
    }

    fn add_holder(&mut self, holder: TurnHolder) -> usize {
        let added = Waiting {
            holder: Some(holder),
            tasks: 0,
            used: self.now,
            first: None,
            rest: VecDeque::new(),
        };
        match self.holders.iter().position(|waiting| waiting.holder.is_none()) {
            Some(free) => {
                self.holders[free] = added;
                free
            }
            None => {
                if self.holders.len() == self.holders.capacity() {
                    self.holders.reserve_exact(4 + self.holders.len() / 8);
                }
                self.holders.push(added);
                self.holders.len() - 1
            }
        }
    }

    /// Removes a task of the holder at this index.
    pub fn remove_task(&mut self, index: usize) {
        self.holders[index].tasks -= 1;
        self.release(index);
    }

    /// Frees the place of a holder that has no task and no turn.
    fn release(&mut self, index: usize) {
        let waiting = &mut self.holders[index];
        if waiting.tasks > 0 || waiting.first.is_some() || self.current == Some(index) {
            return;
        }
        waiting.holder = None;
        // the time that is forgotten here counts for all, or ever new holders would always be first
        let debt = waiting.used.saturating_sub(self.now);
        self.now += debt / (self.next.len() as u64 + 1);
        while self.holders.last().is_some_and(|waiting| waiting.holder.is_none()) {
            self.holders.pop();
        }
        if self.holders.len() < self.holders.capacity() / 4 {
            self.holders.shrink_to(2 * self.holders.len());
        }
    }

    /// Asks for a turn for an item of the holder at this index.
    pub fn ask(&mut self, index: usize, item: T) {
        let waiting = &mut self.holders[index];
        if waiting.first.is_some() {
            return waiting.rest.push_back(item);
        }
        waiting.first = Some(item);
        if self.current != Some(index) {
            waiting.used = waiting.used.max(self.now);
            self.enqueue(index);
        }
    }

    fn enqueue(&mut self, index: usize) {
        self.asked += 1;
        self.next.push(Reverse((self.holders[index].used, self.asked, index)));
    }

    /// Returns whether a turn was begun and not ended.
    pub fn has_turn(&self) -> bool {
        self.current.is_some()
    }

    /// Returns whether anything waits for a turn.
    pub fn is_empty(&self) -> bool {
        let is_current_waiting =
            self.current.is_some_and(|index| self.holders[index].first.is_some());
        self.next.is_empty() && !is_current_waiting
    }

    /// Ends the current turn, if there is one, which took `nanos`. Begins the next one and returns
    /// its item, or `None` if nothing waits.
    pub fn next(&mut self, nanos: u64) -> Option<T> {
        if let Some(index) = self.current.take() {
            self.end(index, nanos);
        }
        let Some(Reverse((used, _, index))) = self.next.pop() else {
            self.now = self.now.max(self.latest);
            self.next.shrink_to(IDLE_ENTRIES);
            return None;
        };
        (self.now, self.current) = (self.now.max(used), Some(index));
        let waiting = &mut self.holders[index];
        let item = waiting.first.take();
        waiting.first = waiting.rest.pop_front();
        item
    }

    fn end(&mut self, index: usize, nanos: u64) {
        let waiting = &mut self.holders[index];
        if waiting.holder != Some(TurnHolder::Gateway) {
            waiting.used = waiting.used.saturating_add(nanos);
            self.latest = self.latest.max(waiting.used);
        }
        if waiting.first.is_none() {
            waiting.rest = VecDeque::new();
            self.release(index);
        } else {
            self.enqueue(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::gate::ids::DeviceId;

    /// Longest turn in these tests.
    const LONGEST: u64 = 1000;

    fn holder(number: u64) -> TurnHolder {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        TurnHolder::Client(Holder::Device(DeviceId(id)))
    }

    /// Turns of some holders, with what they used and the items that they are owed.
    struct Model {
        turns: Turns<(usize, u64)>,
        indexes: Vec<usize>,
        used: Vec<u64>,
        owed: Vec<VecDeque<u64>>,
        items: u64,
        /// Holder and duration of the current turn.
        current: Option<(usize, u64)>,
    }

    impl Model {
        fn new(holders: u64) -> Model {
            let mut turns = Turns::default();
            let indexes: Vec<_> =
                (0..holders).map(|number| turns.add_task(holder(number))).collect();
            let none = vec![VecDeque::new(); indexes.len()];
            Model {
                turns,
                used: vec![0; indexes.len()],
                indexes,
                owed: none,
                items: 0,
                current: None,
            }
        }

        fn ask(&mut self, holder: usize) {
            self.items += 1;
            self.turns.ask(self.indexes[holder], (holder, self.items));
            self.owed[holder].push_back(self.items);
        }

        /// Ends the current turn and begins the next one, which takes `nanos`. Returns its holder.
        fn turn(&mut self, nanos: u64) -> Option<usize> {
            let waits = self.owed.iter().any(|owed| !owed.is_empty());
            assert_eq!(self.turns.is_empty(), !waits);
            let ended = self.current.take();
            if let Some((holder, nanos)) = ended {
                self.used[holder] += nanos;
            }
            let Some((holder, item)) = self.turns.next(ended.map_or(0, |(_, nanos)| nanos)) else {
                assert!(!waits, "a turn is given whenever one is asked for");
                return None;
            };
            let first = self.owed[holder].pop_front();
            assert_eq!(Some(item), first, "the turns of one holder are in order");
            self.current = Some((holder, nanos));
            Some(holder)
        }
    }

    #[test]
    fn every_item_gets_one_turn_in_order() {
        for seed in 0..300 {
            let (mut rng, mut model) = (Rng::with_seed(seed), Model::new(1 + seed % 7));
            let holders = model.indexes.len();
            let rate = rng.u32(1..100);
            for _ in 0..2000 {
                match rng.u32(0..100) {
                    asked if asked < rate => model.ask(rng.usize(0..holders)),
                    _ => drop(model.turn(rng.u64(0..LONGEST))),
                }
                if rng.u8(..) == 0 {
                    let number = rng.usize(0..holders);
                    // the last task leaves while its items wait; the next one has another place
                    let index = model.turns.add_task(holder(number as u64));
                    assert_eq!(index, model.indexes[number]);
                    model.turns.remove_task(index);
                }
            }
            while model.turn(1).is_some() {}
            let left = model.indexes.iter();
            left.for_each(|index| model.turns.remove_task(*index));
            assert_eq!(model.turns.holders.capacity(), 0, "nothing is kept");
        }
    }

    #[test]
    fn holders_that_always_wait_use_equal_time() {
        for seed in 0..200 {
            let (mut rng, mut model) = (Rng::with_seed(seed), Model::new(2 + seed % 20));
            let holders = model.indexes.len();
            // one holder has many tasks and long turns, another has one task and short turns
            let cost: Vec<u64> = (0..holders).map(|_| rng.u64(1..LONGEST)).collect();
            (0..holders).for_each(|number| (0..=rng.u32(0..50)).for_each(|_| model.ask(number)));
            for _ in 0..3000 {
                let next = model.turn(0).unwrap();
                model.current = Some((next, rng.u64(1..=cost[next])));
                model.ask(next);
                let (least, most) = (model.used.iter().min(), model.used.iter().max());
                assert!(most.unwrap() - least.unwrap() <= LONGEST, "seed {seed}: {:?}", model.used);
            }
        }
    }

    #[test]
    fn a_holder_with_short_turns_waits_for_one_turn_of_each_other() {
        for seed in 0..200 {
            let (mut rng, mut model) = (Rng::with_seed(seed), Model::new(1 + seed % 20));
            let others = model.indexes.len() - 1;
            for number in 1..=others {
                (0..50).for_each(|_| model.ask(number));
            }
            let mut waits = None;
            for _ in 0..3000 {
                match model.turn(rng.u64(10..LONGEST)) {
                    Some(0) => (model.current, waits) = (Some((0, 5)), None),
                    Some(other) => {
                        model.ask(other);
                        waits = waits.map(|turns| turns + 1);
                    }
                    None => {}
                }
                if waits.is_none() && model.current.is_none_or(|(holder, _)| holder != 0) {
                    model.ask(0);
                    waits = Some(0);
                }
                assert!(waits.is_none_or(|turns| turns <= others), "seed {seed}");
            }
        }
    }

    #[test]
    fn ever_new_holders_do_not_starve_one_with_long_turns() {
        let mut turns = Turns::default();
        let heavy = turns.add_task(holder(0));
        turns.ask(heavy, 0);
        let (mut last, mut nanos) = (0, 0);
        for number in 1..20_000_u64 {
            // one new holder at a time asks for a short turn and leaves
            if nanos != LONGEST {
                let new = turns.add_task(holder(number));
                turns.ask(new, number);
                turns.remove_task(new);
            }
            nanos = match turns.next(nanos) {
                Some(0) => {
                    turns.ask(heavy, 0);
                    last = number;
                    LONGEST
                }
                _ => 10,
            };
            assert!(number - last <= LONGEST, "no turn since {last}");
        }
    }

    #[test]
    fn neither_a_pause_nor_an_idle_loop_is_credited_or_charged() {
        let mut turns = Turns::default();
        let (a, b) = (turns.add_task(holder(1)), turns.add_task(holder(2)));
        turns.ask(a, 'a');
        assert_eq!(turns.next(0), Some('a'));
        turns.ask(a, 'a');
        assert_eq!(turns.next(LONGEST), Some('a'), "nothing else waits");
        assert_eq!(turns.next(LONGEST), None);
        // both are equal now, and the order of asking decides
        turns.ask(a, 'a');
        turns.ask(b, 'b');
        assert_eq!(turns.next(0), Some('a'));
        turns.ask(a, 'a');
        assert_eq!(turns.next(10), Some('b'), "its pause is worth no more than one turn");
        turns.ask(b, 'b');
        assert_eq!(turns.next(11), Some('a'));
    }

    #[test]
    fn time_of_the_gateway_itself_is_not_counted() {
        let mut turns = Turns::default();
        let (own, other) = (turns.add_task(TurnHolder::Gateway), turns.add_task(holder(1)));
        turns.ask(other, 'o');
        assert_eq!(turns.next(0), Some('o'));
        for _ in 0..100 {
            turns.ask(own, 'g');
            turns.ask(other, 'o');
            assert_eq!(turns.next(LONGEST), Some('g'));
            assert_eq!(turns.next(LONGEST), Some('o'));
        }
    }
}
