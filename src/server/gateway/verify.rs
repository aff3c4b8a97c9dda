//! Converts a client's handshake data into an [`Attempt`]: request head, connect parameters and
//! signature.

use std::net::IpAddr;

use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use sha2::{Digest, Sha256};

use super::attempt::{Attempt, ClientInfo, PresentedCredentials};
use crate::gate::facts::{DeviceProof, Protocol};
use crate::gate::ids::{DeviceId, Nonce, Now, PublicKey, Role};
use crate::gate::limits;
use crate::gate::net::{self, Via};
use crate::gate::origin;
use crate::gate::pairing_requests::About;
use crate::gate::refusal::Refusal;
use crate::gate::scopes::{Scope, Scopes};
use crate::gate::signature::{self, Signed, SignedClaim};
use crate::gate::text::{clip, cut};
use crate::rpc::Declared;
use crate::server::runtime_config::RuntimeConfig;
use crate::wire::connect::{Connect, DeviceClaim};
use crate::wire::http::Head;

/// Extracts the facts about the client from a request head. `reached` is the local address of the
/// connection.
pub fn seen(
    head: &Head<'_>,
    peer: IpAddr,
    reached: Option<IpAddr>,
    setup: &RuntimeConfig,
) -> ClientInfo {
    let web = &setup.web;
    let forwarded = head.forwarded_for();
    let real_ip = head.header("X-Real-IP");
    let mut client = net::client_address(
        peer,
        forwarded.as_deref(),
        real_ip,
        &web.trusted_proxies,
        web.allow_real_ip,
    );
    let trusted = web.trusted_proxies.iter().any(|range| range.contains(client.address));
    if client.via == Via::Direct && head.proxied() && !trusted {
        client.via = Via::UntrustedProxy;
    }
    let local = net::is_loopback(peer) && !head.proxied();
    let (host, origin) =
        origin::classify(head.host(), head.origin(), &web.names(&setup.machine, reached));
    ClientInfo {
        peer: net::fold(peer),
        client: client.address,
        via: client.via,
        local,
        host_text: shown(head.host()),
        origin_text: shown(head.origin()),
        host,
        origin,
        identity: web.identity(peer, head),
        cidr: client.via != Via::UntrustedProxy && web.approves(client.address),
    }
}

/// Returns a header for logs and displays: shortened, and limited to the characters of names and
/// addresses. It is displayed next to instructions for the owner, and the header of an
/// unauthenticated client must not add to them.
fn shown(header: Option<&str>) -> String {
    let plain = |char: &char| char.is_ascii_alphanumeric() || ":/.-_[]%".contains(*char);
    header
        .map(|text| cut(text, limits::WORD_LEN * 2).chars().filter(plain).collect())
        .unwrap_or_default()
}

/// A signature verification to be done. It refers to no other state, so any thread can do it.
#[derive(Clone)]
pub struct SignatureCheck {
    id: DeviceId,
    key: PublicKey,
    signature: [u8; 64],
    payloads: Vec<Vec<u8>>,
}

impl SignatureCheck {
    /// Verifies the signature. Takes tens of microseconds on a laptop and a large part of a
    /// millisecond on a Raspberry Pi.
    pub fn run(&self) -> DeviceProof {
        if verifying_key(&self.key)
            .is_some_and(|key| self.payloads.iter().any(|payload| self.verifies(&key, payload)))
        {
            DeviceProof::Valid { id: self.id, key: self.key }
        } else {
            DeviceProof::Invalid(Refusal::SignatureInvalid)
        }
    }

    /// Accepts the same signatures as `VerifyingKey::verify_strict`, in nine tenths of its time.
    ///
    /// `verify_strict` decodes R only to check whether its order is small. `verify` accepts R only
    /// in the canonical encoding of the point that it computes, so comparing R with the canonical
    /// encodings of the points of small order is equivalent.
    fn verifies(&self, key: &VerifyingKey, payload: &[u8]) -> bool {
        let signature = Signature::from_bytes(&self.signature);
        !key.is_weak()
            && !has_small_order(signature.r_bytes())
            && key.verify(payload, &signature).is_ok()
    }
}

/// The y coordinates of the points whose order divides 8: 0, 1, -1 and those of order 8.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    [
        0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00,
    ],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0x7f,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
];

/// Returns whether these bytes are the canonical encoding of a point of small order, or differ from
/// one only in the sign of x = 0.
fn has_small_order(point: &[u8; 32]) -> bool {
    let mut y = *point;
    // the highest bit is the sign of x
    y[31] &= 0x7f;
    SMALL_ORDER.contains(&y)
}

