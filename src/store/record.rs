//! Layout, encoding and decoding of one slot of the pairing file. Pure functions; the other replica
//! is not considered here.
//!
//! Every slot identifies itself (table, capacity, number, replica), so that a slot written to the
//! wrong place or taken from another file is not accepted, and a table that lost both headers can
//! still be repaired.
//!
//! Invariants: `decode(encode(x)) == x`; for any bytes that decode,
//! `encode(decode(bytes)) == bytes`. The stamp, its checksum and the meaning of `USED` keep their
//! places in every later format, so that an older gatelet can distinguish a newer table from a
//! damaged one. Format 2 is format 1 followed by the surface of a node, and is used only for
//! records that have one. All other slots, and so every table without such a record, remain
//! readable for a gatelet of format 1.

use core::ops::Range;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crc::{Crc, CRC_32_ISCSI};

use crate::gate::commands_known::CommandSet;
use crate::gate::device::{Device, Provenance, TokenWindow};
use crate::gate::ids::{DeviceId, PublicKey, Role, Roles, Slot, TableAge, WallMs};
use crate::gate::limits;
use crate::gate::scopes::Scopes;
use crate::gate::surface::Surface;
use crate::gate::text::Text;

/// Random id of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableId(pub [u8; 16]);

/// Properties shared by all slots of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Id of the table.
    pub id: TableId,
    /// Number of records, 1 to [`limits::CAPACITY_MAX`].
    pub capacity: u16,
}

/// Position of a header or record in the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SlotPosition {
    /// Header of the table.
    Header,
    /// Record with this number.
    Record(Slot),
}

impl SlotPosition {
    /// Returns the number of slots before this one in each replica of the table.
    pub(super) fn index(self) -> usize {
        match self {
            SlotPosition::Header => 0,
            SlotPosition::Record(slot) => usize::from(slot.0) + 1,
        }
    }
}

/// Identity and generation of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Table of the slot.
    pub shape: Shape,
    /// Place of the slot in the table.
    pub place: SlotPosition,
    /// Number of the replica, 0 or 1.
    pub replica: usize,
    /// Starts at 1 and increases with every update of this place. The lowest bit is the replica
    /// that was written first.
    pub generation: u64,
}

/// Contents of a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SlotContents {
    /// Variable part of the header: hours that gateways have run on this table.
    Header(TableAge),
    /// Record without a device.
    Free,
    /// Record with a device.
    Device(Box<Device>),
}

/// Result of decoding a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// Intact.
    Good(Stamp, SlotContents),
    /// Intact, in a format that this gatelet does not know.
    Newer(u16),
    /// Not usable.
    Torn(Fault),
}

/// Reason why a slot is not usable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Read error of the disk.
    Unreadable,
    /// All bytes zero; gatelet never writes such a slot.
    Zeroed,
    /// Wrong magic bytes.
    Magic,
    /// Wrong magic bytes of the kind that a text-mode copy produces.
    TextMode,
    /// Wrong checksum.
    Checksum,
    /// Valid checksum, but invalid values.
    Malformed,
    /// Belongs to another place in the table, or to another table.
    Misplaced,
    /// Both replicas are intact and of the same generation, but differ.
    Conflict,
    /// The same device is in another record.
    Duplicate,
}

/// Length of a slot in bytes.
pub(super) const SLOT_LEN: usize = limits::RECORD_LEN;
/// Bytes of one slot.
pub(super) type SlotBytes = [u8; SLOT_LEN];
/// Format of every slot except those of [`FORMAT_SURFACE`].
const FORMAT: u16 = 1;
/// Format of a record whose device has a surface.
const FORMAT_SURFACE: u16 = 2;
/// Exclusive upper bound of generations.
pub(super) const GENERATION_END: u64 = 1 << 62;

/// Encodes a slot.
pub fn encode(stamp: &Stamp, value: &SlotContents) -> SlotBytes {
    let mut bytes = unsealed(stamp, value);
    let sum = checksum(&bytes, used(value));
    put(&mut bytes, field::CRC, &sum.to_le_bytes());
    bytes
}

