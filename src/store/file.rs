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
    /// Replicas of each place, by [`SlotPosition::index`].
    replicas: Vec<Replicas>,
    /// Whether a replica is known to be damaged, older or in doubt.
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
    pub replica: usize,
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
        let mut values = vec![SlotContents::Free; usize::from(shape.capacity) + 1];
        values[0] = SlotContents::Header(contents.age);
        for (slot, device) in &contents.devices {
            let value = values.get_mut(SlotPosition::Record(*slot).index());
            *value.ok_or(io::ErrorKind::InvalidInput)? =
                SlotContents::Device(Box::new(device.clone()));
        }
        disk.set_len(file_len(shape.capacity))?;
        for replica in 0..2 {
            for (place, value) in places(shape.capacity).zip(&values) {
                let stamp = Stamp { shape, place, replica, generation: 1 };
                disk.write_at(offset(&stamp), &encode_checked(&stamp, value)?)?;
            }
        }
        disk.sync()?;
        let replicas = vec![Replicas { trust: [Trust::Durable(1); 2], last: 1 }; values.len()];
        Ok(PairingFile { disk, shape, replicas, needs_repair: false, is_synced: true })
    }

    /// Opens a table. Never writes.
    pub fn open(disk: D) -> Result<(PairingFile<D>, LoadedTable), OpenError> {
        let shape = find_shape(&disk)?;
        let mut findings = Findings::default();
        let replicas = places(shape.capacity)
            .map(|place| findings.examine(&disk, shape, place))
            .collect::<Result<Vec<_>, _>>()?;
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
            PairingFile { disk, shape, replicas, needs_repair, is_synced: false },
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
        let (mut damaged, mut behind) = (Vec::new(), Vec::new());
        let mut read = Ok(());
        for place in places(self.shape.capacity) {
            let replicas = &self.replicas[place.index()];
            let Some((source, generation)) = replicas.repair_source() else { continue };
            match self.read_back(place, source, generation) {
                Ok(value) => {
                    let is_damaged = replicas.trust.contains(&Trust::Doubt);
                    let writes = if is_damaged { &mut damaged } else { &mut behind };
                    writes.push(SlotWrite { place, value, plan: replicas.repair_write() });
                }
                Err(error) => read = Err(error),
            }
        }
        // Called even if the list is empty: the first call syncs.
        self.write(&damaged)?;
        self.write(&behind)?;
        self.needs_repair = read.is_err();
        read
    }

    fn commit_values(&mut self, values: &[(SlotPosition, SlotContents)]) -> io::Result<()> {
        self.check_values(values)?;
        if self.needs_repair {
            // If the repair fails, the commit is still attempted: the replicas concerned stay in
            // doubt.
            let _ = self.repair_replicas();
        }
        let plan = |place: SlotPosition| self.replicas[place.index()].next_write();
        let writes: Vec<_> = values
            .iter()
            .map(|(place, value)| SlotWrite {
                place: *place,
                value: value.clone(),
                plan: plan(*place),
            })
            .collect();
        self.write(&writes)
    }

    /// Fails with `InvalidInput` if a place does not exist or occurs twice, or if a value could not
    /// be read back.
    fn check_values(&self, values: &[(SlotPosition, SlotContents)]) -> io::Result<()> {
        for (at, (place, value)) in values.iter().enumerate() {
            let is_repeated = values[..at].iter().any(|(earlier, _)| earlier == place);
            if is_repeated || place.index() >= self.replicas.len() {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let stamp = Stamp { shape: self.shape, place: *place, replica: 0, generation: 1 };
            encode_checked(&stamp, value)?;
        }
        Ok(())
    }

    fn write(&mut self, writes: &[SlotWrite]) -> io::Result<()> {
        // No table reaches this generation in normal use. The write is rejected, because a slot of
        // this generation could not be read back.
        if writes.iter().any(|write| write.plan.generation >= GENERATION_END) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let written = self.write_both(writes);
        if written.is_err() {
            (self.needs_repair, self.is_synced) = (true, false);
        }
        written
    }

    /// Writes both replicas of each place, grouped by the replica that goes first. Unsynced data is
    /// never in both halves of the file at once, including data left by a failed commit or a killed
    /// process.
    fn write_both(&mut self, writes: &[SlotWrite]) -> io::Result<()> {
        if !self.is_synced {
            self.disk.sync()?;
            self.is_synced = true;
        }
        for first in 0..2 {
            let group: Vec<_> = writes.iter().filter(|write| write.plan.first == first).collect();
            if !group.is_empty() {
                self.write_replica(&group, first)?;
                self.write_replica(&group, 1 - first)?;
            }
        }
        Ok(())
    }

    /// Writes and syncs one replica of each place.
    fn write_replica(&mut self, writes: &[&SlotWrite], replica: usize) -> io::Result<()> {
        for SlotWrite { place, plan, .. } in writes {
            let replicas = &mut self.replicas[place.index()];
            replicas.trust[replica] = Trust::Doubt;
            replicas.last = replicas.last.max(plan.generation);
        }
        let written = self.write_slots(writes, replica);
        for write in writes {
            if written.is_ok() {
                self.replicas[write.place.index()].trust[replica] =
                    Trust::Durable(write.plan.generation);
            } else {
                // After a failed sync the page cache may still return data that is not on the disk,
                // and the next process would take it as durable. Clearing the magic bytes marks the
                // replica as damaged. The other half must not be written now.
                let _ = self.disk.write_at(offset(&write.stamp(self.shape, replica)), &[0; 8]);
            }
        }
        written
    }

    fn write_slots(&mut self, writes: &[&SlotWrite], replica: usize) -> io::Result<()> {
        for write in writes {
            let stamp = write.stamp(self.shape, replica);
            self.disk.write_at(offset(&stamp), &encode(&stamp, &write.value))?;
        }
        self.disk.sync()
    }

    /// Reads a replica that was read or written before. Fails if it has changed since.
    fn read_back(
        &self,
        place: SlotPosition,
        replica: usize,
        generation: u64,
    ) -> io::Result<SlotContents> {
        match read_replica(&self.disk, self.shape, place, replica) {
            Decoded::Good(stamp, value) if stamp.generation == generation => Ok(value),
            _ => Err(io::Error::other(format!("{place} cannot be read any more"))),
        }
    }
}

