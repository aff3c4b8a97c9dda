//! Runs the gateway on smol's sockets and timers: one executor for the tasks of one thread, and
//! other threads for work that would block it.
//!
//! Each loop of the gateway and each connection is a task ([`spawn`]). The tasks run in the order
//! of [`Turns`], so that a client with many connections or expensive requests does not delay the
//! others. The clock is read only while tasks wait for a turn. The future given to [`run`] is
//! polled at every wake-up of the thread, so it should only wait for the end.
//!
//! async-io has a thread that waits for system events. [`run`] leaves that to it and sleeps in
//! `smol::future::block_on` until a task is woken. With `smol::block_on` both threads wait for
//! events in turns, and after a pause they change places at each event.
//!
//! Wake-ups of both threads and processor time per operation, measured on x86_64 with two cores:
//!
//! | operation | [`run`] | `smol::block_on` |
//! |---|---|---|
//! | call after a pause of 30 ms | 2.0, 115 us | 3.0 to 5.1, 131 to 163 us |
//! | connection after such a pause | 5.7 to 6.8, 265 to 313 us | 8.7 to 11.8, 344 to 452 us |
//! | call in a stream | 0.7, 11 us | 0.5, 10 us |
//! | connection in a stream | 6.0, 95 us | 2.1, 82 us |

use std::cell::RefCell;
use std::future::{poll_fn, Future};
use std::io;
use std::pin::{pin, Pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use async_task::Runnable;
use smol::future;
use smol::lock::{Mutex, MutexGuardArc, Semaphore};
use smol::{Task, Timer};

use super::os::clock;
use super::turns::{TurnHolder, Turns};
use crate::gate::limits;

thread_local! {
    static EXECUTOR: Arc<Executor> = Arc::default();
    /// Seat of the task that runs.
    static CURRENT: RefCell<Option<Arc<Seat>>> = const { RefCell::new(None) };
}

/// Runs the tasks of this thread until `future` is done. The thread "async-io" watches the events
/// for which they wait.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let executor = EXECUTOR.with(Arc::clone);
    let mut future = pin!(future);
    future::block_on(poll_fn(|context| executor.poll(future.as_mut(), context)))
}

/// Starts a task of the gateway itself on this thread; [`run`] runs it. Dropping the handle cancels
/// the task.
pub fn spawn(future: impl Future<Output = ()> + 'static) -> Task<()> {
    spawn_for(TurnHolder::Gateway, future)
}

/// Like [`spawn`], for a task whose time counts for `holder`.
pub fn spawn_for(holder: TurnHolder, future: impl Future<Output = ()> + 'static) -> Task<()> {
    let executor = EXECUTOR.with(Arc::clone);
    let place = AtomicUsize::new(lock(&executor.state).turns.add_task(holder));
    let seat = Arc::new(Seat { executor, place });
    let (runnable, task) =
        async_task::spawn_local(future, move |runnable| Seat::ask(&seat, runnable));
    runnable.schedule();
    task
}

/// Counts the time of the current task for `holder` after the current turn.
pub fn continue_for(holder: TurnHolder) {
    CURRENT.with_borrow(|current| current.iter().for_each(|seat| seat.change(holder)));
}

/// Tasks of one thread.
#[derive(Default)]
struct Executor {
    state: std::sync::Mutex<ExecutorState>,
}

#[derive(Default)]
struct ExecutorState {
    turns: Turns<(Runnable, Arc<Seat>)>,
    /// Start of the current turn.
    started: Option<Instant>,
    /// Wakes the thread if it sleeps.
    sleeping: Option<Waker>,
}

impl Executor {
    /// Polls `future`, and runs tasks while any waits for a turn.
    fn poll<T>(
        &self,
        mut future: Pin<&mut impl Future<Output = T>>,
        context: &mut Context<'_>,
    ) -> Poll<T> {
        loop {
            if let Poll::Ready(done) = future.as_mut().poll(context) {
                return Poll::Ready(done);
            }
            for _ in 0..TURNS_PER_POLL {
                let next = lock(&self.state).next_turn(context.waker());
                let Some((runnable, seat)) = next else { return Poll::Pending };
                CURRENT.replace(Some(seat));
                runnable.run();
                CURRENT.take();
            }
        }
    }
}

impl ExecutorState {
    /// Ends the current turn and begins the next one. If no task waits, the thread sleeps.
    fn next_turn(&mut self, waker: &Waker) -> Option<(Runnable, Arc<Seat>)> {
        if self.turns.is_empty() {
            self.started = None;
            self.sleeping = Some(waker.clone());
            return self.turns.next(0);
        }
        // the first turn after a sleep is not measured: the clock costs more than it is worth
        if !self.turns.has_turn() {
            return self.turns.next(0);
        }
        let now = clock::turn_start();
        let took =
            self.started.replace(now).map_or(0, |start| now.duration_since(start).as_nanos());
        self.turns.next(took as u64)
    }
}