/// Decodes a slot. The caller compares the stamp with the place the slot was read from.
pub fn decode(bytes: &SlotBytes) -> Decoded {
    if *bytes == [0; SLOT_LEN] {
        return Decoded::Torn(Fault::Zeroed);
    }
    if bytes[field::MAGIC] != MAGIC {
        return Decoded::Torn(magic_fault(bytes));
    }
    let used = usize::from(u16_at(bytes, field::USED));
    if used > SLOT_LEN - field::BODY || u32_at(bytes, field::CRC) != checksum(bytes, used) {
        return Decoded::Torn(Fault::Checksum);
    }
    let format = u16_at(bytes, field::FORMAT);
    if !matches!(format, FORMAT | FORMAT_SURFACE) {
        return Decoded::Newer(format);
    }
    match parse(bytes) {
        Some((stamp, value)) => Decoded::Good(stamp, value),
        None => Decoded::Torn(Fault::Malformed),
    }
}

/// Returns the CRC32C of the concatenated parts, the checksum of iSCSI, ext4 and btrfs.
pub(super) fn crc32c(parts: &[&[u8]]) -> u32 {
    let mut digest = CRC32C.digest();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize()
}

/// Detects text-mode copies: contains a byte with the high bit set, CR LF, end of file, and LF.
const MAGIC: [u8; 8] = *b"\x89GTL\r\n\x1a\n";
const NUMBER_OF_HEADER: u16 = u16::MAX;
const KIND_HEADER: u8 = 1;
const KIND_FREE: u8 = 2;
const KIND_DEVICE: u8 = 3;

static CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

mod field {
    use super::{after, limits, CommandSet, Range};

    pub const MAGIC: Range<usize> = 0..8;
    pub const FORMAT: Range<usize> = after(&MAGIC, 2);
    pub const CAPACITY: Range<usize> = after(&FORMAT, 2);
    pub const TABLE: Range<usize> = after(&CAPACITY, 16);
    pub const NUMBER: Range<usize> = after(&TABLE, 2);
    pub const COPY: Range<usize> = after(&NUMBER, 1);
    pub const KIND: Range<usize> = after(&COPY, 1);
    pub const GENERATION: Range<usize> = after(&KIND, 8);
    /// Length of the part of the body that the checksum covers; all bytes after it are zero.
    pub const USED: Range<usize> = after(&GENERATION, 2);
    pub const CRC: Range<usize> = after(&USED, 4);
    pub const BODY: usize = CRC.end;

    pub const SLOT_LEN: Range<usize> = after(&CRC, 2);
    pub const AGE: Range<usize> = after(&SLOT_LEN, 4);
    pub const HEADER_END: usize = AGE.end;

    pub const ID: Range<usize> = after(&CRC, 32);
    pub const KEY: Range<usize> = after(&ID, 32);
    pub const ROLES: Range<usize> = after(&KEY, 1);
    pub const REVOKED: Range<usize> = after(&ROLES, 1);
    pub const SCOPES: Range<usize> = after(&REVOKED, 2);
    pub const PROVENANCE: Range<usize> = after(&SCOPES, 1);
    pub const TOKENS: Range<usize> = after(&PROVENANCE, 16);
    pub const REMOTE: Range<usize> = after(&TOKENS, 1 + 16);
    pub const CREATED: Range<usize> = after(&REMOTE, 8);
    pub const APPROVED: Range<usize> = after(&CREATED, 8);
    pub const SEEN: Range<usize> = after(&APPROVED, 8);
    pub const SEEN_AGE: Range<usize> = after(&SEEN, 4);
    pub const NAME: Range<usize> = after(&SEEN_AGE, 1 + limits::NAME_LEN);
    pub const LABEL: Range<usize> = after(&NAME, 1 + limits::NAME_LEN);
    pub const PLATFORM: Range<usize> = after(&LABEL, 1 + limits::PLATFORM_LEN);
    pub const FAMILY: Range<usize> = after(&PLATFORM, 1 + limits::PLATFORM_LEN);
    pub const CLIENT_ID: Range<usize> = after(&FAMILY, 1 + limits::CLIENT_ID_LEN);
    pub const CLIENT_MODE: Range<usize> = after(&CLIENT_ID, 1 + limits::CLIENT_MODE_LEN);
    pub const DEVICE_END: usize = CLIENT_MODE.end;

    pub const SURFACE_APPROVED: Range<usize> = after(&CLIENT_MODE, 8);
    pub const SURFACE_KNOWN: Range<usize> = after(&SURFACE_APPROVED, CommandSet::LEN);
    pub const SURFACE_TEXT: Range<usize> = after(&SURFACE_KNOWN, limits::SURFACE_TEXT_LEN);
    pub const SURFACE_END: usize = SURFACE_TEXT.end;
}

