//! The loop: tasks, sockets and times on one thread. Other threads only wake it.
//!
//! A thread has its loop from its first [`block_on`]. A turn runs some of the tasks that are ready, then asks the operating
//! system once for what else became ready, and sleeps only when nothing is. Readiness comes as an edge: who uses a [`Source`] tries first,
//! and waits after `WouldBlock` only.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::future::{poll_fn, Future};
use std::io;
use std::pin::{pin, Pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_task::{Runnable, Task};
use mio::{event, Events, Interest, Token};

use super::flag::lock;
use super::ports::{Clock, SystemClock};
use crate::gate::ids::Millis;
use crate::gate::limits;

thread_local! {
    static LOOP: OnceCell<Rc<Loop>> = const { OnceCell::new() };
}

/// Runs tasks of this thread until `future` is done. Fails if the system gives no event queue.
pub fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let turns = match current() {
        Ok(turns) => turns,
        Err(_) => {
            let new = Rc::new(Loop::new()?);
            LOOP.with(|cell| cell.get_or_init(|| new).clone())
        }
    };
    let mut future = pin!(future);
    let waker = Waker::from(turns.ready.clone());
    waker.wake_by_ref();
    loop {
        if turns.ready.first.swap(false, Ordering::SeqCst) {
            if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Ok(done);
            }
        }
        turns.run_tasks();
        turns.wait()?;
    }
}

/// Starts a task on this thread's loop; it ends when it is done, or when its handle is dropped. Only inside [`block_on`].
pub fn spawn(future: impl Future<Output = ()> + 'static) -> io::Result<Task<()>> {
    let ready = current()?.ready.clone();
    let schedule = move |runnable| {
        lock(&ready.tasks).push_back(runnable);
        ready.rouse();
    };
    let (runnable, task) = async_task::spawn_local(future, schedule);
    runnable.schedule();
    Ok(task)
}

/// Waits so many milliseconds, at least. For ever outside of [`block_on`].
pub async fn sleep(ms: u64) {
    let Ok(turns) = current() else { return std::future::pending().await };
    let at = turns.clock.now().at.plus(ms);
    Sleep { timer: Rc::new(Timer { at, waker: Cell::new(None) }), turns, kept: false }.await
}

fn current() -> io::Result<Rc<Loop>> {
    LOOP.with(|cell| cell.get().cloned()).ok_or_else(|| io::ErrorKind::NotConnected.into())
}

struct Loop {
    poll: RefCell<mio::Poll>,
    events: RefCell<Events>,
    /// Who waits for which source; a free place is `None`.
    sources: RefCell<Vec<Option<Rc<Waiters>>>>,
    timers: RefCell<Vec<Rc<Timer>>>,
    clock: SystemClock,
    ready: Arc<Ready>,
}

/// What can go on. The only part that other threads see.
struct Ready {
    tasks: Mutex<VecDeque<Runnable>>,
    /// The future of [`block_on`] can go on.
    first: AtomicBool,
    /// The loop is about to sleep, or does.
    asleep: AtomicBool,
    alarm: mio::Waker,
}

impl Ready {
    fn rouse(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            // fails only when the alarm rings already
            let _ = self.alarm.wake();
        }
    }

    fn is_idle(&self) -> bool {
        !self.first.load(Ordering::SeqCst) && lock(&self.tasks).is_empty()
    }
}

impl Wake for Ready {
    fn wake(self: Arc<Ready>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Ready>) {
        self.first.store(true, Ordering::SeqCst);
        self.rouse();
    }
}

/// The alarm's token; sources are counted from 0.
const ALARM: Token = Token(usize::MAX);

impl Loop {
    fn new() -> io::Result<Loop> {
        let poll = mio::Poll::new()?;
        let alarm = mio::Waker::new(poll.registry(), ALARM)?;
        let ready =
            Ready { tasks: Mutex::default(), first: AtomicBool::new(false), asleep: AtomicBool::new(false), alarm };
        Ok(Loop {
            poll: RefCell::new(poll),
            events: RefCell::new(Events::with_capacity(limits::EVENTS_PER_TURN)),
            sources: RefCell::default(),
            timers: RefCell::default(),
            clock: SystemClock::start(),
            ready: Arc::new(ready),
        })
    }

    fn run_tasks(&self) {
        for _ in 0..limits::TASKS_PER_TURN {
            let Some(task) = lock(&self.ready.tasks).pop_front() else { return };
            task.run();
        }
    }