/// Update of one place.
struct SlotWrite {
    place: SlotPosition,
    value: SlotContents,
    plan: PlannedWrite,
}

impl SlotWrite {
    fn stamp(&self, shape: Shape, replica: usize) -> Stamp {
        Stamp { shape, place: self.place, replica, generation: self.plan.generation }
    }
}

/// Results collected while opening.
#[derive(Default)]
struct Findings {
    age: TableAge,
    devices: Vec<(Slot, Device)>,
    unused: Vec<UnusedReplica>,
    damaged: Vec<Damage>,
}

impl Findings {
    fn examine(
        &mut self,
        disk: &impl Disk,
        shape: Shape,
        place: SlotPosition,
    ) -> Result<Replicas, OpenError> {
        let decoded = [0, 1].map(|replica| read_replica(disk, shape, place, replica));
        if let [Decoded::Newer(format), _] | [_, Decoded::Newer(format)] = decoded {
            return Err(OpenError::Newer(format));
        }
        match choose(decoded) {
            Ok(Choice { value, trust, flaw }) => {
                self.add(place, value);
                let unused = flaw.map(|(replica, flaw)| UnusedReplica { place, replica, flaw });
                self.unused.extend(unused);
                let last = trust[0].generation().max(trust[1].generation());
                Ok(Replicas { trust, last })
            }
            Err(faults) => {
                self.damaged.push(Damage { place, faults });
                Ok(Replicas { trust: [Trust::Doubt; 2], last: 0 })
            }
        }
    }

    fn add(&mut self, place: SlotPosition, value: SlotContents) {
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
    replica: usize,
) -> Decoded {
    let wanted = Stamp { shape, place, replica, generation: 0 };
    match read_slot(disk, offset(&wanted)) {
        Ok(Decoded::Good(stamp, _)) if (Stamp { generation: 0, ..stamp }) != wanted => {
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
    for (replica, at) in [0, len / 2].into_iter().enumerate() {
        if len < at + SLOT_LEN as u64 {
            continue;
        }
        match read_slot(disk, at).map_err(OpenError::Io) {
            Ok(Decoded::Good(stamp, SlotContents::Header(_))) if stamp.replica == replica => {
                let right = file_len(stamp.shape.capacity);
                if right == len {
                    return Ok(stamp.shape);
                }
                expected = Some(right);
            }
            Ok(Decoded::Newer(format)) => return Err(OpenError::Newer(format)),
            Ok(other) => faults[replica] = fault(&other),
            Err(error) if replica == 1 => return Err(error),
            Err(_) => faults[replica] = Fault::Unreadable,
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

/// Returns the position of a slot in the file.
fn offset(stamp: &Stamp) -> u64 {
    let half = stamp.replica as u64 * half_len(stamp.shape.capacity);
    half + stamp.place.index() as u64 * SLOT_LEN as u64
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
        let UnusedReplica { place, replica, .. } = self;
        match self.flaw {
            Flaw::Behind => {
                write!(f, "{place}: an update did not reach copy {replica}; the newer copy is used")
            }
            Flaw::Torn(fault) => {
                write!(f, "{place}: copy {replica} is damaged ({fault}); the other copy is used")
            }
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Io(error) => write!(f, "{error}"),
            OpenError::Length { found: 0, .. } => f.write_str("the file is empty"),
            OpenError::Length { found, expected: Some(expected) } => {
                write!(f, "the file has {found} bytes instead of {expected}")
            }
            OpenError::Length { found, expected: None } => {
                write!(f, "no pairing table has a length of {found} bytes")
            }
            OpenError::Newer(format) => write!(f, "written by a newer gatelet (format {format})"),
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
