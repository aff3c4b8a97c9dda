//! Work that would hold up the loop - the disk, many signatures at once - on a thread of its own.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::flag::{lock, Flag};
use crate::gate::limits;

type Task = Box<dyn FnOnce() + Send>;

/// Does `work` on a thread of that name. All threads start here: each other way to say it is a kilobyte of program.
pub fn start_thread(name: &str, work: Task) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_string()).spawn(work).map(|_| ())
}

/// A thread that does one thing after the other. Ends when this is dropped.
pub struct Worker(Arc<Queue>);

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    tasks: VecDeque<Task>,
    /// No more can come.
    ended: bool,
}

impl Worker {
    /// Starts the thread.
    pub fn start(name: &str) -> io::Result<Worker> {
        let queue = Arc::new(Queue::default());
        let theirs = queue.clone();
        let work = move || {
            while let Some(task) = theirs.next() {
                task();
            }
        };
        start_thread(name, Box::new(work))?;
        Ok(Worker(queue))
    }

    /// Does `work` on the thread, unless this future is dropped before its turn comes. `None` if [`limits::OFFLOADED`] wait: while
    /// one hangs, those that nobody waits for any more are still there.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let done = Flag::default();
        let result = Arc::new(Mutex::new(None));
        let (raise, theirs) = (done.clone(), Arc::downgrade(&result));
        let task = move || {
            if let Some(result) = theirs.upgrade() {
                *lock(&result) = Some(work());
                raise.raise();
            }
        };
        if !self.0.push(Box::new(task)) {
            return None;
        }
        done.wait().await;
        let result = lock(&result).take();
        result
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        lock(&self.0.waiting).ended = true;
        self.0.more.notify_one();
    }
}

impl Queue {
    /// Says whether there was room.
    fn push(&self, task: Task) -> bool {
        let mut waiting = lock(&self.waiting);
        let room = waiting.tasks.len() < limits::OFFLOADED;
        if room {
            waiting.tasks.push_back(task);
            self.more.notify_one();
        }
        room
    }

    /// Waits for a task; `None` when there is none and no more can come.
    fn next(&self) -> Option<Task> {
        let mut waiting = lock(&self.waiting);
        loop {
            match waiting.tasks.pop_front() {
                Some(task) => return Some(task),
                None if waiting.ended => return None,
                None => waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future;

    use super::super::reactor::block_on;
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::channel;

    #[test]
    fn work_is_done_in_order_and_answers_to_who_asked() {
        let worker = Worker::start("test").unwrap();
        let order = Arc::new(AtomicU32::new(0));
        let ask = |number: u32| {
            let order = order.clone();
            worker.run(move || (number, order.fetch_add(1, Ordering::SeqCst)))
        };
        let (first, second) = block_on(future::zip(ask(7), ask(8))).unwrap();
        assert_eq!((first, second), (Some((7, 0)), Some((8, 1))));
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_not_done() {
        let worker = Worker::start("test").unwrap();
        let (go, gate) = channel::<()>();
        let (said, done) = channel();
        let mut holds = Box::pin(worker.run(move || gate.recv()));
        assert!(block_on(future::poll_once(&mut holds)).unwrap().is_none());
        let mut dropped = Box::pin(worker.run(move || said.send(()).unwrap()));
        assert!(block_on(future::poll_once(&mut dropped)).unwrap().is_none());
        drop(dropped);
        let (held, mut refused) = (Arc::new(()), 0);
        for _ in 0..2 * limits::OFFLOADED {
            let theirs = held.clone();
            let mut dropped = Box::pin(worker.run(move || drop(theirs)));
            refused += usize::from(block_on(future::poll_once(&mut dropped)).unwrap().is_some());
        }
        assert!(Arc::strong_count(&held) <= limits::OFFLOADED && refused > limits::OFFLOADED, "there is an end to it");
        go.send(()).unwrap();
        assert!(block_on(holds).unwrap().unwrap().is_ok());
        assert_eq!(block_on(worker.run(|| 1)).unwrap(), Some(1));
        assert!(done.recv().is_err(), "its sender went with the work, unused");
    }

    #[test]
    fn the_thread_ends_with_its_worker() {
        let worker = Worker::start("test").unwrap();
        let queue = Arc::downgrade(&worker.0);
        drop(worker);
        let begun = std::time::Instant::now();
        while queue.upgrade().is_some() {
            assert!(begun.elapsed().as_secs() < 10, "the thread goes on");
            std::thread::yield_now();
        }
    }
}
