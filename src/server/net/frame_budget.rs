//! Budget of all unfinished frames of admitted clients: memory for messages that are announced and
//! not handled yet.
//!
//! A message of more than [`limits::BUFFER_KEPT`] bytes is read only after its whole length is
//! reserved. Until then its connection is not read, so the client waits. A waiting connection has
//! nothing reserved, and each reservation ends: its message is handled, or takes too long and the
//! connection is closed. Therefore all waiting connections get their turn.
//!
//! - One message of each holder is read if there is room. Further ones of the same holder are read
//!   while it has at most half of what is free.
//! - Connections that wait get room in the order in which they began to wait. One that waits
//!   because of its holder's share does not delay those behind it.
//! - [`limits::UNFINISHED_ORDINARY`] bytes are kept free for messages of at most
//!   [`limits::FRAME_ORDINARY`] bytes, so these do not wait for large ones.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{ready, Context, Poll, Waker};

use crate::gate::budget::{Budget, Holder};
use crate::gate::ids::{ConnId, Millis};
use crate::gate::limits;

/// Budget of all unfinished frames. Used on one thread.
pub struct FrameBudget(RefCell<State>);

struct State {
    budget: Budget,
    /// Bytes that each holder has reserved, sorted by holder.
    holders: Vec<(Holder, usize)>,
    /// Connections that wait, and those that have got room and were not polled since.
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    conn: ConnId,
    holder: Holder,
    bytes: usize,
    is_granted: bool,
    waker: Waker,
}

impl Default for FrameBudget {
    fn default() -> FrameBudget {
        FrameBudget(RefCell::new(State {
            budget: Budget::new(limits::UNFINISHED_FRAMES),
            holders: Vec::new(),
            waiting: VecDeque::new(),
        }))
    }
}

impl FrameBudget {
    /// Returns a copy of the budget.
    pub fn usage(&self) -> Budget {
        self.0.borrow().budget
    }

    /// Returns the number of connections that wait.
    pub fn waiting(&self) -> usize {
        self.0.borrow().waiting.iter().filter(|one| !one.is_granted).count()
    }

    /// Reserves bytes for a message of a connection that has none reserved. Pending until there is
    /// room.
    fn poll_reserve(&self, conn: ConnId, holder: Holder, bytes: usize, waker: &Waker) -> Poll<()> {
        let mut state = self.0.borrow_mut();
        if state.waiting.is_empty() && state.fits(holder, bytes) {
            state.take(holder, bytes);
            return Poll::Ready(());
        }
        let at = match state.waiting.iter().position(|one| one.conn == conn) {
            Some(at) => at,
            None => {
                let waker = waker.clone();
                state.waiting.push_back(Waiting { conn, holder, bytes, is_granted: false, waker });
                state.grant();
                state.waiting.len() - 1
            }
        };
        if state.waiting[at].is_granted {
            state.waiting.remove(at);
            return Poll::Ready(());
        }
        state.waiting[at].waker.clone_from(waker);
        Poll::Pending
    }

    fn release(&self, holder: Holder, bytes: usize) {
        let mut state = self.0.borrow_mut();
        state.give(holder, bytes);
        state.grant();
    }

    fn cancel(&self, conn: ConnId) {
        let mut state = self.0.borrow_mut();
        let Some(at) = state.waiting.iter().position(|one| one.conn == conn) else { return };
        let Some(waiting) = state.waiting.remove(at) else { return };
        if waiting.is_granted {
            state.give(waiting.holder, waiting.bytes);
        }
        state.grant();
    }
}

impl State {
    /// Returns whether the message fits next to those of other connections, whatever its holder
    /// has.
    fn has_room(&self, bytes: usize) -> bool {
        let kept = if bytes > limits::FRAME_ORDINARY { limits::UNFINISHED_ORDINARY } else { 0 };
        bytes + kept <= self.budget.free()
    }

