//! Send queue towards one client, bounded: the gateway state fills it and the connection empties
//! it.
//!
//! Invariants:
//!
//! - At most [`limits::SEND_QUEUE_FRAMES`] frames are queued.
//! - Frames that are not large have at most [`limits::SEND_QUEUE_BYTES`] bytes together. With the large
//!   ones it is at most [`limits::FRAME_AFTER_HELLO`] more. A single frame may exceed this.
//! - No frame has more than [`limits::FRAME_AFTER_HELLO`] bytes.
//! - After `close` nothing is added. Offer frames are still sent first. They are discarded only if
//!   the client is slow or silent.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use async_tungstenite::tungstenite::Bytes;

use crate::gate::limits;
use crate::gate::refusal::Close;
use crate::wire::frames;

/// A text frame, shared by all recipients.
pub type Frame = Bytes;

/// Next action of the connection.
#[derive(PartialEq, Eq, Debug)]
pub enum Next {
    /// Send this frame.
    Frame(Frame),
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
    /// The frame was droppable and was left out.
    Dropped,
    /// The client is too slow; the connection will be closed.
    Slow,
    /// The connection is closing.
    Closed,
    /// The frame is larger than any client accepts and is not a response. It was left out.
    TooLarge,
}

/// Losses of clients that do not keep up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost {
    /// Number of frames left out.
    pub frames: u64,
    /// Number of connections closed as slow.
    pub slow: u64,
    /// Number of connections closed without a sign of life.
    pub silent: u64,
}

impl Lost {
    pub const NONE: Lost = Lost { frames: 0, slow: 0, silent: 0 };

    /// Returns the sum of both.
    pub fn and(self, more: Lost) -> Lost {
        Lost {
            frames: self.frames + more.frames,
            slow: self.slow + more.slow,
            silent: self.silent + more.silent,
        }
    }
}

#[derive(Default)]
struct State {
    queue: VecDeque<Next>,
    bytes: usize,
    closed: bool,
    heard: bool,
    /// Bytes of large frames, which are part of `bytes`.
    large: usize,
    /// Number of frames left out.
    dropped: u64,
    /// Reason of an immediate close.
    why: Option<Close>,
    waker: Option<Waker>,
}

/// Send queue of one connection. Used on one thread; no method waits.
#[derive(Default)]
pub struct SendQueue(RefCell<State>);

impl SendQueue {
    /// Queues a frame that must not be left out. If it does not fit, closes the connection as a
    /// slow consumer. Large frames, mostly answers of nodes, may use [`limits::FRAME_AFTER_HELLO`]
    /// bytes in addition to the usual limit.
    pub fn must(&self, frame: Frame) -> Queued {
        if frame.len() > limits::FRAME_AFTER_HELLO {
            return self.too_large(&frame);
        }
        let large = frame.len() >= limits::SEND_QUEUE_LARGE;
        let most = limits::SEND_QUEUE_BYTES + if large { limits::FRAME_AFTER_HELLO } else { 0 };
        let beside = if large { 0 } else { self.0.borrow().large };
        if self.fits(frame.len(), most, beside) {
            self.push(frame)
        } else {
            self.abort(Close::SlowConsumer);
            Queued::Slow
        }
    }

    /// Queues a frame that may be left out if the client is slow (the protocol's `dropIfSlow`).
    pub fn may(&self, frame: Frame) -> Queued {
        if frame.len() > limits::FRAME_AFTER_HELLO {
            return self.too_large(&frame);
        }
        if self.fits(frame.len(), limits::SEND_QUEUE_BYTES, 0) {
            self.push(frame)
        } else {
            self.0.borrow_mut().dropped += 1;
            Queued::Dropped
        }
    }

    /// Handles a frame that is larger than any client accepts. It is not queued, and the connection
    /// stays open. If it is a response, an error response is queued instead.
    fn too_large(&self, frame: &[u8]) -> Queued {
        match frames::too_large(frame) {
            Some(error) => self.must(error.into()),
            None => Queued::TooLarge,
        }
    }

    /// Queues [`Next::Admitted`]: the client is admitted from here on.
    pub fn admitted(&self) {
        let mut state = self.0.borrow_mut();
        state.queue.push_back(Next::Admitted);
        state.wake();
    }

