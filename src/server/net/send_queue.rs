//! Send queue towards one client: the gateway state fills it and the connection empties it. What it
//! holds and in which order is decided by `frame_queue.rs`; this is the shared handle, which
//! wakes the connection and counts the memory of all queues together.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use async_tungstenite::tungstenite::Bytes;

use super::frame_queue::FrameQueue;
use super::send_pool::{Charge, SendPool};
use crate::gate::ids::Millis;
use crate::gate::limits;
use crate::gate::refusal::Close;
use crate::wire::frames;

pub use super::frame_queue::{EventFrame, EventKind, Next, OutgoingFrame, Queued};

/// A text frame.
pub type Frame = Bytes;

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
    queue: FrameQueue,
    /// Memory of the queue. Absent until the queue is registered with the gateway state.
    charge: Option<Charge>,
    /// Time since which the queue was never empty.
    busy_since: Option<Millis>,
    /// Whether there was a sign of life since the last ping.
    is_alive: bool,
    /// Whether another connection gets the place of this one.
    is_evicted: bool,
    waker: Option<Waker>,
}

/// Send queue of one connection. Used on one thread; no method waits.
#[derive(Default)]
pub struct SendQueue(RefCell<State>);

impl SendQueue {
    /// Counts the memory of this queue in the pool of all queues.
    pub fn join(&self, pool: &Rc<SendPool>) {
        let mut state = self.0.borrow_mut();
        state.charge = Some(Charge::new(pool.clone(), state.queue.own()));
    }

    /// Queues a frame that must not be left out. If it does not fit, closes the connection as a
    /// slow consumer. Of a frame that is larger than any client accepts, only an error response is
    /// queued if it is a response.
    pub fn send(&self, frame: Frame) -> Queued {
        if frame.len() > limits::FRAME_AFTER_HELLO {
            return self.too_large(&frame);
        }
        self.update(|queue| {
            let queued = queue.push(frame);
            if queued == Queued::Slow {
                queue.abort(Close::SlowConsumer);
            }
            queued
        })
    }

    /// Queues a frame that may be left out if the client is slow.
    pub fn send_droppable(&self, frame: Frame) -> Queued {
        if frame.len() > limits::FRAME_AFTER_HELLO {
            return self.too_large(&frame);
        }
        self.update(|queue| queue.push_droppable(frame))
    }

    /// Handles a frame that is larger than any client accepts. It is not queued, and the connection
    /// stays open. If it is a response, an error response is queued instead.
    fn too_large(&self, frame: &[u8]) -> Queued {
        match frames::too_large(frame) {
            Some(error) => self.send(error.into()),
            None => Queued::TooLarge,
        }
    }

    /// Queues an event.
    pub fn send_event(&self, event: &Rc<EventFrame>) -> Queued {
        self.update(|queue| queue.push_event(event))
    }

    /// Queues [`Next::Admitted`]: the client is admitted from here on.
    pub fn mark_admitted(&self) {
        self.update(FrameQueue::mark_admitted);
    }

    /// Queues a ping. Closes the connection if there was no sign of life since the last call.
    pub fn ping(&self) {
        if std::mem::take(&mut self.0.borrow_mut().is_alive) {
            self.update(FrameQueue::ping);
        } else {
            self.abort(Close::Silent);
        }
    }

    /// Records a sign of life: bytes were received, or bytes were accepted that had to wait.
    pub fn mark_alive(&self) {
        self.0.borrow_mut().is_alive = true;
    }

    /// Closes the connection after all queued frames are sent.
    pub fn close(&self, code: u16, reason: &str) {
        self.update(|queue| queue.close(code, reason));
    }

    /// Like [`SendQueue::close`], with the code and text of this reason.
    pub fn close_for(&self, reason: Close) {
        let (code, text) = reason.words();
        self.close(code, text);
    }

    /// Closes the connection at once. Queued frames are discarded.
    pub fn abort(&self, reason: Close) {
        self.update(|queue| queue.abort(reason));
    }

    /// Returns whether the connection must end, even if the client reads nothing.
    pub fn is_closed(&self) -> bool {
        self.0.borrow().queue.is_closed()
    }

    /// Returns whether the connection ends because the client is slow or silent.
    pub fn is_aborted(&self) -> bool {
        self.0.borrow().queue.is_aborted()
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
        let queue = &self.0.borrow().queue;
        let aborted = |reason| u64::from(queue.abort_reason() == Some(reason));
        Lost {
            frames: queue.dropped(),
            slow: aborted(Close::SlowConsumer),
            silent: aborted(Close::Silent),
        }
    }

    /// Number of queued bytes.
    pub fn bytes(&self) -> usize {
        self.0.borrow().queue.waiting()
    }

