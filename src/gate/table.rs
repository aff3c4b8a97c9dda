//! The pairing table in memory: devices by slot, with lookup by id in constant time.
//!
//! The caller chooses the memory (`Vec` or `heapless::Vec`). It grows with the highest used slot,
//! so that a table of few devices is small; only [`Table::put`] grows it. The table holds the
//! contents of the file and which devices are connected. Invariants: an id is in at most one slot;
//! every device is in the index; at most half of the index is used, so that a search terminates.

use core::iter;
use core::ops::DerefMut;

use super::device::{Device, Provenance};
use super::ids::{DeviceId, Slot, TableAge};
use super::limits;

/// Memory of one slot and of two buckets of the index.
#[derive(Clone)]
pub struct Cell {
    device: Option<Device>,
    connected: bool,
    index: [u16; 2],
}

/// A free slot.
const FREE: Cell = Cell { device: None, connected: false, index: [VACANT; 2] };

const VACANT: u16 = u16::MAX;
const _: () = assert!(limits::CAPACITY_MAX < VACANT);

/// Slot available for a new device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vacancy {
    /// A free slot.
    Free(Slot),
    /// Slot of the evictable pairing that was unseen the longest. Evictable are silent pairings
    /// that have no revoked role, are not connected, and were not seen for
    /// [`limits::EVICTION_AGE_HOURS`].
    Evict(Slot),
    /// No slot.
    Full,
}

/// Devices of one gateway.
pub struct Table<S> {
    cells: S,
    capacity: u16,
    seed: u64,
    len: usize,
    age: TableAge,
    /// Lower bound of the ages at which silent pairings were last seen.
    oldest_silent: TableAge,
}

impl<S: DerefMut<Target = [Cell]> + Default + Extend<Cell>> Table<S> {
    /// Creates an empty table. `seed` must be random, so that an attacker cannot choose ids that
    /// share a bucket.
    ///
    /// Panics if `capacity` exceeds [`limits::CAPACITY_MAX`].
    pub fn new(capacity: u16, seed: u64, age: TableAge) -> Table<S> {
        assert!(capacity <= limits::CAPACITY_MAX, "more slots than a table can name");
        Table { cells: S::default(), capacity, seed, len: 0, age, oldest_silent: NEVER }
    }

    /// Stores the device in the slot and replaces any device there.
    ///
    /// Panics if the slot does not exist or the id is in another slot; callers must prevent both.
    pub fn put(&mut self, slot: Slot, device: Device) {
        assert!(slot.0 < self.capacity, "no such slot");
        let same = self.get(slot).is_some_and(|old| old.id == device.id);
        if !same {
            assert!(self.find(&device.id).is_none(), "a device has one slot");
            self.remove(slot);
            self.grow(slot);
            self.enter(&device.id, slot);
            self.len += 1;
        }
        self.oldest_silent = self.oldest_silent.min(silent_age(&device));
        self.cells[slot.0 as usize].device = Some(device);
    }

    /// Adds cells until there is one for the slot, at least as many as there are, and rebuilds the
    /// index.
    fn grow(&mut self, slot: Slot) {
        let (len, wanted) = (self.cells.len(), slot.0 as usize + 1);
        if wanted <= len {
            return;
        }
        let grown = wanted.max(2 * len).min(self.capacity());
        self.cells.extend(iter::repeat_n(FREE, grown - len));
        self.cells.iter_mut().for_each(|cell| cell.index = FREE.index);
        for at in 0..len {
            if let Some(id) = self.cells[at].device.as_ref().map(|device| device.id) {
                self.enter(&id, Slot(at as u16));
            }
        }
    }
}

impl<S: DerefMut<Target = [Cell]>> Table<S> {
    /// Returns the maximum number of devices.
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Returns the number of devices.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether the table has no devices.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the age of the table in hours of gateway run time.
    pub fn age(&self) -> TableAge {
        self.age
    }

    /// Raises the age of the table; a lower age is ignored.
    pub fn set_age(&mut self, age: TableAge) {
        if age > self.age {
            self.age = age;
            let silent = self
                .iter()
                .filter(|(_, device)| device.provenance.is_silent())
                .map(|(_, device)| device.seen_age);
            self.oldest_silent = silent.min().unwrap_or(TableAge(u32::MAX));
        }
    }

