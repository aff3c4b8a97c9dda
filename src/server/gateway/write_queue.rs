//! In-flight writes to the table file, and the actions that wait for them.
//!
//! The table in memory changes at once, so that decisions are based on the new state. Clients are
//! answered only after the change is durable. If a write fails, memory returns to the last durable
//! content. A change gets a ticket. Changes of different slots are written in order. A change of a
//! slot replaces an earlier one that still waits for the disk, and gets its ticket: at most one job
//! of a slot waits, behind the one that the disk thread has.

use std::collections::VecDeque;

use crate::gate::budget::{has_share, Budget, Holder};
use crate::gate::device::Device;
use crate::gate::ids::{DeviceId, Slot, TableAge};
use crate::gate::limits;
use crate::rpc::Devices;
use crate::server::config_file::FileWork;

/// Number of a job, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(u64);

/// Result of a write to the pairing table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteOutcome {
    Durable,
    Failed,
}

/// Access of a decision to the pairing table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TableAccess {
    /// A pairing can be written, and the attempt can wait for writes.
    ReadWrite,
    /// No pairing is written, and the attempt does not wait.
    ReadOnly,
}

/// Unit of work for the disk thread.
#[derive(Debug)]
pub struct DiskJob {
    pub ticket: Ticket,
    pub changes: Vec<(Slot, Option<Device>)>,
    pub age: Option<TableAge>,
    /// Operation on the configuration file.
    pub file: Option<Box<FileWork>>,
}

/// In-flight changes of one slot.
struct InFlight {
    slot: Slot,
    /// Number of jobs that change this slot, at most two.
    count: u32,
    last: Ticket,
    /// Content of the slot that is known to be durable.
    durable: Option<Device>,
    /// Devices that the file may have in this slot. After a failed write they stay listed, with no
    /// write in flight, until the slot is written again.
    devices: Vec<DeviceId>,
}

/// Action that waits for a write, in the name of a client.
struct Waiting<T> {
    ticket: Ticket,
    holder: Holder,
    action: T,
}

/// In-flight writes. `T` is an action that waits for one of them.
pub struct WriteQueue<T> {
    next: u64,
    slots: Vec<InFlight>,
    waiting: VecDeque<Waiting<T>>,
    used: Budget,
    jobs: VecDeque<DiskJob>,
    is_failing: bool,
}

impl<T> Default for WriteQueue<T> {
    /// Creates a value without in-flight writes.
    fn default() -> WriteQueue<T> {
        WriteQueue {
            next: 1,
            slots: Vec::new(),
            waiting: VecDeque::new(),
            used: Budget::new(limits::COMMITS_QUEUED),
            jobs: VecDeque::new(),
            is_failing: false,
        }
    }
}

impl<T> WriteQueue<T> {
    /// Changes a slot in memory and queues the write.
    pub fn change(&mut self, table: &mut Devices, slot: Slot, device: Option<Device>) -> Ticket {
        let merged = self.replace_waiting(slot, &device);
        let ticket = match merged {
            Some(ticket) => ticket,
            None => self.queue_job(vec![(slot, device.clone())], None, None),
        };
        let index = self.slots.iter().position(|entry| entry.slot == slot).unwrap_or_else(|| {
            let (durable, devices) = (None, Vec::new());
            self.slots.push(InFlight { slot, count: 0, last: ticket, durable, devices });
            self.slots.len() - 1
        });
        let entry = &mut self.slots[index];
        if entry.count == 0 {
            entry.durable = table.get(slot).cloned();
        }
        if merged.is_none() {
            (entry.count, entry.last) = (entry.count + 1, ticket);
        }
        entry.devices.extend(entry.durable.iter().chain(&device).map(|device| device.id));
        set_slot(table, slot, device);
        ticket
    }

