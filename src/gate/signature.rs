//! Payload that a device signs, and the checks of a device proof other than the signature.
//!
//! The fields are joined with `|` without escaping (protocol 3 and 4). Version 1 has no nonce and
//! is accepted only from a local client that sends none. Version 2 adds the nonce. Version 3 adds
//! the platform and the device family.

use super::facts::Protocol;
use super::ids::{DeviceId, Nonce};
use super::limits;
use super::refusal::Refusal;

/// Version of the signed payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    V1,
    V2,
    V3,
}

/// Fields of the payload, as sent by the client.
#[derive(Clone, Copy)]
pub struct Signed<'a, S> {
    pub device_id: &'a str,
    pub client_id: &'a str,
    pub client_mode: &'a str,
    /// Role of the connection, after the default was applied.
    pub role: &'a str,
    /// Scopes in the order in which the client sent them.
    pub scopes: &'a [S],
    /// Time of signing by the device's clock, in milliseconds since 1970.
    pub signed_at: u64,
    /// Signed token. Protocol 3: `auth.token`; protocol 4: the first of `token`, `deviceToken`,
    /// `bootstrapToken` that is present. Empty if there is none.
    pub token: &'a str,
    pub nonce: &'a str,
    pub platform: &'a str,
    pub family: &'a str,
}

impl<S: AsRef<str>> Signed<'_, S> {
    /// Passes the bytes of the payload to `sink`, in pieces.
    pub fn payload(&self, version: Version, sink: &mut dyn FnMut(&[u8])) {
        sink(match version {
            Version::V1 => b"v1",
            Version::V2 => b"v2",
            Version::V3 => b"v3",
        });
        for field in [self.device_id, self.client_id, self.client_mode, self.role] {
            sink(b"|");
            sink(field.as_bytes());
        }
        sink(b"|");
        for (at, scope) in self.scopes.iter().enumerate() {
            sink(if at == 0 { b"" } else { b"," });
            sink(scope.as_ref().as_bytes());
        }
        sink(b"|");
        sink(Decimal::of(self.signed_at).bytes());
        sink(b"|");
        sink(self.token.as_bytes());
        if version != Version::V1 {
            sink(b"|");
            sink(self.nonce.as_bytes());
        }
        if version == Version::V3 {
            for field in [self.platform, self.family] {
                sink(b"|");
                field.trim().bytes().for_each(|byte| sink(&[byte.to_ascii_lowercase()]));
            }
        }
    }
}

/// Returns the payload versions to try, the more likely one first.
pub const fn versions(protocol: Protocol, with_nonce: bool) -> &'static [Version] {
    match (with_nonce, protocol) {
        (false, _) => &[Version::V1],
        (true, Protocol::V3) => &[Version::V2, Version::V3],
        (true, Protocol::V4) => &[Version::V3, Version::V2],
    }
}

/// Device proof without its signature.
#[derive(Clone, Copy, Debug)]
pub struct SignedClaim<'a> {
    /// Value of `device.id` as sent.
    pub device_id: &'a str,
    /// SHA-256 of the key that was sent; `None` if the key cannot be read.
    pub key_id: Option<DeviceId>,
    /// Value of `device.nonce` as sent; a blank one counts as absent.
    pub nonce: Option<&'a str>,
    /// Nonce of the challenge sent on this connection.
    pub challenge: Nonce,
    /// Time since the challenge by the gateway's own clock, in milliseconds.
    pub elapsed: u64,
    /// Difference between the clocks of the device and the gateway, in milliseconds. `None` where
    /// it is not checked: without `gateway.auth.strictClock`, except for a local client that sends
    /// no nonce.
    pub judged_skew: Option<u64>,
    /// Whether the client is local. A local client may sign without a nonce.
    pub local: bool,
}

impl SignedClaim<'_> {
    /// Checks everything except the signature, in the order of protocol 3 and 4.
    ///
    /// Returns the id of the key, or the rejection for the first check that fails.
    pub fn check(&self) -> Result<DeviceId, Refusal> {
        let id = self.key_id.ok_or(Refusal::PublicKeyInvalid)?;
        if DeviceId::parse(self.device_id) != Some(id) {
            return Err(Refusal::DeviceIdMismatch);
        }
        let stale = self.elapsed > limits::PROOF_FRESH_MS
            || self.judged_skew.is_some_and(|skew| skew > limits::CLOCK_SKEW_MS);
        if stale {
            return Err(Refusal::SignatureExpired);
        }
        match self.nonce.map(str::trim).filter(|nonce| !nonce.is_empty()) {
            None if self.local => Ok(id),
            None => Err(Refusal::NonceRequired),
            Some(nonce) if Nonce::parse(nonce) == Some(self.challenge) => Ok(id),
            Some(_) => Err(Refusal::NonceMismatch),
        }
    }
}

