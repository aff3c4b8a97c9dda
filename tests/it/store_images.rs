//! Files on disk: golden images of each format version, and every kind of damage to a file.
//!
//! `UPDATE=1` rewrites the images; that is right only for a new format version, which gets images
//! of its own.

use std::fs;
use std::path::PathBuf;

use gatelet::gate::device::{Device, Provenance, TokenWindow};
use gatelet::gate::ids::{DeviceId, PublicKey, Role, Roles, Slot, TableAge, WallMs};
use gatelet::gate::scopes::{Scope, Scopes};
use gatelet::gate::surface::Surface;
use gatelet::gate::text::clip;
use gatelet::store::{
    check, recover, Contents, Fault, Flaw, LoadedTable, OpenError, PairingFile, ReplicaState,
    Shape, SlotPosition, TableId,
};

use crate::mem_disk::MemDisk;

const NAMES: [&str; 4] = ["v1_empty", "v1_three_devices", "v1_torn_slot", "v2_surfaces"];

#[test]
fn golden_images_open_with_the_expected_contents() {
    if std::env::var_os("UPDATE").is_some() {
        NAMES.iter().for_each(|name| fs::write(path(name), build(name)).unwrap());
    }
    let mut opened = 0;
    for entry in fs::read_dir(path("").parent().unwrap()).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        let bytes = image(&name);
        assert!(bytes.len() <= 20 * 1024, "{name} is {} bytes", bytes.len());
        let loaded = open(&bytes).unwrap();
        let (contents, odd) = expected(&name);
        assert_eq!((loaded.contents, loaded.unused.len()), (contents, odd), "{name}");
        opened += 1;
    }
    assert_eq!(opened, NAMES.len());
}

#[test]
fn golden_images_are_written_byte_for_byte() {
    for name in NAMES {
        assert!(
            build(name) == image(name),
            "{name} differs: the format changed, so its version must"
        );
    }
}

#[test]
fn single_bit_flip_loses_nothing() {
    for name in ["v1_three_devices", "v2_surfaces"] {
        let good = image(name);
        let (contents, _) = expected(name);
        let mut noticed = 0;
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let loaded = open(&bad).unwrap_or_else(|error| panic!("bit {bit} of {name}: {error}"));
            assert_eq!(loaded.contents, contents, "bit {bit} of {name}");
            noticed += loaded.unused.len();
        }
        assert_eq!(
            noticed,
            good.len() * 8,
            "each flip is reported once: the image has no bytes without meaning"
        );
    }
}

#[test]
fn single_bit_flip_next_to_a_torn_slot_is_detected() {
    let good = image("v1_torn_slot");
    let (contents, _) = expected("v1_torn_slot");
    let mut refused = 0;
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        match open(&bad) {
            Ok(loaded) => assert_eq!(loaded.contents, contents, "bit {bit}"),
            Err(OpenError::Damaged(places)) => {
                assert_eq!(
                    places.iter().map(|d| d.place).collect::<Vec<_>>(),
                    [SlotPosition::Record(Slot(1))]
                );
                refused += 1;
            }
            Err(error) => panic!("bit {bit}: {error}"),
        }
    }
    assert_eq!(refused, 1024 * 8, "the only good copy of the torn record");
}

#[test]
fn truncated_and_extended_tables_are_rejected() {
    let good = image("v1_three_devices");
    for len in 0..good.len() {
        let error = open(&good[..len]).unwrap_err();
        assert!(
            matches!(error, OpenError::Length { found, .. } if found == len as u64),
            "{len}: {error}"
        );
    }
    for more in [1, 512, 1024, 4096, 8192] {
        let mut long = good.clone();
        long.resize(good.len() + more, 0);
        assert!(matches!(open(&long).unwrap_err(), OpenError::Length { .. }), "{more}");
    }
    assert_eq!(open(&[]).unwrap_err().to_string(), "it is empty, which a pairing table never is");
}

