//! Changes by admitted clients: limited for each client, merged while they wait for the disk, and
//! not written if they change nothing.

use gatelet::gate::limits;
use serde_json::{json, Value};
use support::client::{Device, Failed, Session, Who};
use support::gateway::{paired, Gateway, Plan, TOKEN};

use crate::store::durability::files;

/// Number of changes of one record that a client may make in a minute.
const RECORDS: usize = limits::CHANGE_BYTES_OF_ONE / limits::CHANGE_LEN;

/// Checks that a change was refused, and returns the time after which to retry.
fn check_refused(failed: &Failed, method: &str) -> u64 {
    assert_eq!(
        (failed.code(), &failed.0["retryable"]),
        ("UNAVAILABLE", &json!(true)),
        "{failed:?}"
    );
    let message = failed.message();
    assert!(message.starts_with(&format!("rate limit exceeded for {method}; retry after ")));
    assert_eq!(failed.0["details"]["method"], method, "{failed:?}");
    failed.0["retryAfterMs"].as_u64().filter(|ms| (1..=60_000).contains(ms)).expect("a time")
}

/// Makes changes until one is refused. Returns their number.
fn change_all(
    session: &mut Session,
    method: &str,
    mut params: impl FnMut(usize) -> Value,
) -> usize {
    for at in 0..100 {
        if let Err(failed) = session.call(method, params(at)) {
            check_refused(&failed, method);
            session.call("status", json!({})).expect("the connection stays open");
            return at;
        }
    }
    panic!("{method} is not limited")
}

#[test]
fn records_that_a_client_changes_are_limited() {
    for protocol in [3, 4] {
        let gateway = Gateway::new();
        let (device, mut own) = gateway.join(&Who::of(protocol));
        let (other, mut beside) = gateway.join(&Who::of(protocol));
        let label = |at| json!({ "deviceId": device.id, "label": format!("label {at}") });
        assert_eq!(change_all(&mut own, "device.pair.rename", label), RECORDS);
        let rotate = json!({ "deviceId": device.id, "role": "operator" });
        let failed = own.call("device.token.rotate", rotate.clone()).unwrap_err();
        check_refused(&failed, "device.token.rotate");
        let label = json!({ "deviceId": other.id, "label": "another client" });
        beside.call("device.pair.rename", label).expect("another client has its own share");
        assert_eq!(
            paired(&mut beside, &device.id).unwrap()["label"],
            format!("label {}", RECORDS - 1)
        );
        // the connection is not the client
        let mut again = gateway.connect(&Who::of(protocol).device(&device)).unwrap();
        check_refused(
            &again.call("device.token.rotate", rotate).unwrap_err(),
            "device.token.rotate",
        );
    }
}

#[test]
fn rotation_is_counted_with_the_write_at_its_first_use() {
    let gateway = Gateway::new();
    let (device, mut own) = gateway.join(&Who::v4());
    let rotate = |_| json!({ "deviceId": device.id, "role": "operator" });
    assert_eq!(change_all(&mut own, "device.token.rotate", rotate), RECORDS / 2);
}

#[test]
fn device_that_is_removed_and_paired_in_a_loop_is_limited() {
    let gateway = Gateway::new();
    let mut admin = gateway.admin();
    let device = Device::new();
    let mut removed = 0;
    for _ in 0..40 {
        gateway.connect(&Who::v4().token(TOKEN).device(&device)).unwrap().leave();
        match admin.call("device.pair.remove", json!({ "deviceId": device.id })) {
            Ok(_) => removed += 1,
            Err(failed) => _ = check_refused(&failed, "device.pair.remove"),
        }
    }
    assert_eq!(removed, RECORDS / 2, "each removal is counted with the pairing that follows it");
}

#[test]
fn command_line_of_the_gateway_has_no_limits() {
    let gateway = Gateway::new();
    let devices: Vec<Device> = (0..RECORDS + 2).map(|_| gateway.join(&Who::v4()).0).collect();
    let mut admin = gateway.admin();
    let label = |at: usize| json!({ "deviceId": devices[0].id, "label": format!("label {at}") });
    change_all(&mut admin, "device.pair.rename", label);
    for device in &devices {
        gateway.plan.good(&["devices", "revoke", &device.id, "--role", "operator"]);
    }
    for device in &devices {
        assert_eq!(
            gateway.connect(&Who::v4().device(device)).unwrap_err().code(),
            "PAIRING_REQUIRED"
        );
    }
}

