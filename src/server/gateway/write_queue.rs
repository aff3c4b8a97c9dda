//! In-flight writes to the table file, and the actions that wait for them.
//!
//! The table in memory changes at once, so that decisions are based on the new state. Clients are
//! answered only after the change is durable. If a write fails, memory returns to the last durable
//! content. Each change has its own ticket, and changes are written in order.

use std::collections::VecDeque;

use crate::gate::device::Device;
use crate::gate::ids::{DeviceId, Slot, TableAge};
use crate::gate::limits;
use crate::rpc::Devices;
use crate::server::config_file::FileWork;

/// Number of a change, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(u64);

/// Unit of work for the disk thread.
#[derive(Debug)]
pub struct DiskJob {
    pub ticket: Ticket,
    pub changes: Vec<(Slot, Option<Device>)>,
    pub age: Option<TableAge>,
    /// Operation on the configuration file.
    pub file: Option<Box<FileWork>>,
}

struct InFlight {
    slot: Slot,
    /// Number of in-flight changes of this slot.
    count: u32,
    last: Ticket,
    /// Content of the slot that is known to be durable.
    durable: Option<Device>,
    /// Devices that the file may have in this slot. After a failed write they stay listed, with no
    /// write in flight, until the slot is written again.
    devices: Vec<DeviceId>,
}

/// In-flight writes. `T` is an action that waits for one of them.
pub struct WriteQueue<T> {
    next: u64,
    flights: Vec<InFlight>,
    waiting: VecDeque<(Ticket, T)>,
    jobs: VecDeque<DiskJob>,
    failing: bool,
}

impl<T> Default for WriteQueue<T> {
    /// Creates a value without in-flight writes.
    fn default() -> WriteQueue<T> {
        WriteQueue {
            next: 1,
            flights: Vec::new(),
            waiting: VecDeque::new(),
            jobs: VecDeque::new(),
            failing: false,
        }
    }
}

impl<T> WriteQueue<T> {
    /// Changes a slot in memory and queues the write.
    pub fn change(&mut self, table: &mut Devices, slot: Slot, device: Option<Device>) -> Ticket {
        let ticket = self.ticket();
        let place =
            self.flights.iter().position(|flight| flight.slot == slot).unwrap_or_else(|| {
                self.flights.push(InFlight {
                    slot,
                    count: 0,
                    last: ticket,
                    durable: None,
                    devices: Vec::new(),
                });
                self.flights.len() - 1
            });
        let flight = &mut self.flights[place];
        if flight.count == 0 {
            flight.durable = table.get(slot).cloned();
        }
        (flight.count, flight.last) = (flight.count + 1, ticket);
        flight.devices.extend(flight.durable.iter().chain(&device).map(|device| device.id));
        put(table, slot, device.clone());
        self.jobs.push_back(DiskJob {
            ticket,
            changes: vec![(slot, device)],
            age: None,
            file: None,
        });
        ticket
    }

    /// Queues a write of these devices as they are in memory, and of the table's age. Slots with an
    /// in-flight change are left out.
    pub fn flush(&mut self, table: &Devices, slots: impl Iterator<Item = Slot>) -> Ticket {
        let ticket = self.ticket();
        let idle = slots.filter(|slot| self.under_way(*slot).is_none());
        let changes =
            idle.filter_map(|slot| Some((slot, Some(table.get(slot)?.clone())))).collect();
        self.jobs.push_back(DiskJob { ticket, changes, age: Some(table.age()), file: None });
        ticket
    }

    /// Queues an operation on the configuration file.
    pub fn file(&mut self, work: Box<FileWork>) -> Ticket {
        let ticket = self.ticket();
        self.jobs.push_back(DiskJob { ticket, changes: Vec::new(), age: None, file: Some(work) });
        ticket
    }

    /// Returns the last in-flight change of this slot, if any. When it is done, the content of the
    /// slot in memory is durable.
    pub fn under_way(&self, slot: Slot) -> Option<Ticket> {
        self.flights
            .iter()
            .find(|flight| flight.slot == slot && flight.count > 0)
            .map(|flight| flight.last)
    }

    /// Returns the change to wait for before the device is given a slot. A device that memory no
    /// longer has in a slot may still be there in the file, and would be stored twice.
    ///
    /// After a failed write no change is in flight, so the slot is written again. When the returned
    /// change is done, call this again: another change may have to be waited for.
    pub fn before(&mut self, table: &mut Devices, id: &DeviceId) -> Option<Ticket> {
        let flights = self.flights.iter().filter(|flight| flight.devices.contains(id));
        let flight = flights.min_by_key(|flight| flight.slot)?;
        let (slot, last, device) = (flight.slot, flight.last, table.get(flight.slot).cloned());
        match (table.find(id), flight.count) {
            (Some(_), _) => None,
            (None, 0) => Some(self.change(table, slot, device)),
            (None, _) => Some(last),
        }
    }

