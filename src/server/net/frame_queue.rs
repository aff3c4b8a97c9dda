//! Frames queued for one client: what is sent next, what replaces what, and what is left out. Pure
//! values; [`super::send_queue`] shares them between the gateway state and the connection.
//!
//! There are two kinds of frames, each kept in its order:
//!
//! - *Required* frames: responses, and frames for this client alone such as calls to a node and
//!   their cancellation. They are sent first. So a response is never behind an event, and an event
//!   that follows from a response is never before it. A response can pass an event that was queued
//!   earlier; no client depends on that order. Hello is the first required frame and events begin
//!   after it, so nothing is sent before hello.
//! - *Events* to many clients, which have a number (`seq`) for each client. A waiting event that
//!   carries a whole state is replaced by a newer one of the same kind, in its place and with its
//!   number. Others are left out beyond a share. The number is given when the event is queued or
//!   left out. So numbers always ascend, the client sees a gap if an event was left out, and none
//!   if one was replaced.
//!
//! A ping is sent after the required frames. The close is last.
//!
//! Limits:
//!
//! - At most [`limits::SEND_QUEUE_FRAMES`] required frames.
//! - Required frames that are not large have at most [`limits::SEND_QUEUE_BYTES`] bytes together.
//!   With the large ones it is at most [`limits::FRAME_AFTER_HELLO`] more. A single frame may
//!   exceed this.
//! - Events have at most [`limits::SEND_QUEUE_EVENTS`] bytes together when one is added, beside the
//!   newest of each state of the gateway and the event of the shutdown.
//! - After `close` nothing is added. Queued frames are still sent, unless the client is slow or
//!   silent.

use std::collections::VecDeque;
use std::rc::Rc;

use async_tungstenite::tungstenite::Bytes;

use super::send_pool::{Charge, SendPool};
use crate::gate::ids::ConnId;
use crate::gate::limits;
use crate::gate::refusal::Close;
use crate::wire::frames;

/// Treatment of an event by a send queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// Carries a state of the gateway, or says that it has changed. The number is that of the
    /// event's name.
    State(usize),
    /// Carries the state of the node on this connection.
    StateOfNode(ConnId),
    /// May be left out if the client is slow (the protocol's `dropIfSlow`).
    Droppable,
    /// Must be sent. A close follows.
    Final,
}

impl EventKind {
    /// Returns whether a newer event of the same kind makes an older one useless.
    fn is_replaceable(self) -> bool {
        matches!(self, EventKind::State(_) | EventKind::StateOfNode(_))
    }
}

/// Text of an event, written once for all its recipients.
pub struct EventFrame {
    start: Vec<u8>,
    versions: Option<(u64, u64)>,
    kind: EventKind,
    _charge: Charge,
}

impl EventFrame {
    /// Writes an event. `payload` is one JSON value, `versions` those of presence and health.
    pub fn new(
        pool: &Rc<SendPool>,
        name: &str,
        payload: &[u8],
        versions: Option<(u64, u64)>,
        kind: EventKind,
    ) -> Rc<EventFrame> {
        let start = frames::event_start(name, payload);
        let charge = Charge::new(pool.clone(), start.capacity());
        Rc::new(EventFrame { start, versions, kind, _charge: charge })
    }

    /// Number of bytes of the frame, at most.
    pub fn size(&self) -> usize {
        self.start.len() + frames::EVENT_END
    }

    /// Number of bytes of the share of events that a queued event takes.
    fn share(&self) -> usize {
        match self.kind {
            EventKind::State(_) | EventKind::Final => 0,
            EventKind::StateOfNode(_) | EventKind::Droppable => self.size(),
        }
    }
}

/// Frame that a connection sends.
pub struct OutgoingFrame {
    body: Body,
    /// Rest of an event: its number for this client.
    end: Box<[u8]>,
}

enum Body {
    Own(Bytes),
    Shared(Rc<EventFrame>),
}

impl OutgoingFrame {
    /// Returns the two parts of the frame, one after the other.
    pub fn parts(&self) -> [&[u8]; 2] {
        let body = match &self.body {
            Body::Own(bytes) => bytes,
            Body::Shared(event) => event.start.as_slice(),
        };
        [body, &self.end]
    }

    /// Number of bytes of the frame.
    pub fn size(&self) -> usize {
        self.parts().map(<[u8]>::len).iter().sum()
    }

    /// Returns the bytes of the frame as one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        self.parts().concat()
    }
}

