//! Bytes written by admitted clients: files and log together.

use serde_json::json;
use support::attacks::{pairings, patches, reconnects, renames, rotations, Attack};
use support::client::{Device, Who};
use support::gateway::Plan;

use super::site::Site;
use super::{time_of_one, WRITTEN};

/// Bytes of a page of the disk for each byte of a record, which has 1 KiB.
const PAGE: u64 = 4;

/// Runs an attack, and asserts that its bytes are at most those of the minutes it takes.
fn writes_little(name: &str, attack: Attack) {
    writes_little_beside(0, Plan::new(), name, attack);
}

/// Like [`writes_little`], where `once` bytes may be written in addition at any rate.
fn writes_little_beside(once: u64, plan: Plan, name: &str, attack: Attack) {
    let site = Site::start(plan.on_disk());
    let time = time_of_one(1);
    let seen = site.under(&[attack], time);
    println!("{name}: {seen}");
    let most = WRITTEN * time.as_secs().div_ceil(60).max(1);
    assert!(
        seen.written <= PAGE * (most + once),
        "{name}: {} bytes of pages in {time:?}",
        seen.written
    );
    assert!(seen.logged <= most, "{name}: {} bytes of log in {time:?}", seen.logged);
}

#[test]
fn renames_write_little() {
    writes_little("renames", renames);
}

#[test]
fn rotations_write_little() {
    writes_little("rotations", rotations);
}

#[test]
fn pairing_and_removing_writes_little() {
    // new devices may fill the table once; each has two replicas of its record
    let slots = 64;
    let plan = Plan::with(json!({ "pairing": { "capacity": slots } }));
    writes_little_beside(slots * 2 * 1024, plan, "pairings", pairings);
}

#[test]
fn configuration_changes_write_little() {
    writes_little("configuration changes", patches);
}

#[test]
fn reconnects_of_known_devices_write_little() {
    writes_little("reconnects", reconnects);
}

#[test]
fn a_change_too_many_says_when_to_try_again() {
    let site = Site::new();
    for protocol in [3, 4] {
        let (device, mut session) = site.gateway.join(&Who::of(protocol).scopes(&["pairing"]));
        let mut rename = |at| {
            let label = json!({ "deviceId": device.id, "label": format!("name {at}") });
            session.call("device.pair.rename", label)
        };
        let refused = (0..40).find_map(|at| rename(at).err()).expect("a limit of changes");
        assert_eq!((refused.code(), &refused.0["retryable"]), ("UNAVAILABLE", &json!(true)));
        let wait = refused.0["retryAfterMs"].as_u64().expect("retryAfterMs");
        assert!((1..=60_000).contains(&wait), "{wait}");
        let (other, mut session) = site.gateway.join(&Who::of(protocol).scopes(&["pairing"]));
        let label = json!({ "deviceId": other.id, "label": "free" });
        session.call("device.pair.rename", label).expect("a change of another device");
    }
}

#[test]
fn reconnects_push_no_refusal_out_of_the_log() {
    let site = Site::new();
    let wrong = Who::v4().token("wrong").device(&Device::new());
    site.gateway.connect(&wrong).expect_err("a wrong token");
    site.under(&[reconnects], 2 * time_of_one(1));
    let code = "AUTH_TOKEN_MISMATCH";
    let seen = site.owner().good(&["logs"]);
    assert!(seen.contains(code), "gatelet logs: the refusal is gone: {seen}");
    for protocol in [3, 4] {
        let mut reader = site.gateway.operator(protocol, &["read"]);
        let whole = json!({ "limit": 5000, "maxBytes": 1_000_000 });
        let tail = reader.call("logs.tail", whole).unwrap();
        let count = tail["lines"].as_array().map_or(0, Vec::len);
        assert!(tail.to_string().contains(code), "the refusal is not one of {count} lines");
    }
}
