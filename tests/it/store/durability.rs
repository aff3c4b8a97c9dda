//! Durability of a running gateway: acknowledged changes survive, unnecessary writes do not happen,
//! and a damaged or unwritable table is reported, never replaced by an empty one.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use gatelet::gate::ids::DeviceId;
use gatelet::wire::base64;
use serde_json::{json, Value};
use sha2::{Digest, Sha256};
use support::client::{Device, Who};
use support::gateway::{code, paired, Gateway, Plan, TOKEN};
use support::runner::until;

/// Returns content, modification time in nanoseconds and inode of every file below `dir`.
pub fn files(dir: &Path) -> BTreeMap<String, (Vec<u8>, i64, u64)> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let about = entry.metadata().unwrap();
            let changed = about.mtime() * 1_000_000_000 + about.mtime_nsec();
            (
                entry.file_name().into_string().unwrap(),
                (std::fs::read(entry.path()).unwrap(), changed, about.ino()),
            )
        })
        .collect()
}

#[test]
fn two_hundred_reconnects_of_a_known_device_change_no_file() {
    let gateway = Gateway::new();
    let (device, session) = gateway.join(&Who::v4());
    let token = session.token();
    session.leave();
    let before = files(&gateway.plan.dir());
    assert!(before.len() >= 3, "{:?}", before.keys());
    for round in 0..50 {
        let ways = [
            Who::v4().device(&device).device_token(&token),
            Who::v4().device(&device),
            Who::v3().device(&device).device_token(&token),
            Who::v4().device(&device).token(TOKEN),
        ];
        for who in ways {
            let mut session = gateway
                .connect(&who)
                .unwrap_or_else(|refused| panic!("round {round}: {refused:?}"));
            session.call("device.pair.list", json!({})).unwrap();
            session.leave();
        }
    }
    for _ in 0..50 {
        gateway.connect(&Who::v4().token("wrong").device(&Device::new())).unwrap_err();
        gateway.admin().leave();
    }
    assert!(files(&gateway.plan.dir()) == before, "a file was written");
}

#[test]
fn acknowledged_changes_survive_twenty_kills() {
    let mut gateway = Gateway::new();
    let mut devices: Vec<(Device, String, Who)> = Vec::new();
    for round in 0..20 {
        let who = match round % 3 {
            0 => Who::v4(),
            1 => Who::v3(),
            _ => Who::v4().node(),
        };
        let made = if round % 4 == 3 {
            Some(gateway.code(if who.role == Some("node") { "node" } else { "full" }))
        } else {
            None
        };
        let device = Device::new();
        let asks = match &made {
            Some(made) => who.clone().code(made).device(&device),
            None => who.clone().token(TOKEN).device(&device),
        };
        let token = gateway.connect(&asks).unwrap().token();
        gateway = gateway.kill().start();
        devices.push((device, token, who));
        for (device, token, who) in &devices {
            let session = gateway.connect(&who.clone().device(device).device_token(token)).unwrap();
            assert_eq!(&session.token(), token);
        }
    }
    let list = gateway.admin().call("device.pair.list", json!({})).unwrap();
    assert_eq!(list["paired"].as_array().unwrap().len(), 20);
}

#[test]
fn table_changes_are_durable_before_the_response() {
    let gateway = Gateway::new();
    let (device, _) = gateway.join(&Who::v4());
    let mut running = Some(gateway);
    let mut after = |method: &str, params: Value| {
        let gateway = running.take().unwrap();
        gateway.admin().call(method, params).unwrap();
        let gateway = running.insert(gateway.kill().start());
        paired(&mut gateway.admin(), &device.id)
    };
    let renamed =
        after("device.pair.rename", json!({ "deviceId": device.id, "label": "Kitchen" })).unwrap();
    assert_eq!(renamed["label"], "Kitchen");
    let revoked =
        after("device.token.revoke", json!({ "deviceId": device.id, "role": "operator" })).unwrap();
    assert_eq!(revoked["revokedRoles"], json!(["operator"]));
    let back = after("device.pair.approve", json!({ "requestId": device.id })).unwrap();
    assert_eq!((&back["revokedRoles"], &back["label"]), (&json!([]), &json!("Kitchen")));
    assert_eq!(after("device.pair.remove", json!({ "deviceId": device.id })), None);
}

