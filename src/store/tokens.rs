//! The key of the table and the tokens derived from it.
//!
//! Tokens are never stored: token = HMAC-SHA256(table key, device, role, generation). Comparisons
//! take constant time. `Debug` and `Display` print no secret.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::record::crc32c;
use crate::gate::device::Device;
use crate::gate::ids::{DeviceId, Role};
use crate::gate::limits;

/// Key of one table. With it every device token can be derived.
#[derive(Clone)]
pub struct TableKey {
    bytes: [u8; 32],
    /// HMAC-SHA256 that has read the key and nothing else, so that a token does not cost reading
    /// the key again.
    keyed: Hmac<Sha256>,
}

/// A device token: 43 characters of base64url. Secret.
#[derive(Clone)]
pub struct Token([u8; TOKEN_LEN]);

impl TableKey {
    /// Makes a key from its bytes.
    pub fn new(bytes: [u8; 32]) -> TableKey {
        // HMAC pads a shorter key with zeros to the block size; padding here makes the call
        // infallible.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&bytes);
        TableKey { bytes, keyed: Hmac::new(&block.into()) }
    }

    /// Returns the contents of the key file: the key and its CRC32C, so that a zeroed or damaged
    /// file is not accepted as a key.
    pub(super) fn to_file(&self) -> [u8; FILE_LEN] {
        let mut bytes = [0; FILE_LEN];
        bytes[..32].copy_from_slice(&self.bytes);
        bytes[32..].copy_from_slice(&crc32c(&[&self.bytes]).to_le_bytes());
        bytes
    }

    /// Reads the key from the contents of the key file. Returns `None` if they are damaged.
    pub(super) fn from_file(bytes: &[u8]) -> Option<TableKey> {
        let (key, sum) = bytes.split_first_chunk::<32>()?;
        (crc32c(&[key]).to_le_bytes() == *sum).then(|| TableKey::new(*key))
    }
}

