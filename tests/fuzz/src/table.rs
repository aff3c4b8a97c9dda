//! The table file as a disk may return it: opened, checked, repaired, recovered, rewritten.

use std::io::ErrorKind;

use gatelet::gate::device::{Device, Provenance};
use gatelet::gate::ids::{DeviceId, PublicKey, Slot};
use gatelet::store::{
    check, decode, encode, recover, Contents, Decoded, Disk, LoadedTable, OpenError, PairingFile,
};

use crate::mem::MemDisk;
use crate::{bounded, samples, Seeds};

/// A file of 16 KiB has at most 15 devices of a kilobyte each, held at most four times: found,
/// chosen, listed, written. A header may claim 8192 records, of which 2 to 40 bytes each are kept.
const BOUND: usize = 512 * 1024;
const SLOT: usize = 1024;
/// Copying a larger table would only take time.
const SMALL: u16 = 64;

/// The first byte: bit 0 makes every checksum right, bit 1 means that changes of an image follow
/// (which image, then slot, offset and byte of each); otherwise the file itself follows.
pub fn run(data: &[u8]) {
    let Some((flags, rest)) = data.split_first() else { return };
    let mut image = if flags & 2 == 0 { rest.to_vec() } else { changed(rest) };
    if flags & 1 == 1 {
        image.chunks_exact_mut(SLOT).for_each(seal);
    }
    slots(&image);
    bounded(BOUND, || file(&image));
}

fn changed(script: &[u8]) -> Vec<u8> {
    let images = images();
    let (choice, edits) = script.split_first().unwrap_or((&0, &[]));
    let mut image = images[usize::from(*choice) % images.len()].clone();
    for edit in edits.chunks_exact(4) {
        let slots = image.len() / SLOT;
        let at = usize::from(edit[0]) % slots * SLOT
            + usize::from(u16::from_le_bytes([edit[1], edit[2]])) % SLOT;
        image[at] = edit[3];
    }
    image
}

thread_local! {
    static IMAGES: &'static [Vec<u8>] = Box::leak(samples::files("images").into_iter().map(|(_, bytes)| bytes).collect());
}

fn images() -> &'static [Vec<u8>] {
    IMAGES.with(|images| *images)
}

/// Sets the right checksum, computed bit by bit as in the standard, if the length that it covers is
/// valid.
fn seal(slot: &mut [u8]) {
    let used = usize::from(u16::from_le_bytes([slot[40], slot[41]]));
    if let Some(body) = slot.get(46..46 + used) {
        let sum = crc32c(&[&slot[..42], body].concat());
        slot[42..46].copy_from_slice(&sum.to_le_bytes());
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 {
                sum >> 1 ^ 0x82f6_3b78
            } else {
                sum >> 1
            }
        })
    })
}

/// Asserts that each value has one encoding, and each encoding one value.
fn slots(image: &[u8]) {
    for slot in image.as_chunks::<SLOT>().0 {
        if let Decoded::Good(stamp, value) = decode(slot) {
            assert!(encode(&stamp, &value) == *slot, "{stamp:?} is written in another way");
        }
    }
}

fn file(image: &[u8]) {
    let disk = MemDisk::of(image);
    let lines = check(&disk);
    let opened = PairingFile::open(disk.clone());
    let recovered = recover(&disk);
    assert!(*disk.bytes.borrow() == image, "a look writes");
    if let Ok((table, loaded)) = opened {
        sound(&loaded.contents);
        let lines = lines.expect("what opens can be checked");
        assert_eq!(lines.len(), usize::from(loaded.contents.shape.capacity) + 1);
        if loaded.unused.is_empty() {
            let recovered = recovered
                .as_ref()
                .ok()
                .and_then(Option::as_ref)
                .expect("what opens can be recovered");
            assert_eq!(recovered.contents, loaded.contents);
        }
        repair_replicas(table, &disk, loaded);
    }
    match recovered {
        Ok(Some(recovered)) if recovered.contents.shape.capacity <= SMALL => {
            again(&recovered.contents)
        }
        Ok(Some(recovered)) => sound(&recovered.contents),
        Ok(None) | Err(OpenError::Newer(_)) => {}
        Err(error) => panic!("a disk in memory fails: {error}"),
    }
}

