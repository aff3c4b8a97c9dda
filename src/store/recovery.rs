//! Examination of a damaged table and recovery of its intact records. Only reads; the caller writes
//! the new file.

use std::io;

use super::disk::Disk;
use super::file::{duplicates, find_shape, places, read_replica, read_slot, Contents, OpenError};
use super::record::{Decoded, Fault, Shape, SlotContents, SlotPosition, SLOT_LEN};
use crate::gate::device::Device;
use crate::gate::ids::{DeviceId, Slot, TableAge};

/// Both replicas of one place, for display.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckLine {
    /// Place in the table.
    pub place: SlotPosition,
    /// State of replica 0 and of replica 1.
    pub replicas: [ReplicaState; 2],
}

/// State of one replica, for display.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplicaState {
    /// Header, with the age of the table.
    Header { generation: u64, age: TableAge },
    /// Free record.
    Free { generation: u64 },
    /// Record with a device.
    Device { generation: u64, id: DeviceId },
    /// Written by a newer gatelet, in this format.
    Newer(u16),
    /// Not usable.
    Torn(Fault),
}

/// Result of a recovery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// Id, capacity, age and all intact devices. Of a device found in two records, only the one
    /// approved last is kept.
    pub contents: Contents,
    /// Records that are free now because their contents were lost.
    pub lost: Vec<Slot>,
}

/// Returns the state of both replicas of every place, the header first. Fails if neither header can
/// be read.
pub fn check(disk: &impl Disk) -> Result<Vec<CheckLine>, OpenError> {
    let shape = find_shape(disk)?;
    let state = |place, copy| ReplicaState::from(read_replica(disk, shape, place, copy));
    Ok(places(shape.capacity)
        .map(|place| CheckLine { place, replicas: [state(place, 0), state(place, 1)] })
        .collect())
}

/// Reads every slot of a file, regardless of its position, and keeps the newest intact one of each
/// place.
///
/// Returns `None` if no slot is intact. Works with a truncated file and without headers. Fails if
/// the disk does not return its length, and with [`OpenError::Newer`] for a table of a newer
/// gatelet, which this one must not repair.
pub fn recover(disk: &impl Disk) -> Result<Option<Recovered>, OpenError> {
    let mut slots = Vec::new();
    let end = disk.len().map_err(OpenError::Io)?;
    for at in (0..end).step_by(SLOT_LEN) {
        match read_slot(disk, at) {
            Ok(Decoded::Good(stamp, value)) => slots.push((stamp, value)),
            Ok(Decoded::Newer(format)) => return Err(OpenError::Newer(format)),
            Ok(Decoded::Torn(_)) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(_) => {}
        }
    }
    let header = slots.iter().find(|(stamp, _)| stamp.place == SlotPosition::Header);
    let Some(shape) = header.or(slots.first()).map(|(stamp, _)| stamp.shape) else {
        return Ok(None);
    };
    slots.retain(|(stamp, _)| stamp.shape == shape);
    slots.sort_by_key(|(stamp, _)| (stamp.place, std::cmp::Reverse(stamp.generation)));
    slots.dedup_by_key(|(stamp, _)| stamp.place);
    Ok(Some(gather(shape, slots.into_iter().map(|(stamp, value)| (stamp.place, value)))))
}

fn gather(shape: Shape, newest: impl Iterator<Item = (SlotPosition, SlotContents)>) -> Recovered {
    let mut age = None;
    let mut devices: Vec<(Slot, Device)> = Vec::new();
    let mut lost: Vec<Slot> = (0..shape.capacity).map(Slot).collect();
    for (place, value) in newest {
        match (place, value) {
            (_, SlotContents::Header(found)) => age = Some(found),
            (SlotPosition::Record(slot), value) => {
                lost.retain(|one| *one != slot);
                if let SlotContents::Device(device) = value {
                    devices.push((slot, *device));
                }
            }
            (SlotPosition::Header, _) => {}
        }
    }
    let doubled = duplicates(&devices);
    devices.retain(|(slot, _)| !doubled.contains(slot));
    lost.extend(doubled);
    // Ages only increase, so the latest age at which a device was seen is a lower bound.
    let age = age.or(devices.iter().map(|(_, device)| device.seen_age).max()).unwrap_or_default();
    Recovered { contents: Contents { shape, age, devices }, lost }
}

impl From<Decoded> for ReplicaState {
    fn from(decoded: Decoded) -> ReplicaState {
        match decoded {
            Decoded::Good(stamp, SlotContents::Header(age)) => {
                ReplicaState::Header { generation: stamp.generation, age }
            }
            Decoded::Good(stamp, SlotContents::Free) => {
                ReplicaState::Free { generation: stamp.generation }
            }
            Decoded::Good(stamp, SlotContents::Device(device)) => {
                ReplicaState::Device { generation: stamp.generation, id: device.id }
            }
            Decoded::Newer(format) => ReplicaState::Newer(format),
            Decoded::Torn(fault) => ReplicaState::Torn(fault),
        }
    }
}