    /// Returns the device with this id and its slot.
    pub fn find(&self, id: &DeviceId) -> Option<(Slot, &Device)> {
        self.bucket_of(id).map(|(_, slot)| slot).and_then(|slot| Some((slot, self.get(slot)?)))
    }

    /// Returns the device in this slot.
    pub fn get(&self, slot: Slot) -> Option<&Device> {
        self.cells.get(slot.0 as usize)?.device.as_ref()
    }

    /// Returns whether the device in this slot is connected.
    pub fn is_connected(&self, slot: Slot) -> bool {
        self.cells.get(slot.0 as usize).is_some_and(|cell| cell.connected)
    }

    /// Sets whether the device in this slot is connected.
    pub fn set_connected(&mut self, slot: Slot, connected: bool) {
        if let Some(cell) = self.cells.get_mut(slot.0 as usize) {
            cell.connected = connected;
        }
    }

    /// Returns all devices with their slots, ordered by slot.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &Device)> {
        self.cells
            .iter()
            .enumerate()
            .filter_map(|(at, cell)| Some((Slot(at as u16), cell.device.as_ref()?)))
    }

    /// Returns a slot for a new device that is paired this way. Pairings that the owner did not
    /// decide leave one of [`limits::CAPACITY_PER_RESERVED`] slots free for those that the owner
    /// did. Examines every device only if no slot is free and one may be evictable.
    pub fn vacancy(&self, provenance: Provenance) -> Vacancy {
        let reserved = match provenance {
            Provenance::Owner | Provenance::Code | Provenance::Config | Provenance::Import => 0,
            Provenance::Token | Provenance::Cidr | Provenance::Local | Provenance::Identity => {
                self.capacity() / usize::from(limits::CAPACITY_PER_RESERVED)
            }
        };
        if self.len + reserved < self.capacity() {
            let free = self.cells.iter().position(|cell| cell.device.is_none());
            return Vacancy::Free(Slot(free.unwrap_or(self.cells.len()) as u16));
        }
        if self.unseen(self.oldest_silent) < limits::EVICTION_AGE_HOURS {
            return Vacancy::Full;
        }
        let oldest = self
            .iter()
            .filter(|(slot, device)| self.is_evictable(*slot, device))
            .min_by_key(|(_, device)| device.seen_age);
        oldest.map_or(Vacancy::Full, |(slot, _)| Vacancy::Evict(slot))
    }

    /// Changes the device in the slot in place, except for its id. Returns whether there is one.
    pub fn edit(&mut self, slot: Slot, change: impl FnOnce(&mut Device)) -> bool {
        let Some(device) =
            self.cells.get_mut(slot.0 as usize).and_then(|cell| cell.device.as_mut())
        else {
            return false;
        };
        let id = device.id;
        change(device);
        device.id = id;
        self.oldest_silent = self.oldest_silent.min(silent_age(device));
        true
    }

    /// Frees the slot and returns its device.
    pub fn remove(&mut self, slot: Slot) -> Option<Device> {
        let id = self.get(slot)?.id;
        if let Some((bucket, _)) = self.bucket_of(&id) {
            self.leave(bucket);
        }
        let cell = &mut self.cells[slot.0 as usize];
        cell.connected = false;
        self.len -= 1;
        cell.device.take()
    }

    fn is_evictable(&self, slot: Slot, device: &Device) -> bool {
        device.provenance.is_silent()
            && device.revoked.is_empty()
            && !self.is_connected(slot)
            && self.unseen(device.seen_age) >= limits::EVICTION_AGE_HOURS
    }

    /// Returns the hours of table age since `seen`.
    fn unseen(&self, seen: TableAge) -> u32 {
        self.age.0.saturating_sub(seen.0)
    }

    // --- index: open addressing, linear probing, two buckets per cell
    // -------------------------------

    fn buckets(&self) -> usize {
        2 * self.cells.len()
    }

    fn bucket(&self, at: usize) -> u16 {
        self.cells[at / 2].index[at % 2]
    }

    fn set_bucket(&mut self, at: usize, slot: u16) {
        self.cells[at / 2].index[at % 2] = slot;
    }

    fn home(&self, id: &DeviceId) -> usize {
        let mut mixed = self.seed;
        for part in id.0.chunks_exact(8) {
            let mut word = [0; 8];
            word.copy_from_slice(part);
            mixed = (mixed ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed ^= mixed >> 32;
        }
        ((u128::from(mixed) * self.buckets() as u128) >> 64) as usize
    }

    fn bucket_of(&self, id: &DeviceId) -> Option<(usize, Slot)> {
        if self.cells.is_empty() {
            return None;
        }
        let mut at = self.home(id);
        loop {
            let slot = self.bucket(at);
            if slot == VACANT {
                return None;
            }
            if self.get(Slot(slot)).is_some_and(|device| device.id == *id) {
                return Some((at, Slot(slot)));
            }
            at = (at + 1) % self.buckets();
        }
    }

    fn enter(&mut self, id: &DeviceId, slot: Slot) {
        let mut at = self.home(id);
        while self.bucket(at) != VACANT {
            at = (at + 1) % self.buckets();
        }
        self.set_bucket(at, slot.0);
    }

    /// Empties a bucket and shifts later entries of its probe sequence, so that no search ends
    /// early.
    fn leave(&mut self, mut hole: usize) {
        let buckets = self.buckets();
        let mut at = hole;
        loop {
            at = (at + 1) % buckets;
            let slot = self.bucket(at);
            if slot == VACANT {
                break;
            }
            let Some(home) = self.get(Slot(slot)).map(|device| self.home(&device.id)) else {
                break;
            };
            let stays = (at + buckets - home) % buckets < (at + buckets - hole) % buckets;
            if !stays {
                self.set_bucket(hole, slot);
                hole = at;
            }
        }
        self.set_bucket(hole, VACANT);
    }
}

