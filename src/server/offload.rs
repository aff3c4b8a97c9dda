//! Work that would hold up the loop - the disk, many signatures at once - on a thread of its own.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use async_channel::{bounded, Sender};

type Task = Box<dyn FnOnce() + Send>;

/// A thread that does one thing after the other. Ends when it is dropped and has done what it was given.
pub struct Worker(Sender<Task>);

impl Worker {
    /// Starts the thread; `queue` tasks may wait before [`Worker::run`] waits itself.
    pub fn start(name: &str, queue: usize) -> io::Result<Worker> {
        let (sender, receiver) = bounded::<Task>(queue);
        let work = move || {
            while let Ok(task) = receiver.recv_blocking() {
                task();
            }
        };
        std::thread::Builder::new().name(name.to_string()).spawn(work)?;
        Ok(Worker(sender))
    }

    /// Does `work` on the thread. `None` if the thread is gone, which ends the process anyway (`panic = "abort"`).
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        // the result lies beside the channel, so that one kind of channel does for every kind of result
        let result = Arc::new(Mutex::new(None));
        let (done, finished) = bounded::<()>(1);
        let theirs = result.clone();
        let task = move || {
            *theirs.lock().unwrap_or_else(PoisonError::into_inner) = Some(work());
            drop(done);
        };
        self.0.send(Box::new(task)).await.ok()?;
        let _ = finished.recv().await;
        let result = result.lock().unwrap_or_else(PoisonError::into_inner).take();
        result
    }
}