    /// Number of bytes that are queued or being sent.
    pub fn held(&self) -> usize {
        self.0.borrow().queue.held()
    }

    /// Time since which the queue was never empty; `None` if it is empty.
    pub fn busy_since(&self) -> Option<Millis> {
        self.0.borrow().busy_since
    }

    /// Removes and returns the next action, when the one before it is done. If there is none,
    /// registers the waker.
    pub fn poll_next(&self, context: &mut Context<'_>) -> Poll<Next> {
        let mut state = self.0.borrow_mut();
        let next = state.queue.pop();
        state.count();
        match next {
            Some(next) => Poll::Ready(next),
            None => {
                state.busy_since = None;
                state.register_waker(context);
                Poll::Pending
            }
        }
    }

    /// Registers the waker for the next action, without removing one.
    pub fn register_waker(&self, context: &mut Context<'_>) {
        self.0.borrow_mut().register_waker(context);
    }

    /// Changes the queue, and wakes the connection if it waits for the queue. If it waits for the
    /// client to read, it polls the queue after that.
    fn update<T>(&self, change: impl FnOnce(&mut FrameQueue) -> T) -> T {
        let mut state = self.0.borrow_mut();
        let was_busy = state.queue.held() > 0;
        let result = change(&mut state.queue);
        state.count();
        if !was_busy || state.queue.is_closed() {
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        }
        result
    }
}

impl State {
    /// Passes the memory of the queue on to the pool, and records since when it is not empty.
    fn count(&mut self) {
        let Some(charge) = &mut self.charge else { return };
        charge.set(self.queue.own());
        if self.busy_since.is_none() {
            self.busy_since = Some(charge.pool().now());
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

    fn drain(send_queue: &SendQueue) -> Vec<Vec<u8>> {
        let mut context = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match send_queue.poll_next(&mut context) {
            Poll::Ready(Next::Frame(frame)) => Some(frame.to_vec()),
            Poll::Ready(Next::Close(code, reason)) => Some(format!("{code} {reason}").into()),
            Poll::Ready(Next::Ping | Next::Admitted) => panic!("neither was queued"),
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
        assert_eq!(drain(&send_queue), [b"1008 slow consumer"]);
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
        assert_eq!((send_queue.bytes(), send_queue.held()), (0, 0));
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
        assert_eq!(drain(&send_queue), [response(max)]);
        assert_eq!(send_queue.send_droppable(event(max)), Queued::Queued);
        drain(&send_queue);
        for result in [send_queue.send(event(max + 1)), send_queue.send_droppable(event(max + 1))] {
            assert_eq!(result, Queued::TooLarge);
        }
        assert!(drain(&send_queue).is_empty());
        assert_eq!(send_queue.send(response(max + 1)), Queued::Queued);
        assert_eq!(send_queue.send_droppable(response(max + 1)), Queued::Queued);
        let queued = drain(&send_queue);
        assert_eq!(queued.len(), 2);
        for next in &queued {
            let error = std::str::from_utf8(next).unwrap();
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
        assert_eq!(drain(&send_queue), [&b"a"[..], b"1012 service restart"]);
    }

    #[test]
    fn pool_counts_the_memory_of_all_queues_and_gets_it_back() {
        let pool = Rc::<SendPool>::default();
        let queues: Vec<SendQueue> = (0..3).map(|_| SendQueue::default()).collect();
        queues.iter().for_each(|queue| queue.join(&pool));
        let event = EventFrame::new(&pool, "e", &[b' '; 10_000], None, EventKind::Droppable);
        let used = |pool: &SendPool| pool.budget().used();
        assert!((10_000..10_400).contains(&used(&pool)), "{}", used(&pool));
        let shared = used(&pool);
        pool.set_now(Millis(7));
        for queue in &queues {
            queue.send_event(&event);
            queue.send(Frame::from(vec![0; 1_000]));
            assert_eq!(queue.busy_since(), Some(Millis(7)));
        }
        drop(event);
        let entries = 2 * limits::SEND_QUEUE_ENTRY;
        assert_eq!(used(&pool), shared + 3 * (1_000 + entries), "an event counts once");
        pool.set_now(Millis(8));
        let mut context = Context::from_waker(Waker::noop());
        assert!(queues[0].poll_next(&mut context).is_ready());
        assert_eq!(used(&pool), shared + 3 * (1_000 + entries) - limits::SEND_QUEUE_ENTRY);
        assert_eq!(queues[0].busy_since(), Some(Millis(7)));
        drain(&queues[0]);
        assert_eq!((queues[0].busy_since(), queues[0].held()), (None, 0));
        queues[1].abort(Close::Silent);
        assert_eq!(used(&pool), shared + 1_000 + entries);
        drop(queues);
        assert_eq!(used(&pool), 0);
    }
}
