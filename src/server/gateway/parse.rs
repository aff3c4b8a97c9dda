//! Parses a client's handshake data into an [`Attempt`]: request head and connect parameters.

use std::net::IpAddr;

use sha2::{Digest, Sha256};

use super::attempt::{Attempt, ClientInfo, PresentedCredentials};
use super::verify::SignatureCheck;
use crate::gate::facts::{DeviceProof, Protocol};
use crate::gate::ids::{DeviceId, Nonce, Now, Role};
use crate::gate::limits;
use crate::gate::net::{self, Via};
use crate::gate::origin;
use crate::gate::pairing_requests::About;
use crate::gate::refusal::Refusal;
use crate::gate::scopes::{Scope, Scopes};
use crate::gate::signature::{self, Signed, SignedClaim};
use crate::gate::text::{clip, cut, Text};
use crate::rpc::Declared;
use crate::server::runtime_config::RuntimeConfig;
use crate::wire::connect::{Connect, DeviceClaim};
use crate::wire::http::Head;

/// Extracts the facts about the client from a request head. `reached` is the local address of the
/// connection.
pub fn client_info(
    head: &Head<'_>,
    peer: IpAddr,
    reached: Option<IpAddr>,
    runtime_config: &RuntimeConfig,
) -> ClientInfo {
    let web = &runtime_config.web;
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
        origin::classify(head.host(), head.origin(), &web.names(&runtime_config.machine, reached));
    ClientInfo {
        peer: net::fold(peer),
        client: client.address,
        via: client.via,
        local,
        host_text: displayable(head.host()),
        origin_text: displayable(head.origin()),
        host,
        origin,
        identity: web.identity(peer, head),
        cidr: client.via != Via::UntrustedProxy && web.approves(client.address),
    }
}

/// Returns a header for logs and displays: shortened, and limited to the characters of names and
/// addresses. It is displayed next to instructions for the owner, and the header of an
/// unauthenticated client must not add to them.
fn displayable(header: Option<&str>) -> String {
    let plain = |char: &char| char.is_ascii_alphanumeric() || ":/.-_[]%+".contains(*char);
    header
        .map(|text| cut(text, limits::ORIGIN_LEN).chars().filter(plain).collect())
        .unwrap_or_default()
}

/// Builds an attempt from connect. If a signature check is returned, its result is to replace the
/// proof of the attempt; otherwise the proof is final.
pub fn attempt(
    request: &str,
    connect: &Connect,
    client_info: &ClientInfo,
    challenge: (Nonce, u64),
    runtime_config: &RuntimeConfig,
    now: Now,
) -> (Attempt, Option<SignatureCheck>) {
    let protocol = Protocol::negotiate(connect.min_protocol, connect.max_protocol);
    let protocol = protocol.unwrap_or(Protocol::V4);
    let (device_proof, check) = match &connect.device {
        None => (DeviceProof::Absent, None),
        Some(device) => {
            check_claim(connect, device, client_info, challenge, protocol, runtime_config, now)
        }
    };
    let clock_skew = connect.device.as_ref().and_then(|device| clock_skew(device.signed_at, now));
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
            name: display_name(connect),
            platform: clip(&client.platform),
            family: clip(client.device_family.as_deref().unwrap_or("")),
            client_id: clip(&client.id),
            client_mode: clip(&client.mode),
            remote: (!net::is_loopback(client_info.client)).then_some(client_info.client),
        },
        version: clip(&client.version),
        model: clip(client.model_identifier.as_deref().unwrap_or("")),
        instance: clip(client.instance_id.as_deref().unwrap_or("")),
        node: (connect.role() == Some(Role::Node)).then(|| Box::new(declared(connect))),
        client_info: client_info.clone(),
        clock_skew,
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

/// Checks a device's claim except for its signature. Returns the proof if that is sufficient to
/// reject the claim; otherwise the check of its signature.
fn check_claim(
    connect: &Connect,
    device: &DeviceClaim,
    client_info: &ClientInfo,
    (challenge, elapsed): (Nonce, u64),
    protocol: Protocol,
    runtime_config: &RuntimeConfig,
    now: Now,
) -> (DeviceProof, Option<SignatureCheck>) {
    let nonce = device.nonce();
    // without a nonce only its time shows that a signature is fresh; a local client has the same
    // clock
    let judged_skew = (runtime_config.strict_clock || client_info.local && nonce.is_none())
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
        local: client_info.local,
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

/// Returns device time minus gateway time, if they differ by more than [`limits::CLOCK_SKEW_MS`].
fn clock_skew(signed_at: u64, now: Now) -> Option<i64> {
    // `signed_at` can be any number, so both steps saturate
    let skew = i64::try_from(signed_at).unwrap_or(i64::MAX).saturating_sub_unsigned(now.wall.0);
    (skew.unsigned_abs() > limits::CLOCK_SKEW_MS).then_some(skew)
}

/// Returns the credentials of a client.
fn presented(connect: &Connect) -> PresentedCredentials {
    let auth = &connect.auth;
    let without_nonce = connect.device.as_ref().filter(|device| device.nonce().is_none());
    PresentedCredentials {
        token: auth.token.clone(),
        password: auth.password.clone(),
        device_token: auth.device_token.clone(),
        bootstrap_token: auth.bootstrap_token.clone(),
        signed_without_nonce: without_nonce.map(|device| device.signed_at),
        ..PresentedCredentials::default()
    }
}

/// Returns the client's display name, or a name derived from its user agent if it sends none.
fn display_name(connect: &Connect) -> Text<{ limits::NAME_LEN }> {
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
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(one), None) | (None, Some(one)) => one.to_string(),
        (None, None) => String::new(),
    }
}