const _: () = assert!(field::SURFACE_END <= SLOT_LEN);
const _: () = assert!(limits::CAPACITY_MAX < NUMBER_OF_HEADER);

const fn after(range: &Range<usize>, len: usize) -> Range<usize> {
    range.end..range.end + len
}

fn used(value: &SlotContents) -> usize {
    let end = match value {
        SlotContents::Header(_) => field::HEADER_END,
        SlotContents::Free => field::BODY,
        SlotContents::Device(device) if has_surface(device) => field::SURFACE_END,
        SlotContents::Device(_) => field::DEVICE_END,
    };
    end - field::BODY
}

fn has_surface(device: &Device) -> bool {
    !device.surface.is_empty() || device.surface_approved != WallMs(0)
}

fn checksum(bytes: &SlotBytes, used: usize) -> u32 {
    crc32c(&[&bytes[..field::CRC.start], &bytes[field::BODY..field::BODY + used]])
}

fn unsealed(stamp: &Stamp, value: &SlotContents) -> SlotBytes {
    let mut bytes = [0; SLOT_LEN];
    let number = match stamp.place {
        SlotPosition::Header => NUMBER_OF_HEADER,
        SlotPosition::Record(slot) => slot.0,
    };
    put(&mut bytes, field::MAGIC, &MAGIC);
    put(&mut bytes, field::FORMAT, &FORMAT.to_le_bytes());
    put(&mut bytes, field::CAPACITY, &stamp.shape.capacity.to_le_bytes());
    put(&mut bytes, field::TABLE, &stamp.shape.id.0);
    put(&mut bytes, field::NUMBER, &number.to_le_bytes());
    put(&mut bytes, field::COPY, &[stamp.replica as u8]);
    put(&mut bytes, field::GENERATION, &stamp.generation.to_le_bytes());
    put(&mut bytes, field::USED, &(used(value) as u16).to_le_bytes());
    let kind = match value {
        SlotContents::Header(age) => {
            put(&mut bytes, field::SLOT_LEN, &(SLOT_LEN as u16).to_le_bytes());
            put(&mut bytes, field::AGE, &age.0.to_le_bytes());
            KIND_HEADER
        }
        SlotContents::Free => KIND_FREE,
        SlotContents::Device(device) => {
            put_device(&mut bytes, device);
            KIND_DEVICE
        }
    };
    put(&mut bytes, field::KIND, &[kind]);
    bytes
}

fn put_device(bytes: &mut SlotBytes, device: &Device) {
    put(bytes, field::ID, &device.id.0);
    put(bytes, field::KEY, &device.key.0);
    put(bytes, field::ROLES, &[device.roles.bits()]);
    put(bytes, field::REVOKED, &[device.revoked.bits()]);
    put(bytes, field::SCOPES, &device.scopes.bits().to_le_bytes());
    put(bytes, field::PROVENANCE, &[device.provenance as u8]);
    for (window, at) in device.tokens.iter().zip(field::TOKENS.step_by(8)) {
        put(bytes, at..at + 4, &window.floor.to_le_bytes());
        put(bytes, at + 4..at + 8, &window.current.to_le_bytes());
    }
    let (tag, octets) = match device.remote {
        None => (0, [0; 16]),
        Some(IpAddr::V4(v4)) => (4, v4.to_ipv6_mapped().octets()),
        Some(IpAddr::V6(v6)) => (6, v6.octets()),
    };
    put(bytes, field::REMOTE.start..field::REMOTE.start + 1, &[tag]);
    put(bytes, field::REMOTE.start + 1..field::REMOTE.end, &octets);
    put(bytes, field::CREATED, &device.created.0.to_le_bytes());
    put(bytes, field::APPROVED, &device.approved.0.to_le_bytes());
    put(bytes, field::SEEN, &device.seen.0.to_le_bytes());
    put(bytes, field::SEEN_AGE, &device.seen_age.0.to_le_bytes());
    put_text(bytes, field::NAME, &device.name);
    put_text(bytes, field::LABEL, &device.label);
    put_text(bytes, field::PLATFORM, &device.platform);
    put_text(bytes, field::FAMILY, &device.family);
    put_text(bytes, field::CLIENT_ID, &device.client_id);
    put_text(bytes, field::CLIENT_MODE, &device.client_mode);
    if has_surface(device) {
        put(bytes, field::FORMAT, &FORMAT_SURFACE.to_le_bytes());
        put(bytes, field::SURFACE_APPROVED, &device.surface_approved.0.to_le_bytes());
        put(bytes, field::SURFACE_KNOWN, device.surface.known().bytes());
        put(bytes, field::SURFACE_TEXT, device.surface.text());
    }
}