/// Returns the key as a point of the curve; `None` if the bytes are not the canonical encoding of
/// one.
///
/// `VerifyingKey` reduces a y coordinate of 2^255 - 19 or more. RFC 8032, section 5.1.3, rejects
/// such an encoding. Points of small order are left to the caller.
fn verifying_key(key: &PublicKey) -> Option<VerifyingKey> {
    let [low, middle @ .., high] = &key.0;
    let canonical = *low < 0xed || high & 0x7f < 0x7f || middle.iter().any(|byte| *byte < 0xff);
    canonical.then(|| VerifyingKey::from_bytes(&key.0).ok())?
}

/// Builds an attempt from connect. If a signature check is returned, its result is to replace the
/// proof of the attempt; otherwise the proof is final.
pub fn attempt(
    request: &str,
    connect: &Connect,
    seen: &ClientInfo,
    challenge: (Nonce, u64),
    setup: &RuntimeConfig,
    now: Now,
) -> (Attempt, Option<SignatureCheck>) {
    let protocol =
        Protocol::negotiate(connect.min_protocol, connect.max_protocol).unwrap_or(Protocol::V4);
    let (device_proof, check) = match &connect.device {
        None => (DeviceProof::Absent, None),
        Some(device) => claim(connect, device, seen, challenge, protocol, setup, now),
    };
    let clock_off = connect.device.as_ref().and_then(|device| skew(device.signed_at, now));
    let client = &connect.client;
    let attempt = Attempt {
        request: request.to_string(),
        min_protocol: connect.min_protocol,
        max_protocol: connect.max_protocol,
        role: connect.role(),
        control_ui: client.id == "openclaw-control-ui",
        requested: requested(connect, protocol),
        device_proof,
        presented: presented(connect),
        about: About {
            name: name(connect),
            platform: clip(&client.platform),
            family: clip(client.device_family.as_deref().unwrap_or("")),
            client_id: clip(&client.id),
            client_mode: clip(&client.mode),
            remote: (!net::is_loopback(seen.client)).then_some(seen.client),
        },
        version: clip(&client.version),
        model: clip(client.model_identifier.as_deref().unwrap_or("")),
        instance: clip(client.instance_id.as_deref().unwrap_or("")),
        node: (connect.role() == Some(Role::Node)).then(|| Box::new(declared(connect))),
        seen: seen.clone(),
        clock_off,
    };
    (attempt, check)
}

/// Returns the requested scopes. A protocol 3 operator that sends no scopes requests admin
/// (OpenClaw 2026.1.29). Unknown scope names are ignored, even if there are no others.
fn requested(connect: &Connect, protocol: Protocol) -> Scopes {
    match (protocol, connect.role()) {
        (Protocol::V3, Some(Role::Operator)) if connect.scopes_sent.is_empty() => {
            Scopes::of(Scope::Admin)
        }
        _ => connect.scopes(),
    }
}

/// Returns the capabilities, commands and permissions that a node declares.
fn declared(connect: &Connect) -> Declared {
    Declared {
        caps: connect.caps.clone(),
        commands: connect.commands.clone(),
        permissions: connect.permissions.clone().unwrap_or_default().into_iter().collect(),
        path_env: connect.path_env.clone(),
    }
}

fn claim(
    connect: &Connect,
    device: &DeviceClaim,
    seen: &ClientInfo,
    (challenge, elapsed): (Nonce, u64),
    protocol: Protocol,
    setup: &RuntimeConfig,
    now: Now,
) -> (DeviceProof, Option<SignatureCheck>) {
    let nonce = device.nonce();
    // without a nonce only its time shows that a signature is fresh; a local client has our clock
    let judged_skew = (setup.strict_clock || seen.local && nonce.is_none())
        .then(|| now.wall.0.abs_diff(device.signed_at));
    let key = device.key();
    let key_id = key.map(|key| DeviceId(Sha256::digest(key.0).into()));
    let claim = SignedClaim {
        device_id: &device.id,
        key_id,
        nonce,
        challenge,
        elapsed,
        judged_skew,
        local: seen.local,
    };
    let (id, key, signature) = match (claim.check(), key, device.signature()) {
        (Err(refusal), ..) => return (DeviceProof::Invalid(refusal), None),
        (Ok(id), Some(key), Some(signature)) => (id, key, signature),
        _ => return (DeviceProof::Invalid(Refusal::SignatureInvalid), None),
    };
    let signed = Signed {
        device_id: &device.id,
        client_id: &connect.client.id,
        client_mode: &connect.client.mode,
        role: connect.role_sent.as_deref().unwrap_or("operator"),
        scopes: &connect.scopes_sent,
        signed_at: device.signed_at,
        token: connect.signed_token(protocol),
        nonce: nonce.unwrap_or(""),
        platform: &connect.client.platform,
        family: connect.client.device_family.as_deref().unwrap_or(""),
    };
    let payload = |version: &signature::Version| {
        let mut bytes = Vec::with_capacity(512);
        signed.payload(*version, &mut |part| bytes.extend_from_slice(part));
        bytes
    };
    let payloads = signature::versions(protocol, nonce.is_some()).iter().map(payload).collect();
    (DeviceProof::Absent, Some(SignatureCheck { id, key, signature, payloads }))
}

