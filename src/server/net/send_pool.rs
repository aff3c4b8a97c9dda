//! Memory of all send queues together, as one budget.
//!
//! A frame for one client counts in the queue of that client until it is sent. The text of an event
//! is the same for many clients and counts once, until the last of them has sent it. Each queued
//! frame counts [`limits::SEND_QUEUE_ENTRY`] bytes more.

use std::cell::Cell;
use std::rc::Rc;

use crate::gate::budget::Budget;
use crate::gate::ids::Millis;
use crate::gate::limits;

/// Budget of all send queues, and the time of the event that the gateway handles.
pub struct SendPool {
    budget: Cell<Budget>,
    now: Cell<Millis>,
}

impl Default for SendPool {
    fn default() -> SendPool {
        SendPool { budget: Cell::new(Budget::new(limits::SEND_QUEUES)), now: Cell::default() }
    }
}

impl SendPool {
    /// Returns the budget.
    pub fn budget(&self) -> Budget {
        self.budget.get()
    }

    /// Sets the time.
    pub fn set_now(&self, now: Millis) {
        self.now.set(now);
    }

    /// Returns the time.
    pub fn now(&self) -> Millis {
        self.now.get()
    }
}

/// Bytes that one queue or one event has taken from the pool. Dropping it gives them back.
pub struct Charge {
    pool: Rc<SendPool>,
    bytes: usize,
}

impl Charge {
    /// Takes bytes from the pool, even beyond its total.
    pub fn new(pool: Rc<SendPool>, bytes: usize) -> Charge {
        let mut charge = Charge { pool, bytes: 0 };
        charge.set(bytes);
        charge
    }

    /// Changes the number of bytes.
    pub fn set(&mut self, bytes: usize) {
        let mut budget = self.pool.budget.get();
        budget.give(self.bytes);
        budget.take(bytes);
        self.pool.budget.set(budget);
        self.bytes = bytes;
    }

    /// Returns the pool.
    pub fn pool(&self) -> &SendPool {
        &self.pool
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}