    /// Replaces the change of this slot that waits for the disk, if there is one. Its job stays at
    /// its place in the queue: until a device is durably gone from its slot, it gets no other one,
    /// so the order of changes of different slots does not matter.
    fn replace_waiting(&mut self, slot: Slot, device: &Option<Device>) -> Option<Ticket> {
        self.jobs.iter_mut().filter(|job| job.age.is_none()).find_map(|job| {
            let (_, waiting) = job.changes.iter_mut().find(|(other, _)| *other == slot)?;
            waiting.clone_from(device);
            Some(job.ticket)
        })
    }

    /// Queues a write of these devices as they are in memory, and of the table's age. Slots with an
    /// in-flight change are left out.
    pub fn flush(&mut self, table: &Devices, slots: impl Iterator<Item = Slot>) {
        let idle = slots.filter(|slot| self.in_flight(*slot).is_none());
        let changes =
            idle.filter_map(|slot| Some((slot, Some(table.get(slot)?.clone())))).collect();
        self.queue_job(changes, Some(table.age()), None);
    }

    /// Queues an operation on the configuration file.
    pub fn file(&mut self, work: Box<FileWork>) -> Ticket {
        self.queue_job(Vec::new(), None, Some(work))
    }

    fn queue_job(
        &mut self,
        changes: Vec<(Slot, Option<Device>)>,
        age: Option<TableAge>,
        file: Option<Box<FileWork>>,
    ) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.jobs.push_back(DiskJob { ticket, changes, age, file });
        ticket
    }

    /// Returns the last in-flight change of this slot, if any. When it is done, the content of the
    /// slot in memory is durable.
    pub fn in_flight(&self, slot: Slot) -> Option<Ticket> {
        self.slots
            .iter()
            .find(|entry| entry.slot == slot && entry.count > 0)
            .map(|entry| entry.last)
    }

    /// Returns the change to wait for before the device is given a slot. A device that memory no
    /// longer has in a slot may still be there in the file, and would be stored twice.
    ///
    /// After a failed write no change is in flight, so the slot is written again. When the returned
    /// change is done, call this again: another change may have to be waited for.
    pub fn conflicting_write(&mut self, table: &mut Devices, id: &DeviceId) -> Option<Ticket> {
        let entries = self.slots.iter().filter(|entry| entry.devices.contains(id));
        let entry = entries.min_by_key(|entry| entry.slot)?;
        let (slot, last, device) = (entry.slot, entry.last, table.get(entry.slot).cloned());
        match (table.find(id), entry.count) {
            (Some(_), _) => None,
            (None, 0) => Some(self.change(table, slot, device)),
            (None, _) => Some(last),
        }
    }

    /// Keeps an action until the change is done; [`WriteQueue::complete`] then returns it.
    pub fn wait(&mut self, ticket: Ticket, holder: Holder, action: T) {
        // ordered by ticket, and by arrival within one ticket
        let index = self.waiting.partition_point(|other| other.ticket <= ticket);
        self.waiting.insert(index, Waiting { ticket, holder, action });
        self.used.record(self.waiting.len());
    }

    /// Completes a job and returns the actions that waited for it.
    pub fn complete(
        &mut self,
        table: &mut Devices,
        job: &DiskJob,
        outcome: WriteOutcome,
    ) -> Vec<T> {
        if job.file.is_none() {
            self.is_failing = outcome == WriteOutcome::Failed;
        }
        // a flush writes the state in memory only, and the slot may have been changed since it was
        // queued
        for (slot, device) in job.changes.iter().filter(|_| job.age.is_none()) {
            self.complete_change(table, *slot, device, outcome);
        }
        let mut actions = Vec::new();
        while self.waiting.front().is_some_and(|waiting| waiting.ticket <= job.ticket) {
            actions.extend(self.waiting.pop_front().map(|waiting| waiting.action));
        }
        actions
    }

    /// Removes and returns the next job for the disk thread.
    pub fn next_job(&mut self) -> Option<DiskJob> {
        self.jobs.pop_front()
    }

    /// Returns whether another action may wait in the name of this client.
    pub fn has_share(&self, holder: Holder) -> bool {
        let own = self.waiting.iter().filter(|waiting| waiting.holder == holder).count();
        has_share(own, self.waiting.len(), limits::COMMITS_QUEUED, limits::COMMITS_OF_ONE)
    }

    /// Returns the use of the queue, counted in waiting actions.
    pub fn budget(&self) -> Budget {
        self.used.with_used(self.waiting.len())
    }

    /// Returns whether the last write to the table failed.
    pub fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// Completes a change. After the last in-flight change of a slot failed, memory returns to the
    /// durable content.
    fn complete_change(
        &mut self,
        table: &mut Devices,
        slot: Slot,
        device: &Option<Device>,
        outcome: WriteOutcome,
    ) {
        let Some(index) = self.slots.iter().position(|entry| entry.slot == slot) else {
            return;
        };
        let entry = &mut self.slots[index];
        if outcome == WriteOutcome::Durable {
            entry.durable.clone_from(device);
        }
        entry.count -= 1;
        if entry.count == 0 {
            let durable = entry.durable.clone();
            let id = durable.as_ref().map(|device| device.id);
            if outcome == WriteOutcome::Durable || entry.devices.iter().all(|one| Some(*one) == id)
            {
                self.slots.swap_remove(index);
            }
            if outcome == WriteOutcome::Failed {
                set_slot(table, slot, durable);
            }
        }
    }
}