impl From<Bytes> for OutgoingFrame {
    fn from(bytes: Bytes) -> OutgoingFrame {
        OutgoingFrame { body: Body::Own(bytes), end: Box::default() }
    }
}

impl From<Vec<u8>> for OutgoingFrame {
    fn from(bytes: Vec<u8>) -> OutgoingFrame {
        Bytes::from(bytes).into()
    }
}

/// Next action of the connection.
pub enum Next {
    /// Send this frame.
    Frame(OutgoingFrame),
    /// The client was admitted: accept larger frames from now on.
    Admitted,
    /// Send a ping.
    Ping,
    /// Close the connection with this code and reason.
    Close(u16, String),
}

/// Result of offering a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Queued {
    Queued,
    /// A waiting event of the same state was replaced.
    Replaced,
    /// The frame was droppable and was left out.
    Dropped,
    /// There is no room for a frame that must not be left out.
    Slow,
    /// The connection is closing.
    Closed,
    /// The frame is larger than any client accepts. It was left out.
    TooLarge,
}

/// Frames and actions queued for one client.
#[derive(Default)]
pub struct FrameQueue {
    required: VecDeque<Required>,
    events: VecDeque<WaitingEvent>,
    bytes: QueuedBytes,
    /// Number of the last event.
    seq: u64,
    /// Number of frames left out.
    dropped: u64,
    has_ping: bool,
    closing: Option<(u16, Box<str>)>,
    state: State,
}

enum Required {
    Frame(Bytes),
    Admitted,
}

struct WaitingEvent {
    event: Rc<EventFrame>,
    seq: u64,
    kind: EventKind,
}

/// Numbers of bytes of a queue.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct QueuedBytes {
    /// Required frames.
    required: usize,
    /// Large frames, which are part of `required`.
    large: usize,
    /// All events.
    events: usize,
    /// Events in the share of events, which is part of `events`.
    share: usize,
    /// Frames that were removed and may not be sent yet.
    sending: usize,
    /// Required frames, which are part of `sending`.
    sending_required: usize,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum State {
    #[default]
    Open,
    /// The close follows the queued frames.
    Closing,
    /// The queued frames were discarded for this reason.
    Aborted(Close),
}

impl FrameQueue {
    /// Queues a frame that must not be left out. Large frames, mostly answers of nodes, may use
    /// [`limits::FRAME_AFTER_HELLO`] bytes in addition to the usual limit.
    pub fn push(&mut self, frame: Bytes) -> Queued {
        let large = large(frame.len());
        let max = limits::SEND_QUEUE_BYTES + if large > 0 { limits::FRAME_AFTER_HELLO } else { 0 };
        let excluded = if large > 0 { 0 } else { self.bytes.large };
        self.push_within(frame, max, excluded).unwrap_or(Queued::Slow)
    }

    /// Queues a frame that may be left out if the client is slow.
    pub fn push_droppable(&mut self, frame: Bytes) -> Queued {
        self.push_within(frame, limits::SEND_QUEUE_BYTES, 0).unwrap_or_else(|| self.drop_one())
    }

    /// Queues a frame if it fits into `max` bytes, ignoring `excluded` queued ones. Any length fits
    /// if there are no others.
    fn push_within(&mut self, frame: Bytes, max: usize, excluded: usize) -> Option<Queued> {
        if self.is_closed() {
            return Some(Queued::Closed);
        }
        let queued = self.bytes.required - excluded;
        let fits = queued == 0 || queued + frame.len() <= max;
        if !fits || self.required.len() >= limits::SEND_QUEUE_FRAMES {
            return None;
        }
        self.bytes.required += frame.len();
        self.bytes.large += large(frame.len());
        self.required.push_back(Required::Frame(frame));
        Some(Queued::Queued)
    }

    /// Queues an event, in the place of a waiting one of the same state if there is one. Leaves it
    /// out if it does not fit into the share of events.
    pub fn push_event(&mut self, event: &Rc<EventFrame>) -> Queued {
        if self.is_closed() {
            return Queued::Closed;
        }
        if event.size() > limits::FRAME_AFTER_HELLO {
            self.seq += 1;
            return Queued::TooLarge;
        }
        let is_same =
            |one: &&mut WaitingEvent| event.kind.is_replaceable() && one.kind == event.kind;
        if let Some(waiting) = self.events.iter_mut().find(is_same) {
            let replaced = std::mem::replace(&mut waiting.event, event.clone());
            self.bytes.share = self.bytes.share - replaced.share() + event.share();
            self.bytes.events = self.bytes.events - replaced.size() + event.size();
            return Queued::Replaced;
        }
        self.seq += 1;
        if event.share() > 0 && self.bytes.share + event.share() > limits::SEND_QUEUE_EVENTS {
            return self.drop_one();
        }
        self.bytes.share += event.share();
        self.bytes.events += event.size();
        let (event, seq, kind) = (event.clone(), self.seq, event.kind);
        self.events.push_back(WaitingEvent { event, seq, kind });
        Queued::Queued
    }