#[test]
fn re_paired_device_is_connected_while_its_old_connection_closes() {
    let gateway = Gateway::new();
    let (device, old) = gateway.join(&Who::v4());
    let mut admin = gateway.admin();
    admin.call("device.pair.remove", json!({ "deviceId": device.id })).unwrap();
    // it has not read its close frame, so the gateway still waits for the closing handshake
    let new = gateway.connect(&Who::v4().token(TOKEN).device(&device)).unwrap();
    drop(old);
    let mut connections = || admin.status()["connections"].as_u64();
    until(|| connections() == Some(2), || "the old connection stays".to_string());
    assert_eq!(paired(&mut admin, &device.id).unwrap()["connected"], true);
    new.leave();
    let mut connected = || paired(&mut admin, &device.id).unwrap()["connected"] == true;
    until(|| !connected(), || "the new one stays".to_string());
}

#[test]
fn export_of_approved_commands_is_the_same_with_and_without_a_gateway() {
    let plan = Gateway::new().stop();
    let (id, key) =
        (DeviceId(Sha256::digest([1; 32]).into()).to_string(), base64::encode_url(&[1; 32]));
    let record = json!({
        "publicKey": key, "roles": ["node"], "createdAtMs": 1, "approvedAtMs": 2, "caps": ["voice"],
        "commands": ["robot.walk", "system.run"], "permissions": { "microphone": true }, "surfaceApprovedAtMs": 3
    });
    let (own, file) = (&record, plan.dir().join("own.json"));
    std::fs::write(&file, json!({ &id: own }).to_string()).unwrap();
    plan.good(&["table", "import", file.to_str().unwrap()]);
    let stopped = plan.good(&["table", "export"]);
    let gateway = plan.start();
    assert_eq!(gateway.plan.good(&["table", "export"]), stopped);
    let exported: Value = serde_json::from_str(&stopped).unwrap();
    for field in ["caps", "commands", "permissions", "surfaceApprovedAtMs"] {
        assert_eq!(exported[&id][field], own[field], "{field}");
        assert_eq!(
            paired(&mut gateway.admin(), &id).unwrap().get(field),
            None,
            "{field} in a list that clients know"
        );
    }
}

/// Returns the plan of a stopped gateway with three paired devices.
fn three_devices() -> (Plan, Vec<Device>) {
    let gateway = Plan::with(json!({ "pairing": { "capacity": 4 } })).start();
    let devices = (0..3).map(|_| gateway.join(&Who::v4()).0).collect();
    (gateway.stop(), devices)
}

/// Starts on a damaged table. Returns the number of devices that reconnect, or `None` if the
/// gateway refuses to start as it should.
fn start_on(plan: &Plan, devices: &[Device], bytes: &[u8], what: &str) -> Option<usize> {
    let table = plan.dir().join("pairing.table");
    std::fs::write(&table, bytes).unwrap();
    match plan.clone().try_start() {
        Ok(gateway) => {
            let known = devices
                .iter()
                .filter(|device| gateway.connect(&Who::v4().device(device)).is_ok())
                .count();
            let paired = gateway.admin().call("device.pair.list", json!({})).unwrap()["paired"]
                .as_array()
                .unwrap()
                .len();
            assert_eq!(known, paired, "{what}");
            Some(known)
        }
        Err((status, log)) => {
            assert!(status.code().is_some_and(|code| code != 0), "{what}: {status}");
            assert!(
                log.contains("gatelet table"),
                "{what}: the log names the repair command: {log}"
            );
            assert!(std::fs::read(&table).unwrap() == bytes, "{what}: the file is as it was");
            None
        }
    }
}

