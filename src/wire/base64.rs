//! Base64 of keys, signatures and digests.
//!
//! Decoding accepts both alphabets, with or without padding, as the protocol's decoders do. Other
//! spellings of the same value are rejected: mixed alphabets, misplaced padding, and leftover bits
//! that are not zero. The time that decoding takes does not depend on the bytes.

use base64ct::{Base64, Base64UrlUnpadded, Encoding};

/// Reads an Ed25519 public key of 32 bytes, in Base64 or as a PEM block.
pub fn public_key(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    if text.len() <= RAW_KEY {
        return decode(text);
    }
    let (_, inside) = text.split_once("-----BEGIN PUBLIC KEY-----")?;
    let (inside, _) = inside.split_once("-----END PUBLIC KEY-----")?;
    let mut digits = heapless::String::<LONGEST>::new();
    for line in inside.split_ascii_whitespace() {
        digits.push_str(line).ok()?;
    }
    let der: [u8; 44] = decode(&digits)?;
    der.strip_prefix(&SPKI_ED25519)?.try_into().ok()
}

/// Decodes exactly `N` bytes; `N` is at most 64.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.trim_end_matches('=');
    let padded = text.len() - digits.len();
    if digits.len() > LONGEST || (padded > 0 && (padded > 2 || !text.len().is_multiple_of(4))) {
        return None;
    }
    let mut url = [0; LONGEST];
    let (mut standard_seen, mut url_seen) = (false, false);
    for (to, from) in url.iter_mut().zip(digits.bytes()) {
        *to = match from {
            b'+' => b'-',
            b'/' => b'_',
            other => other,
        };
        standard_seen |= *to != from;
        url_seen |= matches!(from, b'-' | b'_');
    }
    if standard_seen && url_seen {
        return None;
    }
    let mut bytes = [0; N];
    let decoded = Base64UrlUnpadded::decode(&url[..digits.len()], &mut bytes).ok()?;
    (decoded.len() == N).then_some(bytes)
}

/// Encodes in the URL alphabet without padding, as the protocol writes keys, tokens and setup
/// codes.
pub fn encode_url(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// Encodes in the standard alphabet with padding.
pub fn encode(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// Length in characters of 32 bytes with padding, the longest key that is not a PEM block.
const RAW_KEY: usize = 44;

/// Length in characters of 64 bytes with padding, the longest text that is decoded (a signature).
const LONGEST: usize = 88;

/// DER header of a 32-byte Ed25519 public key (RFC 8410).
const SPKI_ED25519: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::Random;

    /// Encodes six bits at a time, as RFC 4648 describes it.
    fn plainly(bytes: &[u8]) -> String {
        let digit = |value: u32| {
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[value as usize]
                as char
        };
        let three = |part: &[u8]| {
            let bits = (0..3)
                .fold(0u32, |bits, at| bits << 8 | u32::from(part.get(at).copied().unwrap_or(0)));
            (0..=part.len()).map(|at| digit(bits >> (18 - 6 * at) & 63)).collect::<String>()
        };
        bytes.chunks(3).map(three).collect()
    }

    #[test]
    fn bytes_of_any_length_are_encoded() {
        let bytes: Vec<u8> = (0..200).map(|at| (at * 89 + 7) as u8).collect();
        for len in 0..bytes.len() {
            let url = encode_url(&bytes[..len]);
            assert_eq!(url, plainly(&bytes[..len]));
            let padded =
                url.replace('-', "+").replace('_', "/") + ["", "", "==", "="][url.len() % 4];
            assert_eq!(encode(&bytes[..len]), padded);
        }
    }

    #[test]
    fn both_alphabets_with_and_without_padding_give_the_same_bytes() {
        let bytes = core::array::from_fn::<u8, 32, _>(|at| (at * 37 + 251) as u8);
        let url = encode_url(&bytes);
        let standard = encode(&bytes);
        assert!(
            url.contains(['-', '_']) && standard.contains(['+', '/']) && standard.ends_with('='),
            "{url} {standard}"
        );
        for text in [&url, &standard, standard.trim_end_matches('='), &format!("{url}=")] {
            assert_eq!(decode(text), Some(bytes), "{text}");
            assert_eq!(public_key(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn pem_key_is_the_last_32_bytes() {
        let mut der = [7; 44];
        der[..12].copy_from_slice(&SPKI_ED25519);
        let pem = |kind: &str, der: &[u8]| {
            format!("-----BEGIN {kind}-----\n{}\r\n-----END {kind}-----\n", encode(der))
        };
        assert_eq!(public_key(&pem("PUBLIC KEY", &der)), Some([7; 32]));
        assert_eq!(public_key(&pem("PRIVATE KEY", &der)), None);
        der[8] = 0x71;
        assert_eq!(public_key(&pem("PUBLIC KEY", &der)), None, "another algorithm");
        assert_eq!(public_key("-----BEGIN PUBLIC KEY-----"), None);
        assert_eq!(public_key(&"BEGIN".repeat(900)), None);
        let raw = format!("BEGIN{}", "A".repeat(38));
        assert!(
            public_key(&raw).is_some_and(|key| encode_url(&key) == raw),
            "a raw key, whatever it spells"
        );
    }

    #[test]
    fn one_value_has_one_text_per_alphabet() {
        let good = encode_url(&[0xff; 32]);
        assert_eq!(decode::<32>(&good), Some([0xff; 32]));
        let left_over = good[..42].to_owned() + "9";
        let mixed = "/".to_owned() + &good[1..];
        let spaced = good[..20].to_owned() + " " + &good[21..];
        for bad in [
            &left_over,
            &mixed,
            &spaced,
            &format!("{good}=="),
            &format!("{good}A"),
            &good[1..],
            "",
            "=",
            "====",
        ] {
            assert_eq!(decode::<32>(bad), None, "{bad}");
        }
        assert_eq!((decode::<3>("AAAA"), decode::<3>("AAAA====")), (Some([0; 3]), None));
    }

    #[test]
    fn decoding_never_panics() {
        let mut random = Random::new(5);
        for _ in 0..20_000 {
            let text = random.bytes_of(b"AZaz09+/-_= \nBEGIN\xc3", 100);
            let text = String::from_utf8_lossy(&text);
            let _ = (public_key(&text), decode::<64>(&text), decode::<1>(&text));
        }
    }
}
