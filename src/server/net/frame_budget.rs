//! Budget of all unfinished frames of admitted clients: memory for messages that are announced and
//! not handled yet.
//!
//! A message of more than [`limits::BUFFER_KEPT`] bytes is read only after its whole length is
//! reserved. Until then its connection is not read, so the client waits. A message that waits has
//! nothing reserved, and each reservation ends: its message is handled, or takes too long and the
//! connection is closed. Therefore all waiting connections get their turn.
//!
//! - A message in several frames, whose size is not known, first has room as an ordinary one. If it
//!   is larger it waits again, but its time goes on, so that this ends too.
//! - One message of each holder is read if there is room. Further ones of the same holder are read
//!   while it has at most half of what is free.
//! - Connections that wait get room in the order in which they began to wait. One that waits
//!   because of its holder's share does not delay those behind it.
//! - [`limits::UNFINISHED_ORDINARY`] bytes are kept free for messages of at most
//!   [`limits::FRAME_ORDINARY`] bytes, or twice that, so these do not wait for large ones.

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
    /// Bytes reserved for large messages, which are part of the budget.
    large: usize,
    /// Sorted by holder.
    holders: Vec<Held>,
    /// Connections that wait, and those that have got room and were not polled since.
    waiting: VecDeque<Waiting>,
}

/// Bytes that a holder has reserved, and those of them for large messages.
struct Held {
    holder: Holder,
    bytes: usize,
    large: usize,
}

/// Reservation that is asked for.
#[derive(Clone, Copy)]
struct Wanted {
    conn: ConnId,
    holder: Holder,
    /// Bytes that the connection has reserved.
    held: usize,
    /// Bytes that it is to have.
    bytes: usize,
}

impl Wanted {
    fn more(self) -> usize {
        self.bytes - self.held
    }

    /// Returns whether the message is not an ordinary one.
    fn is_large(self) -> bool {
        large(self.bytes) > 0
    }

    fn more_large(self) -> usize {
        large(self.bytes) - large(self.held)
    }
}

/// Returns the bytes of a reservation if it is for a large message, else 0.
fn large(bytes: usize) -> usize {
    if bytes > 2 * limits::FRAME_ORDINARY {
        bytes
    } else {
        0
    }
}

struct Waiting {
    wanted: Wanted,
    is_granted: bool,
    waker: Waker,
}

impl Default for FrameBudget {
    fn default() -> FrameBudget {
        FrameBudget(RefCell::new(State {
            budget: Budget::new(limits::UNFINISHED_FRAMES),
            large: 0,
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

    /// Reserves bytes for a message. Pending until there is room.
    fn poll_reserve(&self, wanted: Wanted, waker: &Waker) -> Poll<()> {
        let mut state = self.0.borrow_mut();
        if state.waiting.is_empty() && state.has_share(wanted) && state.has_room(wanted) {
            state.take(wanted);
            return Poll::Ready(());
        }
        let at = match state.waiting.iter().position(|one| one.wanted.conn == wanted.conn) {
            Some(at) => at,
            None => {
                let waker = waker.clone();
                state.waiting.push_back(Waiting { wanted, is_granted: false, waker });
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
        state.give(holder, bytes, large(bytes));
        state.grant();
    }

    fn cancel(&self, conn: ConnId) {
        let mut state = self.0.borrow_mut();
        let Some(at) = state.waiting.iter().position(|one| one.wanted.conn == conn) else { return };
        let Some(Waiting { wanted, is_granted, .. }) = state.waiting.remove(at) else { return };
        if is_granted {
            state.give(wanted.holder, wanted.more(), wanted.more_large());
        }
        state.grant();
    }
}

impl State {
    /// Returns whether the message fits next to those of other connections, whatever its holder
    /// has.
    fn has_room(&self, wanted: Wanted) -> bool {
        let max = limits::UNFINISHED_FRAMES - limits::UNFINISHED_ORDINARY;
        let is_kept_free = !wanted.is_large() || self.large + wanted.more_large() <= max;
        is_kept_free && wanted.more() <= self.budget.free()
    }

    /// Returns whether the holder has no other message of this kind, or at most half of what is
    /// free.
    fn has_share(&self, wanted: Wanted) -> bool {
        let Ok(at) = self.index(wanted.holder) else { return true };
        let held = &self.holders[at];
        let is_first = match wanted.is_large() {
            true => held.large == large(wanted.held),
            false => held.bytes == wanted.held,
        };
        let more = wanted.more();
        is_first || held.bytes + more <= self.budget.free().saturating_sub(more)
    }

    /// Gives room to the connections that wait, in their order.
    fn grant(&mut self) {
        let mut is_full = [false; 2];
        for at in 0..self.waiting.len() {
            let Waiting { wanted, is_granted, .. } = self.waiting[at];
            let full = &mut is_full[usize::from(wanted.is_large())];
            if is_granted || *full || !self.has_share(wanted) {
                continue;
            }
            if self.has_room(wanted) {
                self.take(wanted);
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

    fn take(&mut self, wanted: Wanted) {
        let (bytes, large) = (wanted.more(), wanted.more_large());
        self.budget.take(bytes);
        self.large += large;
        match self.index(wanted.holder) {
            Ok(at) => {
                self.holders[at].bytes += bytes;
                self.holders[at].large += large;
            }
            Err(at) => self.holders.insert(at, Held { holder: wanted.holder, bytes, large }),
        }
    }

    fn give(&mut self, holder: Holder, bytes: usize, large: usize) {
        self.budget.give(bytes);
        self.large -= large;
        let Ok(at) = self.index(holder) else { return };
        self.holders[at].bytes -= bytes;
        self.holders[at].large -= large;
        if self.holders[at].bytes == 0 {
            self.holders.remove(at);
        }
    }

    fn index(&self, holder: Holder) -> Result<usize, usize> {
        self.holders.binary_search_by_key(&holder, |held| held.holder)
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

    /// Reserves at least this number of bytes. Pending until there is room.
    pub fn poll_reserve(&mut self, bytes: usize, context: &mut Context<'_>) -> Poll<()> {
        if bytes <= self.reserved {
            return Poll::Ready(());
        }
        self.is_waiting = true;
        let (conn, holder, held) = (self.conn, self.holder, self.reserved);
        let wanted = Wanted { conn, holder, held, bytes };
        ready!(self.budget.poll_reserve(wanted, context.waker()));
        (self.reserved, self.is_waiting) = (bytes, false);
        Poll::Ready(())
    }

    /// Returns whether the connection waits for room.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Returns whether a message waits of which nothing was received.
    pub fn is_first_waiting(&self) -> bool {
        self.is_waiting && self.reserved == 0
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
        if self.is_waiting {
            self.budget.cancel(self.conn);
        }
        self.release();
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
        assert!(!reserve(&mut large, LARGEST) && !reserve(&mut behind, 2 * MIB));
        held[0].release();
        assert!(reserve(&mut large, LARGEST) && reserve(&mut behind, 2 * MIB));
        // one that waits for its own share delays no other
        let (mut own, mut free) = (room.share(5, 3), room.share(6, 5));
        assert!(!reserve(&mut own, LARGEST) && reserve(&mut free, 2 * MIB));
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
        let mut senders: Vec<Sender> = (0..12)
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
                let ordinary = 2 * limits::FRAME_ORDINARY;
                assert!(!sender.share.is_waiting() || sender.share.reserved <= ordinary);
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
