//! Work that would hold up the loop - the disk, many signatures at once - on a thread of its own.

use std::io;

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
        let (sender, receiver) = bounded(1);
        let task = Box::new(move || drop(sender.try_send(work())));
        self.0.send(task).await.ok()?;
        receiver.recv().await.ok()
    }
}
