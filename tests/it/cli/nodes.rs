//! `gatelet nodes ...` as a process, with a gateway and nodes of both protocols, and without a
//! gateway.

use std::thread;

use serde_json::{json, Value};
use support::client::{Device, Session, Who};
use support::gateway::{Gateway, Plan, TOKEN};

const LINUX: (&str, &str) = ("linux", "Linux");

fn node(gateway: &Gateway, protocol: u32, device: &Device, commands: &[&str]) -> Session {
    let who = Who::of(protocol).offering(LINUX, commands, &["system"]).name("Shed");
    gateway.connect(&who.token(TOKEN).device(device)).unwrap()
}

fn line<'t>(text: &'t str, part: &str) -> &'t str {
    text.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part} in\n{text}"))
}

/// Returns the short request id in a list of nodes, as a user types it.
fn request(text: &str) -> String {
    text.split("gatelet nodes approve ")
        .nth(1)
        .unwrap_or_else(|| panic!("nothing is pending in\n{text}"))[..8]
        .to_string()
}

#[test]
fn nodes_are_listed_approved_invoked_renamed_and_removed() {
    for protocol in [3, 4] {
        let gateway = Gateway::new();
        let plan = &gateway.plan;
        assert!(plan.good(&["nodes"]).contains("there is no node; `gatelet pair --role node`"));
        let device = Device::new();
        let mut shed =
            node(&gateway, protocol, &device, &["system.run", "system.which", "system.notify"]);
        let list = plan.good(&["nodes"]);
        let row = line(&list, "Shed");
        for part in [&device.id[..12], "linux", "connected", "3 commands: gatelet nodes approve "] {
            assert!(row.contains(part), "no {part} in {row}");
        }
        assert_eq!(request(&plan.good(&["nodes", "pending"])), request(row));
        let (code, said) = plan.run(&["nodes", "invoke", "shed", "system.which"]);
        assert!(code == 3 && said.contains("waits for approval"), "{code} {said}");

        let approved = plan.good(&["nodes", "approve", &request(row)]);
        assert!(approved.starts_with("approved Shed ("), "{approved}");
        assert!(
            line(&approved, "system.run ")
                .contains("runs the programs that the node's own list allows"),
            "{approved}"
        );
        assert_eq!(line(&approved, "system.notify").trim(), "system.notify");
        let list = plan.good(&["nodes", "list"]);
        assert!(line(&list, "Shed").contains("3 commands  -"), "{list}");
        let (code, said) = plan.run(&["nodes", "approve", "Shed"]);
        assert!(code == 1 && said.contains("has no pending request"), "{said}");
        assert!(plan.good(&["nodes", "pending"]).starts_with("no node is waiting for approval"));
        let (code, said) = plan.run(&["nodes", "approve", "--latest"]);
        assert!(code == 1 && said.contains("no node is waiting for approval"), "{said}");

        let id = device.id.clone();
        let answering = thread::spawn(move || {
            let asked = shed.event("node.invoke.request");
            let result = json!({ "id": asked["id"], "nodeId": id, "ok": true, "payloadJSON": r#"{"bins":{"sh":"/bin/sh"}}"# });
            shed.call("node.invoke.result", result).unwrap();
            (shed, asked)
        });
        let answer = plan.good(&[
            "nodes",
            "invoke",
            &device.id[..8],
            "system.which",
            r#"{"bins":["sh"]}"#,
            "--timeout",
            "20",
        ]);
        assert_eq!(
            serde_json::from_str::<Value>(&answer).unwrap(),
            json!({ "bins": { "sh": "/bin/sh" } })
        );
        let (mut shed, asked) = answering.join().unwrap();
        assert_eq!(
            (&asked["paramsJSON"], &asked["timeoutMs"]),
            (&json!(r#"{"bins":["sh"]}"#), &json!(20_000))
        );
        assert_eq!(asked["idempotencyKey"].as_str().unwrap().len(), 32);
        let (code, said) = plan.run(&["nodes", "invoke", "Shed", "system.which", "--timeout", "1"]);
        assert!(code == 3 && said.contains("node invoke timed out"), "{said}");
        let (code, said) = plan.run(&["nodes", "invoke", "Shed", "system.which", "{"]);
        assert!(code == 2 && said.contains("the parameters are not JSON"), "{said}");

        plan.good(&["nodes", "rename", "Shed", "Old shed"]);
        let about = plan.good(&["nodes", "describe", "old shed"]);
        for part in [
            &device.id,
            "Old shed",
            "linux, Linux",
            "connected",
            "system.notify, system.run, system.which",
            "system\n",
        ] {
            assert!(about.contains(part), "no {part} in\n{about}");
        }
        let (code, said) = plan.run(&["nodes", "describe", "nobody"]);
        assert!(
            code == 1 && said.contains("there is no node `nobody`; see `gatelet nodes`"),
            "{said}"
        );
        let removed = plan.good(&["nodes", "remove", "Old shed"]);
        assert!(removed.starts_with("removed Old shed ("), "{removed}");
        assert_eq!(shed.closed(), (4001, "device removed".to_string()));
        assert!(plan.good(&["nodes"]).contains("there is no node"));
    }
}

#[test]
fn one_approval_admits_a_node_with_its_commands_and_rejection_does_not() {
    let gateway = Plan::with(json!({ "pairing": { "mode": "strict" } })).start();
    let plan = &gateway.plan;
    let (kept, rejected) = (Device::new(), Device::new());
    let who = |device: &Device, name: &str| {
        Who::v4().offering(LINUX, &["system.which"], &[]).name(name).token(TOKEN).device(device)
    };
    gateway.connect(&who(&kept, "Kept")).unwrap_err();
    gateway.connect(&who(&rejected, "Rejected")).unwrap_err();
    let list = plan.good(&["nodes"]);
    assert!(
        line(&list, "Kept").contains("requested just now") && list.contains("Rejected"),
        "{list}"
    );
    let json: Value = serde_json::from_str(&plan.good(&["nodes", "--json"])).unwrap();
    assert_eq!(
        (json["nodes"].as_array().unwrap().len(), json["pending"].as_array().unwrap().len()),
        (0, 2)
    );
    assert!(plan.good(&["nodes", "reject", "rejected"]).contains("it can send a new request"));
    let approved: Value =
        serde_json::from_str(&plan.good(&["nodes", "approve", "kept", "--json"])).unwrap();
    assert_eq!(approved["node"]["commands"], json!(["system.which"]));
    let _here = gateway.connect(&who(&kept, "Kept")).unwrap();
    assert!(line(&plan.good(&["nodes"]), "Kept").contains("connected  1 command"));
    assert_eq!(
        gateway.connect(&who(&rejected, "Rejected")).unwrap_err().code(),
        "PAIRING_REQUIRED"
    );
}

#[test]
fn without_a_gateway_nodes_are_listed_renamed_and_removed_only() {
    let gateway = Gateway::new();
    let (device, other) = (Device::new(), Device::new());
    let here = node(&gateway, 4, &device, &["system.which"]);
    gateway.plan.good(&["nodes", "approve", "--latest"]);
    here.leave();
    let about = gateway.plan.good(&["nodes", "describe", "shed"]);
    assert!(
        about.contains("seen just now") && about.contains("approved  system.which\n"),
        "{about}"
    );
    gateway.connect(&Who::v4().token(TOKEN).device(&other).name("Laptop")).unwrap().leave();
    // the same device as an operator
    gateway.connect(&Who::v4().token(TOKEN).device(&device).name("Shed")).unwrap().leave();
    let plan = gateway.stop();
    let list = plan.good(&["nodes"]);
    let row = line(&list, "Shed");
    assert!(row.contains("linux") && row.contains("seen just now  1 command  -"), "{row}");
    assert!(!list.contains("Laptop"), "{list}");
    plan.good(&["nodes", "rename", "shed", "Barn"]);
    for args in [
        &["nodes", "approve", "--latest"][..],
        &["nodes", "pending"],
        &["nodes", "describe", "barn"],
        &["nodes", "invoke", "barn", "x"],
    ] {
        let (code, said) = plan.run(args);
        assert!(
            code == 4 && said.contains("no gateway is running on this state directory"),
            "{args:?}: {code} {said}"
        );
    }
    let removed: Value =
        serde_json::from_str(&plan.good(&["nodes", "remove", "Barn", "--json"])).unwrap();
    assert_eq!(removed, json!({ "nodeId": device.id }));
    assert!(plan.good(&["nodes"]).contains("there is no node"));
    let devices = plan.good(&["devices"]);
    assert!(
        line(&devices, "Barn").contains("operator: admin"),
        "the operator role stays: {devices}"
    );
}
