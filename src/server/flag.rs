//! A flag that any thread raises and one task waits for.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Raised before anybody waits, it is still up when somebody does; raised twice, it is up once. Clones are the same flag.
#[derive(Clone, Default)]
pub struct Flag(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    raised: bool,
    waiter: Option<Waker>,
}

impl Flag {
    /// Puts it up and wakes who waits.
    pub fn raise(&self) {
        let waiter = {
            let mut state = self.state();
            state.raised = true;
            state.waiter.take()
        };
        waiter.into_iter().for_each(Waker::wake);
    }

    /// Waits until it is up, and takes it down. One task at a time.
    pub async fn wait(&self) {
        poll_fn(|context| {
            let mut state = self.state();
            if std::mem::take(&mut state.raised) {
                return Poll::Ready(());
            }
            state.waiter = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

/// A panic ends the process (`panic = "abort"`), so no lock is ever poisoned.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_lite::future;

    use super::super::reactor::block_on;
    use super::*;
    use std::time::Duration;

    #[test]
    fn raised_before_or_after_the_wait_it_ends_it_once() {
        let flag = Flag::default();
        flag.raise();
        flag.raise();
        block_on(flag.wait()).unwrap();
        let late = flag.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            late.raise();
        });
        block_on(flag.wait()).unwrap();
        thread.join().unwrap();
        let waits = async { flag.wait().await };
        assert!(block_on(future::poll_once(waits)).unwrap().is_none(), "it is down again");
    }
}
