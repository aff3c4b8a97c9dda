//! Pools of pending things: one device has a share, and the others still get places.

use std::thread;
use std::time::Duration;

use serde_json::{json, Value};
use support::attacks::{approvals, calls, entries};
use support::client::{Device, Session, Who};
use support::gateway::{code, TOKEN};
use support::runner::{until, wait_for};

use super::site::{counted, Site};
use super::{is_long, time_of_one};

/// Pending calls and approvals of one device.
const CALLS_OF_ONE: u64 = 256;
const APPROVALS_OF_ONE: u64 = 8;
/// Time in which an approval ends after its asker has left.
const ABANDONED: Duration = Duration::from_secs(120);
/// Devices of the attack.
const DEVICES: u64 = 2;

/// Connects a node whose command is approved.
pub fn node(site: &Site, protocol: u32) -> (Device, Session) {
    let offers = Who::of(protocol).offering(("linux", "Linux"), &["system.which"], &[]);
    let (device, node) = site.gateway.join(&offers);
    let mut admin = site.gateway.admin();
    let list = admin.call("node.pair.list", json!({})).unwrap();
    let waits = list["pending"].as_array().unwrap().iter();
    let mine = waits.clone().find(|one| one["nodeId"] == device.id.as_str()).unwrap();
    admin.call("node.pair.approve", json!({ "requestId": mine["requestId"] })).unwrap();
    (device, node)
}

#[test]
fn calls_of_one_device_leave_room_for_others() {
    let site = Site::new();
    let mut admin = site.gateway.admin();
    for protocol in [3, 4] {
        let (device, mut node) = node(&site, protocol);
        site.beside(&[calls], |_| {
            thread::sleep(time_of_one(1));
            let pending = counted(&mut admin, "invokes");
            println!("calls: {pending} pending");
            let mut caller = site.gateway.operator(protocol, &["read", "write"]);
            let invoke = json!({ "nodeId": device.id, "command": "system.which", "params": {}, "idempotencyKey": "k" });
            let call = caller.start("node.invoke", invoke);
            let asked = node.event("node.invoke.request");
            let result = json!({ "id": asked["id"], "nodeId": device.id, "ok": true, "payloadJSON": "{}" });
            node.call("node.invoke.result", result).unwrap();
            caller.answer(&call).expect("the call of another device");
            assert!(pending <= DEVICES * CALLS_OF_ONE, "{pending} pending calls");
        });
        until(|| counted(&mut admin, "invokes") == 0, || "calls stay after their caller".into());
    }
}

#[test]
fn approvals_of_one_device_leave_room_for_others_and_end_with_their_asker() {
    let site = Site::new();
    let mut admin = site.gateway.admin();
    let mut seen = 0;
    site.beside(&[approvals], |_| {
        for at in 0..20 {
            seen = counted(&mut admin, "approvals").max(seen);
            let protocol = 3 + at % 2;
            let mut asker = site.gateway.operator(protocol, &["approvals"]);
            let id = format!("own {at}");
            let ask = json!({ "id": id, "command": "ls", "timeoutMs": 60_000, "twoPhase": false });
            let asked = asker.start("exec.approval.request", ask);
            let decided = json!({ "id": id, "decision": "deny" });
            let done = || admin.call("exec.approval.resolve", decided.clone()).is_ok();
            until(done, || "another's approval has no room".into());
            let answer = asker.answer(&asked).expect("the approval of another device");
            assert_eq!(answer["decision"], "deny");
            thread::sleep(time_of_one(1) / 20);
        }
    });
    println!("approvals: at most {seen}");
    assert!(seen <= DEVICES * APPROVALS_OF_ONE + 1, "{seen} approvals");
    if is_long() {
        let none = || (counted(&mut admin, "approvals") == 0).then_some(());
        wait_for(ABANDONED, none, || "approvals stay after their asker".into());
    }
}

#[test]
fn one_device_does_not_fill_the_presence_list() {
    let site = Site::new();
    let own = json!({ "text": "here", "instanceId": "the report of the owner" });
    site.gateway.admin().call("system-event", own).unwrap();
    site.beside(&[entries], |_| {
        thread::sleep(Duration::from_millis(3000).max(time_of_one(1)));
        for protocol in [3, 4] {
            let name = format!("Kitchen {protocol}");
            let (_, _page) = site.gateway.join(&Who::of(protocol).page().name(&name));
            let mut admin = site.gateway.admin();
            let list = admin.call("system-presence", json!({})).unwrap().to_string();
            assert!(list.contains(&name), "{name} is not listed");
            assert!(list.contains("the report of the owner"), "its report is not listed");
        }
    });
}

#[test]
fn setup_codes_of_one_administrator_do_not_end_those_of_the_owner() {
    let site = Site::new();
    for protocol in [3, 4] {
        let owned = site.gateway.code("full");
        let (_, mut other) = site.gateway.join(&Who::of(protocol));
        for _ in 0..16 {
            // refused or made, but not in place of the owner's
            let made: Result<Value, _> = other.call("device.pair.setupCode", json!({}));
            drop(made);
        }
        let who = Who::of(protocol).code(&owned).device(&Device::new());
        site.gateway.connect(&who).expect("the owner's code is valid");
        let again = code(&mut site.gateway.admin(), "full");
        let who = Who::of(protocol).code(&again).device(&Device::new());
        site.gateway.connect(&who).expect("the owner's next code is valid");
    }
    let revoked = Who::v4().token(TOKEN).device(&Device::new());
    site.gateway.connect(&revoked).expect("the table has room");
}