/// Number of turns after which the future of [`run`] is polled.
const TURNS_PER_POLL: usize = 200;

/// Holder of a task.
struct Seat {
    executor: Arc<Executor>,
    /// Index of the holder in [`Turns`].
    place: AtomicUsize,
}

impl Seat {
    /// Asks for a turn.
    fn ask(seat: &Arc<Seat>, runnable: Runnable) {
        let mut state = lock(&seat.executor.state);
        state.turns.ask(seat.place.load(Ordering::Relaxed), (runnable, seat.clone()));
        let sleeping = state.sleeping.take();
        drop(state);
        if let Some(waker) = sleeping {
            waker.wake();
        }
    }

    fn change(&self, holder: TurnHolder) {
        let mut state = lock(&self.executor.state);
        let place = state.turns.add_task(holder);
        state.turns.remove_task(self.place.swap(place, Ordering::Relaxed));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.executor.state).turns.remove_task(*self.place.get_mut());
    }
}

/// Waits at least `ms` milliseconds.
pub async fn sleep(ms: u64) {
    Timer::after(Duration::from_millis(ms)).await;
}

/// Returns the result of `work`, or `None` if it is not done after `ms` milliseconds.
///
/// `work` is moved once, to the heap: the future that waits for it stays small and cheap to move.
pub fn within<T>(ms: u64, work: impl Future<Output = T>) -> impl Future<Output = Option<T>> {
    let mut work = Box::pin(work);
    let mut timer = Timer::after(Duration::from_millis(ms));
    poll_fn(move |context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => Pin::new(&mut timer).poll(context).map(|_| None),
    })
}

/// Runs `work` on a new thread with this name. Error if the system has no thread left.
pub fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // boxed, so that the code to start a thread is compiled once and not for each kind of work
    let work: Box<dyn FnOnce() + Send> = Box::new(work);
    thread::Builder::new().name(name.to_string()).spawn(work).map(|_| ())
}