fn put(bytes: &mut SlotBytes, range: Range<usize>, value: &[u8]) {
    bytes[range].copy_from_slice(value);
}

fn put_text(bytes: &mut SlotBytes, range: Range<usize>, text: &str) {
    bytes[range.start] = text.len() as u8;
    put(bytes, range.start + 1..range.start + 1 + text.len(), text.as_bytes());
}

fn magic_fault(bytes: &SlotBytes) -> Fault {
    match &bytes[..4] {
        b"\x89GTL" | b"\x09GTL" => Fault::TextMode,
        _ => Fault::Magic,
    }
}

fn parse(bytes: &SlotBytes) -> Option<(Stamp, SlotContents)> {
    let capacity = u16_at(bytes, field::CAPACITY);
    let place = match u16_at(bytes, field::NUMBER) {
        NUMBER_OF_HEADER => SlotPosition::Header,
        number => (number < capacity).then_some(SlotPosition::Record(Slot(number)))?,
    };
    let stamp = Stamp {
        shape: Shape { id: TableId(array(bytes, field::TABLE)), capacity },
        place,
        replica: usize::from(bytes[field::COPY.start]),
        generation: u64_at(bytes, field::GENERATION),
    };
    let value = match (bytes[field::KIND.start], place) {
        (KIND_HEADER, SlotPosition::Header) => {
            SlotContents::Header(TableAge(u32_at(bytes, field::AGE)))
        }
        (KIND_FREE, SlotPosition::Record(_)) => SlotContents::Free,
        (KIND_DEVICE, SlotPosition::Record(_)) => {
            SlotContents::Device(Box::new(parse_device(bytes)?))
        }
        _ => return None,
    };
    let sane = (1..=limits::CAPACITY_MAX).contains(&capacity)
        && stamp.replica < 2
        && (1..GENERATION_END).contains(&stamp.generation);
    // Each value has one encoding. The comparison also rejects a malformed address, which is read
    // as none, and a surface in a record of format 1.
    let mut again = unsealed(&stamp, &value);
    put(&mut again, field::CRC, &bytes[field::CRC]);
    (sane && again == *bytes).then_some((stamp, value))
}

fn parse_device(bytes: &SlotBytes) -> Option<Device> {
    let mut tokens = [TokenWindow::default(); Role::ALL.len()];
    for (window, at) in tokens.iter_mut().zip(field::TOKENS.step_by(8)) {
        *window = parse_window(u32_at(bytes, at..at + 4), u32_at(bytes, at + 4..at + 8))?;
    }
    Some(Device {
        id: DeviceId(array(bytes, field::ID)),
        key: PublicKey(array(bytes, field::KEY)),
        roles: Roles::from_bits(bytes[field::ROLES.start])?,
        revoked: Roles::from_bits(bytes[field::REVOKED.start])?,
        scopes: Scopes::from_bits(u16_at(bytes, field::SCOPES))?,
        provenance: Provenance::from_number(bytes[field::PROVENANCE.start])?,
        tokens,
        name: text(bytes, field::NAME)?,
        label: text(bytes, field::LABEL)?,
        platform: text(bytes, field::PLATFORM)?,
        family: text(bytes, field::FAMILY)?,
        client_id: text(bytes, field::CLIENT_ID)?,
        client_mode: text(bytes, field::CLIENT_MODE)?,
        remote: parse_remote(array(bytes, field::REMOTE)),
        created: WallMs(u64_at(bytes, field::CREATED)),
        approved: WallMs(u64_at(bytes, field::APPROVED)),
        seen: WallMs(u64_at(bytes, field::SEEN)),
        seen_age: TableAge(u32_at(bytes, field::SEEN_AGE)),
        // Zeros in a record of format 1, which decode to the empty surface.
        surface: Surface::from_parts(
            CommandSet::from_bytes(array(bytes, field::SURFACE_KNOWN)),
            &array(bytes, field::SURFACE_TEXT),
        )?,
        surface_approved: WallMs(u64_at(bytes, field::SURFACE_APPROVED)),
    })
}