impl Token {
    /// Returns the token as text.
    pub fn as_str(&self) -> &str {
        // Never fails: base64 is ASCII.
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Derives the token of this device, role and generation.
pub fn device_token(key: &TableKey, device: &DeviceId, role: Role, generation: u32) -> Token {
    derive(key, &[DOMAIN, &device.0, &[role as u8], &generation.to_le_bytes()])
}

/// Derives the token that the command line on the same machine uses to control the running gateway;
/// access to the key file is the proof.
pub fn control_token(key: &TableKey) -> Token {
    derive(key, &[CONTROL])
}

/// Derives the public id of this gateway, which stays the same as long as the table does.
pub fn gateway_id(key: &TableKey) -> String {
    derive(key, &[GATEWAY]).as_str()[..16].to_string()
}

/// Derives the revision of a configuration text: differs for different texts and reveals nothing
/// about them.
pub fn revision(key: &TableKey, text: &[u8]) -> Token {
    derive(key, &[REVISION, text])
}

/// Returns the generation of the presented token if it is valid for this device and role.
///
/// The time does not depend on where tokens differ or which generation matches. It depends on the
/// length of the presented text, which its sender knows: nothing is derived for a text that is not
/// as long as a token.
pub fn check(key: &TableKey, device: &Device, role: Role, presented: &str) -> Option<u32> {
    if presented.len() != TOKEN_LEN {
        return None;
    }
    let window = device.tokens[role as usize];
    let oldest = window.current.saturating_sub(limits::TOKEN_GENERATIONS - 1).max(window.floor);
    let mut found = 0;
    for generation in oldest..=window.current {
        let good = device_token(key, &device.id, role, generation);
        found.conditional_assign(&generation, good.0.ct_eq(presented.as_bytes()));
    }
    (found != 0).then_some(found)
}

/// Derives the seed of this gateway's own key pair. Secret.
pub fn identity_seed(key: &TableKey) -> [u8; 32] {
    mac(key, &[IDENTITY])
}

/// Returns the HMAC-SHA256 of the concatenated parts as base64url.
fn derive(key: &TableKey, parts: &[&[u8]]) -> Token {
    let tag = mac(key, parts);
    let mut text = [0; TOKEN_LEN];
    let written = Base64UrlUnpadded::encode(&tag, &mut text);
    debug_assert!(written.is_ok_and(|text| text.len() == TOKEN_LEN));
    Token(text)
}

fn mac(key: &TableKey, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = key.keyed.clone();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Length of the key file in bytes.
pub(super) const FILE_LEN: usize = 32 + 4;
const TOKEN_LEN: usize = 43;
const DOMAIN: &[u8] = b"gatelet device token 1\0";
const GATEWAY: &[u8] = b"gatelet gateway id";
const IDENTITY: &[u8] = b"gatelet identity";
const CONTROL: &[u8] = b"gatelet control";
const REVISION: &[u8] = b"gatelet configuration\0";

impl fmt::Debug for TableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TableKey(secret)")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::device::{Provenance, TokenWindow};
    use crate::gate::ids::PublicKey;

    fn key() -> TableKey {
        TableKey::new([7; 32])
    }

    fn device(floor: u32, current: u32) -> Device {
        let mut device = Device::new(DeviceId([1; 32]), PublicKey([2; 32]), Provenance::Token);
        device.tokens[Role::Operator as usize] = TokenWindow { floor, current };
        device
    }

    fn token(generation: u32) -> Token {
        device_token(&key(), &DeviceId([1; 32]), Role::Operator, generation)
    }

    #[test]
    fn a_token_is_the_hmac_of_domain_device_role_and_generation() {
        // Computed with Python: hmac.new(b"\x07"*32, message, "sha256"), where message is
        // b"gatelet device token 1\0" + b"\1"*32 + b"\0" + b"\3\0\0\0".
        assert_eq!(token(3).as_str(), "Yhlw5zxg5VixrvOtwnl9Bz_PJ7IZmBTpRNjaqfnfOAM");
    }

    #[test]
    fn token_window_decides_which_generations_are_valid() {
        let windowed = device(2, 4);
        let found =
            |generation| check(&key(), &windowed, Role::Operator, token(generation).as_str());
        assert_eq!([1, 2, 3, 4, 5].map(found), [None, Some(2), Some(3), Some(4), None]);
    }

    #[test]
    fn role_without_a_token_accepts_not_even_generation_zero() {
        assert_eq!(check(&key(), &device(0, 0), Role::Operator, token(0).as_str()), None);
    }

    #[test]
    fn window_wider_than_the_limit_drops_the_oldest_generations() {
        let wide = device(1, 1_000_000_000);
        assert_eq!(
            check(&key(), &wide, Role::Operator, token(999_999_997).as_str()),
            Some(999_999_997)
        );
        assert_eq!(check(&key(), &wide, Role::Operator, token(999_999_996).as_str()), None);
    }

    #[test]
    fn token_is_valid_only_for_its_device_role_and_table() {
        let windowed = device(1, 1);
        let others = [
            device_token(&key(), &DeviceId([9; 32]), Role::Operator, 1),
            device_token(&key(), &DeviceId([1; 32]), Role::Node, 1),
            device_token(&TableKey::new([8; 32]), &DeviceId([1; 32]), Role::Operator, 1),
        ];
        for other in others {
            assert_eq!(check(&key(), &windowed, Role::Operator, other.as_str()), None);
        }
        for text in ["", "x", &format!("{}=", token(1).as_str()), &token(1).as_str()[..42]] {
            assert_eq!(check(&key(), &windowed, Role::Operator, text), None);
        }
    }

    #[test]
    fn damaged_key_files_are_rejected() {
        let good = key().to_file();
        assert_eq!(TableKey::from_file(&good).map(|key| key.bytes), Some(key().bytes));
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(TableKey::from_file(&bad).is_none(), "bit {bit}");
        }
        assert!(TableKey::from_file(&[0; FILE_LEN]).is_none());
        assert!((0..FILE_LEN).all(|len| TableKey::from_file(&good[..len]).is_none()));
    }

    #[test]
    fn debug_output_contains_no_secret() {
        let shown = format!("{:?} {:?}", key(), token(1));
        assert_eq!(shown, "TableKey(secret) Token(secret)");
    }
}
