//! Newtypes for identifiers and times: one type per meaning, so that values cannot be confused.
//!
//! No value here is secret. Parsers accept exactly the printed form (lower-case hexadecimal).

use core::fmt;

/// SHA-256 of a device's raw Ed25519 public key; printed as 64 lower-case hexadecimal digits
/// (protocol 3 and 4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub [u8; 32]);

/// Raw Ed25519 public key of a device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

/// Challenge of one connection: 128 random bits, printed as 32 hexadecimal digits, valid for one
/// proof.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub [u8; 16]);

/// Number of an accepted connection, counted from 1 and never reused within a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);

/// Id of a pending request; printed as a UUID, a format that protocol 4 clients check.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub [u8; 16]);

/// Index of a device's record in the pairing table and in its file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(pub u16);

/// Milliseconds since the process started, from a monotonic clock; the clock for decisions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Millis(pub u64);

/// Milliseconds since 1970 by the system clock, for display. The only decisions that depend on it
/// concern the time of a device signature and duplicate records in a damaged table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct WallMs(pub u64);

/// Both clocks, read together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// Monotonic time, for decisions.
    pub at: Millis,
    /// Wall-clock time, for display; may be arbitrarily wrong.
    pub wall: WallMs,
}

/// Number of hours that gateways have run on this pairing table, stored in the table: measures age
/// without a wall clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct TableAge(pub u32);

impl Millis {
    /// Returns the milliseconds from `earlier` to `self`, or zero if `earlier` is later.
    pub const fn since(self, earlier: Millis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Returns the time `ms` milliseconds later; saturates.
    pub const fn plus(self, ms: u64) -> Millis {
        Millis(self.0.saturating_add(ms))
    }
}

/// Role of a connection (protocol 3 and 4: `connect.role`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// A person or program that controls the gateway: Control UI, command line, phone app.
    Operator,
    /// A device that offers commands.
    Node,
}

impl Role {
    /// Both roles, ordered by their bits.
    pub const ALL: [Role; 2] = [Role::Operator, Role::Node];

    /// Returns the name of the role in the protocol.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Operator => "operator",
            Role::Node => "node",
        }
    }

    /// Returns the role with this name, if any.
    pub fn parse(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// A set of roles.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash, Debug)]
pub struct Roles(u8);

impl Roles {
    /// The empty set.
    pub const NONE: Roles = Roles(0);

    /// Returns the set that contains only this role.
    pub const fn of(role: Role) -> Roles {
        Roles(1 << role as u8)
    }

    /// Makes a set from its bits (bit 0 operator, bit 1 node). Returns `None` if another bit is
    /// set.
    pub fn from_bits(bits: u8) -> Option<Roles> {
        (bits < 4).then_some(Roles(bits))
    }

    /// Returns the bits of the set: bit 0 operator, bit 1 node.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Returns whether the set contains the role.
    pub const fn contains(self, role: Role) -> bool {
        self.0 & Roles::of(role).0 != 0
    }

    /// Returns the union of both sets.
    pub const fn with(self, other: Roles) -> Roles {
        Roles(self.0 | other.0)
    }

    /// Returns the roles of this set that are not in `other`.
    pub const fn without(self, other: Roles) -> Roles {
        Roles(self.0 & !other.0)
    }

    /// Returns whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the roles in the set, operator first.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
    }
}

impl DeviceId {
    /// Parses 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<DeviceId> {
        hex(text).map(DeviceId)
    }

    /// Returns the first 8 hexadecimal digits, for logs and display.
    pub fn short(&self) -> Hex<'_> {
        Hex(&self.0[..4])
    }
}

impl Nonce {
    /// Parses 32 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Nonce> {
        hex(text).map(Nonce)
    }
}

impl RequestId {
    /// Makes a version 4 UUID from random bytes.
    pub const fn from_random(mut bytes: [u8; 16]) -> RequestId {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        RequestId(bytes)
    }

    /// Parses the printed form, 36 characters.
    pub fn parse(text: &str) -> Option<RequestId> {
        let raw = text.as_bytes();
        if raw.len() != 36 || DASHES.iter().any(|&at| raw[at] != b'-') {
            return None;
        }
        let mut digits =
            raw.iter().enumerate().filter(|(at, _)| !DASHES.contains(at)).map(|(_, byte)| *byte);
        let mut bytes = [0; 16];
        for byte in &mut bytes {
            *byte = nibble(digits.next()?)? << 4 | nibble(digits.next()?)?;
        }
        Some(RequestId(bytes))
    }
}

