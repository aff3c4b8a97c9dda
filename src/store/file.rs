//! The pairing file on any [`Disk`]: create, open, commit, repair.
//!
//! Invariants, in addition to those of the parent module: at any time at least one replica of each
//! place is known to be durable, and only the other one is being written; opening and reading never
//! write.

use std::fmt;
use std::io;

use super::disk::Disk;
use super::record::{
    decode, encode, Decoded, Fault, Shape, SlotBytes, SlotContents, SlotPosition, Stamp,
    GENERATION_END, SLOT_LEN,
};
use super::replicas::{choose, fault, Choice, Flaw, PlannedWrite, Replicas, Trust};
use crate::gate::device::Device;
use crate::gate::ids::{DeviceId, Slot, TableAge};
use crate::gate::limits;

/// An open pairing file. `Send` if the disk is, so that commits can run outside the event loop.
pub struct PairingFile<D> {
    disk: D,
    shape: Shape,
    header: Replicas,
    records: Vec<Replicas>,
    needs_repair: bool,
    /// Whether all writes are synced, including those of an earlier process.
    is_synced: bool,
}

/// Contents of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contents {
    /// Id and capacity of the table.
    pub shape: Shape,
    /// Hours that gateways have run on the table.
    pub age: TableAge,
    /// Devices with their slots, ordered by slot.
    pub devices: Vec<(Slot, Device)>,
}

/// Result of opening a table.
#[derive(Debug)]
pub struct LoadedTable {
    /// Contents of the table.
    pub contents: Contents,
    /// Replicas that were not used because the other one is better. Each deserves a warning;
    /// [`PairingFile::repair_replicas`] repairs them.
    pub unused: Vec<UnusedReplica>,
}

/// A replica that was not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnusedReplica {
    /// Place of the replica.
    pub place: SlotPosition,
    /// Number of the replica, 0 or 1.
    pub copy: usize,
    /// Reason why it was not used.
    pub flaw: Flaw,
}

/// A place without a usable replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The damaged place.
    pub place: SlotPosition,
    /// Fault of each replica.
    pub faults: [Fault; 2],
}

/// Reason why a file cannot be opened. The file is left unchanged.
#[derive(Debug)]
pub enum OpenError {
    /// The disk failed.
    Io(io::Error),
    /// The file does not have the length of a table; `expected` is set if its header could be read.
    Length { found: u64, expected: Option<u64> },
    /// Written by a newer gatelet, in this format.
    Newer(u16),
    /// These places have no usable replica.
    Damaged(Vec<Damage>),
}