/// Locks `mutex`, even if a thread has panicked while it held the lock.
pub fn lock<T>(mutex: &std::sync::Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs work on smol's threads for blocking work ([`smol::unblock`]), one item at a time. smol
/// would start hundreds of threads; an `Offload` uses at most one. smol ends a thread that was idle
/// for half a second.
pub struct Offload {
    /// Held by the running work, even if its caller is gone.
    running: Arc<Mutex<()>>,
    /// Held by callers that wait for the running work.
    waiting: Semaphore,
}

impl Default for Offload {
    fn default() -> Offload {
        Offload { running: Arc::default(), waiting: Semaphore::new(limits::OFFLOADED) }
    }
}

impl Offload {
    /// Runs `work` when the previous work is done, unless this future is dropped before. Returns
    /// `None` if [`limits::OFFLOADED`] other callers wait.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let waiting = self.waiting.try_acquire()?;
        let running = self.running.lock_arc().await;
        drop(waiting);
        Some(Offload::start(work, running).await)
    }

    /// Runs `work` when the previous work is done, unless this future is dropped before. The
    /// callers must be bounded in another way.
    pub async fn run_in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let running = self.running.lock_arc().await;
        Offload::start(work, running).await
    }

    /// Runs `work` on another thread, which holds the lock until it is done.
    fn start<T: Send + 'static>(
        work: impl FnOnce() -> T + Send + 'static,
        running: MutexGuardArc<()>,
    ) -> Task<T> {
        let work = move || {
            let result = work();
            drop(running);
            result
        };
        smol::unblock(work)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use async_net::{TcpListener, TcpStream};
    use smol::channel;
    use smol::future::{poll_once, yield_now, zip, FutureExt};
    use smol::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::gate::budget::Holder;

    #[test]
    fn sleeps_end_in_order_and_a_timeout_ends_the_work() {
        let order = RefCell::new(Vec::new());
        let after = async |ms| {
            sleep(ms).await;
            order.borrow_mut().push(ms);
        };
        // tasks that never wait must not delay those that do
        let busy = spawn(async {
            loop {
                yield_now().await;
            }
        });
        run(zip(zip(after(600), after(50)), after(60_000).or(after(300))));
        drop(busy);
        assert_eq!(*order.borrow(), [50, 300, 600]);
        assert_eq!(run(within(60_000, async { 1 })), Some(1));
        assert_eq!(run(within(1, std::future::pending::<()>())), None);
    }

    #[test]
    fn a_holder_with_many_busy_tasks_gets_no_more_turns_than_one_with_a_single_task() {
        let (busy, rare) = (TurnHolder::Unauthenticated, TurnHolder::Client(Holder::Keyless));
        let turns = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let turns = turns.clone();
                spawn(async move {
                    continue_for(busy);
                    loop {
                        yield_now().await;
                        turns.set(turns.get() + 1);
                        thread::sleep(Duration::from_micros(200));
                    }
                })
            })
            .collect();
        let (said, done) = channel::bounded(1);
        let single = spawn_for(rare, async move {
            for _ in 0..20 {
                yield_now().await;
            }
            said.send(turns.get()).await.unwrap();
        });
        let others = run(done.recv()).unwrap();
        drop((tasks, single));
        // 1000 if all tasks had turns in order
        assert!(others <= 25, "{others} turns of the others");
    }

    #[test]
    fn a_thread_a_timer_and_two_sockets_wake_each_other() {
        const ROUNDS: u64 = 200;
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut far, _) = listener.accept().await.unwrap();
            let (to_thread, from_task) = channel::bounded::<u64>(1);
            let (to_task, from_thread) = channel::bounded::<u64>(1);
            let thread = thread::spawn(move || {
                while let Ok(round) = from_task.recv_blocking() {
                    to_task.send_blocking(round + 1).unwrap();
                }
            });
            // from socket to socket to thread and back, through a timer in every tenth round
            let echo = spawn(async move {
                let mut bytes = [0; 8];
                while far.read_exact(&mut bytes).await.is_ok() {
                    to_thread.send(u64::from_le_bytes(bytes)).await.unwrap();
                    let round = from_thread.recv().await.unwrap();
                    if round % 10 == 0 {
                        sleep(1).await;
                    }
                    far.write_all(&round.to_le_bytes()).await.unwrap();
                }
            });
            let rounds = async {
                for round in 0..ROUNDS {
                    near.write_all(&round.to_le_bytes()).await.unwrap();
                    let mut bytes = [0; 8];
                    near.read_exact(&mut bytes).await.unwrap();
                    assert_eq!(u64::from_le_bytes(bytes), round + 1);
                }
            };
            within(20_000, rounds).await.expect("no wake-up is lost");
            drop(near);
            within(20_000, echo).await.expect("the end of the stream wakes the other side");
            thread.join().unwrap();
        });
    }

    #[test]
    fn a_dropped_task_is_cancelled() {
        let alive = Rc::new(());
        let theirs = alive.clone();
        let task = spawn(async move {
            std::future::pending::<()>().await;
            drop(theirs);
        });
        run(yield_now());
        assert_eq!(Rc::strong_count(&alive), 2);
        drop(task);
        run(yield_now());
        assert_eq!(Rc::strong_count(&alive), 1);
    }

    #[test]
    fn offloaded_work_runs_in_order_and_returns_its_result() {
        let offload = Offload::default();
        let order = Arc::new(AtomicU32::new(0));
        let ask = |number: u32| {
            let order = order.clone();
            offload.run(move || (number, order.fetch_add(1, Ordering::SeqCst)))
        };
        let (first, second) = run(zip(ask(7), ask(8)));
        assert_eq!((first, second), (Some((7, 0)), Some((8, 1))));
    }

    #[test]
    fn dropped_work_does_not_run_and_waiting_work_is_bounded() {
        let offload = Offload::default();
        let (go, gate) = mpsc::channel::<()>();
        let (said, done) = mpsc::channel();
        let mut holds = Box::pin(offload.run(move || gate.recv()));
        assert!(run(poll_once(&mut holds)).is_none());
        let mut dropped = Box::pin(offload.run(move || said.send(()).unwrap()));
        assert!(run(poll_once(&mut dropped)).is_none());
        drop(dropped);
        let mut waiting: Vec<_> =
            (0..limits::OFFLOADED).map(|number| Box::pin(offload.run(move || number))).collect();
        for one in &mut waiting {
            assert!(run(poll_once(one)).is_none());
        }
        assert_eq!(run(offload.run(|| 0)), None, "one too many waits");
        drop(waiting.pop());
        let mut last = Box::pin(offload.run(|| 1));
        assert!(run(poll_once(&mut last)).is_none(), "there is room again");
        go.send(()).unwrap();
        assert!(run(holds).unwrap().is_ok());
        for (number, one) in waiting.into_iter().enumerate() {
            assert_eq!(run(one), Some(number));
        }
        assert_eq!(run(last), Some(1));
        assert!(done.recv().is_err(), "its sender was dropped with the work, unused");
    }

    #[test]
    fn abandoned_work_blocks_the_next_instead_of_starting_a_second_thread() {
        let offload = Offload::default();
        let (go, gate) = mpsc::channel::<()>();
        let mut hangs = Box::pin(offload.run(move || gate.recv()));
        assert!(run(poll_once(&mut hangs)).is_none());
        // gives the work time to begin: only work that waits is dropped with its caller
        thread::sleep(Duration::from_millis(50));
        drop(hangs);
        let mut next = Box::pin(offload.run(|| 1));
        assert_eq!(run(within(50, &mut next)), None, "a second thread would have done it");
        go.send(()).unwrap();
        assert_eq!(run(next), Some(1));
    }
}
