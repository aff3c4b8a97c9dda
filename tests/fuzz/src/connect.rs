//! Parameters of `connect`, and the attempt made of them, with the device's proof.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use gatelet::gate::facts::DeviceProof;
use gatelet::gate::ids::{Millis, Nonce, Now, WallMs};
use gatelet::gate::limits;
use gatelet::server::gateway::verify;
use gatelet::wire::connect::{Connect, CLIENT_IDS, CLIENT_MODES};
use gatelet::wire::http::Head;
use gatelet::wire::json::{self, Value};

use crate::samples::{self, config, Key, NONCE, WALL};
use crate::{bounded, Seeds};

/// An attempt owns a few texts of at most 16 KiB, the names of a node, and the signed payload in
/// two versions.
fn bound(len: usize) -> usize {
    128 * 1024 + 8 * len
}

/// Any bytes as the parameters. The first byte selects the setup, and whether the client is local.
pub fn run(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else { return };
    let _made = (Key::of(0), config::setups(), signatures());
    let Ok(value) = json::parse(text, limits::JSON_DEPTH) else { return };
    bounded(bound(data.len()), || match Connect::parse(Some(value)) {
        Err(problems) => {
            assert!(!problems.is_empty() && problems.len() <= limits::PROBLEMS_LEN);
            assert!(
                !problems.ends_with("cannot be read"),
                "the check and the reader disagree: {problems}"
            );
        }
        Ok(connect) => {
            limited(&connect);
            same(&connect, &value);
            attempt(&connect, *choice, &value);
        }
    });
}

/// Asserts that the parsed values keep to the limits.
fn limited(connect: &Connect) {
    let client = &connect.client;
    assert!(CLIENT_IDS.contains(&&*client.id) && CLIENT_MODES.contains(&&*client.mode));
    let field = |text: Option<&str>, max: usize| assert!(text.is_none_or(|text| text.len() <= max));
    field(Some(&client.version), limits::FIELD_LEN);
    field(Some(&client.platform), limits::FIELD_LEN);
    field(client.display_name.as_deref(), limits::FIELD_LEN);
    field(connect.role_sent.as_deref(), limits::WORD_LEN);
    field(connect.path_env.as_deref(), limits::PATH_ENV_LEN);
    field(connect.user_agent.as_deref(), limits::FIELD_LEN);
    for secret in [
        &connect.auth.token,
        &connect.auth.password,
        &connect.auth.bootstrap_token,
        &connect.auth.device_token,
    ] {
        field(secret.as_deref(), limits::SECRET_LEN);
    }
    for names in [&connect.caps, &connect.commands] {
        assert!(names.len() <= limits::NAMES_SENT);
        assert!(names.iter().all(|name| (1..=limits::METHOD_LEN).contains(&name.len())));
    }
    assert!(connect.permissions.as_ref().is_none_or(|map| map.len() <= limits::NAMES_SENT));
}

/// Asserts that the typed reader and the views of the checked text agree.
fn same(connect: &Connect, value: &Value<'_>) {
    let text = |object: &Value<'_>, name: &str| {
        object.get(name).and_then(|text| text.as_str()).map(Cow::into_owned)
    };
    let list = |name: &str| -> Vec<String> {
        value.at(name).items().map(|item| item.as_str().expect("a string").into_owned()).collect()
    };
    let (client, auth, device) = (value.at("client"), value.at("auth"), value.at("device"));
    if [*value, client, auth, device]
        .iter()
        .any(|object| object.fields().nth(limits::JSON_KEYS).is_some())
    {
        // members beyond those that are watched are not read
        return;
    }
    assert_eq!(connect.client.display_name, text(&client, "displayName"));
    assert_eq!(Some(&connect.client.platform), text(&client, "platform").as_ref());
    assert_eq!(connect.path_env, text(value, "pathEnv"));
    assert!(
        connect.auth.token == text(&auth, "token")
            && connect.auth.password == text(&auth, "password")
    );
    assert_eq!(
        (&connect.scopes_sent, &connect.caps, &connect.commands),
        (&list("scopes"), &list("caps"), &list("commands"))
    );
    assert_eq!(
        u64::from(connect.max_protocol),
        value.at("maxProtocol").as_u64().unwrap_or(0).min(u32::MAX.into())
    );
    if let Some(claim) = &connect.device {
        assert_eq!(Some(claim.signed_at), device.at("signedAt").as_u64());
        assert_eq!(Some(&claim.public_key), text(&device, "publicKey").as_ref());
    }
    let flags = connect.permissions.clone().unwrap_or_default();
    let shown = value.at("permissions").fields();
    assert_eq!(
        flags,
        shown.map(|(name, flag)| (name.into_owned(), flag.as_bool().expect("a flag"))).collect()
    );
}

fn attempt(connect: &Connect, choice: u8, value: &Value<'_>) {
    let setups = config::setups();
    let setup = &setups[usize::from(choice >> 1) % setups.len()];
    let peer = IpAddr::V4(if choice & 1 == 0 {
        Ipv4Addr::LOCALHOST
    } else {
        Ipv4Addr::new(203, 0, 113, 9)
    });
    let head =
        Head::parse(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").ok().flatten().expect("a head");
    let seen = verify::seen(&head, peer, None, setup);
    let now = Now { at: Millis(1000), wall: WallMs(WALL) };
    let (attempt, check) = verify::attempt("1", connect, &seen, (Nonce(NONCE), 5), setup, now);
    assert!(
        !matches!(attempt.device_proof, DeviceProof::Valid { .. }),
        "valid before the signature was checked"
    );
    assert_eq!(attempt.role, connect.role());
    assert!(
        attempt.about.name.len() <= limits::NAME_LEN
            && attempt.about.platform.len() <= limits::PLATFORM_LEN
    );
    let Some(check) = check else { return };
    if let DeviceProof::Valid { id, .. } = check.run() {
        // only the key of the samples has signed anything, so a valid signature must be one of the
        // samples
        assert_eq!(id.0, Key::of(0).id.0, "a proof of a key that never signed");
        let ours =
            value.at("device").get("signature").and_then(|text| text.as_str()).unwrap_or_default();
        let ours = ours.trim().trim_end_matches('=');
        assert!(
            signatures().iter().any(|one| same_signature(one, ours)),
            "a proof that was never given"
        );
    }
}

thread_local! {
    static SIGNATURES: &'static [String] = samples::signatures().leak();
}

fn signatures() -> &'static [String] {
    SIGNATURES.with(|signatures| *signatures)
}

/// Returns whether two signatures are equal, in either base64 alphabet.
fn same_signature(one: &str, other: &str) -> bool {
    one.bytes().eq(other.bytes().map(|byte| match byte {
        b'+' => b'-',
        b'/' => b'_',
        other => other,
    }))
}

/// Connects of every kind; those with a signature are signed for the nonce used by [`run`].
pub fn seeds() -> Seeds {
    samples::connects()
        .into_iter()
        .enumerate()
        .map(|(at, connect)| (format!("connect-{at:03}"), connect))
        .collect()
}