impl<D: Disk> PairingFile<D> {
    /// Writes a new table to an empty disk and returns when it is durable. Until then the file is
    /// not a valid table, so the caller must give it its final name only afterwards.
    ///
    /// Fails with `AlreadyExists` if the disk is not empty, and with `InvalidInput` for contents
    /// that could not be read back.
    pub fn create(mut disk: D, contents: &Contents) -> io::Result<PairingFile<D>> {
        if disk.len()? != 0 {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let shape = contents.shape;
        let mut values = vec![SlotContents::Free; usize::from(shape.capacity)];
        for (slot, device) in &contents.devices {
            let value = values.get_mut(usize::from(slot.0)).ok_or(io::ErrorKind::InvalidInput)?;
            *value = SlotContents::Device(Box::new(device.clone()));
        }
        let records = values
            .into_iter()
            .zip(0..)
            .map(|(value, number)| (SlotPosition::Record(Slot(number)), value));
        let places: Vec<_> = [(SlotPosition::Header, SlotContents::Header(contents.age))]
            .into_iter()
            .chain(records)
            .collect();
        disk.set_len(file_len(shape.capacity))?;
        for copy in 0..2 {
            for (place, value) in &places {
                let stamp = Stamp { shape, place: *place, copy, generation: 1 };
                disk.write_at(
                    offset(shape.capacity, *place, copy),
                    &encode_checked(&stamp, value)?,
                )?;
            }
        }
        disk.sync()?;
        let fresh = Replicas { trust: [Trust::Durable(1); 2], last: 1 };
        Ok(PairingFile {
            disk,
            shape,
            header: fresh,
            records: vec![fresh; shape.capacity.into()],
            needs_repair: false,
            is_synced: true,
        })
    }

    /// Opens a table. Never writes.
    pub fn open(disk: D) -> Result<(PairingFile<D>, LoadedTable), OpenError> {
        let shape = find_shape(&disk)?;
        let mut findings = Findings::default();
        let header = findings.settle(&disk, shape, SlotPosition::Header)?;
        let mut records = Vec::with_capacity(shape.capacity.into());
        for number in 0..shape.capacity {
            records.push(findings.settle(&disk, shape, SlotPosition::Record(Slot(number)))?);
        }
        for slot in duplicates(&findings.devices) {
            findings
                .damaged
                .push(Damage { place: SlotPosition::Record(slot), faults: [Fault::Duplicate; 2] });
        }
        if !findings.damaged.is_empty() {
            return Err(OpenError::Damaged(findings.damaged));
        }
        let contents = Contents { shape, age: findings.age, devices: findings.devices };
        let needs_repair = !findings.unused.is_empty();
        Ok((
            PairingFile { disk, shape, header, records, needs_repair, is_synced: false },
            LoadedTable { contents, unused: findings.unused },
        ))
    }

    /// Returns the number of records.
    pub fn capacity(&self) -> u16 {
        self.shape.capacity
    }

    /// Stores `device` in the record, or frees the record if it is `None`; returns when both
    /// replicas are durable.
    ///
    /// After an error the record has its old or its new value at the next start. Fails with
    /// `InvalidInput`, without writing, if there is no such record or the device could not be read
    /// back.
    pub fn commit(&mut self, slot: Slot, device: Option<&Device>) -> io::Result<()> {
        self.commit_values(&[(SlotPosition::Record(slot), record_value(device))])
    }

    /// Commits several records at once, like [`PairingFile::commit`], with at most four syncs for
    /// the records themselves. After an error each record has its old or its new value. Fails with
    /// `InvalidInput`, without writing, if a record occurs twice.
    pub fn commit_all(&mut self, changes: &[(Slot, Option<Device>)]) -> io::Result<()> {
        let values: Vec<_> = changes
            .iter()
            .map(|(s, d)| (SlotPosition::Record(*s), record_value(d.as_ref())))
            .collect();
        self.commit_values(&values)
    }

    /// Writes the age of the table to the header; otherwise like [`PairingFile::commit`].
    pub fn commit_age(&mut self, age: TableAge) -> io::Result<()> {
        self.commit_values(&[(SlotPosition::Header, SlotContents::Header(age))])
    }

    /// Makes durable what was read, and rewrites every replica that is damaged, older or in doubt
    /// from the better one. Does not write to an intact table.
    ///
    /// A gateway calls it once after opening and before relying on what was read, because an
    /// earlier process may have ended before its last sync. If a repair is still due, a commit
    /// attempts it first.
    pub fn repair_replicas(&mut self) -> io::Result<()> {
        self.needs_repair = false;
        // Damaged replicas first: until they are repaired, the other replica is the only valid one
        // of its place, and a torn write to a neighbor in the same block could destroy it.
        let (mut torn, mut behind) = (Vec::new(), Vec::new());
        for place in places(self.shape.capacity) {
            if let Some((copy, generation)) = self.replicas(place).source() {
                let value = match self.read_back(place, copy, generation) {
                    Some(value) => value,
                    None => continue,
                };
                let replicas = self.replicas(place);
                let jobs =
                    if replicas.trust.contains(&Trust::Doubt) { &mut torn } else { &mut behind };
                jobs.push((place, value, replicas.repair_write()));
            }
        }
        // Called even if the list is empty: the first call syncs.
        self.write(&torn)?;
        self.write(&behind)
    }

    fn commit_values(&mut self, values: &[(SlotPosition, SlotContents)]) -> io::Result<()> {
        self.refuse_nonsense(values)?;
        if self.needs_repair {
            // If the repair fails, the commit is still attempted: the replicas concerned stay in
            // doubt.
            let _ = self.repair_replicas();
        }
        let jobs: Vec<SlotWrite> =
            values.iter().map(|(p, v)| (*p, v.clone(), self.replicas(*p).next_write())).collect();
        self.write(&jobs)
    }

    fn refuse_nonsense(&self, values: &[(SlotPosition, SlotContents)]) -> io::Result<()> {
        for (at, (place, value)) in values.iter().enumerate() {
            let known = match place {
                SlotPosition::Header => true,
                SlotPosition::Record(slot) => slot.0 < self.shape.capacity,
            };
            if !known || values[..at].iter().any(|(earlier, _)| earlier == place) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            encode_checked(
                &Stamp { shape: self.shape, place: *place, copy: 0, generation: 1 },
                value,
            )?;
        }
        Ok(())
    }

    fn write(&mut self, jobs: &[SlotWrite]) -> io::Result<()> {
        // No table reaches this generation in normal use. The write is rejected, because a slot of
        // this generation could not be read back.
        if jobs.iter().any(|(_, _, write)| write.generation >= GENERATION_END) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let written = self.write_twice(jobs);
        if written.is_err() {
            (self.needs_repair, self.is_synced) = (true, false);
        }
        written
    }

    /// Writes both replicas of each place, grouped by the replica that goes first. Unsynced data is
    /// never in both halves of the file at once, including data left by a failed commit or a killed
    /// process.
    fn write_twice(&mut self, jobs: &[SlotWrite]) -> io::Result<()> {
        if !self.is_synced {
            self.disk.sync()?;
            self.is_synced = true;
        }
        for first in 0..2 {
            let group: Vec<&SlotWrite> =
                jobs.iter().filter(|(_, _, write)| write.first == first).collect();
            if !group.is_empty() {
                self.write_copy(&group, first)?;
                self.write_copy(&group, 1 - first)?;
            }
        }
        Ok(())
    }

    fn write_copy(&mut self, jobs: &[&SlotWrite], copy: usize) -> io::Result<()> {
        for (place, _, write) in jobs {
            let replicas = self.replicas_mut(*place);
            replicas.trust[copy] = Trust::Doubt;
            replicas.last = replicas.last.max(write.generation);
        }
        let written = self.put(jobs, copy);
        for (place, _, write) in jobs {
            match written {
                Ok(()) => self.replicas_mut(*place).trust[copy] = Trust::Durable(write.generation),
                // After a failed sync the page cache may still return data that is not on the disk,
                // and the next process would take it as durable. Clearing the magic bytes marks the
                // replica as damaged. The other half must not be written now.
                Err(_) => {
                    drop(self.disk.write_at(offset(self.shape.capacity, *place, copy), &[0; 8]))
                }
            }
        }
        written
    }

    fn put(&mut self, jobs: &[&SlotWrite], copy: usize) -> io::Result<()> {
        for (place, value, write) in jobs {
            let stamp =
                Stamp { shape: self.shape, place: *place, copy, generation: write.generation };
            self.disk
                .write_at(offset(self.shape.capacity, *place, copy), &encode(&stamp, value))?;
        }
        self.disk.sync()
    }

    fn read_back(&self, place: SlotPosition, copy: usize, generation: u64) -> Option<SlotContents> {
        match read_replica(&self.disk, self.shape, place, copy) {
            Decoded::Good(stamp, value) if stamp.generation == generation => Some(value),
            _ => None,
        }
    }

    fn replicas(&self, place: SlotPosition) -> &Replicas {
        match place {
            SlotPosition::Header => &self.header,
            SlotPosition::Record(slot) => &self.records[usize::from(slot.0)],
        }
    }

    fn replicas_mut(&mut self, place: SlotPosition) -> &mut Replicas {
        match place {
            SlotPosition::Header => &mut self.header,
            SlotPosition::Record(slot) => &mut self.records[usize::from(slot.0)],
        }
    }
}

/// Place to write, its new value, and the order and generation of the write.
type SlotWrite = (SlotPosition, SlotContents, PlannedWrite);

/// Results collected while opening.
#[derive(Default)]
struct Findings {
    age: TableAge,
    devices: Vec<(Slot, Device)>,
    unused: Vec<UnusedReplica>,
    damaged: Vec<Damage>,
}

impl Findings {
    fn settle(
        &mut self,
        disk: &impl Disk,
        shape: Shape,
        place: SlotPosition,
    ) -> Result<Replicas, OpenError> {
        let replicas = [read_replica(disk, shape, place, 0), read_replica(disk, shape, place, 1)];
        if let [Decoded::Newer(format), _] | [_, Decoded::Newer(format)] = replicas {
            return Err(OpenError::Newer(format));
        }
        match choose(replicas) {
            Ok(Choice { value, trust, flaw }) => {
                self.take(place, value);
                self.unused.extend(flaw.map(|(copy, flaw)| UnusedReplica { place, copy, flaw }));
                let last = trust[0].generation().max(trust[1].generation());
                Ok(Replicas { trust, last })
            }
            Err(faults) => {
                self.damaged.push(Damage { place, faults });
                Ok(Replicas { trust: [Trust::Doubt; 2], last: 0 })
            }
        }
    }