/// Sets the content of a slot in memory.
fn set_slot(table: &mut Devices, slot: Slot, device: Option<Device>) {
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

    fn outcome(is_durable: bool) -> WriteOutcome {
        if is_durable {
            WriteOutcome::Durable
        } else {
            WriteOutcome::Failed
        }
    }

    fn label(table: &Devices) -> Option<&str> {
        table.get(Slot(0)).map(|device| device.label.as_str())
    }

    #[test]
    fn an_action_waits_for_the_last_in_flight_change_of_its_slot() {
        let (mut table, mut write_queue) = (table(), WriteQueue::<u8>::default());
        let first = write_queue.change(&mut table, Slot(0), Some(device("a")));
        assert_eq!(write_queue.in_flight(Slot(0)), Some(first));
        assert_eq!(write_queue.in_flight(Slot(1)), None);
        let one = write_queue.next_job().unwrap();
        let second = write_queue.change(&mut table, Slot(0), Some(device("b")));
        assert_eq!(write_queue.in_flight(Slot(0)), Some(second), "memory has the second change");
        write_queue.wait(second, Holder::Keyless, 2);
        let two = write_queue.next_job().unwrap();
        assert!(write_queue.complete(&mut table, &one, WriteOutcome::Durable).is_empty());
        assert_eq!(write_queue.in_flight(Slot(0)), Some(second));
        assert_eq!(write_queue.complete(&mut table, &two, WriteOutcome::Durable), [2]);
        assert_eq!(write_queue.in_flight(Slot(0)), None);
        assert!(write_queue.next_job().is_none());
    }

    #[test]
    fn actions_are_returned_with_their_own_change_in_any_order_of_arrival() {
        let (mut table, mut write_queue) = (table(), WriteQueue::<u8>::default());
        let [first, second] = [0, 1].map(|slot| write_queue.change(&mut table, Slot(slot), None));
        write_queue.wait(second, Holder::Keyless, 2);
        write_queue.wait(first, Holder::Keyless, 1);
        write_queue.wait(first, Holder::Keyless, 11);
        let jobs = [(); 2].map(|()| write_queue.next_job().unwrap());
        assert_eq!(write_queue.complete(&mut table, &jobs[0], WriteOutcome::Failed), [1, 11]);
        assert_eq!(write_queue.complete(&mut table, &jobs[1], WriteOutcome::Durable), [2]);
    }

    #[test]
    fn waiting_actions_of_one_client_leave_places_to_others() {
        let (mut table, mut write_queue) = (table(), WriteQueue::<u8>::default());
        let holder = |n: u8| Holder::Device(DeviceId([n; 32]));
        let ticket = write_queue.change(&mut table, Slot(0), Some(device("a")));
        let fill = |write_queue: &mut WriteQueue<u8>, holder| {
            let before = write_queue.budget().used();
            while write_queue.has_share(holder) {
                write_queue.wait(ticket, holder, 0);
            }
            write_queue.budget().used() - before
        };
        assert_eq!(fill(&mut write_queue, holder(0)), limits::COMMITS_OF_ONE);
        assert_eq!(fill(&mut write_queue, Holder::Keyless), limits::COMMITS_OF_ONE);
        let rest: Vec<usize> = (1..9).map(|n| fill(&mut write_queue, holder(n))).collect();
        assert_eq!(rest, [32, 32, 32, 32, 32, 16, 8, 4]);
        let job = write_queue.next_job().unwrap();
        let returned = write_queue.complete(&mut table, &job, WriteOutcome::Durable).len();
        assert_eq!((returned, write_queue.budget().used()), (252, 0));
        assert_eq!(write_queue.budget().peak(), 252);
        assert!(write_queue.has_share(holder(0)));
    }

    #[test]
    fn a_failed_change_restores_the_last_durable_content() {
        for (durable, left) in [
            ([true, true], Some("b")),
            ([true, false], Some("a")),
            ([false, true], Some("b")),
            ([false, false], None),
        ] {
            let (mut table, mut write_queue) = (table(), WriteQueue::<u8>::default());
            let first = write_queue.change(&mut table, Slot(0), Some(device("a")));
            write_queue.wait(first, Holder::Keyless, 1);
            let one = write_queue.next_job().unwrap();
            let second = write_queue.change(&mut table, Slot(0), Some(device("b")));
            write_queue.wait(second, Holder::Keyless, 2);
            let two = write_queue.next_job().unwrap();
            let mut returned = Vec::new();
            for (durable, job) in durable.into_iter().zip([one, two]) {
                returned.extend(write_queue.complete(&mut table, &job, outcome(durable)));
                assert_eq!(write_queue.is_failing(), !durable);
            }
            assert_eq!(label(&table), left, "{durable:?}");
            assert_eq!(returned, [1, 2], "each is returned in any case");
        }
    }

    #[test]
    fn a_failed_removal_restores_the_device() {
        let (mut table, mut write_queue) = (table(), WriteQueue::<u8>::default());
        table.put(Slot(0), device("kept"));
        write_queue.change(&mut table, Slot(0), None);
        assert_eq!(label(&table), None);
        let job = write_queue.next_job().unwrap();
        write_queue.complete(&mut table, &job, WriteOutcome::Failed);
        assert_eq!(label(&table), Some("kept"));
    }

    #[test]
    fn a_device_gets_no_second_slot_while_the_file_may_have_its_first() {
        let id = DeviceId([1; 32]);
        for durable in [true, false] {
            let (mut table, mut write_queue) = (table(), WriteQueue::<u8>::default());
            table.put(Slot(0), device("kept"));
            assert_eq!(write_queue.conflicting_write(&mut table, &id), None);
            let removal = write_queue.change(&mut table, Slot(0), None);
            assert_eq!(write_queue.conflicting_write(&mut table, &id), Some(removal));
            let job = write_queue.next_job().unwrap();
            write_queue.complete(&mut table, &job, outcome(durable));
            assert_eq!(
                (write_queue.conflicting_write(&mut table, &id), label(&table)),
                (None, (!durable).then_some("kept"))
            );
        }
        let (mut table, mut write_queue) = (table(), WriteQueue::<u8>::default());
        write_queue.change(&mut table, Slot(0), Some(device("new")));
        let job = write_queue.next_job().unwrap();
        write_queue.complete(&mut table, &job, WriteOutcome::Failed);
        assert_eq!((label(&table), write_queue.in_flight(Slot(0))), (None, None));
        let again = write_queue.conflicting_write(&mut table, &id);
        assert!(
            again.is_some() && again == write_queue.conflicting_write(&mut table, &id),
            "the slot is written as free"
        );
        let job = write_queue.next_job().unwrap();
        assert!(matches!(job.changes.as_slice(), [(Slot(0), None)]));
        write_queue.complete(&mut table, &job, WriteOutcome::Durable);
        assert_eq!(write_queue.conflicting_write(&mut table, &id), None);
    }

    #[test]
    fn all_conflicting_writes_of_a_device_are_waited_for() {
        let (mut table, mut write_queue) = (table(), WriteQueue::<u8>::default());
        let id = DeviceId([1; 32]);
        table.put(Slot(1), device("old"));
        let other = Device::new(DeviceId([3; 32]), PublicKey([3; 32]), Provenance::Token);
        write_queue.change(&mut table, Slot(1), None);
        let removed = write_queue.next_job().unwrap();
        let second = write_queue.change(&mut table, Slot(1), Some(other));
        write_queue.change(&mut table, Slot(0), Some(device("new")));
        let [taken, failed] = [(); 2].map(|()| write_queue.next_job().unwrap());
        write_queue.complete(&mut table, &removed, WriteOutcome::Durable);
        write_queue.complete(&mut table, &failed, WriteOutcome::Failed);
        let cleared = write_queue.conflicting_write(&mut table, &id).unwrap();
        assert!(cleared > second, "the one that failed is written again");
        let job = write_queue.next_job().unwrap();
        assert!(matches!(job.changes.as_slice(), [(Slot(0), None)]));
        write_queue.complete(&mut table, &job, WriteOutcome::Durable);
        assert_eq!(
            write_queue.conflicting_write(&mut table, &id),
            Some(second),
            "then the other one"
        );
        write_queue.complete(&mut table, &taken, WriteOutcome::Durable);
        assert_eq!(write_queue.conflicting_write(&mut table, &id), None);
    }

    #[test]
    fn a_flush_leaves_out_slots_with_an_in_flight_change() {
        let (mut table, mut write_queue) = (table(), WriteQueue::<u8>::default());
        write_queue.change(&mut table, Slot(0), Some(device("a")));
        write_queue.flush(&table, [Slot(0), Slot(3)].into_iter());
        write_queue.next_job();
        let flush = write_queue.next_job().unwrap();
        assert!(flush.changes.is_empty() && flush.age.is_some());
    }

    #[test]
    fn a_flush_does_not_complete_a_later_change() {
        for flushed in [true, false] {
            let (mut table, mut write_queue) = (table(), WriteQueue::<u8>::default());
            table.put(Slot(0), device("kept"));
            write_queue.flush(&table, [Slot(0)].into_iter());
            let removal = write_queue.change(&mut table, Slot(0), None);
            let flush = write_queue.next_job().unwrap();
            write_queue.complete(&mut table, &flush, outcome(flushed));
            assert_eq!(
                (label(&table), write_queue.in_flight(Slot(0))),
                (None, Some(removal)),
                "flushed: {flushed}"
            );
            let job = write_queue.next_job().unwrap();
            write_queue.complete(&mut table, &job, WriteOutcome::Failed);
            assert_eq!(label(&table), Some("kept"), "the removal failed");
        }
    }

    #[test]
    fn waiting_changes_of_a_slot_become_one() {
        let (mut table, mut write_queue) = (table(), WriteQueue::<u8>::default());
        let labels = ["a", "b", "c", "d"];
        let change = |write_queue: &mut WriteQueue<u8>, table: &mut Devices, n: usize| {
            let ticket = write_queue.change(table, Slot(0), Some(device(labels[n])));
            write_queue.wait(ticket, Holder::Keyless, n as u8);
        };
        change(&mut write_queue, &mut table, 0);
        let first = write_queue.next_job().unwrap();
        (1..4).for_each(|n| change(&mut write_queue, &mut table, n));
        assert_eq!(write_queue.complete(&mut table, &first, WriteOutcome::Durable), [0]);
        let second = write_queue.next_job().unwrap();
        let written = second.changes[0].1.as_ref().map(|device| device.label.as_str());
        assert_eq!((written, write_queue.jobs.len()), (Some("d"), 0));
        assert_eq!(write_queue.complete(&mut table, &second, WriteOutcome::Failed), [1, 2, 3]);
        assert_eq!((label(&table), write_queue.in_flight(Slot(0))), (Some("a"), None));
    }

    /// Model of the file and of the clients that wait.
    #[derive(Default)]
    struct Model {
        /// Number of the change that is in each slot of the file; 0 for none.
        file: [u32; 4],
        /// Slot and number of each change whose client waits.
        waiting: Vec<(usize, u32)>,
    }

    impl Model {
        fn complete(&mut self, job: &DiskJob, outcome: WriteOutcome, returned: &[u32]) {
            for (Slot(slot), device) in &job.changes {
                if outcome == WriteOutcome::Durable {
                    let label = device.as_ref().map_or("0", |device| &device.label);
                    self.file[usize::from(*slot)] = label.parse().unwrap();
                }
            }
            for number in returned {
                let index = self.waiting.iter().position(|(_, one)| one == number);
                let (slot, _) = self.waiting.swap_remove(index.expect("answered once"));
                let written = self.file[slot];
                assert!(
                    outcome == WriteOutcome::Failed || written >= *number,
                    "change {number} is answered while the file has {written}"
                );
            }
        }
    }

    #[test]
    fn every_change_is_answered_once_and_only_when_it_is_durable() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..300 {
            let (mut table, mut write_queue) = (table(), WriteQueue::<u32>::default());
            let (mut model, mut on_disk) = (Model::default(), None);
            for number in 1..200 {
                if random.u8(0..3) > 0 {
                    let slot = random.usize(0..4);
                    let mut device = device(&number.to_string());
                    device.id = DeviceId([slot as u8; 32]);
                    let ticket = write_queue.change(&mut table, Slot(slot as u16), Some(device));
                    write_queue.wait(ticket, Holder::Keyless, number);
                    model.waiting.push((slot, number));
                } else {
                    complete_one(
                        &mut table,
                        &mut write_queue,
                        &mut on_disk,
                        &mut model,
                        &mut random,
                    );
                }
                let mut slots: Vec<_> =
                    write_queue.jobs.iter().map(|job| job.changes[0].0).collect();
                slots.sort_unstable();
                slots.dedup();
                assert_eq!(slots.len(), write_queue.jobs.len(), "one waiting job of a slot");
            }
            while on_disk.is_some() || !write_queue.jobs.is_empty() {
                complete_one(&mut table, &mut write_queue, &mut on_disk, &mut model, &mut random);
            }
            assert!(model.waiting.is_empty());
            for slot in 0..4 {
                let memory = table.get(Slot(slot)).map_or("0", |device| &device.label);
                assert_eq!(memory, model.file[usize::from(slot)].to_string());
            }
        }
    }

    /// Completes the job that the disk has, and gives it the next one.
    fn complete_one(
        table: &mut Devices,
        write_queue: &mut WriteQueue<u32>,
        on_disk: &mut Option<DiskJob>,
        model: &mut Model,
        random: &mut fastrand::Rng,
    ) {
        if let Some(job) = on_disk.take() {
            let outcome = outcome(random.u8(0..4) > 0);
            let returned = write_queue.complete(table, &job, outcome);
            model.complete(&job, outcome, &returned);
        }
        *on_disk = write_queue.next_job();
    }
}
