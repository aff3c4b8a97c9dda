//! Frames on their way to one client: a bounded queue between the owner, who fills it, and the connection, which empties it.
//!
//! Invariants: at most [`limits::OUTBOX_FRAMES`] frames wait, of at most [`limits::OUTBOX_BYTES`] bytes beside those that are large,
//! and of at most [`limits::FRAME_AFTER_HELLO`] more with these, one frame alone excepted; none has more than
//! [`limits::FRAME_AFTER_HELLO`] bytes; after `close` nothing is added, and what waits is still sent first unless the client is slow.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use tungstenite::Bytes;

use crate::gate::limits;
use crate::gate::refusal::Close;
use crate::wire::frames;

/// One text frame, shared by all who get it.
pub type Frame = Bytes;

/// What the connection does next.
#[derive(PartialEq, Eq, Debug)]
pub enum Next {
    /// Send this.
    Frame(Frame),
    /// The client was admitted: larger frames may come in from now on.
    Admitted,
    /// Send a ping.
    Ping,
    /// Close the connection, with this code and reason.
    Close(u16, String),
}

/// How an offered frame fared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offer {
    Queued,
    /// It may be left out, and was.
    Dropped,
    /// The client is too slow and will be closed.
    Slow,
    /// The connection is closing.
    Closed,
    /// No client takes a frame of that size, and it is no response: it was left out.
    TooLarge,
}

/// What did not reach a client that does not keep up, and whether it was closed for that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost {
    /// Frames that were left out.
    pub frames: u64,
    /// Connections closed as slow.
    pub slow: u64,
    /// Connections closed because nothing was heard of them.
    pub silent: u64,
}

impl Lost {
    pub const NONE: Lost = Lost { frames: 0, slow: 0, silent: 0 };

    /// Both together.
    pub fn and(self, more: Lost) -> Lost {
        Lost { frames: self.frames + more.frames, slow: self.slow + more.slow, silent: self.silent + more.silent }
    }
}

#[derive(Default)]
struct State {
    queue: VecDeque<Next>,
    bytes: usize,
    closed: bool,
    heard: bool,
    /// Of the bytes, those of large frames.
    large: usize,
    /// Frames that were left out.
    dropped: u64,
    /// Why it was closed at once.
    why: Option<Close>,
    waker: Option<Waker>,
}

/// The queue of one connection. One thread; nothing here waits.
#[derive(Default)]
pub struct Outbox(RefCell<State>);

impl Outbox {
    /// Queues a frame that the client must get; closes the connection as slow if it does not fit. Large ones are
    /// answers, as a rule of nodes: beside those of usual size, up to one frame of the largest size more of them may wait.
    pub fn must(&self, frame: Frame) -> Offer {
        if frame.len() > limits::FRAME_AFTER_HELLO {
            return self.too_large(&frame);
        }
        let large = frame.len() >= limits::OUTBOX_LARGE;
        let most = limits::OUTBOX_BYTES + if large { limits::FRAME_AFTER_HELLO } else { 0 };
        let beside = if large { 0 } else { self.0.borrow().large };
        if self.fits(frame.len(), most, beside) {
            self.push(frame)
        } else {
            self.abort(Close::SlowConsumer);
            Offer::Slow
        }
    }

    /// Queues a frame that may be left out if the client is slow (the protocol's `dropIfSlow`).
    pub fn may(&self, frame: Frame) -> Offer {
        if frame.len() > limits::FRAME_AFTER_HELLO {
            return self.too_large(&frame);
        }
        if self.fits(frame.len(), limits::OUTBOX_BYTES, 0) {
            self.push(frame)
        } else {
            self.0.borrow_mut().dropped += 1;
            Offer::Dropped
        }
    }

    /// A frame that no client takes is never queued, and closes nothing. If it is a response, its request gets an error response.
    fn too_large(&self, frame: &[u8]) -> Offer {
        match frames::too_large(frame) {
            Some(error) => self.must(error.into()),
            None => Offer::TooLarge,
        }
    }