    fn has_share(&self, holder: Holder, bytes: usize) -> bool {
        match self.index(holder) {
            Ok(at) => self.holders[at].1 + bytes <= self.budget.free().saturating_sub(bytes),
            Err(_) => true,
        }
    }

    fn fits(&self, holder: Holder, bytes: usize) -> bool {
        self.has_room(bytes) && self.has_share(holder, bytes)
    }

    /// Gives room to the connections that wait, in their order.
    fn grant(&mut self) {
        let mut is_full = [false; 2];
        for at in 0..self.waiting.len() {
            let Waiting { holder, bytes, is_granted, .. } = self.waiting[at];
            let full = &mut is_full[usize::from(bytes > limits::FRAME_ORDINARY)];
            if is_granted || *full || !self.has_share(holder, bytes) {
                continue;
            }
            if self.has_room(bytes) {
                self.take(holder, bytes);
                let granted = &mut self.waiting[at];
                granted.is_granted = true;
                granted.waker.wake_by_ref();
            } else {
                // those behind it do not overtake it
                *full = true;
                if is_full == [true; 2] {
                    return;
                }
            }
        }
    }

    fn take(&mut self, holder: Holder, bytes: usize) {
        self.budget.take(bytes);
        match self.index(holder) {
            Ok(at) => self.holders[at].1 += bytes,
            Err(at) => self.holders.insert(at, (holder, bytes)),
        }
    }

    fn give(&mut self, holder: Holder, bytes: usize) {
        self.budget.give(bytes);
        let Ok(at) = self.index(holder) else { return };
        self.holders[at].1 -= bytes;
        if self.holders[at].1 == 0 {
            self.holders.remove(at);
        }
    }

    fn index(&self, holder: Holder) -> Result<usize, usize> {
        self.holders.binary_search_by_key(&holder, |(one, _)| *one)
    }
}

/// Reservation of one connection in a [`FrameBudget`]. Dropping it releases what it has.
pub struct FrameShare {
    budget: Rc<FrameBudget>,
    conn: ConnId,
    holder: Holder,
    reserved: usize,
    is_waiting: bool,
}

impl FrameShare {
    /// Creates the share of a connection, which has nothing reserved.
    pub fn new(budget: Rc<FrameBudget>, conn: ConnId, holder: Holder) -> FrameShare {
        FrameShare { budget, conn, holder, reserved: 0, is_waiting: false }
    }

    /// Reserves bytes, unless some are reserved already. Pending until there is room.
    pub fn poll_reserve(&mut self, bytes: usize, context: &mut Context<'_>) -> Poll<()> {
        if self.reserved > 0 || bytes == 0 {
            return Poll::Ready(());
        }
        self.is_waiting = true;
        ready!(self.budget.poll_reserve(self.conn, self.holder, bytes, context.waker()));
        (self.reserved, self.is_waiting) = (bytes, false);
        Poll::Ready(())
    }

    /// Returns whether the connection waits for room.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Releases what is reserved.
    pub fn release(&mut self) {
        let reserved = std::mem::take(&mut self.reserved);
        if reserved > 0 {
            self.budget.release(self.holder, reserved);
        }
    }
}

impl Drop for FrameShare {
    fn drop(&mut self) {
        self.release();
        if self.is_waiting {
            self.budget.cancel(self.conn);
        }
    }
}

/// Time since an unfinished message was begun.
#[derive(Default)]
pub struct FrameClock {
    begun: Option<Millis>,
}