    fn drop_one(&mut self) -> Queued {
        self.dropped += 1;
        Queued::Dropped
    }

    /// Queues [`Next::Admitted`] behind the required frames.
    pub fn mark_admitted(&mut self) {
        self.required.push_back(Required::Admitted);
    }

    /// Queues a ping, if none is waiting.
    pub fn ping(&mut self) {
        self.has_ping = !self.is_closed();
    }

    /// Closes the connection after all queued frames are sent.
    pub fn close(&mut self, code: u16, reason: &str) {
        if !self.is_closed() {
            self.state = State::Closing;
            self.closing = Some((code, reason.into()));
        }
    }

    /// Closes the connection at once. Queued frames are discarded, and a large one that is being
    /// sent is not completed.
    pub fn abort(&mut self, reason: Close) {
        if self.is_aborted() {
            return;
        }
        let (code, text) = reason.words();
        let QueuedBytes { mut sending, mut sending_required, .. } = self.bytes;
        if large(sending) > 0 {
            (sending, sending_required) = (0, 0);
        }
        *self = FrameQueue {
            bytes: QueuedBytes { sending, sending_required, ..QueuedBytes::default() },
            seq: self.seq,
            dropped: self.dropped,
            closing: Some((code, text.into())),
            state: State::Aborted(reason),
            ..FrameQueue::default()
        };
    }

    /// Removes and returns the next action. What was returned before it is sent, unless the
    /// connection is closing: then it counts until the end.
    pub fn pop(&mut self) -> Option<Next> {
        if !self.is_closed() {
            (self.bytes.sending, self.bytes.sending_required) = (0, 0);
        }
        if let Some(required) = pop_and_shrink(&mut self.required, REQUIRED_KEPT) {
            return Some(self.begin_required(required));
        }
        if std::mem::take(&mut self.has_ping) {
            return Some(Next::Ping);
        }
        if let Some(waiting) = pop_and_shrink(&mut self.events, 0) {
            return Some(Next::Frame(self.begin_event(waiting)));
        }
        self.closing.take().map(|(code, reason)| Next::Close(code, reason.into()))
    }

    fn begin_required(&mut self, required: Required) -> Next {
        let Required::Frame(frame) = required else { return Next::Admitted };
        self.bytes.required -= frame.len();
        self.bytes.large -= large(frame.len());
        self.bytes.sending += frame.len();
        self.bytes.sending_required += frame.len();
        Next::Frame(frame.into())
    }

    fn begin_event(&mut self, waiting: WaitingEvent) -> OutgoingFrame {
        let WaitingEvent { event, seq, .. } = waiting;
        self.bytes.share -= event.share();
        self.bytes.events -= event.size();
        self.bytes.sending += event.size();
        let end = frames::event_end(seq, event.versions).into();
        OutgoingFrame { body: Body::Shared(event), end }
    }

    /// Returns whether the connection must end, even if the client reads nothing.
    pub fn is_closed(&self) -> bool {
        self.state != State::Open
    }

    /// Returns whether the connection ends because the client is slow or silent.
    pub fn is_aborted(&self) -> bool {
        self.abort_reason().is_some()
    }

    /// Returns the reason of an immediate close.
    pub fn abort_reason(&self) -> Option<Close> {
        match self.state {
            State::Aborted(reason) => Some(reason),
            State::Open | State::Closing => None,
        }
    }

    /// Number of frames left out.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Number of queued bytes.
    pub fn waiting(&self) -> usize {
        self.bytes.required + self.bytes.events
    }

    /// Number of bytes that are queued or being sent.
    pub fn held(&self) -> usize {
        self.waiting() + self.bytes.sending
    }

    /// Number of bytes that this queue alone keeps in memory. Events are not part of it: they are
    /// shared.
    pub fn own(&self) -> usize {
        let entries = self.required.len() + self.events.len();
        self.bytes.required + self.bytes.sending_required + entries * limits::SEND_QUEUE_ENTRY
    }
}