    /// Sleeps until something is ready, if nothing is, and wakes who waits for it.
    fn wait(&self) -> io::Result<()> {
        self.ready.asleep.store(true, Ordering::SeqCst);
        let wait = if self.ready.is_idle() { self.next_timer() } else { Some(Duration::ZERO) };
        let mut events = self.events.borrow_mut();
        let polled = self.poll.borrow_mut().poll(&mut events, wait);
        self.ready.asleep.store(false, Ordering::SeqCst);
        match polled {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &*events {
            let waiters = self.sources.borrow().get(event.token().0).cloned().flatten();
            waiters.into_iter().for_each(|waiters| waiters.wake(event));
        }
        self.ring();
        Ok(())
    }

    fn next_timer(&self) -> Option<Duration> {
        let timers = self.timers.borrow();
        let next = timers.iter().map(|timer| timer.at).min()?;
        Some(Duration::from_millis(next.since(self.clock.now().at)))
    }

    fn ring(&self) {
        let mut timers = self.timers.borrow_mut();
        if timers.is_empty() {
            return;
        }
        let now = self.clock.now().at;
        timers.retain(|timer| {
            let rings = timer.at <= now;
            if rings {
                timer.waker.take().into_iter().for_each(Waker::wake);
            }
            !rings
        });
    }
}

// --- sockets ------------------------------------------------------------------------------------------------------------

/// A socket that this thread's loop watches. At most one task waits to read from it, and one to write.
pub struct Source<T> {
    pub io: T,
    place: usize,
    turns: Rc<Loop>,
    waiters: Rc<Waiters>,
}

#[derive(Default)]
struct Waiters {
    reader: Cell<Option<Waker>>,
    writer: Cell<Option<Waker>>,
}

impl Waiters {
    fn wake(&self, event: &event::Event) {
        let reads = event.is_readable() || event.is_read_closed() || event.is_error();
        let writes = event.is_writable() || event.is_write_closed() || event.is_error();
        let wake = |waiter: &Cell<Option<Waker>>| waiter.take().into_iter().for_each(Waker::wake);
        if reads {
            wake(&self.reader);
        }
        if writes {
            wake(&self.writer);
        }
    }
}

impl<T: event::Source> Source<T> {
    /// Watches a socket that does not block. Only inside [`block_on`].
    pub fn new(mut io: T) -> io::Result<Source<T>> {
        let turns = current()?;
        let waiters = Rc::<Waiters>::default();
        let mut sources = turns.sources.borrow_mut();
        let place = sources.iter().position(Option::is_none).unwrap_or(sources.len());
        turns.poll.borrow().registry().register(&mut io, Token(place), Interest::READABLE | Interest::WRITABLE)?;
        match sources.get_mut(place) {
            Some(free) => *free = Some(waiters.clone()),
            None => sources.push(Some(waiters.clone())),
        }
        drop(sources);
        Ok(Source { io, place, turns, waiters })
    }
}

impl<T> Source<T> {
    /// Reads, or whatever `read` does that may have to wait for something to come.
    pub async fn reading<R>(&self, mut read: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        poll_fn(|context| ready(read(&self.io), || self.wait_to_read(context))).await
    }

    /// Writes, or whatever `write` does that may have to wait for room.
    pub async fn writing<R>(&self, mut write: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        poll_fn(|context| ready(write(&self.io), || self.wait_to_write(context))).await
    }

    /// Wakes the task when there is something to read. It must have been refused with `WouldBlock` before.
    pub fn wait_to_read(&self, context: &mut Context<'_>) {
        self.waiters.reader.set(Some(context.waker().clone()));
    }

    /// Wakes the task when something can be written. It must have been refused with `WouldBlock` before.
    pub fn wait_to_write(&self, context: &mut Context<'_>) {
        self.waiters.writer.set(Some(context.waker().clone()));
    }
}

fn ready<R>(done: io::Result<R>, wait: impl FnOnce()) -> Poll<io::Result<R>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            wait();
            Poll::Pending
        }
        done => Poll::Ready(done),
    }
}

impl<T> Drop for Source<T> {
    /// The system forgets a socket when it is closed.
    fn drop(&mut self) {
        self.turns.sources.borrow_mut()[self.place] = None;
    }
}

// --- time ---------------------------------------------------------------------------------------------------------------

struct Timer {
    at: Millis,
    waker: Cell<Option<Waker>>,
}

struct Sleep {
    timer: Rc<Timer>,
    turns: Rc<Loop>,
    /// The loop has the timer.
    kept: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.turns.clock.now().at >= self.timer.at {
            return Poll::Ready(());
        }
        self.timer.waker.set(Some(context.waker().clone()));
        if !self.kept {
            self.kept = true;
            self.turns.timers.borrow_mut().push(self.timer.clone());
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.turns.timers.borrow_mut().retain(|timer| !Rc::ptr_eq(timer, &self.timer));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use futures_lite::future::{yield_now, zip};
    use futures_lite::FutureExt;

    use super::*;

    #[test]
    fn sleeps_end_in_their_order_whatever_else_happens_and_the_first_of_two_ends_both() {
        let order = RefCell::new(Vec::new());
        let after = async |ms| {
            sleep(ms).await;
            order.borrow_mut().push(ms);
        };
        // turns without an end of a sleep, which must not lose who waits for it
        let busy = async {
            for _ in 0..200 {
                yield_now().await;
            }
        };
        block_on(zip(zip(after(30), after(10)), zip(busy, after(60_000).or(after(20))))).unwrap();
        assert_eq!(*order.borrow(), [10, 20, 30]);
        assert!(current().unwrap().timers.borrow().is_empty(), "what nobody waits for is forgotten");
    }

    #[test]
    fn a_socket_wakes_its_own_task_also_in_the_place_of_one_that_is_gone() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let meet = || {
            let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let ours = listener.accept().unwrap().0;
            ours.set_nonblocking(true).unwrap();
            (Source::new(mio::net::TcpStream::from_std(ours)).unwrap(), theirs)
        };
        let told = async {
            for word in [b'a', b'b', b'c'] {
                let (ours, mut theirs) = meet();
                assert_eq!(ours.place, 0, "places are used again");
                let writer = std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(5));
                    theirs.write_all(&[word]).unwrap();
                    theirs
                });
                let mut byte = [0];
                assert_eq!(ours.reading(|mut stream| stream.read(&mut byte)).await.unwrap(), 1);
                assert_eq!(byte, [word]);
                drop(writer.join().unwrap());
            }
        };
        block_on(told).unwrap();
        assert!(spawn(async {}).is_ok(), "this thread has a loop now");
        assert!(std::thread::spawn(|| spawn(async {}).is_err()).join().unwrap(), "and another has none");
    }
}
