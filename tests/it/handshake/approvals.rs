//! Decisions of the owner: an approval covers only what was read and only rights that were named,
//! and a device manages only itself.

use gatelet::gate::limits;
use serde_json::{json, Value};
use support::client::{Device, Session, Who};
use support::gateway::{paired, pending, Gateway, Plan, TOKEN};

fn strict() -> Gateway {
    Plan::with(json!({ "pairing": { "mode": "strict" } })).start()
}

/// Returns a device admitted by a code with these scopes, reconnected by its key.
fn guest(gateway: &Gateway, protocol: u32, scopes: &str) -> (Session, Device) {
    let device = Device::new();
    let names: Vec<&str> = scopes.split(',').collect();
    let who = Who::of(protocol).scopes(&names).device(&device);
    gateway.connect(&who.clone().code(&gateway.narrow_code(scopes))).unwrap().leave();
    (gateway.connect(&who).unwrap(), device)
}

#[test]
fn approval_grants_only_the_scopes_of_the_request_that_was_read() {
    for protocol in [3, 4] {
        let gateway = strict();
        let mut admin = gateway.admin();
        let device = Device::new();
        let asking = |scopes: &[&str]| {
            gateway
                .connect(&Who::of(protocol).scopes(scopes).token(TOKEN).device(&device))
                .unwrap_err()
                .request_id()
                .to_string()
        };
        let read = asking(&["read"]);
        assert_eq!(asking(&["read"]), read, "repeating a request keeps its id");
        let more = asking(&["admin"]);
        assert_ne!(more, read);
        let over = admin.event("device.pair.resolved");
        assert_eq!((&over["requestId"], &over["decision"]), (&json!(read), &json!("rejected")));
        assert_eq!(admin.event("device.pair.requested")["requestId"], more.as_str());
        assert_eq!(pending(&mut admin, &device.id).unwrap()["requestId"], more.as_str());
        let failed = admin.call("device.pair.approve", json!({ "requestId": read })).unwrap_err();
        assert_eq!(failed.message(), "unknown requestId");
        admin.call("device.pair.approve", json!({ "requestId": more })).unwrap();
        let scopes = gateway.connect(&Who::of(protocol).device(&device)).unwrap().scopes();
        assert!(scopes.contains(&"admin".to_string()), "{scopes:?}");
    }
}

#[test]
fn offering_more_commands_replaces_the_pending_request() {
    let gateway = Gateway::new();
    let mut admin = gateway.admin();
    let device = Device::new();
    let offering = |commands: &[&str]| {
        gateway
            .connect(
                &Who::v4().offering(("linux", "Linux"), commands, &[]).token(TOKEN).device(&device),
            )
            .unwrap()
    };
    let waits = |admin: &mut Session| {
        admin.call("node.pair.list", json!({})).unwrap()["pending"][0]["requestId"]
            .as_str()
            .unwrap()
            .to_string()
    };
    offering(&["system.which"]).leave();
    let little = waits(&mut admin);
    let _node = offering(&["system.which", "system.run"]);
    let much = waits(&mut admin);
    assert_ne!(little, much);
    let over = admin.event("node.pair.resolved");
    assert_eq!((&over["requestId"], &over["decision"]), (&json!(little), &json!("rejected")));
    admin.call("node.pair.approve", json!({ "requestId": little })).unwrap_err();
    let approved = admin.call("node.pair.approve", json!({ "requestId": much })).unwrap();
    assert_eq!(approved["node"]["commands"].as_array().unwrap().len(), 2);
}