    /// Queues a ping. Closes the connection if there was no sign of life since the last call.
    pub fn ping(&self) {
        let heard = std::mem::take(&mut self.0.borrow_mut().heard);
        if !heard {
            return self.abort(Close::Silent);
        }
        let mut state = self.0.borrow_mut();
        if !state.closed {
            state.queue.push_back(Next::Ping);
            state.wake();
        }
    }

    /// Records a sign of life: bytes were received, or bytes were accepted that had to wait.
    pub fn heard(&self) {
        self.0.borrow_mut().heard = true;
    }

    /// Closes the connection after all queued frames are sent.
    pub fn close(&self, code: u16, reason: &str) {
        let mut state = self.0.borrow_mut();
        if !state.closed {
            state.closed = true;
            state.queue.push_back(Next::Close(code, reason.to_string()));
            state.wake();
        }
    }

    /// Closes the connection at once. Queued frames are discarded.
    pub fn abort(&self, why: Close) {
        let (code, reason) = why.words();
        let mut state = self.0.borrow_mut();
        state.queue.clear();
        (state.bytes, state.large) = (0, 0);
        state.closed = true;
        state.why.get_or_insert(why);
        state.queue.push_back(Next::Close(code, reason.to_string()));
        state.wake();
    }

    /// Returns whether the connection must end, even if the client reads nothing.
    pub fn is_closed(&self) -> bool {
        self.0.borrow().closed
    }

    /// Returns whether the connection ends because the client is slow or silent.
    pub fn is_aborted(&self) -> bool {
        self.0.borrow().why.is_some()
    }

    /// Returns the losses so far.
    pub fn lost(&self) -> Lost {
        let state = self.0.borrow();
        let closed = |why| u64::from(state.why == Some(why));
        Lost {
            frames: state.dropped,
            slow: closed(Close::SlowConsumer),
            silent: closed(Close::Silent),
        }
    }

    /// Number of queued bytes.
    pub fn bytes(&self) -> usize {
        self.0.borrow().bytes
    }

    /// Removes and returns the next action. If there is none, registers the waker.
    pub fn poll_next(&self, context: &mut Context<'_>) -> Poll<Next> {
        let mut state = self.0.borrow_mut();
        match state.queue.pop_front() {
            Some(next) => {
                if let Next::Frame(frame) = &next {
                    state.bytes -= frame.len();
                    state.large -= large(frame);
                }
                Poll::Ready(next)
            }
            None => {
                state.listen(context);
                Poll::Pending
            }
        }
    }

    /// Registers the waker for the next action, without removing one.
    pub fn listen(&self, context: &mut Context<'_>) {
        self.0.borrow_mut().listen(context);
    }

    /// Returns whether `len` more bytes fit into `most`, ignoring `beside` queued bytes. Any length
    /// fits if there are no others.
    fn fits(&self, len: usize, most: usize, beside: usize) -> bool {
        let state = self.0.borrow();
        let waits = state.bytes - beside;
        state.queue.len() < limits::SEND_QUEUE_FRAMES && (waits == 0 || waits + len <= most)
    }

    fn push(&self, frame: Frame) -> Queued {
        let mut state = self.0.borrow_mut();
        if state.closed {
            return Queued::Closed;
        }
        state.bytes += frame.len();
        state.large += large(&frame);
        state.queue.push_back(Next::Frame(frame));
        state.wake();
        Queued::Queued
    }
}