fn parse_window(floor: u32, current: u32) -> Option<TokenWindow> {
    let none = floor == 0 && current == 0;
    let some = floor > 0 && floor <= current && current - floor < limits::TOKEN_GENERATIONS;
    (none || some).then_some(TokenWindow { floor, current })
}

fn parse_remote([tag, octets @ ..]: [u8; 17]) -> Option<IpAddr> {
    let v6 = Ipv6Addr::from(octets);
    match tag {
        4 => v6.to_ipv4_mapped().map(IpAddr::V4),
        6 => Some(IpAddr::V6(v6)),
        _ => None,
    }
}

fn text<const N: usize>(bytes: &SlotBytes, range: Range<usize>) -> Option<Text<N>> {
    let raw = &bytes[range];
    let used = raw[1..].get(..usize::from(raw[0]))?;
    Text::try_from(core::str::from_utf8(used).ok()?).ok()
}

fn array<const N: usize>(bytes: &SlotBytes, range: Range<usize>) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[range]);
    array
}

fn u16_at(bytes: &SlotBytes, range: Range<usize>) -> u16 {
    u16::from_le_bytes(array(bytes, range))
}

fn u32_at(bytes: &SlotBytes, range: Range<usize>) -> u32 {
    u32::from_le_bytes(array(bytes, range))
}

fn u64_at(bytes: &SlotBytes, range: Range<usize>) -> u64 {
    u64::from_le_bytes(array(bytes, range))
}

