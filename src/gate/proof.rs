//! The device proof: which bytes a device signs, and what must hold besides the signature itself.
//!
//! The payload is joined with `|` and nothing in it is escaped (protocol 3 and 4). Version 1 has no nonce and is only taken
//! from a local client that sends none; version 2 adds the nonce; version 3 adds platform and device family.

use super::facts::Dialect;
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

/// What goes into the payload, as the client sent it.
#[derive(Clone, Copy)]
pub struct Signed<'a, S> {
    pub device_id: &'a str,
    pub client_id: &'a str,
    pub client_mode: &'a str,
    /// The role after its default.
    pub role: &'a str,
    /// The scopes as sent, in the order sent.
    pub scopes: &'a [S],
    /// Milliseconds since 1970 by the device's clock.
    pub signed_at: u64,
    /// Protocol 3: `auth.token`; protocol 4: the first of `token`, `deviceToken`, `bootstrapToken`; else empty.
    pub token: &'a str,
    pub nonce: &'a str,
    pub platform: &'a str,
    pub family: &'a str,
}

impl<S: AsRef<str>> Signed<'_, S> {
    /// Hands the payload's bytes to `sink`, piece by piece.
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

/// The versions to try, the likelier one first.
pub const fn versions(dialect: Dialect, with_nonce: bool) -> &'static [Version] {
    match (with_nonce, dialect) {
        (false, _) => &[Version::V1],
        (true, Dialect::V3) => &[Version::V2, Version::V3],
        (true, Dialect::V4) => &[Version::V3, Version::V2],
    }
}

/// What is known when a proof arrives, besides its signature.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// `device.id` as sent.
    pub device_id: &'a str,
    /// SHA-256 of the key as sent; `None` if the key cannot be read.
    pub key_id: Option<DeviceId>,
    /// `device.nonce` as sent; blank counts as absent.
    pub nonce: Option<&'a str>,
    /// What this connection was challenged with.
    pub challenge: Nonce,
    /// Our own time since the challenge, in milliseconds.
    pub elapsed: u64,
    /// The device's clock less ours, in milliseconds, where `gateway.auth.strictClock` wants it judged.
    pub judged_skew: Option<u64>,
    /// A local client, which may sign without a nonce.
    pub local: bool,
}

impl Claim<'_> {
    /// Checks everything but the signature, in the order of protocol 3 and 4.
    ///
    /// Fails with the refusal of the first check that does not hold; the id that is returned is that of the key.
    pub fn check(&self) -> Result<DeviceId, Refusal> {
        let id = self.key_id.ok_or(Refusal::PublicKeyInvalid)?;
        if DeviceId::parse(self.device_id) != Some(id) {
            return Err(Refusal::DeviceIdMismatch);
        }
        let stale =
            self.elapsed > limits::PROOF_FRESH_MS || self.judged_skew.is_some_and(|skew| skew > limits::CLOCK_SKEW_MS);
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

/// A number in decimal, without an allocator.
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
    fn payloads_join_the_fields_as_each_version_does() {
        let v1 = "v1|ab12|cli|cli|operator|operator.admin,x|y|1700000000123|t";
        assert_eq!(payload(&SIGNED, Version::V1), v1);
        assert_eq!(payload(&SIGNED, Version::V2), v1.replace("v1", "v2") + "|n");
        assert_eq!(payload(&SIGNED, Version::V3), v1.replace("v1", "v3") + "|n|linux|");
        let bare = Signed { scopes: &[], signed_at: 0, ..SIGNED };
        assert_eq!(payload(&bare, Version::V1), "v1|ab12|cli|cli|operator||0|t");
    }

    #[test]
    fn only_ascii_letters_are_lowered_in_version_3() {
        let odd = Signed { platform: "\u{c4}Z", ..SIGNED };
        assert!(payload(&odd, Version::V3).ends_with("|\u{c4}z|"));
    }

    #[test]
    fn each_check_of_a_claim_refuses_by_its_own_name_and_in_order() {
        let id = DeviceId([7; 32]);
        let (text, nonce) = (id.to_string(), Nonce([9; 16]).to_string());
        let good = Claim {
            device_id: &text,
            key_id: Some(id),
            nonce: Some(&nonce),
            challenge: Nonce([9; 16]),
            elapsed: limits::PROOF_FRESH_MS,
            judged_skew: None,
            local: false,
        };
        assert_eq!(good.check(), Ok(id));
        assert_eq!(Claim { key_id: None, device_id: "", ..good }.check(), Err(Refusal::PublicKeyInvalid));
        assert_eq!(Claim { key_id: Some(DeviceId([8; 32])), ..good }.check(), Err(Refusal::DeviceIdMismatch));
        let upper = text.to_uppercase();
        assert_eq!(Claim { device_id: &upper, ..good }.check(), Ok(id), "0707.. has no letters");
        let late = Claim { elapsed: limits::PROOF_FRESH_MS + 1, nonce: None, ..good };
        assert_eq!(late.check(), Err(Refusal::SignatureExpired));
        assert_eq!(Claim { judged_skew: Some(limits::CLOCK_SKEW_MS), ..good }.check(), Ok(id));
        assert_eq!(
            Claim { judged_skew: Some(limits::CLOCK_SKEW_MS + 1), ..good }.check(),
            Err(Refusal::SignatureExpired)
        );
        assert_eq!(Claim { nonce: None, ..good }.check(), Err(Refusal::NonceRequired));
        assert_eq!(Claim { nonce: Some("  "), ..good }.check(), Err(Refusal::NonceRequired));
        assert_eq!(Claim { nonce: None, local: true, ..good }.check(), Ok(id));
        let other = Nonce([1; 16]).to_string();
        assert_eq!(Claim { nonce: Some(&other), ..good }.check(), Err(Refusal::NonceMismatch));
        assert_eq!(Claim { nonce: Some(&other), local: true, ..good }.check(), Err(Refusal::NonceMismatch));
    }
}