#[test]
fn damaged_table_keeps_every_intact_device_or_prevents_the_start() {
    let (plan, devices) = three_devices();
    let whole = std::fs::read(plan.dir().join("pairing.table")).unwrap();
    assert_eq!(start_on(&plan, &devices, &whole, "whole"), Some(3));
    // store_images.rs tests every bit; here the process is tested with one bit of head and body in
    // every slot of both replicas
    let half = whole.len() / 2;
    for copy in [0, half] {
        for slot in 0..5 {
            for offset in [0, 9, 24, 40, 90, 200] {
                let at = copy + slot * 1024 + offset;
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << (offset % 8);
                let what = format!("bit {} of byte {at}", offset % 8);
                let known = start_on(&plan, &devices, &bytes, &what);
                assert!(
                    known.is_none() || known == Some(3),
                    "{what}: the other replica has it: {known:?}"
                );
            }
        }
    }
    for len in [0, 1, 511, 1024, half - 1, half, half + 1, whole.len() - 1] {
        let known = start_on(&plan, &devices, &whole[..len], &format!("cut at {len}"));
        assert!(known.is_none() || known == Some(3), "cut at {len}: {known:?}");
    }
    assert_eq!(start_on(&plan, &devices, &[], "0 bytes"), None);
    assert_eq!(start_on(&plan, &devices, &vec![0; whole.len()], "zeros"), None);
    let mut both = whole.clone();
    (both[1024 + 90], both[half + 1024 + 90]) = (!both[1024 + 90], !both[half + 1024 + 90]);
    assert_eq!(start_on(&plan, &devices, &both, "both replicas of a device"), None);
    assert_eq!(start_on(&plan, &devices, &whole, "whole again"), Some(3));
}

#[test]
fn table_without_its_key_file_prevents_the_start() {
    let (plan, _) = three_devices();
    let (key, table) = (plan.dir().join("table.key"), plan.dir().join("pairing.table"));
    let before = std::fs::read(&table).unwrap();
    std::fs::remove_file(&key).unwrap();
    let (status, log) = plan.clone().try_start().err().expect("it does not start");
    assert!(
        !status.success() && log.contains("table.key") && log.contains("gatelet table"),
        "{log}"
    );
    assert!(!key.exists() && std::fs::read(&table).unwrap() == before, "no new file is created");
}

/// Returns a gateway that cannot write a file beyond its first KiB, as on a full disk; see
/// [`free_space`].
fn on_a_full_disk(plan: Plan) -> Gateway {
    let plan = Gateway::stop(plan.start());
    plan.prefix(&limited("--fsize=1024:unlimited")).start()
}

/// Returns a prefix that runs a program under this limit and makes writes beyond it fail; without
/// the trap the signal would end the program.
fn limited(limit: &str) -> [&str; 7] {
    ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh", "prlimit", limit, "--"]
}

fn free_space(gateway: &Gateway) {
    let pid = gateway.pid().to_string();
    let status =
        Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:unlimited"]).status();
    assert!(status.expect("prlimit: install Debian's util-linux").success());
}

#[test]
fn full_disk_admits_by_secret_and_keeps_setup_codes_unused() {
    let gateway = on_a_full_disk(Plan::new());
    let before = files(&gateway.plan.dir());
    let mut admin = gateway.admin();
    let (by_code, by_token) = (Device::new(), Device::new());
    let made = code(&mut admin, "full");
    let refused = gateway.connect(&Who::v4().code(&made).device(&by_code)).unwrap_err();
    assert_eq!((refused.code(), refused.rule(), refused.close), ("TABLE_UNAVAILABLE", "8", 1013));
    assert_eq!(
        (&refused.error["retryable"], &refused.error["retryAfterMs"]),
        (&json!(true), &json!(5000))
    );
    assert!(gateway.dial().get("/readyz").starts_with("HTTP/1.1 503 "));
    assert!(gateway.dial().get("/healthz").starts_with("HTTP/1.1 200 "));

    let session = gateway
        .connect(&Who::v4().token(TOKEN).device(&by_token))
        .expect("with the secret, for this connection");
    assert!(
        session.hello["auth"].get("deviceToken").is_none(),
        "no device token without a durable record: {}",
        session.hello["auth"]
    );
    gateway.logged(&[" admit ", &format!("conn={} ", session.conn()), "cannot be written"]);
    assert_eq!(admin.call("device.pair.list", json!({})).unwrap()["paired"], json!([]));
    assert_eq!(
        gateway.connect(&Who::v4().device(&by_token)).unwrap_err().code(),
        "AUTH_TOKEN_MISSING"
    );
    assert!(files(&gateway.plan.dir()) == before, "a failed write leaves the files unchanged");

    free_space(&gateway);
    gateway.connect(&Who::v4().token(TOKEN).device(&by_token)).unwrap().token();
    assert!(gateway.dial().is_ready());
    gateway.connect(&Who::v4().code(&made).device(&by_code)).unwrap().token();
    let gateway = gateway.kill();
    let gateway = gateway.prefix(&[]).start();
    for device in [&by_code, &by_token] {
        gateway.connect(&Who::v4().device(device)).expect("it is durable");
    }
}