    /// Keeps an action until the change is done; [`WriteQueue::done`] then returns it.
    pub fn wait(&mut self, ticket: Ticket, then: T) {
        // ordered by ticket, and by arrival within one ticket
        let place = self.waiting.partition_point(|(other, _)| *other <= ticket);
        self.waiting.insert(place, (ticket, then));
    }

    /// Completes a job and returns the actions that waited for it. `well` tells whether it
    /// succeeded.
    pub fn done(&mut self, table: &mut Devices, job: &DiskJob, well: bool) -> Vec<T> {
        if job.file.is_none() {
            self.failing = !well;
        }
        // a flush writes the state in memory only, and the slot may have been changed since it was
        // queued
        for (slot, device) in job.changes.iter().filter(|_| job.age.is_none()) {
            self.settle(table, *slot, device, well);
        }
        let mut then = Vec::new();
        while self.waiting.front().is_some_and(|(ticket, _)| *ticket <= job.ticket) {
            then.extend(self.waiting.pop_front().map(|(_, waits)| waits));
        }
        then
    }

    /// Removes and returns the next job for the disk thread.
    pub fn next_job(&mut self) -> Option<DiskJob> {
        self.jobs.pop_front()
    }

    /// Returns whether [`WriteQueue::next_job`] has a job.
    pub fn has_jobs(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Returns whether the maximum number of actions is waiting.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= limits::COMMITS_QUEUED
    }

    /// Returns whether the last write to the table failed.
    pub fn is_failing(&self) -> bool {
        self.failing
    }