impl fmt::Display for SlotPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SlotPosition::Header => f.write_str("the header"),
            SlotPosition::Record(slot) => write!(f, "record {}", slot.0),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Unreadable => "the disk cannot read it",
            Fault::Zeroed => "only zeros",
            Fault::Magic => "not a slot of a pairing table",
            Fault::TextMode => "changed by a copy in text mode",
            Fault::Checksum => "wrong checksum",
            Fault::Malformed => "impossible values",
            Fault::Misplaced => "belongs to another place or table",
            Fault::Conflict => "both copies are intact and differ",
            Fault::Duplicate => "the device of another record",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::text::clip;

    fn stamp(place: SlotPosition) -> Stamp {
        Stamp {
            shape: Shape { id: TableId([5; 16]), capacity: 9 },
            place,
            replica: 1,
            generation: 77,
        }
    }

    /// Returns a device with every field at its longest or largest and different from its
    /// neighbors.
    fn full() -> Device {
        let mut device =
            Device::new(DeviceId([0xd1; 32]), PublicKey([0xd2; 32]), Provenance::Import);
        device.roles = Roles::of(Role::Operator).with(Roles::of(Role::Node));
        device.revoked = Roles::of(Role::Node);
        device.scopes = Scopes::ALL;
        device.tokens = [
            TokenWindow { floor: 3, current: 5 },
            TokenWindow { floor: u32::MAX - 3, current: u32::MAX },
        ];
        device.name = clip(&"n".repeat(99));
        device.label = clip(&"\u{e9}".repeat(99));
        device.platform = clip(&"p".repeat(99));
        device.family = clip(&"f".repeat(99));
        device.client_id = clip(&"i".repeat(99));
        device.client_mode = clip(&"m".repeat(99));
        device.remote = Some("2001:db8::7".parse().unwrap());
        device.created = WallMs(u64::MAX);
        device.approved = WallMs(2);
        device.seen = WallMs(3);
        device.seen_age = TableAge(u32::MAX);
        device
    }

    /// Returns a surface with names of each kind whose text is full to the last byte.
    fn full_surface() -> Surface {
        let mut surface = Surface::NONE;
        ["system.run", "logbook.snapshot"]
            .iter()
            .try_for_each(|name| surface.add_command(name))
            .unwrap();
        (0..limits::SURFACE_TEXT_LEN / 16 - 2)
            .for_each(|n| surface.add_command(&format!("robot.{n:08}")).unwrap());
        surface.add_cap("what robots do").unwrap();
        surface.add_permission("speak to \u{e9} ..").unwrap();
        assert_ne!(surface.text().last(), Some(&0));
        surface
    }

    fn device(change: impl Fn(&mut Device)) -> SlotContents {
        let mut device = full();
        change(&mut device);
        SlotContents::Device(Box::new(device))
    }

    fn values() -> Vec<(Stamp, SlotContents)> {
        let record = stamp(SlotPosition::Record(Slot(8)));
        let bare = Device::new(DeviceId([1; 32]), PublicKey([2; 32]), Provenance::Owner);
        vec![
            (stamp(SlotPosition::Header), SlotContents::Header(TableAge(12345))),
            (record, SlotContents::Free),
            (record, SlotContents::Device(Box::new(bare))),
            (record, SlotContents::Device(Box::new(full()))),
            (record, device(|d| d.remote = Some("192.0.2.1".parse().unwrap()))),
            (record, device(|d| d.remote = Some("::ffff:192.0.2.1".parse().unwrap()))),
            (
                record,
                device(|d| (d.surface, d.surface_approved) = (full_surface(), WallMs(u64::MAX))),
            ),
            (record, device(|d| d.surface.add_command("robot.walk").unwrap())),
            (record, device(|d| d.surface_approved = WallMs(1))),
        ]
    }

    fn sealed(mut bytes: SlotBytes) -> SlotBytes {
        let used = usize::from(u16_at(&bytes, field::USED)).min(SLOT_LEN - field::BODY);
        let sum = checksum(&bytes, used);
        put(&mut bytes, field::CRC, &sum.to_le_bytes());
        bytes
    }

    #[test]
    fn records_round_trip() {
        for (stamp, value) in values() {
            assert_eq!(decode(&encode(&stamp, &value)), Decoded::Good(stamp, value));
        }
    }

    #[test]
    fn single_bit_flip_is_detected() {
        for (stamp, value) in values() {
            let good = encode(&stamp, &value);
            for bit in 0..SLOT_LEN * 8 {
                let mut bad = good;
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(matches!(decode(&bad), Decoded::Torn(_)), "bit {bit} of {value:?}");
            }
        }
    }

    #[test]
    fn only_canonical_encodings_decode() {
        let mut decoded = 0;
        for (stamp, value) in values() {
            let good = encode(&stamp, &value);
            for at in 0..SLOT_LEN {
                for flip in [1, 2, 0x10, 0x80, 0xff] {
                    let mut bytes = good;
                    bytes[at] ^= flip;
                    let bytes = sealed(bytes);
                    if let Decoded::Good(stamp, value) = decode(&bytes) {
                        assert_eq!(encode(&stamp, &value), bytes);
                        decoded += 1;
                    }
                }
            }
        }
        assert!(decoded > 1000, "{decoded}");
    }

    #[test]
    fn invalid_values_are_malformed_despite_a_right_checksum() {
        let stamp = stamp(SlotPosition::Record(Slot(8)));
        let bad_windows = [(0, 1), (2, 1), (1, 5), (1, 0)];
        let windows = bad_windows
            .map(|(floor, current)| device(|d| d.tokens[0] = TokenWindow { floor, current }));
        for value in windows {
            assert_eq!(
                decode(&encode(&stamp, &value)),
                Decoded::Torn(Fault::Malformed),
                "{value:?}"
            );
        }
        for stamp in [
            Stamp { generation: 0, ..stamp },
            Stamp { generation: GENERATION_END, ..stamp },
            Stamp { replica: 2, ..stamp },
            Stamp { place: SlotPosition::Record(Slot(9)), ..stamp },
            Stamp { shape: Shape { capacity: limits::CAPACITY_MAX + 1, ..stamp.shape }, ..stamp },
        ] {
            assert_eq!(
                decode(&encode(&stamp, &SlotContents::Free)),
                Decoded::Torn(Fault::Malformed),
                "{stamp:?}"
            );
        }
        let header_in_a_record = encode(&stamp, &SlotContents::Header(TableAge(1)));
        assert_eq!(decode(&header_in_a_record), Decoded::Torn(Fault::Malformed));
    }

    #[test]
    fn newer_format_is_distinguished_from_damage() {
        let mut bytes = encode(&stamp(SlotPosition::Header), &SlotContents::Header(TableAge(1)));
        put(&mut bytes, field::FORMAT, &3u16.to_le_bytes());
        assert_eq!(decode(&bytes), Decoded::Torn(Fault::Checksum));
        assert_eq!(decode(&sealed(bytes)), Decoded::Newer(3));
        put(&mut bytes, field::FORMAT, &2u16.to_le_bytes());
        assert_eq!(
            decode(&sealed(bytes)),
            Decoded::Torn(Fault::Malformed),
            "a header has no surface"
        );
    }

    #[test]
    fn only_records_with_a_surface_use_format_2() {
        let record = stamp(SlotPosition::Record(Slot(8)));
        for (value, (format, used)) in [
            (device(|_| ()), (FORMAT, field::DEVICE_END)),
            (device(|d| d.surface.add_cap("voice").unwrap()), (FORMAT_SURFACE, field::SURFACE_END)),
            (device(|d| d.surface_approved = WallMs(1)), (FORMAT_SURFACE, field::SURFACE_END)),
        ] {
            let bytes = encode(&record, &value);
            let found = (
                u16_at(&bytes, field::FORMAT),
                usize::from(u16_at(&bytes, field::USED)) + field::BODY,
            );
            assert_eq!(found, (format, used), "{value:?}");
            assert!(bytes[used..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn invalid_surface_is_malformed_despite_a_right_checksum() {
        let record = stamp(SlotPosition::Record(Slot(8)));
        let good = encode(&record, &device(|d| d.surface.add_cap("voice").unwrap()));
        let with = |range: Range<usize>, entries: &[u8]| {
            let mut bytes = good;
            bytes[range.clone()].fill(0);
            put(&mut bytes, range.start..range.start + entries.len(), entries);
            decode(&sealed(bytes))
        };
        let text = |entries: &[u8]| with(field::SURFACE_TEXT, entries);
        assert!(matches!(text(b"\x01\x01a\x01\x01b\x02\x01a"), Decoded::Good(..)));
        assert!(
            matches!(with(field::SURFACE_KNOWN, &[0xff; CommandSet::LEN]), Decoded::Good(..)),
            "of a newer gatelet"
        );
        for entries in [
            b"\x01\x01b\x01\x01a".as_slice(),
            b"\x01\x01a\x01\x01a",
            b"\x04\x01a",
            b"\x01\x01\xff",
            b"\0a",
            b"",
        ] {
            assert_eq!(text(entries), Decoded::Torn(Fault::Malformed), "{entries:?}");
        }
        let end = field::SURFACE_TEXT.end;
        assert_eq!(
            with(end - 2..end, b"\x03\xff"),
            Decoded::Torn(Fault::Malformed),
            "a length beyond the end"
        );
        for (format, used) in
            [(FORMAT, field::SURFACE_END), (FORMAT, field::DEVICE_END), (2, field::DEVICE_END)]
        {
            let mut bytes = good;
            put(&mut bytes, field::FORMAT, &format.to_le_bytes());
            put(&mut bytes, field::USED, &((used - field::BODY) as u16).to_le_bytes());
            assert_eq!(
                decode(&sealed(bytes)),
                Decoded::Torn(Fault::Malformed),
                "format {format}, {used} bytes"
            );
        }
        let mut none = encode(&record, &device(|_| ()));
        put(&mut none, field::FORMAT, &2u16.to_le_bytes());
        assert_eq!(
            decode(&sealed(none)),
            Decoded::Torn(Fault::Malformed),
            "format 2 without a surface"
        );
    }

    #[test]
    fn zeros_text_copies_and_other_files_are_identified() {
        let good = encode(&stamp(SlotPosition::Record(Slot(0))), &SlotContents::Free);
        assert_eq!(decode(&[0; SLOT_LEN]), Decoded::Torn(Fault::Zeroed));
        assert_eq!(decode(&[b'{'; SLOT_LEN]), Decoded::Torn(Fault::Magic));
        let mut text = good;
        text[4..].rotate_left(1);
        assert_eq!(decode(&text), Decoded::Torn(Fault::TextMode), "CR LF became LF");
        let mut seven_bits = good;
        seven_bits[0] &= 0x7f;
        assert_eq!(decode(&seven_bits), Decoded::Torn(Fault::TextMode), "the high bit is gone");
    }

    #[test]
    fn the_checksum_is_crc32c() {
        assert_eq!(crc32c(&[b"1234", b"56789"]), 0xe306_9283);
    }
}