/// Asserts that there are no more devices than the capacity, each once and in its own record.
fn sound(contents: &Contents) {
    assert!(contents.devices.len() <= usize::from(contents.shape.capacity));
    assert!(contents.devices.iter().all(|(slot, _)| slot.0 < contents.shape.capacity));
    assert!(contents.devices.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let mut ids: Vec<_> = contents.devices.iter().map(|(_, device)| device.id).collect();
    ids.sort_unstable();
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "a device stands twice");
}

/// Asserts that a repaired table has the same contents without a flaw, and accepts a new device.
fn repair_replicas(mut table: PairingFile<MemDisk>, disk: &MemDisk, loaded: LoadedTable) {
    if let Err(error) = table.repair_replicas() {
        // a generation without a successor, of which nothing may be lost
        assert_eq!(
            (error.kind(), reopened(disk).contents),
            (ErrorKind::InvalidInput, loaded.contents)
        );
        return;
    }
    let again = reopened(disk);
    assert_eq!(again.contents, loaded.contents);
    assert!(again.unused.is_empty(), "repaired, but unused: {:?}", again.unused);
    let mut new = Device::new(DeviceId([0xee; 32]), PublicKey([0xdd; 32]), Provenance::Token);
    new.name.push_str("new").expect("it fits");
    let slot = Slot(loaded.contents.shape.capacity - 1);
    if loaded.contents.devices.iter().any(|(_, device)| device.id == new.id) {
        return;
    }
    let broken = disk.bytes.borrow().len() % 3 == 0;
    *disk.broken.borrow_mut() = broken;
    let done = table.commit(slot, Some(&new));
    *disk.broken.borrow_mut() = false;
    let after = reopened(disk);
    match done {
        Err(error) => assert!(
            broken || error.kind() == ErrorKind::InvalidInput,
            "a sound disk refuses: {error}"
        ),
        Ok(()) => {
            assert!(after.contents.devices.iter().any(|(at, device)| *at == slot && *device == new))
        }
    }
    let others = |contents: &Contents| {
        contents.devices.iter().filter(|(at, _)| *at != slot).cloned().collect::<Vec<_>>()
    };
    assert_eq!(
        others(&after.contents),
        others(&loaded.contents),
        "a commit touches another record"
    );
}

fn reopened(disk: &MemDisk) -> LoadedTable {
    PairingFile::open(disk.clone())
        .unwrap_or_else(|error| panic!("it opened and does not any more: {error}"))
        .1
}

/// Asserts that a table created from these contents, as a repair does, has these contents.
fn again(contents: &Contents) {
    sound(contents);
    let disk = MemDisk::of(b"");
    PairingFile::create(disk.clone(), contents).expect("what was recovered can be written");
    let loaded = reopened(&disk);
    assert!(loaded.contents == *contents && loaded.unused.is_empty());
    assert!(disk.len().is_ok_and(|len| len % 4096 == 0));
}

/// The images of tests/it, and changes of them.
pub fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    for (name, bytes) in samples::files("images") {
        seeds.push((format!("raw-{name}"), [vec![0], bytes.clone()].concat()));
        seeds.push((
            format!("sealed-{name}"),
            [vec![1], bytes[..bytes.len() - 1024].to_vec()].concat(),
        ));
    }
    for image in 0..4u8 {
        for (at, edit) in [
            [0u8, 10, 0, 1],
            [1, 36, 0, 1],
            [2, 30, 0, 1],
            [5, 0, 0, 0],
            [6, 8, 0, 9],
            [3, 100, 1, 7],
        ]
        .iter()
        .enumerate()
        {
            seeds.push((
                format!("edit-{image}-{at}"),
                [&[3, image], &edit[..], &[4, 32, 0, 5]].concat(),
            ));
        }
    }
    seeds
}