    fn take(&mut self, place: SlotPosition, value: SlotContents) {
        match (place, value) {
            (_, SlotContents::Header(age)) => self.age = age,
            (SlotPosition::Record(slot), SlotContents::Device(device)) => {
                self.devices.push((slot, *device))
            }
            (_, _) => {}
        }
    }
}

/// Reads one replica of a place. A slot that belongs to another table, place or replica is returned
/// as [`Fault::Misplaced`].
pub(super) fn read_replica(
    disk: &impl Disk,
    shape: Shape,
    place: SlotPosition,
    copy: usize,
) -> Decoded {
    match read_slot(disk, offset(shape.capacity, place, copy)) {
        Ok(Decoded::Good(stamp, _))
            if (stamp.shape, stamp.place, stamp.copy) != (shape, place, copy) =>
        {
            Decoded::Torn(Fault::Misplaced)
        }
        Ok(decoded) => decoded,
        Err(_) => Decoded::Torn(Fault::Unreadable),
    }
}

/// Reads the slot at `offset`.
pub(super) fn read_slot(disk: &impl Disk, offset: u64) -> io::Result<Decoded> {
    let mut bytes: SlotBytes = [0; SLOT_LEN];
    disk.read_at(offset, &mut bytes)?;
    Ok(decode(&bytes))
}

/// Reads the id and capacity of the table from either header.
pub(super) fn find_shape(disk: &impl Disk) -> Result<Shape, OpenError> {
    let len = disk.len().map_err(OpenError::Io)?;
    let mut faults = [Fault::Misplaced; 2];
    let mut expected = None;
    for (copy, at) in [0, len / 2].into_iter().enumerate() {
        if len < at + SLOT_LEN as u64 {
            continue;
        }
        match read_slot(disk, at).map_err(OpenError::Io) {
            Ok(Decoded::Good(stamp, SlotContents::Header(_))) if stamp.copy == copy => {
                let right = file_len(stamp.shape.capacity);
                if right == len {
                    return Ok(stamp.shape);
                }
                expected = Some(right);
            }
            Ok(Decoded::Newer(format)) => return Err(OpenError::Newer(format)),
            Ok(other) => faults[copy] = fault(&other),
            Err(error) if copy == 1 => return Err(error),
            Err(_) => faults[copy] = Fault::Unreadable,
        }
    }
    if expected.is_some() || !(1..=limits::CAPACITY_MAX).any(|capacity| file_len(capacity) == len) {
        return Err(OpenError::Length { found: len, expected });
    }
    Err(OpenError::Damaged(vec![Damage { place: SlotPosition::Header, faults }]))
}

/// Returns every place of a table of this capacity, the header first.
pub(super) fn places(capacity: u16) -> impl Iterator<Item = SlotPosition> {
    [SlotPosition::Header]
        .into_iter()
        .chain((0..capacity).map(|number| SlotPosition::Record(Slot(number))))
}

/// Returns the slots of devices that are also in another record: all but the record approved last,
/// or the highest of those approved at the same time.
pub(super) fn duplicates(devices: &[(Slot, Device)]) -> Vec<Slot> {
    let mut order: Vec<(DeviceId, u64, Slot)> =
        devices.iter().map(|(s, d)| (d.id, d.approved.0, *s)).collect();
    order.sort_unstable();
    order.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| pair[0].2).collect()
}