impl FrameClock {
    /// Returns whether a message takes too long, of which this number of bytes was received. It has
    /// [`limits::FRAME_MS`], and more if it has arrived at [`limits::FRAME_RATE`] bytes a second on
    /// average. Without a message the clock is reset.
    pub fn is_overdue(&mut self, received: Option<u64>, now: impl FnOnce() -> Millis) -> bool {
        let Some(received) = received else {
            self.begun = None;
            return false;
        };
        let now = now();
        let granted = received.saturating_mul(1000) / limits::FRAME_RATE;
        now.since(*self.begun.get_or_insert(now)) > granted.max(limits::FRAME_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::ids::DeviceId;
    use crate::server::net::frame_meter::FrameMeter;

    const MIB: usize = 1024 * 1024;
    const LARGEST: usize = limits::FRAME_AFTER_HELLO;

    fn device(number: u8) -> Holder {
        Holder::Device(DeviceId([number; 32]))
    }

    /// Budget with one share for each connection; the holder is a device of that number.
    struct Room(Rc<FrameBudget>);

    impl Room {
        fn share(&self, conn: u64, holder: u8) -> FrameShare {
            FrameShare::new(self.0.clone(), ConnId(conn), device(holder))
        }
    }

    fn reserve(share: &mut FrameShare, bytes: usize) -> bool {
        share.poll_reserve(bytes, &mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn one_frame_of_each_holder_and_a_share_of_the_rest_fit() {
        let room = Room(Rc::default());
        let [mut one, mut more, mut other, mut third] =
            [(1, 1), (2, 1), (3, 2), (4, 3)].map(|(conn, holder)| room.share(conn, holder));
        assert!(reserve(&mut one, LARGEST));
        assert!(!reserve(&mut more, 8 * MIB), "25 + 8 are more than 64 - 33");
        assert!(reserve(&mut other, LARGEST), "one that has nothing is not delayed by a share");
        assert!(!reserve(&mut third, 7 * MIB), "the rest is for ordinary frames");
        let mut ordinary = room.share(5, 4);
        assert!(reserve(&mut ordinary, limits::FRAME_ORDINARY));
        assert_eq!(room.0.waiting(), 2);
        drop(one);
        assert!(reserve(&mut third, 7 * MIB));
        other.release();
        assert!(reserve(&mut more, 8 * MIB));
        drop((more, third, other, ordinary));
        assert_eq!((room.0.usage().used(), room.0.waiting()), (0, 0));
        assert!(room.0.usage().peak() > 50 * MIB);
    }

    #[test]
    fn small_frames_do_not_overtake_a_large_one_of_their_kind() {
        let room = Room(Rc::default());
        let mut held = [1, 2].map(|number| room.share(number, number as u8));
        held.iter_mut().for_each(|share| assert!(reserve(share, LARGEST)));
        let (mut large, mut behind) = (room.share(3, 3), room.share(4, 4));
        assert!(!reserve(&mut large, LARGEST) && !reserve(&mut behind, MIB));
        held[0].release();
        assert!(reserve(&mut large, LARGEST) && reserve(&mut behind, MIB));
        // one that waits for its own share delays no other
        let (mut own, mut free) = (room.share(5, 3), room.share(6, 5));
        assert!(!reserve(&mut own, LARGEST) && reserve(&mut free, MIB));
        drop(own);
        assert_eq!(room.0.waiting(), 0);
    }

    /// Client that sends messages of random frames.
    struct Sender {
        meter: FrameMeter,
        share: FrameShare,
        /// Frames of the current message that are not received: first byte and payload.
        frames: VecDeque<(u8, usize)>,
        /// Payload received of the current message.
        received: usize,
        messages: u32,
    }

    impl Sender {
        /// Makes up a message of one to four frames.
        fn begin(&mut self, random: &mut fastrand::Rng) {
            let mut left = match random.u8(..4) {
                0 => random.usize(..200),
                1 => random.usize(..2 * limits::BUFFER_KEPT),
                2 => random.usize(..limits::FRAME_ORDINARY),
                _ => random.usize(..LARGEST),
            };
            let last = random.usize(..4);
            for at in 0..=last {
                let part = if at == last { left } else { random.usize(..=left) };
                left -= part;
                let is_last = if at == last { 0x80 } else { 0 };
                self.frames.push_back((is_last | u8::from(at == 0), part));
            }
        }

        /// Receives up to one frame. Returns `false` if it has to wait for room.
        fn receive(&mut self) -> bool {
            let Some((first, len)) = self.frames.front().copied() else { return true };
            let head = [&[first, 127][..], &(len as u64).to_be_bytes()].concat();
            let reservation = self.meter.reservation(&head).unwrap();
            if !reserve(&mut self.share, reservation) {
                return false;
            }
            // the meter needs the length of the payload only
            let frame = vec![0; 10 + len];
            let frame = [&head, &frame[10..]].concat();
            assert_eq!(self.meter.pass(&frame, usize::MAX), Ok(frame.len()));
            self.received += len;
            self.frames.pop_front();
            if self.frames.is_empty() {
                assert!(self.meter.is_between_messages());
                (self.received, self.messages) = (0, self.messages + 1);
                self.share.release();
            }
            true
        }
    }

    #[test]
    fn all_messages_get_through_and_never_have_more_than_the_budget() {
        let mut random = fastrand::Rng::with_seed(17);
        let budget: Rc<FrameBudget> = Rc::default();
        let mut senders: Vec<Sender> = (0..24)
            .map(|conn| Sender {
                meter: FrameMeter::new(LARGEST),
                share: FrameShare::new(budget.clone(), ConnId(conn), device((conn / 3) as u8)),
                frames: VecDeque::new(),
                received: 0,
                messages: 0,
            })
            .collect();
        let (mut waited, mut steps) = (0, 0);
        while senders.iter().any(|sender| sender.messages < 12) {
            let at = random.usize(..senders.len());
            let sender = &mut senders[at];
            if sender.frames.is_empty() && sender.messages < 12 {
                sender.begin(&mut random);
            }
            waited += u32::from(!sender.receive());
            let used = budget.usage().used();
            assert!(used <= limits::UNFINISHED_FRAMES);
            let reserved: usize = senders.iter().map(|sender| sender.share.reserved).sum();
            assert!(reserved <= used, "what is reserved is counted");
            for sender in &senders {
                let free = limits::BUFFER_KEPT;
                assert!(sender.received <= sender.share.reserved.max(free));
                assert!(!sender.share.is_waiting() || sender.share.reserved == 0);
            }
            // a client that disappears leaves nothing behind
            if random.u8(..) == 0 {
                let (conn, holder) = (ConnId(at as u64), senders[at].share.holder);
                senders[at].share = FrameShare::new(budget.clone(), ConnId(u64::MAX), holder);
                senders[at].share = FrameShare::new(budget.clone(), conn, holder);
                senders[at].meter = FrameMeter::new(LARGEST);
                (senders[at].received, senders[at].frames) = (0, VecDeque::new());
            }
            steps += 1;
            assert!(steps < 100_000, "no connection gets its turn");
        }
        assert!(waited > 100, "{waited}");
        assert_eq!((budget.usage().used(), budget.waiting()), (0, 0));
        assert!(budget.0.borrow().holders.is_empty());
    }

    #[test]
    fn frames_have_a_minute_or_a_least_rate() {
        let overdue = |received, ms| {
            let mut clock = FrameClock::default();
            assert!(!clock.is_overdue(Some(0), || Millis(5)));
            clock.is_overdue(Some(received), || Millis(5 + ms))
        };
        assert!(!overdue(0, 60_000) && overdue(0, 60_001));
        // 25 MiB at 2 Mbit/s take 105 seconds
        let rate = 2_000_000 / 8;
        assert!((0..=105).all(|second| !overdue(second * rate, second * 1000)));
        assert!((0..=400).all(|second| !overdue(second * limits::FRAME_RATE, second * 1000)));
        assert!(overdue(61 * limits::FRAME_RATE - 1, 61_000));
        assert!(!overdue(u64::MAX, 1 << 40));
        let mut clock = FrameClock::default();
        for minute in 0..10 {
            assert!(!clock.is_overdue(Some(0), || Millis(minute * 60_001)), "a new message");
            assert!(!clock.is_overdue(None, || Millis(0)));
        }
    }
}