fn skew(signed_at: u64, now: Now) -> Option<i64> {
    // `signed_at` can be any number, so both steps saturate
    let off = i64::try_from(signed_at).unwrap_or(i64::MAX).saturating_sub_unsigned(now.wall.0);
    (off.unsigned_abs() > limits::CLOCK_SKEW_MS).then_some(off)
}

fn presented(connect: &Connect) -> PresentedCredentials {
    let (auth, alone) =
        (&connect.auth, connect.device.as_ref().filter(|device| device.nonce().is_none()));
    PresentedCredentials {
        token: auth.token.clone(),
        password: auth.password.clone(),
        device_token: auth.device_token.clone(),
        bootstrap_token: auth.bootstrap_token.clone(),
        signed_alone: alone.map(|device| device.signed_at),
        ..PresentedCredentials::default()
    }
}

/// Returns the client's display name, or a name derived from its user agent if it sends none.
fn name(connect: &Connect) -> crate::gate::text::Text<{ limits::NAME_LEN }> {
    match (&connect.client.display_name, &connect.user_agent) {
        (Some(name), _) => clip(name),
        (None, Some(agent)) => clip(&browser(agent)),
        (None, None) => clip(""),
    }
}

/// Returns a name like `Chrome on Windows`, as far as the user agent is recognized.
fn browser(agent: &str) -> String {
    let first = |table: &[(&str, &'static str)]| {
        table.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name)
    };
    let browsers = [
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    let systems = [
        ("Windows", "Windows"),
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Mac OS", "Mac"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ];
    match (first(&browsers), first(&systems)) {
        (Some(browser), Some(system)) => [browser, " on ", system].concat(),
        (Some(one), None) | (None, Some(one)) => one.to_string(),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Public key of the seed that is 32 times 0x01.
    const HONEST: &str = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
    /// Point of order 8.
    const SMALL: &str = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a";
    /// Sum of `HONEST` and `SMALL`.
    const MIXED: &str = "9ea3f11f5bd34f0cd7147fd0a436c088f624c6100c1df6a53c0a29e05d60cea0";
    const NEUTRAL: &str = "0100000000000000000000000000000000000000000000000000000000000000";
    /// Product of the base point and 12345678901234567890; `S` is that number.
    const R: &str = "7767a3242dc9b58bbc68488c1265cc6cc5f26c6f3c88a5d55e901b0734dca572";
    const S: &str = "d20a1feb8ca954ab000000000000000000000000000000000000000000000000";

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
    }

    fn verifies(key: &str, message: &str, r: &str, s: &str) -> bool {
        let key = PublicKey(bytes(key));
        let signature = bytes(&format!("{r}{s}"));
        let check = SignatureCheck {
            id: DeviceId([7; 32]),
            key,
            signature,
            payloads: vec![message.into()],
        };
        let device_proof = check.run();
        assert!(matches!(
            device_proof,
            DeviceProof::Valid { .. } | DeviceProof::Invalid(Refusal::SignatureInvalid)
        ));
        matches!(device_proof, DeviceProof::Valid { .. })
    }

    /// Each rejected signature satisfies the equation of a verifier without the check in question.
    #[test]
    fn signatures_are_verified_strictly() {
        let valid = "872e65f09cd5c8389d236c13843e647eaa53c34bd5ef49f5c5ddef6a7b275109";
        assert!(verifies(HONEST, "message", R, valid));
        assert!(!verifies(HONEST, "massage", R, valid));
        let above_order = "74025b4db738db9073c063b662384393aa53c34bd5ef49f5c5ddef6a7b275119";
        assert!(!verifies(HONEST, "message", R, above_order), "S plus the order of the group");
        assert!(!verifies(SMALL, "message 54", R, S), "a key of order 8");
        assert!(!verifies(NEUTRAL, "message", R, S), "the neutral element as the key");
        let neutral_r = "95c0fdcc54fccad1f2b8bc9b96aa6837c82f86349e6576ad29ca3ece7b7ea905";
        assert!(!verifies(HONEST, "message", NEUTRAL, neutral_r), "the neutral element as R");
        let not_reduced = "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f";
        let its_s = "e0f38f1bab90576088c11f38668fc88ff00774355974a66f05420575af767703";
        assert!(
            !verifies(HONEST, "message", not_reduced, its_s),
            "R in an encoding that is not canonical"
        );
    }

    #[test]
    fn all_points_of_small_order_are_recognized() {
        // for y = 1 and y = 2^255 - 20, x is 0; the package reads both values of its sign as that
        // point
        for y in SMALL_ORDER {
            for sign in [0, 0x80] {
                let mut point = y;
                point[31] |= sign;
                assert!(has_small_order(&point));
                assert!(VerifyingKey::from_bytes(&point).unwrap().is_weak());
            }
        }
        // with both signs for three of them these are eight points, which are all
        assert_eq!(BTreeSet::from(SMALL_ORDER).len(), 5);
        assert!(!has_small_order(&bytes(HONEST)) && !has_small_order(&bytes(MIXED)));
    }

    #[test]
    fn verification_agrees_with_verify_strict() {
        let s = "872e65f09cd5c8389d236c13843e647eaa53c34bd5ef49f5c5ddef6a7b275109";
        let keys = [HONEST, SMALL, MIXED, NEUTRAL, R];
        let mut valid = 0;
        for (key, r, s) in keys
            .into_iter()
            .flat_map(|key| keys.map(|r| (key, r)))
            .flat_map(|(k, r)| [(k, r, s), (k, r, S)])
        {
            for message in ["message", "message 0", "message 54"] {
                let signature = Signature::from_bytes(&bytes(&format!("{r}{s}")));
                let strict = VerifyingKey::from_bytes(&bytes(key))
                    .unwrap()
                    .verify_strict(message.as_bytes(), &signature);
                assert_eq!(verifies(key, message, r, s), strict.is_ok(), "{key} {message} {r} {s}");
                valid += usize::from(strict.is_ok());
            }
        }
        assert_eq!(valid, 1);
    }

    /// OpenSSL, and therefore Node.js, verifies the equation without the cofactor.
    #[test]
    fn the_equation_has_no_cofactor() {
        let holds = "f8e8eb0c5781110abe414bda5547fa44c0249201437431dddc94ed4f3e766100";
        assert!(verifies(MIXED, "message 0", R, holds));
        let only_times_8 = "a8cdf73e948d068d62c4999a4afdaeb4e2f64c4e6f0bea0445851056d5ee560e";
        assert!(!verifies(MIXED, "message 7", R, only_times_8));
        let mixed_r = "6a84d583f06569edb3f5ed77df65544b27d6948b4f0b2cb76f33dd8413b20719";
        assert!(!verifies(
            HONEST,
            "message",
            mixed_r,
            "46ab85efd150e4cbd0e94c720493f3998622e6686357b23d02193c92e730a401"
        ));
    }

    #[test]
    fn only_the_canonical_encoding_of_a_key_is_accepted() {
        assert!(verifying_key(&PublicKey(bytes(HONEST))).is_some());
        // y = 3 is on the curve; its other encoding is 3 + 2^255 - 19
        let mut key = [0; 32];
        key[0] = 3;
        assert!(verifying_key(&PublicKey(key)).is_some());
        key = [0xff; 32];
        (key[0], key[31]) = (0xed + 3, 0x7f);
        assert!(VerifyingKey::from_bytes(&key).is_ok(), "the package accepts it");
        assert!(verifying_key(&PublicKey(key)).is_none());
        key[31] = 0xff;
        assert!(verifying_key(&PublicKey(key)).is_none());
        // y = -1 is the largest y below 2^255 - 19 that is on the curve
        key[0] = 0xec;
        key[31] = 0x7f;
        assert!(verifying_key(&PublicKey(key)).is_some());
        // y = 2 is not on the curve
        key = [0; 32];
        key[0] = 2;
        assert!(verifying_key(&PublicKey(key)).is_none());
    }
}