    /// From here on the client is admitted.
    pub fn admitted(&self) {
        let mut state = self.0.borrow_mut();
        state.queue.push_back(Next::Admitted);
        state.wake();
    }

    /// Asks whether the client is still there; closes the connection if nothing was heard since the last time.
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

    /// Something was heard of the client: bytes came, or it took some for which it had no room before.
    pub fn heard(&self) {
        self.0.borrow_mut().heard = true;
    }

    /// Closes after everything that waits is sent.
    pub fn close(&self, code: u16, reason: &str) {
        let mut state = self.0.borrow_mut();
        if !state.closed {
            state.closed = true;
            state.queue.push_back(Next::Close(code, reason.to_string()));
            state.wake();
        }
    }

    /// Closes at once: what waits is not sent.
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

    /// Must the connection end, even if the client reads nothing?
    pub fn is_closed(&self) -> bool {
        self.0.borrow().closed
    }

    /// Does it end because the client is too slow, or silent?
    pub fn is_aborted(&self) -> bool {
        self.0.borrow().why.is_some()
    }

    /// What was lost so far.
    pub fn lost(&self) -> Lost {
        let state = self.0.borrow();
        let closed = |why| u64::from(state.why == Some(why));
        Lost { frames: state.dropped, slow: closed(Close::SlowConsumer), silent: closed(Close::Silent) }
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.0.borrow().bytes
    }

    /// The next thing to do, when there is one.
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

    /// Wakes the connection when something is queued, without taking anything.
    pub fn listen(&self, context: &mut Context<'_>) {
        self.0.borrow_mut().listen(context);
    }

    /// Would no more than `most` bytes wait, not counting those `beside`?
    fn fits(&self, len: usize, most: usize, beside: usize) -> bool {
        let state = self.0.borrow();
        let waits = state.bytes - beside;
        state.queue.len() < limits::OUTBOX_FRAMES && (waits == 0 || waits + len <= most)
    }

    fn push(&self, frame: Frame) -> Offer {
        let mut state = self.0.borrow_mut();
        if state.closed {
            return Offer::Closed;
        }
        state.bytes += frame.len();
        state.large += large(&frame);
        state.queue.push_back(Next::Frame(frame));
        state.wake();
        Offer::Queued
    }
}