#[test]
fn zeroed_ranges_keep_devices_or_are_rejected_and_never_read_as_empty() {
    let good = image("v1_three_devices");
    let (contents, _) = expected("v1_three_devices");
    let (mut kept, mut refused) = (0, 0);
    for start in (0..good.len()).step_by(512) {
        for end in (start + 512..=good.len()).step_by(512) {
            let mut bad = good.clone();
            bad[start..end].fill(0);
            match open(&bad) {
                Ok(loaded) => {
                    assert_eq!(loaded.contents, contents, "{start}..{end}");
                    kept += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(kept > 10 && refused > 10, "{kept} kept, {refused} refused");
    assert!(matches!(open(&vec![0; good.len()]).unwrap_err(), OpenError::Damaged(_)));
}

#[test]
fn slots_of_another_position_or_table_are_rejected() {
    let good = image("v1_three_devices");
    let foreign = build_with(TableId([9; 16]));
    let slot = |number: usize| (number + 1) * 1024..(number + 2) * 1024;
    let mut moved = good.clone();
    moved.copy_within(slot(0), slot(1).start);
    let mut mixed = good.clone();
    mixed[slot(1)].copy_from_slice(&foreign[slot(1)]);
    for bad in [moved, mixed] {
        let loaded = open(&bad).unwrap();
        assert_eq!(loaded.contents, expected("v1_three_devices").0);
        assert_eq!(loaded.unused[0].flaw, Flaw::Torn(Fault::Misplaced));
    }
    let mut differing = good.clone();
    let half = good.len() / 2;
    let other =
        made(&Contents { devices: devices()[1..].to_vec(), ..expected("v1_three_devices").0 })
            .bytes();
    differing[half + slot(0).start..half + slot(0).end]
        .copy_from_slice(&other[half + slot(0).start..half + slot(0).end]);
    assert!(open(&differing)
        .unwrap_err()
        .to_string()
        .contains("both copies are intact and differ"));
    let mut swapped = good.clone();
    let (first, second) = swapped.split_at_mut(good.len() / 2);
    first.swap_with_slice(second);
    assert!(open(&swapped).is_err(), "the halves are not the same");
}

#[test]
fn newer_format_is_neither_opened_nor_salvaged() {
    for number in 0..4 {
        let mut newer = image("v1_three_devices");
        for start in [0, newer.len() / 2].map(|half| half + number * 1024) {
            let slot = &mut newer[start..start + 1024];
            slot[8] = 3;
            let used = usize::from(slot[40]) + 256 * usize::from(slot[41]);
            let crc = crc32c(&[&slot[..42], &slot[46..46 + used]].concat());
            slot[42..46].copy_from_slice(&crc.to_le_bytes());
        }
        assert!(matches!(open(&newer).unwrap_err(), OpenError::Newer(3)), "slot {number}");
        assert!(matches!(recover(&MemDisk::new(&newer)).unwrap_err(), OpenError::Newer(3)));
    }
}

#[test]
fn only_records_with_approved_commands_use_format_2() {
    let slots =
        |name: &str| -> Vec<Vec<u8>> { image(name).chunks(1024).map(<[u8]>::to_vec).collect() };
    let formats = |name: &str| slots(name).iter().map(|slot| slot[8]).collect::<Vec<_>>();
    assert_eq!(formats("v1_three_devices"), [1; 8]);
    assert_eq!(formats("v2_surfaces"), [1, 1, 2, 2, 1, 1, 2, 2]);
    for slot in slots("v2_surfaces") {
        let used = usize::from(slot[40]) + 256 * usize::from(slot[41]);
        let crc = crc32c(&[&slot[..42], &slot[46..46 + used]].concat());
        assert_eq!(
            slot[42..46],
            crc.to_le_bytes(),
            "what an older gatelet checks before it looks at the format"
        );
    }
    let (old, new) = (slots("v1_three_devices"), slots("v2_surfaces"));
    assert_eq!((&old[0], &old[1]), (&new[0], &new[1]), "the header and a device without a surface");
    assert!(old[3][46..422] == new[3][46..422], "the device itself stands where it stood");
    assert!(old[3][422..].iter().all(|byte| *byte == 0));
}

#[test]
fn removing_approved_commands_restores_format_1_bytes() {
    let disk = made(&expected("v1_three_devices").0);
    let (mut file, _) = PairingFile::open(disk.clone()).unwrap();
    for (with, name) in [(with_surfaces(), "v2_surfaces"), (devices(), "v1_three_devices")] {
        with.iter().for_each(|(slot, device)| file.commit(*slot, Some(device)).unwrap());
        let (_, loaded) = PairingFile::open(disk.clone()).unwrap();
        assert_eq!((loaded.contents, loaded.unused), (expected(name).0, Vec::new()));
        assert_eq!(recover(&disk).unwrap().unwrap().contents, expected(name).0);
    }
    assert!(disk.bytes().chunks(1024).all(|slot| slot[8] == 1));
}

#[test]
fn lost_record_is_reported_and_salvage_keeps_the_others() {
    let mut bad = image("v1_three_devices");
    let half = bad.len() / 2;
    bad[1100] ^= 1;
    bad[half + 1100] ^= 1;
    let error = open(&bad).unwrap_err();
    assert_eq!(error.to_string(), "record 0 is unreadable (wrong checksum)");
    let lines = check(&MemDisk::new(&bad)).unwrap();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[1].replicas, [ReplicaState::Torn(Fault::Checksum); 2]);
    let saved = recover(&MemDisk::new(&bad)).unwrap().unwrap();
    let mut rest = expected("v1_three_devices").0;
    rest.devices.remove(0);
    assert_eq!((saved.contents, saved.lost), (rest, vec![Slot(0)]));
}

#[test]
fn salvage_works_without_headers_and_on_half_a_file() {
    let good = image("v1_three_devices");
    let whole = expected("v1_three_devices").0;
    let mut headless = good.clone();
    let half = good.len() / 2;
    headless[..1024].fill(0xff);
    headless[half..half + 1024].fill(0xff);
    assert!(
        matches!(open(&headless).unwrap_err(), OpenError::Damaged(places) if places[0].place == SlotPosition::Header)
    );
    let saved = recover(&MemDisk::new(&headless)).unwrap().unwrap();
    assert_eq!(saved.contents.devices, whole.devices);
    assert_eq!(saved.contents.age, TableAge(300), "the latest hour that a device was seen in");
    for len in [half, half + 1000, good.len() - 1] {
        assert_eq!(recover(&MemDisk::new(&good[..len])).unwrap().unwrap().contents, whole);
    }
    let some = recover(&MemDisk::new(&good[..2 * 1024])).unwrap().unwrap();
    assert_eq!((some.contents.devices.len(), some.lost), (1, vec![Slot(1), Slot(2)]));
    assert_eq!(recover(&MemDisk::new(&[0; 8192])).unwrap(), None);
    assert_eq!(recover(&MemDisk::new(b"{}")).unwrap(), None);
}

#[test]
fn salvage_takes_the_newer_of_two_intact_replicas() {
    for place in 0..2 {
        let disk = made(&expected("v1_three_devices").0);
        let (mut file, _) = PairingFile::open(disk.clone()).unwrap();
        (0..place).for_each(|_| file.commit(Slot(1), Some(&devices()[0].1)).unwrap());
        disk.cut_after(1024);
        assert!(file.commit(Slot(1), None).is_err(), "the write reached one replica");
        let saved = recover(&disk).unwrap().unwrap();
        assert_eq!(saved.contents.devices.len(), 2, "after {place} commits");
    }
}

#[test]
fn duplicate_device_is_damage_and_salvage_keeps_the_later_approval() {
    let mut contents = expected("v1_three_devices").0;
    contents.devices[2].1.id = contents.devices[0].1.id;
    let bytes = made(&contents).bytes();
    assert_eq!(
        open(&bytes).unwrap_err().to_string(),
        "record 0 is unreadable (the device of another record)"
    );
    let saved = recover(&MemDisk::new(&bytes)).unwrap().unwrap();
    assert_eq!(saved.lost, [Slot(0)]);
    assert_eq!(saved.contents.devices, contents.devices[1..]);
}

fn open(bytes: &[u8]) -> Result<LoadedTable, OpenError> {
    let disk = MemDisk::new(bytes);
    disk.read_only();
    let opened = PairingFile::open(disk.clone()).map(|(_, loaded)| loaded);
    assert_eq!(disk.bytes(), bytes, "opening changed the file");
    opened
}

fn expected(name: &str) -> (Contents, usize) {
    let shape = Shape { id: TableId(*b"gatelet's golden"), capacity: 3 };
    let devices = match name {
        "v1_empty" => Vec::new(),
        "v2_surfaces" => with_surfaces(),
        _ => devices(),
    };
    let age = if devices.is_empty() { TableAge(0) } else { TableAge(321) };
    (Contents { shape, age, devices }, usize::from(name == "v1_torn_slot"))
}

fn build(name: &str) -> Vec<u8> {
    let (contents, _) = expected(name);
    if name != "v1_torn_slot" {
        return made(&contents).bytes();
    }
    let disk = made(&contents);
    let (mut file, _) = PairingFile::open(disk.clone()).unwrap();
    disk.cut_after(200);
    assert!(file.commit(Slot(1), None).is_err());
    disk.bytes()
}

fn build_with(id: TableId) -> Vec<u8> {
    let (mut contents, _) = expected("v1_three_devices");
    contents.shape.id = id;
    made(&contents).bytes()
}

fn made(contents: &Contents) -> MemDisk {
    let disk = MemDisk::new(&[]);
    PairingFile::create(disk.clone(), contents).unwrap();
    MemDisk::new(&disk.bytes())
}

/// Returns a browser, a revoked phone, and a node: together they use every field.
fn devices() -> Vec<(Slot, Device)> {
    let mut browser = Device::new(DeviceId([0xb1; 32]), PublicKey([0xb2; 32]), Provenance::Token);
    browser.approve(Role::Operator, Scopes::ALL, WallMs(1_700_000_000_000));
    browser.name = clip("Control UI");
    browser.platform = clip("Linux x86_64");
    browser.client_id = clip("openclaw-control-ui");
    browser.client_mode = clip("webchat");
    browser.remote = Some("172.18.0.1".parse().unwrap());
    browser.created = WallMs(1_699_999_999_000);
    let mut phone = Device::new(DeviceId([0xc1; 32]), PublicKey([0xc2; 32]), Provenance::Code);
    phone.approve(
        Role::Operator,
        Scopes::of(Scope::Read).with(Scopes::of(Scope::Talk)),
        WallMs(1_700_000_100_000),
    );
    phone.tokens[Role::Operator as usize] = TokenWindow { floor: 2, current: 4 };
    phone.revoke(Role::Operator);
    phone.label = clip("Anna's old phone");
    phone.family = clip("iPhone");
    let mut node = Device::new(DeviceId([0xd1; 32]), PublicKey([0xd2; 32]), Provenance::Owner);
    node.roles = Roles::of(Role::Node);
    node.tokens[Role::Node as usize] = TokenWindow { floor: 6, current: 7 };
    node.approved = WallMs(1_700_000_200_000);
    node.remote = Some("2001:db8::5".parse().unwrap());
    node.name = clip("raspberry");
    node.seen = WallMs(1_700_000_300_000);
    node.seen_age = TableAge(300);
    vec![(Slot(0), browser), (Slot(1), phone), (Slot(2), node)]
}

/// Returns the same devices with approved commands: the phone had been a node with nothing left to
/// approve, the node has names of every kind.
fn with_surfaces() -> Vec<(Slot, Device)> {
    let mut devices = devices();
    devices[1].1.surface_approved = WallMs(1_700_000_400_000);
    let node = &mut devices[2].1;
    let mut surface = Surface::NONE;
    let commands = ["camera.snap", "system.run", "robot.walk", "logbook.snapshot"];
    commands.iter().try_for_each(|name| surface.add_command(name)).unwrap();
    ["voice", "canvas"].iter().try_for_each(|name| surface.add_cap(name)).unwrap();
    surface.add_permission("microphone").unwrap();
    node.approve_surface(&surface, WallMs(1_700_000_500_000)).unwrap();
    devices
}

fn image(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap_or_else(|error| panic!("image {name}: {error}; UPDATE=1 makes it"))
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/images").join(format!("{name}.bin"))
}

/// Computes CRC32C bit by bit, for the one test that needs a right checksum over wrong bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}