#[test]
fn approving_host_commands_requires_admin_in_both_protocols() {
    for protocol in [3, 4] {
        let gateway = strict();
        let shed = Device::new();
        let node = Who::of(protocol)
            .offering(("linux", "Linux"), &["system.run"], &[])
            .token(TOKEN)
            .device(&shed);
        let request = gateway.connect(&node).unwrap_err().request_id().to_string();
        let (mut helper, _) = guest(&gateway, protocol, "pairing,write");
        let governs =
            |helper: &mut Session, method| helper.call(method, json!({ "requestId": request }));
        // by its key alone it manages only itself
        assert!(governs(&mut helper, "device.pair.approve")
            .unwrap_err()
            .message()
            .ends_with("denied"));
        let named = ["pairing", "write"];
        let mut helper = gateway.connect(&Who::of(protocol).scopes(&named).token(TOKEN)).unwrap();
        assert_eq!(
            governs(&mut helper, "node.pair.approve").unwrap_err().message(),
            "missing scope: operator.admin"
        );
        governs(&mut helper, "device.pair.approve").expect("it may approve the device itself");
        let _here = gateway.connect(&node).unwrap();
        let list = gateway.admin().call("node.pair.list", json!({})).unwrap();
        assert_eq!(list["paired"][0].get("commands").unwrap_or(&json!([])), &json!([]), "{list}");
        assert_eq!(
            list["pending"][0]["commands"],
            json!(["system.run"]),
            "protocol {protocol}: it waits: {list}"
        );
    }
}

#[test]
fn self_managing_device_cannot_undo_a_revocation_or_become_a_node() {
    for protocol in [3, 4] {
        let gateway = Gateway::new();
        let mut admin = gateway.admin();
        let (mut guest, device) = guest(&gateway, protocol, "pairing,write");
        let as_node =
            Who::of(protocol).offering(("linux", "Linux"), &["system.which"], &[]).device(&device);
        let request = gateway.connect(&as_node).unwrap_err().request_id().to_string();
        for method in ["device.pair.approve", "node.pair.approve"] {
            let refused = guest.call(method, json!({ "requestId": request })).unwrap_err();
            assert_eq!(refused.message(), "device pairing approval denied", "{method}");
        }
        admin.call("device.pair.approve", json!({ "requestId": request })).unwrap();
        let node = gateway.connect(&as_node).unwrap();
        let offered =
            admin.call("node.pair.list", json!({})).unwrap()["pending"][0]["requestId"].clone();
        if !offered.is_null() {
            guest.call("node.pair.approve", json!({ "requestId": offered })).unwrap_err();
        }
        admin
            .call("device.token.revoke", json!({ "deviceId": device.id, "role": "node" }))
            .unwrap();
        drop(node);
        let refused =
            guest.call("device.pair.approve", json!({ "requestId": device.id })).unwrap_err();
        assert_eq!(refused.message(), "device pairing approval denied");
        assert_eq!(gateway.connect(&as_node).unwrap_err().rule(), "7.7");
        admin
            .call("device.pair.approve", json!({ "requestId": device.id }))
            .expect("the owner restores the role");
        gateway.connect(&as_node).unwrap();
    }
}

#[test]
fn self_managing_device_cannot_approve_its_own_node_commands() {
    for protocol in [3, 4] {
        let gateway = strict();
        let mut admin = gateway.admin();
        let device = Device::new();
        let node =
            Who::of(protocol).offering(("ios", "iPad"), &["location.get"], &[]).device(&device);
        let request =
            gateway.connect(&node.clone().token(TOKEN)).unwrap_err().request_id().to_string();
        admin.call("device.pair.approve", json!({ "requestId": request })).unwrap();
        let _node = gateway.connect(&node).unwrap();
        let operator = Who::of(protocol).scopes(&["pairing", "write"]).device(&device);
        let request = gateway.connect(&operator).unwrap_err().request_id().to_string();
        let mut guest =
            gateway.connect(&operator.clone().code(&gateway.narrow_code("pairing,write"))).unwrap();
        // it may approve itself for a role it already has
        let _ = guest.call("device.pair.approve", json!({ "requestId": request }));
        let list = admin.call("node.pair.list", json!({})).unwrap();
        assert_eq!(
            list["paired"][0].get("commands").unwrap_or(&json!([])),
            &json!([]),
            "{protocol}: {list}"
        );
        assert_eq!(
            list["pending"][0]["commands"],
            json!(["location.get"]),
            "{protocol}: it waits: {list}"
        );
    }
}