/// The bytes of a large frame.
fn large(frame: &Frame) -> usize {
    if frame.len() < limits::OUTBOX_LARGE {
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

    fn drain(outbox: &Outbox) -> Vec<Next> {
        let mut context = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match outbox.poll_next(&mut context) {
            Poll::Ready(next) => Some(next),
            Poll::Pending => None,
        })
        .collect()
    }

    #[test]
    fn a_client_that_does_not_read_is_closed_and_loses_what_waited() {
        let outbox = Outbox::default();
        let frame = Frame::from(vec![b'x'; limits::OUTBOX_BYTES / 32]);
        for _ in 0..32 {
            assert_eq!(outbox.must(frame.clone()), Offer::Queued);
        }
        assert_eq!(outbox.may(frame.clone()), Offer::Dropped);
        assert_eq!(outbox.must(frame.clone()), Offer::Slow);
        assert_eq!(outbox.must(frame), Offer::Closed);
        assert_eq!(drain(&outbox), [Next::Close(1008, "slow consumer".into())]);
        assert_eq!(outbox.bytes(), 0);
        outbox.ping();
        assert_eq!(outbox.lost(), Lost { frames: 1, slow: 1, silent: 0 });
    }

    #[test]
    fn large_answers_wait_side_by_side_and_the_usual_ones_beside_them() {
        let outbox = Outbox::default();
        let answer = |bytes| Frame::from(vec![0; bytes]);
        let five = 5 * 1024 * 1024;
        for _ in 0..5 {
            assert_eq!(outbox.must(answer(five)), Offer::Queued);
            assert_eq!(outbox.must(answer(100)), Offer::Queued);
            assert_eq!(outbox.may(answer(100)), Offer::Dropped, "what may be left out waits for none of that");
        }
        let rest = limits::OUTBOX_BYTES - 5 * 100;
        let usual = limits::OUTBOX_LARGE - 1;
        (0..rest / usual).for_each(|_| assert_eq!(outbox.must(answer(usual)), Offer::Queued));
        assert_eq!(outbox.must(answer(usual)), Offer::Slow, "of the usual ones as many as ever");
        drain(&outbox);
        assert_eq!((outbox.bytes(), outbox.0.borrow().large), (0, 0));
        let outbox = Outbox::default();
        let many = (limits::OUTBOX_BYTES + limits::FRAME_AFTER_HELLO) / five;
        (0..many).for_each(|_| assert_eq!(outbox.must(answer(five)), Offer::Queued));
        assert_eq!(outbox.must(answer(five)), Offer::Slow);
    }

    #[test]
    fn one_large_frame_passes_alone_and_many_small_ones_are_counted() {
        let outbox = Outbox::default();
        assert_eq!(outbox.must(Frame::from(vec![0; limits::OUTBOX_BYTES * 2])), Offer::Queued);
        assert_eq!(outbox.may(Frame::from_static(b"x")), Offer::Dropped);
        drain(&outbox);
        for _ in 0..limits::OUTBOX_FRAMES {
            assert_eq!(outbox.must(Frame::new()), Offer::Queued);
        }
        assert_eq!(outbox.may(Frame::new()), Offer::Dropped);
    }

    #[test]
    fn a_frame_that_no_client_takes_is_never_queued_and_closes_nothing() {
        let outbox = Outbox::default();
        let response = |bytes: usize| {
            let mut frame = br#"{"type":"res","id":"7","ok":true,"payload":""#.to_vec();
            frame.resize(bytes, b'x');
            Frame::from(frame)
        };
        let event =
            |bytes: usize| Frame::from([&br#"{"type":"event","event":"e""#[..], &vec![b' '; bytes - 27]].concat());
        let most = limits::FRAME_AFTER_HELLO;
        assert_eq!(outbox.must(response(most)), Offer::Queued);
        assert_eq!(drain(&outbox), [Next::Frame(response(most))]);
        assert_eq!(outbox.may(event(most)), Offer::Queued);
        drain(&outbox);
        for offer in [outbox.must(event(most + 1)), outbox.may(event(most + 1))] {
            assert_eq!(offer, Offer::TooLarge);
        }
        assert_eq!(drain(&outbox), []);
        assert_eq!(outbox.must(response(most + 1)), Offer::Queued);
        assert_eq!(outbox.may(response(most + 1)), Offer::Queued);
        let queued = drain(&outbox);
        assert_eq!(queued.len(), 2);
        for next in &queued {
            let Next::Frame(error) = next else { panic!("{next:?}") };
            let error = std::str::from_utf8(error).unwrap();
            assert!(error.starts_with(r#"{"type":"res","id":"7","ok":false,"error":{"code":"UNAVAILABLE""#), "{error}");
            assert!(error.contains("26214401 bytes") && error.contains("26214400 bytes"), "{error}");
        }
        assert!(!outbox.is_closed());
        assert_eq!((outbox.bytes(), outbox.lost()), (0, Lost::NONE));
    }

    #[test]
    fn what_waits_is_sent_before_a_close_and_nothing_after_it() {
        let outbox = Outbox::default();
        outbox.must(Frame::from_static(b"a"));
        outbox.close(1012, "service restart");
        assert_eq!(outbox.must(Frame::from_static(b"b")), Offer::Closed);
        outbox.close(1000, "again");
        assert_eq!(
            drain(&outbox),
            [Next::Frame(Frame::from_static(b"a")), Next::Close(1012, "service restart".into())]
        );
    }
}