/// Later than every age.
const NEVER: TableAge = TableAge(u32::MAX);

/// Returns the age at which a silent pairing was last seen, and [`NEVER`] for any other.
fn silent_age(device: &Device) -> TableAge {
    if device.provenance.is_silent() {
        device.seen_age
    } else {
        NEVER
    }
}

#[cfg(test)]
mod tests {
    use super::super::ids::PublicKey;
    use super::*;

    fn device(n: u32, provenance: Provenance) -> Device {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&n.to_le_bytes());
        Device::new(DeviceId(id), PublicKey([n as u8; 32]), provenance)
    }

    fn table(capacity: u16) -> Table<Vec<Cell>> {
        Table::new(capacity, 7, TableAge(0))
    }

    #[test]
    fn devices_are_found_after_any_sequence_of_puts_and_removes() {
        for capacity in [1, 2, 3, 16, 61] {
            let mut table = table(capacity);
            let mut model = std::collections::BTreeMap::new();
            let mut random = 12345u32;
            for step in 0..4000u32 {
                random = random.wrapping_mul(1664525).wrapping_add(1013904223);
                let slot = Slot((random >> 8) as u16 % capacity);
                if random.is_multiple_of(3) {
                    assert_eq!(
                        table.remove(slot).map(|d| d.id),
                        model.remove(&slot).map(|d: Device| d.id)
                    );
                } else {
                    let new = device(step, Provenance::Owner);
                    table.put(slot, new.clone());
                    model.insert(slot, new);
                }
                assert_eq!(table.len(), model.len());
                for (slot, device) in &model {
                    assert_eq!(
                        table.find(&device.id).map(|(slot, _)| slot),
                        Some(*slot),
                        "step {step}"
                    );
                }
                assert!(table.find(&device(step + 1, Provenance::Owner).id).is_none());
            }
        }
    }

    #[test]
    fn full_table_evicts_the_longest_unseen_disconnected_device() {
        let mut table = table(4);
        table.put(Slot(0), device(0, Provenance::Owner));
        table.put(Slot(1), Device { seen_age: TableAge(5), ..device(1, Provenance::Token) });
        table.put(Slot(2), Device { seen_age: TableAge(3), ..device(2, Provenance::Cidr) });
        assert_eq!(table.vacancy(Provenance::Token), Vacancy::Free(Slot(3)));
        table.put(Slot(3), device(3, Provenance::Code));
        assert_eq!(table.vacancy(Provenance::Token), Vacancy::Full, "no device is old enough");
        table.set_age(TableAge(5 + limits::EVICTION_AGE_HOURS));
        assert_eq!(table.vacancy(Provenance::Token), Vacancy::Evict(Slot(2)));
        table.set_connected(Slot(2), true);
        assert_eq!(
            table.vacancy(Provenance::Token),
            Vacancy::Evict(Slot(1)),
            "a connected device is not evicted"
        );
        table.set_connected(Slot(1), true);
        assert_eq!(table.vacancy(Provenance::Token), Vacancy::Full);
        table.set_connected(Slot(2), false);
        assert_eq!(table.vacancy(Provenance::Token), Vacancy::Evict(Slot(2)));
    }

    #[test]
    fn edited_device_keeps_its_slot_and_id() {
        let mut table = table(1);
        assert!(
            !table.edit(Slot(0), |_| unreachable!()) && !table.edit(Slot(9), |_| unreachable!())
        );
        table.put(Slot(0), device(1, Provenance::Owner));
        let edited = table.edit(Slot(0), |there| {
            *there = Device { seen_age: TableAge(7), ..device(2, Provenance::Token) };
        });
        assert!(edited && table.find(&device(2, Provenance::Token).id).is_none());
        let (slot, there) = table.find(&device(1, Provenance::Owner).id).unwrap();
        assert_eq!((slot, there.seen_age, table.len()), (Slot(0), TableAge(7), 1));
        table.set_age(TableAge(7 + limits::EVICTION_AGE_HOURS));
        assert_eq!(
            table.vacancy(Provenance::Token),
            Vacancy::Evict(Slot(0)),
            "its new age and provenance count"
        );
    }

    #[test]
    fn evictable_devices_are_found_as_they_age_or_are_added() {
        let mut table = table(2);
        table.put(Slot(0), device(0, Provenance::Owner));
        table.put(Slot(1), Device { seen_age: TableAge(100), ..device(1, Provenance::Token) });
        let due = 100 + limits::EVICTION_AGE_HOURS;
        for (age, room) in [(due - 1, Vacancy::Full), (due, Vacancy::Evict(Slot(1)))] {
            table.set_age(TableAge(age));
            assert_eq!(table.vacancy(Provenance::Token), room, "at {age}");
        }
        table.put(Slot(1), Device { seen_age: TableAge(due), ..device(1, Provenance::Token) });
        assert_eq!(table.vacancy(Provenance::Token), Vacancy::Full, "it was seen again");
        table.put(Slot(0), Device { seen_age: TableAge(1), ..device(2, Provenance::Cidr) });
        assert_eq!(table.vacancy(Provenance::Token), Vacancy::Evict(Slot(0)));
    }

    #[test]
    fn silent_pairings_leave_slots_to_those_of_the_owner() {
        for (capacity, reserved) in [(4, 0), (16, 1), (256, 16), (limits::CAPACITY_MAX, 512)] {
            let mut table = table(capacity);
            let mut silent = 0;
            while let Vacancy::Free(slot) = table.vacancy(Provenance::Cidr) {
                table.put(slot, device(u32::from(slot.0), Provenance::Token));
                silent += 1;
            }
            assert_eq!(silent, capacity - reserved, "of {capacity}");
            for provenance in [Provenance::Code, Provenance::Owner, Provenance::Config] {
                let free = (reserved > 0).then_some(Vacancy::Free(Slot(silent)));
                assert_eq!(table.vacancy(provenance), free.unwrap_or(Vacancy::Full));
            }
            while let Vacancy::Free(slot) = table.vacancy(Provenance::Owner) {
                table.put(slot, device(u32::from(slot.0), Provenance::Owner));
            }
            assert_eq!(table.len(), capacity as usize);
            table.set_age(TableAge(limits::EVICTION_AGE_HOURS));
            assert_eq!(table.vacancy(Provenance::Token), Vacancy::Evict(Slot(0)));
        }
    }

    #[test]
    fn revoked_devices_are_never_evicted() {
        let mut table = table(1);
        let mut revoked = device(0, Provenance::Token);
        revoked.revoke(super::super::ids::Role::Operator);
        table.put(Slot(0), revoked);
        table.set_age(TableAge(u32::MAX));
        assert_eq!(table.vacancy(Provenance::Token), Vacancy::Full);
    }
}