#[test]
fn approving_the_operator_role_keeps_pending_node_commands() {
    let gateway = strict();
    let mut admin = gateway.admin();
    let device = Device::new();
    let node = Who::v4().offering(("linux", "Linux"), &["system.which"], &[]).device(&device);
    let request = gateway.connect(&node.clone().token(TOKEN)).unwrap_err().request_id().to_string();
    admin.call("device.pair.approve", json!({ "requestId": request })).unwrap();
    let _node = gateway.connect(&node).unwrap();
    let waits =
        |admin: &mut Session| admin.call("node.pair.list", json!({})).unwrap()["pending"].clone();
    assert_eq!(waits(&mut admin)[0]["commands"], json!(["system.which"]));
    let operator = Who::v4().scopes(&["read"]).device(&device);
    let request = gateway.connect(&operator).unwrap_err().request_id().to_string();
    admin.call("device.pair.approve", json!({ "requestId": request })).unwrap();
    let waiting = waits(&mut admin);
    assert_eq!(waiting[0]["commands"], json!(["system.which"]), "{waiting}");
    admin.call("node.pair.approve", json!({ "requestId": waiting[0]["requestId"] })).unwrap();
    gateway.connect(&operator).unwrap();
}

#[test]
fn node_exec_approvals_cannot_be_changed_through_node_invoke() {
    for protocol in [3, 4] {
        let gateway = Gateway::new();
        let shed = Device::new();
        let offer = ["system.run", "system.execApprovals.get", "system.execApprovals.set"];
        let node =
            Who::of(protocol).offering(("linux", "Linux"), &offer, &[]).token(TOKEN).device(&shed);
        let _node = gateway.connect(&node).unwrap();
        let mut admin = gateway.admin();
        let waits =
            admin.call("node.pair.list", json!({})).unwrap()["pending"][0]["requestId"].clone();
        admin.call("node.pair.approve", json!({ "requestId": waits })).unwrap();
        let mut writer =
            gateway.connect(&Who::of(protocol).scopes(&["write"]).token(TOKEN)).unwrap();
        for command in &offer[1..] {
            let call = json!({ "nodeId": shed.id, "command": command, "params": {}, "idempotencyKey": command });
            let refused = writer.call("node.invoke", call).unwrap_err();
            assert!(
                refused.message().contains("use exec.approvals.node.*"),
                "{protocol} {command}: {refused:?}"
            );
        }
    }
}

#[test]
fn unknown_scopes_do_not_count_as_a_request_for_all() {
    let gateway = Gateway::new();
    for (protocol, named, gets) in [
        (3, vec![], vec!["admin"]),
        (4, vec![], vec![]),
        (3, vec!["foo", "operator.read,operator.write"], vec![]),
        (4, vec!["foo"], vec![]),
    ] {
        let session = gateway
            .connect(&Who::of(protocol).scopes(&named).token(TOKEN).device(&Device::new()))
            .unwrap();
        assert_eq!(session.scopes(), gets, "{protocol} {named:?}");
    }
}

#[test]
fn client_that_always_requests_admin_works_with_granted_scopes() {
    let gateway = Gateway::new();
    let device = Device::new();
    gateway.connect(&Who::v4().code(&gateway.code("limited")).device(&device)).unwrap().leave();
    // as the command line and the Control UI of 2026.1.29 do
    let asks = ["admin", "approvals", "pairing"];
    let mut session = gateway.connect(&Who::v3().scopes(&asks).device(&device)).unwrap();
    session.call("node.list", json!({})).expect("it may read");
    assert_eq!(
        session.call("config.get", json!({})).unwrap_err().message(),
        "missing scope: operator.admin"
    );
}

#[test]
fn reducing_scopes_closes_the_connection() {
    for protocol in [3, 4] {
        let gateway = Gateway::new();
        let device = Device::new();
        let who = Who::of(protocol).device(&device);
        gateway.connect(&who.clone().token(TOKEN)).unwrap().leave();
        let mut demoted = gateway.connect(&who).unwrap();
        let mut admin = gateway.admin();
        let rotate =
            |scopes: Value| json!({ "deviceId": device.id, "role": "operator", "scopes": scopes });
        admin.call("device.token.rotate", rotate(json!(["operator.admin"]))).unwrap();
        demoted.call("status", json!({})).expect("nothing was taken away");
        admin.call("device.token.rotate", rotate(json!(["operator.read"]))).unwrap();
        assert_eq!(
            demoted.closed(),
            (4001, "client invalidated: device token rotated".to_string())
        );
        let scopes = paired(&mut admin, &device.id).unwrap()["scopes"].clone();
        assert_eq!(scopes, json!(["operator.read"]));
    }
}