#[test]
fn wake_words_and_rejections_are_limited_by_number() {
    let gateway = Gateway::new();
    let mut admin = gateway.admin();
    let words = |at| json!({ "triggers": [format!("word {at}")] });
    let most = limits::CHANGES_OF_METHOD;
    assert_eq!(change_all(&mut admin, "voicewake.set", words), most);
    let same = json!({ "triggers": [format!("word {}", most - 1)] });
    admin.call("voicewake.set", same).expect("the same words are no change");
    let words = admin.call("voicewake.get", json!({})).unwrap();
    assert_eq!(words["triggers"], json!([format!("word {}", most - 1)]));
}

#[test]
fn bytes_of_the_configuration_file_are_limited() {
    let gateway = Gateway::new();
    let mut admin = gateway.admin();
    let filler = "x".repeat(limits::CHANGE_BYTES_OF_ONE / 4);
    let mut written = 0;
    loop {
        let hash = admin.call("config.get", json!({})).unwrap()["hash"].clone();
        let raw = json!({ "ui": { "note": format!("{written}{filler}") } }).to_string();
        match admin.call("config.patch", json!({ "raw": raw, "baseHash": hash })) {
            Ok(_) => written += 1,
            Err(failed) => {
                check_refused(&failed, "config.patch");
                break;
            }
        }
    }
    assert!((2..=4).contains(&written), "{written} times");
}

#[test]
fn calls_that_change_nothing_write_nothing_and_are_not_limited() {
    let gateway = Gateway::new();
    let mut admin = gateway.admin();
    let (device, _session) = gateway.join(&Who::v4());
    let shed = Device::new();
    let node = Who::v4().offering(("linux", "Linux"), &["system.which"], &[]).device(&shed);
    gateway.connect(&node.clone().token(TOKEN)).unwrap().leave();
    let (renamed, revoked) = (
        json!({ "deviceId": device.id, "label": "Kitchen" }),
        json!({ "deviceId": device.id, "role": "operator" }),
    );
    let node_renamed = json!({ "nodeId": shed.id, "displayName": "Shed" });
    let calls = [
        ("device.pair.rename", renamed),
        ("device.token.revoke", revoked),
        ("node.rename", node_renamed),
    ];
    for (method, params) in &calls {
        admin.call(method, params.clone()).unwrap();
    }
    let hash = admin.call("config.get", json!({})).unwrap()["hash"].clone();
    let config = json!({ "raw": "{}", "baseHash": hash });
    let before = files(&gateway.plan.dir());
    for _ in 0..2 * limits::CHANGES_OF_METHOD {
        for (method, params) in &calls {
            admin.call(method, params.clone()).unwrap_or_else(|failed| panic!("{failed:?}"));
        }
        gateway.connect(&node).unwrap().leave();
    }
    for _ in 0..limits::CHANGES_OF_METHOD {
        assert_eq!(admin.call("config.patch", config.clone()).unwrap()["noop"], true);
    }
    assert!(files(&gateway.plan.dir()) == before, "a file was written");
}

#[test]
fn changes_that_wait_for_the_disk_become_one() {
    let gateway = Plan::new().on_disk().start();
    let (device, mut own) = gateway.join(&Who::v4());
    let calls: Vec<_> = (0..RECORDS)
        .map(|at| {
            let params = json!({ "deviceId": device.id, "label": format!("label {at}") });
            own.start("device.pair.rename", params)
        })
        .collect();
    for (at, call) in calls.iter().enumerate() {
        assert_eq!(own.answer(call).unwrap()["label"], format!("label {at}"));
    }
    let gateway = gateway.kill().start();
    let label = &paired(&mut gateway.admin(), &device.id).unwrap()["label"];
    assert_eq!(*label, format!("label {}", RECORDS - 1));
}