    fn settle(&mut self, table: &mut Devices, slot: Slot, device: &Option<Device>, well: bool) {
        let Some(place) = self.flights.iter().position(|flight| flight.slot == slot) else {
            return;
        };
        let flight = &mut self.flights[place];
        if well {
            flight.durable = device.clone();
        }
        flight.count -= 1;
        if flight.count == 0 {
            let durable = flight.durable.clone();
            let id = durable.as_ref().map(|device| device.id);
            if well || flight.devices.iter().all(|one| Some(*one) == id) {
                self.flights.swap_remove(place);
            }
            if !well {
                put(table, slot, durable);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::device::Provenance;
    use crate::gate::ids::PublicKey;

    fn table() -> Devices {
        Devices::new(4, 1, TableAge(0))
    }

    fn device(label: &str) -> Device {
        let mut device = Device::new(DeviceId([1; 32]), PublicKey([2; 32]), Provenance::Token);
        device.label.push_str(label).unwrap();
        device
    }

    fn label(table: &Devices) -> Option<&str> {
        table.get(Slot(0)).map(|device| device.label.as_str())
    }

    #[test]
    fn an_action_waits_for_the_last_in_flight_change_of_its_slot() {
        let (mut table, mut commits) = (table(), WriteQueue::<u8>::default());
        let first = commits.change(&mut table, Slot(0), Some(device("a")));
        assert_eq!(commits.under_way(Slot(0)), Some(first));
        assert_eq!(commits.under_way(Slot(1)), None);
        let second = commits.change(&mut table, Slot(0), Some(device("b")));
        assert_eq!(
            commits.under_way(Slot(0)),
            Some(second),
            "memory says what the second change wants"
        );
        commits.wait(second, 2);
        let (one, two) = (commits.next_job().unwrap(), commits.next_job().unwrap());
        assert!(commits.done(&mut table, &one, true).is_empty());
        assert_eq!(commits.under_way(Slot(0)), Some(second));
        assert_eq!(commits.done(&mut table, &two, true), [2]);
        assert_eq!(commits.under_way(Slot(0)), None);
        assert!(commits.next_job().is_none());
    }

    #[test]
    fn actions_are_returned_with_their_own_change_in_any_order_of_arrival() {
        let (mut table, mut commits) = (table(), WriteQueue::<u8>::default());
        let [first, second] = [0, 1].map(|slot| commits.change(&mut table, Slot(slot), None));
        commits.wait(second, 2);
        commits.wait(first, 1);
        commits.wait(first, 11);
        let jobs = [(); 2].map(|()| commits.next_job().unwrap());
        assert_eq!(commits.done(&mut table, &jobs[0], false), [1, 11]);
        assert_eq!(commits.done(&mut table, &jobs[1], true), [2]);
    }

    #[test]
    fn a_failed_change_restores_the_last_durable_content() {
        for (well, left) in [
            ([true, true], Some("b")),
            ([true, false], Some("a")),
            ([false, true], Some("b")),
            ([false, false], None),
        ] {
            let (mut table, mut commits) = (table(), WriteQueue::<u8>::default());
            let first = commits.change(&mut table, Slot(0), Some(device("a")));
            commits.wait(first, 1);
            let second = commits.change(&mut table, Slot(0), Some(device("b")));
            commits.wait(second, 2);
            let mut told = Vec::new();
            for well in well {
                let job = commits.next_job().unwrap();
                told.extend(commits.done(&mut table, &job, well));
                assert_eq!(commits.is_failing(), !well);
            }
            assert_eq!(label(&table), left, "{well:?}");
            assert_eq!(told, [1, 2], "each is told, well or not");
        }
    }

    #[test]
    fn a_failed_removal_restores_the_device() {
        let (mut table, mut commits) = (table(), WriteQueue::<u8>::default());
        table.put(Slot(0), device("kept"));
        commits.change(&mut table, Slot(0), None);
        assert_eq!(label(&table), None);
        let job = commits.next_job().unwrap();
        commits.done(&mut table, &job, false);
        assert_eq!(label(&table), Some("kept"));
    }

    #[test]
    fn a_device_gets_no_second_slot_while_the_file_may_have_its_first() {
        let id = DeviceId([1; 32]);
        for well in [true, false] {
            let (mut table, mut commits) = (table(), WriteQueue::<u8>::default());
            table.put(Slot(0), device("kept"));
            assert_eq!(commits.before(&mut table, &id), None);
            let removal = commits.change(&mut table, Slot(0), None);
            assert_eq!(commits.before(&mut table, &id), Some(removal));
            let job = commits.next_job().unwrap();
            commits.done(&mut table, &job, well);
            assert_eq!(
                (commits.before(&mut table, &id), label(&table)),
                (None, (!well).then_some("kept"))
            );
        }
        let (mut table, mut commits) = (table(), WriteQueue::<u8>::default());
        commits.change(&mut table, Slot(0), Some(device("new")));
        let job = commits.next_job().unwrap();
        commits.done(&mut table, &job, false);
        assert_eq!((label(&table), commits.under_way(Slot(0))), (None, None));
        let again = commits.before(&mut table, &id);
        assert!(
            again.is_some() && again == commits.before(&mut table, &id),
            "it is written that nobody is there"
        );
        let job = commits.next_job().unwrap();
        assert!(matches!(job.changes.as_slice(), [(Slot(0), None)]));
        commits.done(&mut table, &job, true);
        assert_eq!(commits.before(&mut table, &id), None);
    }

    #[test]
    fn all_conflicting_writes_of_a_device_are_waited_for() {
        let (mut table, mut commits) = (table(), WriteQueue::<u8>::default());
        let id = DeviceId([1; 32]);
        table.put(Slot(1), device("old"));
        let other = Device::new(DeviceId([3; 32]), PublicKey([3; 32]), Provenance::Token);
        commits.change(&mut table, Slot(1), None);
        let second = commits.change(&mut table, Slot(1), Some(other));
        commits.change(&mut table, Slot(0), Some(device("new")));
        let [removed, taken, failed] = [(); 3].map(|()| commits.next_job().unwrap());
        commits.done(&mut table, &removed, true);
        commits.done(&mut table, &failed, false);
        let cleared = commits.before(&mut table, &id).unwrap();
        assert!(cleared > second, "the one that failed is written again");
        let job = commits.next_job().unwrap();
        assert!(matches!(job.changes.as_slice(), [(Slot(0), None)]));
        commits.done(&mut table, &job, true);
        assert_eq!(commits.before(&mut table, &id), Some(second), "then the other one");
        commits.done(&mut table, &taken, true);
        assert_eq!(commits.before(&mut table, &id), None);
    }

    #[test]
    fn a_flush_leaves_out_slots_with_an_in_flight_change() {
        let (mut table, mut commits) = (table(), WriteQueue::<u8>::default());
        commits.change(&mut table, Slot(0), Some(device("a")));
        commits.flush(&table, [Slot(0), Slot(3)].into_iter());
        commits.next_job();
        let flush = commits.next_job().unwrap();
        assert!(flush.changes.is_empty() && flush.age.is_some());
    }

    #[test]
    fn a_flush_does_not_complete_a_later_change() {
        for flushed in [true, false] {
            let (mut table, mut commits) = (table(), WriteQueue::<u8>::default());
            table.put(Slot(0), device("kept"));
            commits.flush(&table, [Slot(0)].into_iter());
            let removal = commits.change(&mut table, Slot(0), None);
            let flush = commits.next_job().unwrap();
            commits.done(&mut table, &flush, flushed);
            assert_eq!(
                (label(&table), commits.under_way(Slot(0))),
                (None, Some(removal)),
                "flushed: {flushed}"
            );
            let job = commits.next_job().unwrap();
            commits.done(&mut table, &job, false);
            assert_eq!(label(&table), Some("kept"), "the removal failed");
        }
    }
}
