//! What waits for the disk: changes on their way to the table file, and everything that may happen only once they are there.
//!
//! The table in memory changes at once, so that decisions are made on what will be; nobody is told before the file has it. If
//! the file refuses, memory goes back to what the file last had. One ticket a change, done in order.

use std::collections::{BTreeMap, VecDeque};

use crate::gate::device::Device;
use crate::gate::ids::{Slot, TableAge};
use crate::rpc::Devices;

/// A change on its way, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(u64);

/// What the disk is asked to do.
#[derive(Debug)]
pub struct Job {
    pub ticket: Ticket,
    pub changes: Vec<(Slot, Option<Device>)>,
    pub age: Option<TableAge>,
}

struct InFlight {
    /// Changes of this slot that are under way.
    count: u32,
    last: Ticket,
    /// What the file has for certain.
    durable: Option<Device>,
}

/// The changes under way; `T` is what waits for them.
pub struct Commits<T> {
    next: u64,
    slots: BTreeMap<Slot, InFlight>,
    waiting: VecDeque<(Ticket, T)>,
    jobs: VecDeque<Job>,
    failing: bool,
}

impl<T> Default for Commits<T> {
    /// Nothing is under way.
    fn default() -> Commits<T> {
        Commits { next: 1, slots: BTreeMap::new(), waiting: VecDeque::new(), jobs: VecDeque::new(), failing: false }
    }
}

impl<T> Commits<T> {
    /// Changes a slot in memory and sends the change on its way.
    pub fn change(&mut self, table: &mut Devices, slot: Slot, device: Option<Device>) -> Ticket {
        let ticket = self.ticket();
        let before = table.get(slot).cloned();
        let flight = self.slots.entry(slot).or_insert(InFlight { count: 0, last: ticket, durable: before });
        (flight.count, flight.last) = (flight.count + 1, ticket);
        put(table, slot, device.clone());
        self.jobs.push_back(Job { ticket, changes: vec![(slot, device)], age: None });
        ticket
    }

    /// Writes devices down as they stand in memory, and the table's age, because it is time to.
    pub fn flush(&mut self, table: &Devices, slots: impl Iterator<Item = Slot>) -> Ticket {
        let ticket = self.ticket();
        let idle = slots.filter(|slot| !self.slots.contains_key(slot));
        let changes = idle.filter_map(|slot| Some((slot, Some(table.get(slot)?.clone())))).collect();
        self.jobs.push_back(Job { ticket, changes, age: Some(table.age()) });
        ticket
    }

    /// The change after which what memory says of this slot is durable, if one is under way.
    pub fn under_way(&self, slot: Slot) -> Option<Ticket> {
        self.slots.get(&slot).map(|flight| flight.last)
    }

    /// `then` happens when the change is done.
    pub fn wait(&mut self, ticket: Ticket, then: T) {
        self.waiting.push_back((ticket, then));
    }

    /// What waits for that change; the change is done, well or not.
    pub fn done(&mut self, table: &mut Devices, job: &Job, well: bool) -> Vec<T> {
        self.failing = !well;
        for (slot, device) in &job.changes {
            self.settle(table, *slot, device, well);
        }
        let mut then = Vec::new();
        while self.waiting.front().is_some_and(|(ticket, _)| *ticket <= job.ticket) {
            then.extend(self.waiting.pop_front().map(|(_, waits)| waits));
        }
        then
    }

    /// The next thing for the disk to do.
    pub fn next_job(&mut self) -> Option<Job> {
        self.jobs.pop_front()
    }

    /// Did the last write fail?
    pub fn is_failing(&self) -> bool {
        self.failing
    }

    fn settle(&mut self, table: &mut Devices, slot: Slot, device: &Option<Device>, well: bool) {
        let Some(flight) = self.slots.get_mut(&slot) else { return };
        if well {
            flight.durable = device.clone();
        }
        flight.count -= 1;
        if flight.count == 0 {
            let flight = self.slots.remove(&slot);
            if let (false, Some(flight)) = (well, flight) {
                put(table, slot, flight.durable);
            }
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.next += 1;
        Ticket(self.next - 1)
    }
}

fn put(table: &mut Devices, slot: Slot, device: Option<Device>) {
    match device {
        Some(device) => table.put(slot, device),
        None => drop(table.remove(slot)),
    }
}