const DASHES: [usize; 4] = [8, 13, 18, 23];

/// Bytes whose `Display` is lower-case hexadecimal.
pub struct Hex<'a>(pub &'a [u8]);

/// Lower-case hexadecimal digits, indexed by value.
const DIGITS: &[u8; 16] = b"0123456789abcdef";

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chunks(32).try_for_each(|piece| {
            let mut text = [0; 64];
            for (digits, byte) in text.chunks_exact_mut(2).zip(piece) {
                (digits[0], digits[1]) =
                    (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
            }
            f.write_str(core::str::from_utf8(&text[..piece.len() * 2]).unwrap_or_default())
        })
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.short(), f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}", Hex(&self.0[..4]))
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e] = [0..4, 4..6, 6..8, 8..10, 10..16].map(|group| Hex(&self.0[group]));
        write!(f, "{a}-{b}-{c}-{d}-{e}")
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Parses exactly `2 * N` lower-case hexadecimal digits.
pub fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let raw = text.as_bytes();
    if raw.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(raw.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_and_other_texts_are_rejected() {
        let bytes: [u8; 32] = core::array::from_fn(|at| (at * 37 + 5) as u8);
        let id = DeviceId(bytes);
        let text = id.to_string();
        assert_eq!((text.len(), DeviceId::parse(&text)), (64, Some(id)));
        assert_eq!(id.short().to_string(), text[..8]);
        let nonce = Nonce([0xab; 16]);
        assert_eq!((nonce.to_string().len(), Nonce::parse(&nonce.to_string())), (32, Some(nonce)));
        let upper = text.to_uppercase();
        let long = format!("{text}00");
        let odd = text.replace(&text[..2], "g0");
        let wide = format!("{}\u{e4}", &text[..62]);
        for bad in ["", &text[1..], &text[2..], &upper, &long, &odd, &wide, " "] {
            assert_eq!(DeviceId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn request_ids_are_version_4_uuids() {
        for bytes in [[0; 16], [0xff; 16], core::array::from_fn(|at| at as u8)] {
            let id = RequestId::from_random(bytes);
            let text = id.to_string();
            assert_eq!(RequestId::parse(&text), Some(id));
            assert_eq!((text.len(), text.as_bytes()[14]), (36, b'4'), "{text}");
            assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{text}");
            for bad in [
                &text[1..],
                &text.replace('-', ""),
                &text.replace('-', "0"),
                &text.to_uppercase(),
                &format!("{text}0"),
            ] {
                assert!(bad == text || RequestId::parse(bad).is_none(), "{bad}");
            }
        }
        let text = RequestId([0x11; 16]).to_string();
        assert_eq!(text, "11111111-1111-1111-1111-111111111111");
        assert_eq!(RequestId::parse(&text.replace('-', "1")), None);
        assert_eq!(RequestId::parse(&text.replace('1', "G")), None);
    }

    #[test]
    fn roles_are_two_bits() {
        let (operator, node) = (Roles::of(Role::Operator), Roles::of(Role::Node));
        assert_eq!((operator.bits(), node.bits()), (1, 2));
        let both = operator.with(node);
        assert_eq!((both.without(node), operator.without(operator)), (operator, Roles::NONE));
        for bits in 0..=u8::MAX {
            assert_eq!(Roles::from_bits(bits).map(Roles::bits), (bits < 4).then_some(bits));
        }
        assert!(
            both.iter().eq(Role::ALL)
                && Roles::NONE.iter().next().is_none()
                && Roles::NONE.is_empty()
        );
        for role in Role::ALL {
            assert_eq!(Role::parse(role.name()), Some(role));
        }
        assert_eq!(
            (Role::parse("Operator"), Role::parse(""), Role::parse("worker")),
            (None, None, None)
        );
    }

    #[test]
    fn time_arithmetic_saturates() {
        assert_eq!(Millis(5).since(Millis(7)), 0);
        assert_eq!(Millis(7).since(Millis(5)), 2);
        assert_eq!(Millis(u64::MAX - 1).plus(5), Millis(u64::MAX));
    }
}
