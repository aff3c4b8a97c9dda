//! Send queue towards one client, bounded: the gateway state fills it and the connection empties
//! it.
//!
//! Invariants:
//!
//! - At most [`limits::SEND_QUEUE_FRAMES`] frames are queued.
//! - Frames that are not large have at most [`limits::SEND_QUEUE_BYTES`] bytes together. With the
//!   large ones it is at most [`limits::FRAME_AFTER_HELLO`] more. A single frame may exceed this.
//! - No frame has more than [`limits::FRAME_AFTER_HELLO`] bytes.
//! - After `close` nothing is added. Queued frames are still sent first. They are discarded only if
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
    /// Whether there was a sign of life since the last ping.
    is_alive: bool,
    /// Bytes of large frames, which are part of `bytes`.
    large: usize,
    /// Number of frames left out.
    dropped: u64,
    /// Reason of an immediate close.
    aborted: Option<Close>,
    is_evicted: bool,
    waker: Option<Waker>,
}

/// Send queue of one connection. Used on one thread; no method waits.
#[derive(Default)]
pub struct SendQueue(RefCell<State>);

impl SendQueue {
    /// Queues a frame that must not be left out. If it does not fit, closes the connection as a
    /// slow consumer. Large frames, mostly answers of nodes, may use [`limits::FRAME_AFTER_HELLO`]
    /// bytes in addition to the usual limit.
    pub fn send(&self, frame: Frame) -> Queued {
        if frame.len() > limits::FRAME_AFTER_HELLO {
            return self.too_large(&frame);
        }
        let large = frame.len() >= limits::SEND_QUEUE_LARGE;
        let max = limits::SEND_QUEUE_BYTES + if large { limits::FRAME_AFTER_HELLO } else { 0 };
        let excluded = if large { 0 } else { self.0.borrow().large };
        if self.fits(frame.len(), max, excluded) {
            self.push(frame)
        } else {
            self.abort(Close::SlowConsumer);
            Queued::Slow
        }
    }