#[test]
fn full_disk_admits_known_devices_with_their_newest_token() {
    let gateway = Gateway::new();
    let (device, _) = gateway.join(&Who::v4());
    let mut own = gateway.connect(&Who::v4().device(&device)).unwrap();
    let rotated = own
        .call("device.token.rotate", json!({ "deviceId": device.id, "role": "operator" }))
        .unwrap();
    own.leave();
    let gateway = on_a_full_disk(gateway.stop());
    let newest = rotated["token"].as_str().expect("its own token is given to it").to_string();
    // its first use ends the older tokens; a failed write of that must not cost the device its
    // record
    for _ in 0..2 {
        gateway
            .connect(&Who::v4().device(&device).device_token(&newest))
            .expect("a known device is admitted")
            .leave();
    }
}

#[test]
fn failed_write_returns_an_error_and_changes_nothing() {
    let gateway = Gateway::new();
    let (device, _) = gateway.join(&Who::v4());
    let (shed, _) = gateway.join(&Who::v4().node());
    let shed_id = shed.id.clone();
    let gateway = on_a_full_disk(gateway.stop());
    let mut own = gateway.connect(&Who::v4().device(&device)).unwrap();
    let mut admin = gateway.admin();
    let shed = Who::v4().offering(("linux", "Linux"), &["system.which"], &[]).device(&shed);
    let _here = gateway.connect(&shed).unwrap();
    let waits = admin.call("node.pair.list", json!({})).unwrap()["pending"][0]["requestId"].clone();
    for (method, params) in [
        ("node.pair.approve", json!({ "requestId": waits })),
        ("node.pair.remove", json!({ "nodeId": shed_id })),
        ("device.pair.remove", json!({ "deviceId": device.id })),
        ("device.token.revoke", json!({ "deviceId": device.id, "role": "operator" })),
        ("device.pair.rename", json!({ "deviceId": device.id, "label": "x" })),
        ("device.token.rotate", json!({ "deviceId": device.id, "role": "operator" })),
    ] {
        let failed = admin.call(method, params).unwrap_err();
        assert_eq!(failed.code(), "UNAVAILABLE", "{method}: {failed:?}");
    }
    let shown = paired(&mut admin, &device.id).expect("it is still there");
    assert_eq!((&shown["revokedRoles"], shown.get("label")), (&json!([]), None));
    own.call("status", json!({})).expect("and was not closed");
    free_space(&gateway);
    let approved = admin
        .call("node.pair.approve", json!({ "requestId": waits }))
        .expect("the request is still pending");
    assert_eq!(approved["node"]["commands"], json!(["system.which"]));
    let again = admin.call("node.pair.approve", json!({ "requestId": waits })).unwrap_err();
    assert_eq!(again.message(), "unknown requestId", "now it is decided");
    admin.call("device.pair.remove", json!({ "deviceId": device.id })).unwrap();
    assert_eq!(own.closed(), (4001, "device removed".into()));
}

#[test]
fn first_start_that_cannot_create_the_table_fails_and_leaves_none() {
    let plan = Plan::new().prefix(&limited("--fsize=4096"));
    let (status, log) = plan.clone().try_start().err().expect("there is no room for a table");
    assert!(!status.success() && log.contains("pairing.table"), "{log}");
    assert!(!plan.dir().join("pairing.table").exists());
    let gateway = plan.prefix(&[]).start();
    gateway.admin();
}

#[test]
fn two_gateways_do_not_share_a_table() {
    let gateway = Gateway::new();
    let args = gateway.plan.command(&["run", "--port", "0"]).output().unwrap();
    let said = String::from_utf8_lossy(&args.stderr).into_owned();
    assert!(!args.status.success(), "{said}");
    assert!(said.contains("another gatelet process"), "{said}");
    gateway.admin();
    assert!(gateway.plan.dir().join("gateway.addr").exists(), "the first one is still found");
}