/// Returns the length of the file of a table in bytes.
pub(super) fn file_len(capacity: u16) -> u64 {
    2 * half_len(capacity)
}

/// Unit in which disks and file systems lose data; the two replicas of a place never share one.
const BLOCK: u64 = 4096;

fn half_len(capacity: u16) -> u64 {
    ((u64::from(capacity) + 1) * SLOT_LEN as u64).next_multiple_of(BLOCK)
}

fn offset(capacity: u16, place: SlotPosition, copy: usize) -> u64 {
    let number = match place {
        SlotPosition::Header => 0,
        SlotPosition::Record(slot) => u64::from(slot.0) + 1,
    };
    copy as u64 * half_len(capacity) + number * SLOT_LEN as u64
}

fn record_value(device: Option<&Device>) -> SlotContents {
    device.map_or(SlotContents::Free, |device| SlotContents::Device(Box::new(device.clone())))
}

/// Encodes a slot. Fails with `InvalidInput` unless it decodes to the same stamp and value.
fn encode_checked(stamp: &Stamp, value: &SlotContents) -> io::Result<SlotBytes> {
    let bytes = encode(stamp, value);
    match decode(&bytes) {
        Decoded::Good(again, same) if again == *stamp && same == *value => Ok(bytes),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        OpenError::Io(error)
    }
}

impl fmt::Display for UnusedReplica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnusedReplica { place, copy, .. } = self;
        match self.flaw {
            Flaw::Behind => {
                write!(f, "{place}: an update did not reach copy {copy}; the newer copy is used")
            }
            Flaw::Torn(fault) => {
                write!(f, "{place}: copy {copy} is damaged ({fault}); the other copy is used")
            }
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Io(error) => write!(f, "{error}"),
            OpenError::Length { found: 0, .. } => {
                f.write_str("it is empty, which a pairing table never is")
            }
            OpenError::Length { found, expected: Some(expected) } => {
                write!(f, "it has {found} bytes and should have {expected}")
            }
            OpenError::Length { found, expected: None } => {
                write!(f, "{found} bytes are not the length of a pairing table")
            }
            OpenError::Newer(format) => write!(f, "a newer gatelet wrote it (format {format})"),
            OpenError::Damaged(damaged) => fmt_damaged(damaged, f),
        }
    }
}

fn fmt_damaged(damaged: &[Damage], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const SHOWN: usize = 4;
    for (at, Damage { place, faults }) in damaged.iter().take(SHOWN).enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        write!(f, "{comma}{place} is unreadable ({})", faults[0])?;
    }
    match damaged.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => write!(f, ", and {more} more"),
    }
}