/// Decimal digits of a number, without allocation.
struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    fn of(mut number: u64) -> Decimal {
        let mut decimal = Decimal { digits: [b'0'; 20], start: 20 };
        loop {
            decimal.start -= 1;
            decimal.digits[decimal.start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return decimal;
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: Signed<'_, &str> = Signed {
        device_id: "ab12",
        client_id: "cli",
        client_mode: "cli",
        role: "operator",
        scopes: &["operator.admin", "x|y"],
        signed_at: 1_700_000_000_123,
        token: "t",
        nonce: "n",
        platform: " Linux ",
        family: "",
    };

    fn payload(signed: &Signed<'_, &str>, version: Version) -> String {
        let mut bytes = Vec::new();
        signed.payload(version, &mut |part| bytes.extend_from_slice(part));
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn payload_joins_the_fields_of_its_version() {
        let v1 = "v1|ab12|cli|cli|operator|operator.admin,x|y|1700000000123|t";
        assert_eq!(payload(&SIGNED, Version::V1), v1);
        assert_eq!(payload(&SIGNED, Version::V2), v1.replace("v1", "v2") + "|n");
        assert_eq!(payload(&SIGNED, Version::V3), v1.replace("v1", "v3") + "|n|linux|");
        let bare = Signed { scopes: &[], signed_at: 0, ..SIGNED };
        assert_eq!(payload(&bare, Version::V1), "v1|ab12|cli|cli|operator||0|t");
    }

    #[test]
    fn version_3_lowercases_only_ascii_letters() {
        let odd = Signed { platform: "\u{c4}Z", ..SIGNED };
        assert!(payload(&odd, Version::V3).ends_with("|\u{c4}z|"));
    }

    #[test]
    fn claim_checks_fail_in_order_each_with_its_own_refusal() {
        let id = DeviceId([7; 32]);
        let (text, nonce) = (id.to_string(), Nonce([9; 16]).to_string());
        let good = SignedClaim {
            device_id: &text,
            key_id: Some(id),
            nonce: Some(&nonce),
            challenge: Nonce([9; 16]),
            elapsed: limits::PROOF_FRESH_MS,
            judged_skew: None,
            local: false,
        };
        assert_eq!(good.check(), Ok(id));
        assert_eq!(
            SignedClaim { key_id: None, device_id: "", ..good }.check(),
            Err(Refusal::PublicKeyInvalid)
        );
        assert_eq!(
            SignedClaim { key_id: Some(DeviceId([8; 32])), ..good }.check(),
            Err(Refusal::DeviceIdMismatch)
        );
        let upper = text.to_uppercase();
        assert_eq!(
            SignedClaim { device_id: &upper, ..good }.check(),
            Ok(id),
            "0707.. has no letters"
        );
        let late = SignedClaim { elapsed: limits::PROOF_FRESH_MS + 1, nonce: None, ..good };
        assert_eq!(late.check(), Err(Refusal::SignatureExpired));
        assert_eq!(
            SignedClaim { judged_skew: Some(limits::CLOCK_SKEW_MS), ..good }.check(),
            Ok(id)
        );
        assert_eq!(
            SignedClaim { judged_skew: Some(limits::CLOCK_SKEW_MS + 1), ..good }.check(),
            Err(Refusal::SignatureExpired)
        );
        assert_eq!(SignedClaim { nonce: None, ..good }.check(), Err(Refusal::NonceRequired));
        assert_eq!(SignedClaim { nonce: Some("  "), ..good }.check(), Err(Refusal::NonceRequired));
        assert_eq!(SignedClaim { nonce: None, local: true, ..good }.check(), Ok(id));
        let other = Nonce([1; 16]).to_string();
        assert_eq!(
            SignedClaim { nonce: Some(&other), ..good }.check(),
            Err(Refusal::NonceMismatch)
        );
        assert_eq!(
            SignedClaim { nonce: Some(&other), local: true, ..good }.check(),
            Err(Refusal::NonceMismatch)
        );
    }
}