    /// Queues a frame that may be left out if the client is slow (the protocol's `dropIfSlow`).
    pub fn send_droppable(&self, frame: Frame) -> Queued {
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
            Some(error) => self.send(error.into()),
            None => Queued::TooLarge,
        }
    }

    /// Queues [`Next::Admitted`]: the client is admitted from here on.
    pub fn mark_admitted(&self) {
        let mut state = self.0.borrow_mut();
        state.queue.push_back(Next::Admitted);
        state.wake();
    }

    /// Queues a ping. Closes the connection if there was no sign of life since the last call.
    pub fn ping(&self) {
        let is_alive = std::mem::take(&mut self.0.borrow_mut().is_alive);
        if !is_alive {
            return self.abort(Close::Silent);
        }
        let mut state = self.0.borrow_mut();
        if !state.closed {
            state.queue.push_back(Next::Ping);
            state.wake();
        }
    }

    /// Records a sign of life: bytes were received, or bytes were accepted that had to wait.
    pub fn mark_alive(&self) {
        self.0.borrow_mut().is_alive = true;
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

    /// Like [`SendQueue::close`], with the code and text of this reason.
    pub fn close_for(&self, reason: Close) {
        let (code, text) = reason.words();
        self.close(code, text);
    }

    /// Closes the connection at once. Queued frames are discarded.
    pub fn abort(&self, reason: Close) {
        let (code, text) = reason.words();
        let mut state = self.0.borrow_mut();
        state.queue.clear();
        (state.bytes, state.large) = (0, 0);
        state.closed = true;
        state.aborted.get_or_insert(reason);
        state.queue.push_back(Next::Close(code, text.to_string()));
        state.wake();
    }

    /// Returns whether the connection must end, even if the client reads nothing.
    pub fn is_closed(&self) -> bool {
        self.0.borrow().closed
    }

    /// Returns whether the connection ends because the client is slow or silent.
    pub fn is_aborted(&self) -> bool {
        self.0.borrow().aborted.is_some()
    }

    /// Like [`SendQueue::abort`], because another connection gets the place of this one. It ends
    /// at once even if it is closing already.
    pub fn evict(&self, reason: Close) {
        self.abort(reason);
        self.0.borrow_mut().is_evicted = true;
    }

    /// Returns whether the connection must not wait for its peer any more.
    pub fn is_evicted(&self) -> bool {
        self.0.borrow().is_evicted
    }

    /// Returns the losses so far.
    pub fn lost(&self) -> Lost {
        let state = self.0.borrow();
        let aborted = |reason| u64::from(state.aborted == Some(reason));
        Lost {
            frames: state.dropped,
            slow: aborted(Close::SlowConsumer),
            silent: aborted(Close::Silent),
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
                state.register_waker(context);
                Poll::Pending
            }
        }
    }

    /// Registers the waker for the next action, without removing one.
    pub fn register_waker(&self, context: &mut Context<'_>) {
        self.0.borrow_mut().register_waker(context);
    }

    /// Returns whether `len` more bytes fit into `max`, ignoring `excluded` queued bytes. Any
    /// length fits if there are no others.
    fn fits(&self, len: usize, max: usize, excluded: usize) -> bool {
        let state = self.0.borrow();
        let queued = state.bytes - excluded;
        state.queue.len() < limits::SEND_QUEUE_FRAMES && (queued == 0 || queued + len <= max)
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

    fn register_waker(&mut self, context: &mut Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(send_queue: &SendQueue) -> Vec<Next> {
        let mut context = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match send_queue.poll_next(&mut context) {
            Poll::Ready(next) => Some(next),
            Poll::Pending => None,
        })
        .collect()
    }

    #[test]
    fn a_client_that_does_not_read_is_closed_and_its_queue_discarded() {
        let send_queue = SendQueue::default();
        let frame = Frame::from(vec![b'x'; limits::SEND_QUEUE_BYTES / 32]);
        for _ in 0..32 {
            assert_eq!(send_queue.send(frame.clone()), Queued::Queued);
        }
        assert_eq!(send_queue.send_droppable(frame.clone()), Queued::Dropped);
        assert_eq!(send_queue.send(frame.clone()), Queued::Slow);
        assert_eq!(send_queue.send(frame), Queued::Closed);
        assert_eq!(drain(&send_queue), [Next::Close(1008, "slow consumer".into())]);
        assert_eq!(send_queue.bytes(), 0);
        send_queue.ping();
        assert_eq!(send_queue.lost(), Lost { frames: 1, slow: 1, silent: 0 });
    }

    #[test]
    fn large_and_usual_frames_have_separate_limits() {
        let send_queue = SendQueue::default();
        let answer = |bytes| Frame::from(vec![0; bytes]);
        let five = 5 * 1024 * 1024;
        for _ in 0..5 {
            assert_eq!(send_queue.send(answer(five)), Queued::Queued);
            assert_eq!(send_queue.send(answer(100)), Queued::Queued);
            assert_eq!(
                send_queue.send_droppable(answer(100)),
                Queued::Dropped,
                "a droppable frame is left out"
            );
        }
        let rest = limits::SEND_QUEUE_BYTES - 5 * 100;
        let usual = limits::SEND_QUEUE_LARGE - 1;
        (0..rest / usual).for_each(|_| assert_eq!(send_queue.send(answer(usual)), Queued::Queued));
        assert_eq!(
            send_queue.send(answer(usual)),
            Queued::Slow,
            "the limit of usual frames is unchanged"
        );
        drain(&send_queue);
        assert_eq!((send_queue.bytes(), send_queue.0.borrow().large), (0, 0));
        let send_queue = SendQueue::default();
        let many = (limits::SEND_QUEUE_BYTES + limits::FRAME_AFTER_HELLO) / five;
        (0..many).for_each(|_| assert_eq!(send_queue.send(answer(five)), Queued::Queued));
        assert_eq!(send_queue.send(answer(five)), Queued::Slow);
    }

    #[test]
    fn a_single_large_frame_fits_and_the_number_of_frames_is_limited() {
        let send_queue = SendQueue::default();
        assert_eq!(
            send_queue.send(Frame::from(vec![0; limits::SEND_QUEUE_BYTES * 2])),
            Queued::Queued
        );
        assert_eq!(send_queue.send_droppable(Frame::from_static(b"x")), Queued::Dropped);
        drain(&send_queue);
        for _ in 0..limits::SEND_QUEUE_FRAMES {
            assert_eq!(send_queue.send(Frame::new()), Queued::Queued);
        }
        assert_eq!(send_queue.send_droppable(Frame::new()), Queued::Dropped);
    }

    #[test]
    fn a_frame_over_the_protocol_limit_is_not_queued_and_closes_nothing() {
        let send_queue = SendQueue::default();
        let response = |bytes: usize| {
            let mut frame = br#"{"type":"res","id":"7","ok":true,"payload":""#.to_vec();
            frame.resize(bytes, b'x');
            Frame::from(frame)
        };
        let event = |bytes: usize| {
            Frame::from([&br#"{"type":"event","event":"e""#[..], &vec![b' '; bytes - 27]].concat())
        };
        let max = limits::FRAME_AFTER_HELLO;
        assert_eq!(send_queue.send(response(max)), Queued::Queued);
        assert_eq!(drain(&send_queue), [Next::Frame(response(max))]);
        assert_eq!(send_queue.send_droppable(event(max)), Queued::Queued);
        drain(&send_queue);
        for result in [send_queue.send(event(max + 1)), send_queue.send_droppable(event(max + 1))] {
            assert_eq!(result, Queued::TooLarge);
        }
        assert_eq!(drain(&send_queue), []);
        assert_eq!(send_queue.send(response(max + 1)), Queued::Queued);
        assert_eq!(send_queue.send_droppable(response(max + 1)), Queued::Queued);
        let queued = drain(&send_queue);
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
        assert!(!send_queue.is_closed());
        assert_eq!((send_queue.bytes(), send_queue.lost()), (0, Lost::NONE));
    }

    #[test]
    fn queued_frames_are_sent_before_a_close_and_none_after_it() {
        let send_queue = SendQueue::default();
        send_queue.send(Frame::from_static(b"a"));
        send_queue.close(1012, "service restart");
        assert_eq!(send_queue.send(Frame::from_static(b"b")), Queued::Closed);
        send_queue.close(1000, "again");
        assert_eq!(
            drain(&send_queue),
            [Next::Frame(Frame::from_static(b"a")), Next::Close(1012, "service restart".into())]
        );
    }
}
