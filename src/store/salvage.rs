//! Looking at a damaged table, and taking out of it what is intact. Only reads; the caller writes a new file.

use std::io;

use super::disk::Disk;
use super::file::{duplicates, find_shape, places, read_copy, read_slot, Contents, OpenError};
use super::record::{Decoded, Fault, Place, Shape, Value, SLOT_LEN};
use crate::gate::device::Device;
use crate::gate::ids::{DeviceId, Slot, TableAge};

/// Both copies of one place, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckLine {
    /// Which place.
    pub place: Place,
    /// Copy 0 and copy 1.
    pub copies: [CopyState; 2],
}

/// One copy, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyState {
    /// The header, with the table's age.
    Header { generation: u64, age: TableAge },
    /// A free record.
    Free { generation: u64 },
    /// A record with a device.
    Device { generation: u64, id: DeviceId },
    /// Written by a newer gatelet, in this format.
    Newer(u16),
    /// Not usable.
    Torn(Fault),
}

/// What could be taken out of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Salvage {
    /// Name, size, age and all intact devices. A device that stood in two records keeps the one approved last.
    pub contents: Contents,
    /// Records whose content is lost and that are free now.
    pub lost: Vec<Slot>,
}

/// The state of every copy of every place, the header first. Fails where not even a header can be read.
pub fn check(disk: &impl Disk) -> Result<Vec<CheckLine>, OpenError> {
    let shape = find_shape(disk)?;
    let state = |place, copy| CopyState::from(read_copy(disk, shape, place, copy));
    Ok(places(shape.capacity).map(|place| CheckLine { place, copies: [state(place, 0), state(place, 1)] }).collect())
}

/// Reads every slot of a file, wherever it stands, and keeps the newest intact one of each place. `None` if no slot is
/// intact. A file that was cut, or lost both headers, gives what it still has. Fails if the disk cannot tell the length, and
/// with [`OpenError::Newer`] for a table of a newer gatelet, which is not ours to mend.
pub fn salvage(disk: &impl Disk) -> Result<Option<Salvage>, OpenError> {
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
    let header = slots.iter().find(|(stamp, _)| stamp.place == Place::Header);
    let Some(shape) = header.or(slots.first()).map(|(stamp, _)| stamp.shape) else {
        return Ok(None);
    };
    slots.retain(|(stamp, _)| stamp.shape == shape);
    slots.sort_by_key(|(stamp, _)| (stamp.place, std::cmp::Reverse(stamp.generation)));
    slots.dedup_by_key(|(stamp, _)| stamp.place);
    Ok(Some(gather(shape, slots.into_iter().map(|(stamp, value)| (stamp.place, value)))))
}

fn gather(shape: Shape, newest: impl Iterator<Item = (Place, Value)>) -> Salvage {
    let mut age = None;
    let mut devices: Vec<(Slot, Device)> = Vec::new();
    let mut lost: Vec<Slot> = (0..shape.capacity).map(Slot).collect();
    for (place, value) in newest {
        match (place, value) {
            (_, Value::Header(found)) => age = Some(found),
            (Place::Record(slot), value) => {
                lost.retain(|one| *one != slot);
                if let Value::Device(device) = value {
                    devices.push((slot, *device));
                }
            }
            (Place::Header, _) => {}
        }
    }
    let doubled = duplicates(&devices);
    devices.retain(|(slot, _)| !doubled.contains(slot));
    lost.extend(doubled);
    // Ages only ever grow, so the latest that a device was seen at is a lower bound.
    let age = age.or(devices.iter().map(|(_, device)| device.seen_age).max()).unwrap_or_default();
    Salvage { contents: Contents { shape, age, devices }, lost }
}

impl From<Decoded> for CopyState {
    fn from(decoded: Decoded) -> CopyState {
        match decoded {
            Decoded::Good(stamp, Value::Header(age)) => CopyState::Header { generation: stamp.generation, age },
            Decoded::Good(stamp, Value::Free) => CopyState::Free { generation: stamp.generation },
            Decoded::Good(stamp, Value::Device(device)) => {
                CopyState::Device { generation: stamp.generation, id: device.id }
            }
            Decoded::Newer(format) => CopyState::Newer(format),
            Decoded::Torn(fault) => CopyState::Torn(fault),
        }
    }
}