/// Returns the length of a large frame, and 0 for other frames.
fn large(frame: &Frame) -> usize {
    if frame.len() < limits::SEND_QUEUE_LARGE {
        0
    } else {
        frame.len()
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn listen(&mut self, context: &mut Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbox: &SendQueue) -> Vec<Next> {
        let mut context = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match outbox.poll_next(&mut context) {
            Poll::Ready(next) => Some(next),
            Poll::Pending => None,
        })
        .collect()
    }

    #[test]
    fn a_client_that_does_not_read_is_closed_and_its_queue_discarded() {
        let outbox = SendQueue::default();
        let frame = Frame::from(vec![b'x'; limits::SEND_QUEUE_BYTES / 32]);
        for _ in 0..32 {
            assert_eq!(outbox.must(frame.clone()), Queued::Queued);
        }
        assert_eq!(outbox.may(frame.clone()), Queued::Dropped);
        assert_eq!(outbox.must(frame.clone()), Queued::Slow);
        assert_eq!(outbox.must(frame), Queued::Closed);
        assert_eq!(drain(&outbox), [Next::Close(1008, "slow consumer".into())]);
        assert_eq!(outbox.bytes(), 0);
        outbox.ping();
        assert_eq!(outbox.lost(), Lost { frames: 1, slow: 1, silent: 0 });
    }

    #[test]
    fn large_and_usual_frames_have_separate_limits() {
        let outbox = SendQueue::default();
        let answer = |bytes| Frame::from(vec![0; bytes]);
        let five = 5 * 1024 * 1024;
        for _ in 0..5 {
            assert_eq!(outbox.must(answer(five)), Queued::Queued);
            assert_eq!(outbox.must(answer(100)), Queued::Queued);
            assert_eq!(
                outbox.may(answer(100)),
                Queued::Dropped,
                "what may be left out waits for none of that"
            );
        }
        let rest = limits::SEND_QUEUE_BYTES - 5 * 100;
        let usual = limits::SEND_QUEUE_LARGE - 1;
        (0..rest / usual).for_each(|_| assert_eq!(outbox.must(answer(usual)), Queued::Queued));
        assert_eq!(outbox.must(answer(usual)), Queued::Slow, "of the usual ones as many as ever");
        drain(&outbox);
        assert_eq!((outbox.bytes(), outbox.0.borrow().large), (0, 0));
        let outbox = SendQueue::default();
        let many = (limits::SEND_QUEUE_BYTES + limits::FRAME_AFTER_HELLO) / five;
        (0..many).for_each(|_| assert_eq!(outbox.must(answer(five)), Queued::Queued));
        assert_eq!(outbox.must(answer(five)), Queued::Slow);
    }

    #[test]
    fn a_single_large_frame_fits_and_the_number_of_frames_is_limited() {
        let outbox = SendQueue::default();
        assert_eq!(outbox.must(Frame::from(vec![0; limits::SEND_QUEUE_BYTES * 2])), Queued::Queued);
        assert_eq!(outbox.may(Frame::from_static(b"x")), Queued::Dropped);
        drain(&outbox);
        for _ in 0..limits::SEND_QUEUE_FRAMES {
            assert_eq!(outbox.must(Frame::new()), Queued::Queued);
        }
        assert_eq!(outbox.may(Frame::new()), Queued::Dropped);
    }

    #[test]
    fn a_frame_over_the_protocol_limit_is_not_queued_and_closes_nothing() {
        let outbox = SendQueue::default();
        let response = |bytes: usize| {
            let mut frame = br#"{"type":"res","id":"7","ok":true,"payload":""#.to_vec();
            frame.resize(bytes, b'x');
            Frame::from(frame)
        };
        let event = |bytes: usize| {
            Frame::from([&br#"{"type":"event","event":"e""#[..], &vec![b' '; bytes - 27]].concat())
        };
        let most = limits::FRAME_AFTER_HELLO;
        assert_eq!(outbox.must(response(most)), Queued::Queued);
        assert_eq!(drain(&outbox), [Next::Frame(response(most))]);
        assert_eq!(outbox.may(event(most)), Queued::Queued);
        drain(&outbox);
        for offer in [outbox.must(event(most + 1)), outbox.may(event(most + 1))] {
            assert_eq!(offer, Queued::TooLarge);
        }
        assert_eq!(drain(&outbox), []);
        assert_eq!(outbox.must(response(most + 1)), Queued::Queued);
        assert_eq!(outbox.may(response(most + 1)), Queued::Queued);
        let queued = drain(&outbox);
        assert_eq!(queued.len(), 2);
        for next in &queued {
            let Next::Frame(error) = next else { panic!("{next:?}") };
            let error = std::str::from_utf8(error).unwrap();
            assert!(
                error.starts_with(
                    r#"{"type":"res","id":"7","ok":false,"error":{"code":"UNAVAILABLE""#
                ),
                "{error}"
            );
            assert!(
                error.contains("26214401 bytes") && error.contains("26214400 bytes"),
                "{error}"
            );
        }
        assert!(!outbox.is_closed());
        assert_eq!((outbox.bytes(), outbox.lost()), (0, Lost::NONE));
    }

    #[test]
    fn queued_frames_are_sent_before_a_close_and_none_after_it() {
        let outbox = SendQueue::default();
        outbox.must(Frame::from_static(b"a"));
        outbox.close(1012, "service restart");
        assert_eq!(outbox.must(Frame::from_static(b"b")), Queued::Closed);
        outbox.close(1000, "again");
        assert_eq!(
            drain(&outbox),
            [Next::Frame(Frame::from_static(b"a")), Next::Close(1012, "service restart".into())]
        );
    }
}