/// Removes the first element. Gives the memory back when the queue is empty, except for `kept`
/// elements.
fn pop_and_shrink<T>(queue: &mut VecDeque<T>, kept: usize) -> Option<T> {
    let first = queue.pop_front();
    if queue.is_empty() && queue.capacity() > kept {
        *queue = VecDeque::new();
    }
    first
}

/// Number of required frames for which an empty queue keeps memory, because clients that call
/// methods have one at a time.
const REQUIRED_KEPT: usize = 4;

/// Returns the length of a large frame, and 0 for other frames.
fn large(len: usize) -> usize {
    if len < limits::SEND_QUEUE_LARGE {
        0
    } else {
        len
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::gate::ids::Millis;

    /// Frame or event in the model of a queue, which adds everything up each time.
    #[derive(Clone)]
    enum Item {
        Frame(Vec<u8>),
        Admitted,
        Event(Rc<EventFrame>, u64),
    }

    #[derive(Default)]
    struct Model {
        required: Vec<Item>,
        events: Vec<Item>,
        has_ping: bool,
        seq: u64,
        dropped: u64,
        sending: Vec<Item>,
    }

    impl Item {
        fn kind(&self) -> Option<EventKind> {
            match self {
                Item::Event(event, _) => Some(event.kind),
                Item::Frame(_) | Item::Admitted => None,
            }
        }

        fn bytes(&self) -> usize {
            match self {
                Item::Frame(frame) => frame.len(),
                Item::Admitted => 0,
                Item::Event(event, _) => event.size(),
            }
        }

        fn text(&self) -> Vec<u8> {
            match self {
                Item::Frame(frame) => frame.clone(),
                Item::Admitted => Vec::new(),
                Item::Event(event, seq) => {
                    [event.start.clone(), frames::event_end(*seq, event.versions)].concat()
                }
            }
        }
    }

    fn sum(items: &[Item], of: impl Fn(&Item) -> usize) -> usize {
        items.iter().map(of).sum()
    }

    impl Model {
        fn push(&mut self, frame: &[u8], droppable: bool) -> Queued {
            let is_large = |len: usize| len >= limits::SEND_QUEUE_LARGE;
            let all = sum(&self.required, Item::bytes);
            let small =
                sum(&self.required, |one| one.bytes() * usize::from(!is_large(one.bytes())));
            let (queued, max) = match (droppable, is_large(frame.len())) {
                (true, _) => (all, limits::SEND_QUEUE_BYTES),
                (_, true) => (all, limits::SEND_QUEUE_BYTES + limits::FRAME_AFTER_HELLO),
                (_, false) => (small, limits::SEND_QUEUE_BYTES),
            };
            let fits = queued == 0 || queued + frame.len() <= max;
            if fits && self.required.len() < limits::SEND_QUEUE_FRAMES {
                self.required.push(Item::Frame(frame.to_vec()));
                return Queued::Queued;
            }
            self.dropped += u64::from(droppable);
            [Queued::Slow, Queued::Dropped][usize::from(droppable)]
        }

        fn push_event(&mut self, event: &Rc<EventFrame>) -> Queued {
            let is_same = |one: &&mut Item| one.kind() == Some(event.kind);
            if event.kind != EventKind::Droppable && event.kind != EventKind::Final {
                if let Some(Item::Event(waiting, _)) = self.events.iter_mut().find(is_same) {
                    *waiting = event.clone();
                    return Queued::Replaced;
                }
            }
            self.seq += 1;
            let in_share = |kind| matches!(kind, EventKind::StateOfNode(_) | EventKind::Droppable);
            let counted = |one: &Item| match one {
                Item::Event(event, _) if in_share(event.kind) => event.size(),
                _ => 0,
            };
            let new = Item::Event(event.clone(), self.seq);
            if in_share(event.kind)
                && sum(&self.events, counted) + counted(&new) > limits::SEND_QUEUE_EVENTS
            {
                self.dropped += 1;
                return Queued::Dropped;
            }
            self.events.push(new);
            Queued::Queued
        }

        fn pop(&mut self) -> Option<Item> {
            self.sending.clear();
            let ping = Item::Frame(b"ping".to_vec());
            let next = match (self.required.is_empty(), self.has_ping, self.events.is_empty()) {
                (false, ..) => self.required.remove(0),
                (_, true, _) => {
                    self.has_ping = false;
                    return Some(ping);
                }
                (.., false) => self.events.remove(0),
                _ => return None,
            };
            self.sending.push(next.clone());
            Some(next)
        }

        fn check(&self, queue: &FrameQueue) {
            let waiting = sum(&self.required, Item::bytes) + sum(&self.events, Item::bytes);
            assert_eq!(queue.waiting(), waiting);
            assert_eq!(queue.held(), waiting + sum(&self.sending, Item::bytes));
            let own = |one: &Item| if one.kind().is_none() { one.bytes() } else { 0 };
            let entries = self.required.len() + self.events.len();
            let owned = sum(&self.required, own) + sum(&self.sending, own);
            assert_eq!(queue.own(), owned + entries * limits::SEND_QUEUE_ENTRY);
            assert_eq!((queue.dropped(), queue.seq), (self.dropped, self.seq));
        }
    }

    fn event(pool: &Rc<SendPool>, kind: EventKind, len: usize, mark: u64) -> Rc<EventFrame> {
        let payload = format!(r#"{{"mark":{mark},"fill":"{}"}}"#, "x".repeat(len));
        EventFrame::new(pool, "e", payload.as_bytes(), Some((mark, 1)), kind)
    }

    fn random_kind(random: &mut fastrand::Rng) -> EventKind {
        match random.u8(..8) {
            0..3 => EventKind::State(random.usize(..3)),
            3..5 => EventKind::StateOfNode(ConnId(random.u64(..4))),
            _ => EventKind::Droppable,
        }
    }

    fn text(next: Option<Next>) -> Option<Vec<u8>> {
        next.map(|next| match next {
            Next::Frame(frame) => frame.to_vec(),
            Next::Admitted => Vec::new(),
            Next::Ping => b"ping".to_vec(),
            Next::Close(code, reason) => format!("{code} {reason}").into_bytes(),
        })
    }

    #[test]
    fn queue_is_that_of_the_model_whatever_is_queued_and_sent() {
        for seed in 0..60 {
            let mut random = fastrand::Rng::with_seed(seed);
            let pool = Rc::<SendPool>::default();
            let (mut queue, mut model) = (FrameQueue::default(), Model::default());
            // a client that reads fast, slowly, or hardly at all
            let reads = [2, 10, 300][seed as usize % 3];
            for mark in 0..3_000 {
                match random.usize(..8) {
                    0..3 => {
                        let kind = random_kind(&mut random);
                        let event = event(&pool, kind, random.usize(..3_000), mark);
                        assert_eq!(queue.push_event(&event), model.push_event(&event));
                    }
                    3..5 => {
                        let len = random.choice([0, 100, 100, 4_000, 300_000]).unwrap();
                        let (frame, droppable) = (vec![random.u8(..); len], random.bool());
                        let queued = match droppable {
                            true => queue.push_droppable(frame.clone().into()),
                            false => queue.push(frame.clone().into()),
                        };
                        assert_eq!(queued, model.push(&frame, droppable));
                    }
                    5 if random.u8(..20) == 0 => {
                        queue.mark_admitted();
                        model.required.push(Item::Admitted);
                    }
                    6 if random.u8(..20) == 0 => {
                        queue.ping();
                        model.has_ping = true;
                    }
                    _ if random.usize(..reads) == 0 => {
                        for _ in 0..random.usize(..20) {
                            assert_eq!(text(queue.pop()), model.pop().map(|one| one.text()));
                            model.check(&queue);
                        }
                    }
                    _ => {}
                }
                model.check(&queue);
            }
            // the close is the last action, and nothing is added after it
            queue.close(1012, "service restart");
            assert_eq!(queue.push(Bytes::from_static(b"x")), Queued::Closed);
            assert_eq!(queue.push_event(&event(&pool, EventKind::Final, 1, 0)), Queued::Closed);
            while let Some(item) = model.pop() {
                assert_eq!(text(queue.pop()), Some(item.text()));
            }
            assert_eq!(text(queue.pop()).unwrap(), b"1012 service restart");
            assert!(queue.pop().is_none());
            drop((queue, model));
            assert_eq!(pool.budget().used(), 0, "an event is still counted");
        }
    }

    #[test]
    fn client_sees_a_gap_for_each_event_left_out_and_the_last_of_each_state() {
        for seed in 0..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            let pool = Rc::<SendPool>::default();
            let mut queue = FrameQueue::default();
            let (mut seen, mut gaps, mut left_out) = (0, 0, 0);
            let (mut sent, mut received) = (HashMap::new(), HashMap::new());
            let mut read = |queue: &mut FrameQueue, received: &mut HashMap<_, _>| {
                let Some(Next::Frame(frame)) = queue.pop() else { return false };
                let Body::Shared(event) = &frame.body else { panic!("not an event") };
                let Ok(frames::FromGateway::Event { seq: Some(seq), .. }) =
                    frames::FromGateway::parse(&frame.to_vec())
                else {
                    panic!("an event without a number")
                };
                assert!(seq > seen, "event {seq} after {seen}");
                gaps += seq - seen - 1;
                seen = seq;
                received.insert(format!("{:?}", event.kind), event.versions);
                true
            };
            for mark in 0..2_000 {
                let kind = random_kind(&mut random);
                let event = event(&pool, kind, random.usize(..2_000), mark);
                match queue.push_event(&event) {
                    Queued::Dropped => left_out += 1,
                    _ => {
                        sent.insert(format!("{kind:?}"), event.versions);
                    }
                }
                if random.u8(..4) == 0 {
                    read(&mut queue, &mut received);
                }
            }
            while read(&mut queue, &mut received) {}
            // one more event shows what was left out last
            queue.push_event(&event(&pool, EventKind::State(9), 0, 0));
            read(&mut queue, &mut received);
            assert!(left_out > 100);
            assert_eq!(gaps, left_out);
            received.remove("State(9)");
            assert_eq!(received, sent);
        }
    }

    #[test]
    fn responses_are_sent_before_events_that_were_queued_earlier() {
        let pool = Rc::<SendPool>::default();
        let mut queue = FrameQueue::default();
        let droppable = event(&pool, EventKind::Droppable, 1_000, 1);
        while queue.push_event(&droppable) == Queued::Queued {}
        assert!(queue.held() <= limits::SEND_QUEUE_EVENTS);
        // the state of the gateway has room beside the full share
        assert_eq!(
            queue.push_event(&event(&pool, EventKind::State(0), 100_000, 2)),
            Queued::Queued
        );
        assert_eq!(
            queue.push_event(&event(&pool, EventKind::State(0), 90_000, 3)),
            Queued::Replaced
        );
        let node = EventKind::StateOfNode(ConnId(1));
        assert_eq!(queue.push_event(&event(&pool, node, 1_000, 4)), Queued::Dropped);
        queue.ping();
        for answer in ["one", "two"] {
            assert_eq!(queue.push(answer.into()), Queued::Queued);
        }
        for first in ["one", "two", "ping"] {
            assert_eq!(text(queue.pop()).unwrap(), first.as_bytes());
        }
        assert!(text(queue.pop())
            .unwrap()
            .ends_with(br#""seq":1,"stateVersion":{"presence":1,"health":1}}"#));
    }

    #[test]
    fn memory_is_given_back_when_the_queue_is_empty_or_aborted() {
        let pool = Rc::<SendPool>::default();
        pool.set_now(Millis(1));
        let fill = |queue: &mut FrameQueue| {
            for mark in 0..500 {
                queue.push(vec![0; 1_000].into());
                queue.push_event(&event(&pool, EventKind::Droppable, 10, mark));
            }
        };
        let mut queue = FrameQueue::default();
        fill(&mut queue);
        assert!(pool.budget().used() > 500 * 100);
        while queue.pop().is_some() {}
        assert!(queue.required.capacity() <= REQUIRED_KEPT && queue.events.capacity() == 0);
        assert_eq!((queue.own(), queue.held(), pool.budget().used()), (0, 0, 0));
        fill(&mut queue);
        queue.abort(Close::SlowConsumer);
        queue.abort(Close::Silent);
        assert_eq!((queue.required.capacity(), queue.events.capacity()), (0, 0));
        assert_eq!((queue.own(), pool.budget().used()), (0, 0));
        assert_eq!(queue.abort_reason(), Some(Close::SlowConsumer));
        assert_eq!(text(queue.pop()).unwrap(), b"1008 slow consumer");
        // a frame that is being sent counts until it is sent; a large one of an aborted queue is
        // not completed
        for (len, held) in [(1_000, 1_000), (limits::SEND_QUEUE_LARGE, 0)] {
            let mut queue = FrameQueue::default();
            queue.push(vec![0; len].into());
            queue.pop();
            assert_eq!((queue.waiting(), queue.held(), queue.own()), (0, len, len));
            queue.abort(Close::SlowConsumer);
            assert_eq!((queue.held(), queue.own()), (held, held));
        }
    }
}