#[test]
fn password_and_its_hash_never_appear_in_logs_and_responses() {
    let password = "correct horse battery";
    let auth = json!({ "auth": { "mode": "password", "password": password } });
    let gateway = Plan::with(auth).start();
    let digits = digits_of(password);
    let mut reader = gateway.connect(&Who::v4().password(password).scopes(&["read"])).unwrap();
    gateway.connect(&Who::v4().token("another word").device(&Device::new())).unwrap_err();
    let mut seen = gateway.log();
    for method in ["gatelet.status", "gatelet.config", "config.get", "logs.tail"] {
        seen += &reader.call(method, json!({})).unwrap().to_string();
    }
    for word in [password.to_string(), digits, digits_of("another word")] {
        assert!(!seen.contains(&word), "{word} is in {seen}");
    }
}

fn digits_of(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text)[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn requests_that_an_operator_reads_are_not_evicted_and_further_ones_are_rejected() {
    for protocol in [3, 4] {
        let config = json!({ "pairing": { "mode": "strict" }, "trustedProxies": ["127.0.0.1"] });
        let gateway = Plan::with(config).start();
        let ask = |device: &Device| {
            gateway.connect(&Who::of(protocol).token(TOKEN).device(device)).unwrap_err()
        };
        let first = Device::new();
        let read = ask(&first).request_id().to_string();
        let mut admin = gateway.admin();
        assert_eq!(pending(&mut admin, &first.id).unwrap()["requestId"], read.as_str());
        admin.leave();
        // without an operator, later requests of the network evict each other
        for _ in 0..2 * limits::PENDING_OF_ONE {
            assert_eq!(ask(&Device::new()).code(), "PAIRING_REQUIRED");
        }
        let mut admin = gateway.admin();
        let listed = admin.call("device.pair.list", json!({})).unwrap()["pending"].clone();
        assert_eq!(listed.as_array().unwrap().len(), limits::PENDING_OF_ONE);
        assert_eq!(pending(&mut admin, &first.id).unwrap()["requestId"], read.as_str());
        // all of them are read now
        let last = Device::new();
        let refused = ask(&last);
        assert_eq!((refused.code(), refused.rule()), ("TOO_MANY_PENDING_REQUESTS", "8"));
        assert!(refused.hint().contains("approve or reject some of them"), "{}", refused.hint());
        assert_eq!(pending(&mut admin, &last.id), None);
        let far = gateway.dial().header("X-Forwarded-For", "203.0.113.9");
        let other = Device::new();
        let asked = far.connect(&Who::of(protocol).token(TOKEN).device(&other)).unwrap_err();
        assert_eq!(asked.code(), "PAIRING_REQUIRED", "another network has places of its own");
        admin.call("device.pair.approve", json!({ "requestId": read })).unwrap();
        gateway.connect(&Who::of(protocol).device(&first)).unwrap();
        assert_eq!(ask(&last).code(), "PAIRING_REQUIRED", "a place is free again");
        assert!(pending(&mut admin, &last.id).is_some());
    }
}

#[test]
fn devices_paired_by_the_token_leave_slots_to_those_of_the_owner() {
    for protocol in [3, 4] {
        let config = json!({ "pairing": { "capacity": 16 } });
        let gateway = Plan::with(config).start();
        let mut admin = gateway.admin();
        let by_token = || {
            let device = Device::new();
            drop(gateway.connect(&Who::of(protocol).token(TOKEN).device(&device)).unwrap());
            device
        };
        let devices: Vec<Device> = (0..16).map(|_| by_token()).collect();
        let stored = |admin: &mut Session, device: &Device| paired(admin, &device.id).is_some();
        assert!(devices[..15].iter().all(|device| stored(&mut admin, device)));
        assert!(!stored(&mut admin, &devices[15]), "admitted for this connection only");
        let owned = Device::new();
        let who = Who::of(protocol).device(&owned);
        gateway.connect(&who.clone().code(&gateway.code("full"))).unwrap();
        assert!(stored(&mut admin, &owned));
        let refused = gateway
            .connect(&Who::of(protocol).device(&Device::new()).code(&gateway.code("full")))
            .unwrap_err();
        assert_eq!(refused.code(), "TABLE_FULL");
    }
}

#[test]
fn request_under_another_name_gets_another_id() {
    for (protocol, node) in [(3, false), (4, false), (3, true), (4, true)] {
        let gateway = strict();
        let mut admin = gateway.admin();
        let device = Device::new();
        let asking = |name: &str| {
            let who = Who::of(protocol).token(TOKEN).device(&device).name(name);
            let who = if node { who.node() } else { who };
            gateway.connect(&who).unwrap_err().request_id().to_string()
        };
        let read = asking("Garden sensor");
        assert_eq!(asking("Garden\u{ad} sensor \u{3164}"), read, "the same name after cleaning");
        let renamed = asking("Kitchen tablet");
        assert_ne!(renamed, read);
        let failed = admin.call("device.pair.approve", json!({ "requestId": read })).unwrap_err();
        assert_eq!(failed.message(), "unknown requestId");
        let shown = pending(&mut admin, &device.id).unwrap();
        assert_eq!(
            (&shown["requestId"], &shown["displayName"]),
            (&json!(renamed), &json!("Kitchen tablet"))
        );
    }
}

#[test]
fn paired_device_that_asks_for_more_is_shown_with_its_label_and_rights() {
    let gateway = strict();
    let (session, device) = guest(&gateway, 4, "read");
    session.leave();
    let mut admin = gateway.admin();
    let label = json!({ "deviceId": device.id, "label": "Kitchen" });
    admin.call("device.pair.rename", label).unwrap();
    let more = Who::v4().scopes(&["admin"]).device(&device).name("Owner's laptop");
    let _session = gateway.connect(&more).unwrap();
    let list = gateway.plan.good(&["devices", "list"]);
    for part in [
        "already paired, has operator: read, asks for operator: admin",
        "Kitchen (calls itself \"Owner's laptop\")",
    ] {
        assert!(list.contains(part), "{part} is not in:\n{list}");
    }
    gateway.logged(&[
        "is already paired, has operator.read, asks for operator.admin",
        "(\"Kitchen\")",
    ]);
    let said = gateway.plan.good(&["devices", "approve", &device.id[..8]]);
    assert!(said.starts_with(&format!("approved Kitchen ({}", &device.id[..8])), "{said}");
}

#[test]
fn name_that_imitates_a_paired_device_is_marked() {
    let gateway = strict();
    let (session, device) = guest(&gateway, 4, "read");
    session.leave();
    let mut admin = gateway.admin();
    let label = json!({ "deviceId": device.id, "label": "Kitchen Tablet" });
    admin.call("device.pair.rename", label).unwrap();
    for (name, marked) in
        [("Kitchen Tablet", true), ("k\u{456}tchen tabl\u{435}t", true), ("Shed", false)]
    {
        for node in [false, true] {
            let other = Device::new();
            let who = Who::v4().token(TOKEN).device(&other).name(name);
            gateway.connect(&if node { who.node() } else { who }).unwrap_err();
            let expected = json!({ "deviceId": device.id, "name": "Kitchen Tablet" });
            let shown = pending(&mut admin, &other.id).unwrap();
            assert_eq!(shown.get("resembles"), marked.then_some(&expected), "{shown}");
            let nodes = admin.call("node.pair.list", json!({})).unwrap();
            let entry = nodes["pending"]
                .as_array()
                .unwrap()
                .iter()
                .find(|one| one["nodeId"] == other.id.as_str());
            assert_eq!(
                entry.and_then(|one| one.get("resembles")),
                (marked && node).then_some(&expected)
            );
            let list = gateway.plan.good(&["devices", "list"]);
            assert_eq!(
                list.contains("looks like the name of another device: Kitchen Tablet"),
                marked,
                "{list}"
            );
            let request = json!({ "requestId": shown["requestId"] });
            admin.call("device.pair.reject", request).unwrap();
        }
    }
}
