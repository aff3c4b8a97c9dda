//! Invokes between operators and nodes over real sockets, in both protocols and across them.

use serde_json::{json, Value};
use support::client::{Device, Failed, Session, Who};
use support::gateway::{Gateway, Plan, TOKEN};
use support::runner::until;

use crate::owner::owner;

const LINUX: (&str, &str) = ("linux", "Linux");
const COMMANDS: [&str; 3] = ["system.run", "system.which", "camera.snap"];

/// Connects a node of this protocol with its device, admitted by the token.
pub fn node(gateway: &Gateway, protocol: u32, device: &Device) -> Session {
    let who = Who::of(protocol).offering(LINUX, &COMMANDS, &["system"]).name("Shed");
    gateway.connect(&who.token(TOKEN).device(device)).unwrap()
}

pub fn operator(gateway: &Gateway, protocol: u32, scopes: &[&str]) -> Session {
    gateway.connect(&Who::of(protocol).token(TOKEN).device(&Device::new()).scopes(scopes)).unwrap()
}

/// Approves the pending request of a node.
pub fn approve(gateway: &Gateway, device: &Device) {
    let mut admin = owner(gateway);
    let waits = admin.call("node.pair.list", json!({})).unwrap()["pending"].clone();
    let request = waits.as_array().unwrap().iter().find(|one| one["nodeId"] == device.id.as_str());
    let id = request.unwrap_or_else(|| panic!("{waits}"))["requestId"].clone();
    admin.call("node.pair.approve", json!({ "requestId": id })).unwrap();
}

pub fn invoke(device: &Device, command: &str, params: Value) -> Value {
    json!({ "nodeId": device.id, "command": command, "params": params, "idempotencyKey": "key-1" })
}

/// Answers the next request of a node with this payload as text.
pub fn answer(node: &mut Session, device: &Device, payload: &str) -> Value {
    let asked = node.event("node.invoke.request");
    let result =
        json!({ "id": asked["id"], "nodeId": device.id, "ok": true, "payloadJSON": payload });
    assert_eq!(node.call("node.invoke.result", result).unwrap(), json!({ "ok": true }));
    asked
}

fn row(admin: &mut Session, device: &Device) -> Value {
    admin.call("node.describe", json!({ "nodeId": device.id })).unwrap()
}

#[test]
fn invokes_work_within_and_across_protocols() {
    let gateway = Gateway::new();
    let mut met = 0;
    for node_protocol in [3, 4] {
        let device = Device::new();
        let mut node = node(&gateway, node_protocol, &device);
        approve(&gateway, &device);
        for protocol in [3, 4] {
            let mut operator = operator(&gateway, protocol, &["write"]);
            let params = json!({ "bins": ["sh"], "text": "a\"b\\\u{e9}\n" });
            let call =
                operator.start("node.invoke", invoke(&device, "system.which", params.clone()));
            let asked =
                answer(&mut node, &device, r#"{"bins":{"sh":"/bin/sh"},"odd":"\"\\\u00e9"}"#);
            assert_eq!(asked["nodeId"], device.id.as_str());
            assert_eq!(
                (&asked["command"], &asked["idempotencyKey"]),
                (&json!("system.which"), &json!("key-1"))
            );
            let sent: Value = serde_json::from_str(asked["paramsJSON"].as_str().unwrap()).unwrap();
            assert_eq!(sent, params);
            let got = operator.answer(&call).unwrap();
            let expected = json!({ "ok": true, "nodeId": device.id, "command": "system.which",
                "payload": { "bins": { "sh": "/bin/sh" }, "odd": "\"\\\u{e9}" },
                "payloadJSON": r#"{"bins":{"sh":"/bin/sh"},"odd":"\"\\\u00e9"}"# });
            assert_eq!(got, expected, "protocol {protocol} to protocol {node_protocol}");
            met += 1;
        }
        // a command without parameters
        let mut operator = operator(&gateway, 4, &["write"]);
        let params =
            json!({ "nodeId": device.id, "command": "system.which", "idempotencyKey": "k" });
        let call = operator.start("node.invoke", params);
        let asked = answer(&mut node, &device, "no json");
        assert_eq!(asked.get("paramsJSON"), (node_protocol == 3).then_some(&Value::Null));
        let got = operator.answer(&call).unwrap();
        assert_eq!(
            (&got["payload"], &got["payloadJSON"]),
            (&json!({ "payloadJSON": "no json" }), &json!("no json"))
        );
    }
    assert_eq!(met, 4);
}

#[test]
fn node_commands_need_approval_and_additional_ones_keep_approved_ones() {
    let gateway = Gateway::new();
    for protocol in [3, 4] {
        let device = Device::new();
        let mut first = node(&gateway, protocol, &device);
        let mut admin = gateway.admin();
        let waiting = row(&mut admin, &device);
        assert_eq!((&waiting["commands"], &waiting["caps"]), (&json!([]), &json!([])));
        assert_eq!(waiting["approvalState"], "pending-approval");
        assert_eq!(waiting["connected"], true);
        let failed =
            admin.call("node.invoke", invoke(&device, "system.which", json!({}))).unwrap_err();
        assert!(failed.message().contains("waits for approval"), "{}", failed.message());
        // camera.snap requires the owner's list in protocol 4, and another platform in protocol 3
        assert_eq!(waiting["pendingDeclaredCommands"], json!(["system.run", "system.which"]));
        approve(&gateway, &device);
        let approved = row(&mut admin, &device);
        assert_eq!(approved["commands"], json!(["system.run", "system.which"]));
        assert_eq!(
            (&approved["caps"], &approved["approvalState"]),
            (&json!(["system"]), &json!("approved"))
        );
        if protocol == 4 {
            assert_eq!(first.event("node.pair.resolved")["decision"], "approved");
        }
        first.leave();
        assert_eq!(row(&mut admin, &device)["connected"], false);
        let more = Who::of(protocol).offering(
            LINUX,
            &["system.run", "system.which", "system.notify"],
            &["system", "talk"],
        );
        let wider = gateway.connect(&more.token(TOKEN).device(&device)).unwrap();
        let now = row(&mut admin, &device);
        assert_eq!(
            now["commands"],
            json!(["system.run", "system.which"]),
            "approved commands stay approved"
        );
        assert_eq!(now["approvalState"], "pending-reapproval");
        approve(&gateway, &device);
        assert_eq!(
            row(&mut admin, &device)["commands"],
            json!(["system.notify", "system.run", "system.which"])
        );
        drop(wider);
    }
}

#[test]
fn approval_survives_a_restart_and_ends_with_removal() {
    let gateway = Gateway::new();
    let device = Device::new();
    drop(node(&gateway, 4, &device));
    let held = node(&gateway, 4, &device);
    approve(&gateway, &device);
    drop(held);
    let gateway = gateway.stop().start();
    let mut again = node(&gateway, 4, &device);
    let mut admin = gateway.admin();
    assert_eq!(row(&mut admin, &device)["commands"], json!(["system.run", "system.which"]));
    assert_eq!(admin.call("node.pair.list", json!({})).unwrap()["pending"], json!([]));
    assert_eq!(
        admin.call("node.pair.remove", json!({ "nodeId": device.id })).unwrap(),
        json!({ "nodeId": device.id })
    );
    assert_eq!(again.closed(), (4001, "device removed".to_string()));
    // the event is sent first, the connection ends a moment later
    until(
        || {
            admin
                .call("node.describe", json!({ "nodeId": device.id }))
                .is_err_and(|it| it.message() == "unknown nodeId")
        },
        || "the node is still described".into(),
    );
    let anew = node(&gateway, 4, &device);
    assert_eq!(row(&mut admin, &device)["commands"], json!([]));
    drop(anew);
}

#[test]
fn one_approval_admits_a_pending_node_with_its_commands() {
    let gateway = Plan::with(json!({ "pairing": { "mode": "strict" } })).start();
    let device = Device::new();
    let who = Who::v4().offering(LINUX, &COMMANDS, &["system"]).token(TOKEN).device(&device);
    let refused = gateway.connect(&who).unwrap_err();
    assert_eq!(refused.code(), "PAIRING_REQUIRED");
    approve(&gateway, &device);
    let node = gateway.connect(&who).unwrap();
    let mut admin = gateway.admin();
    assert_eq!(row(&mut admin, &device)["commands"], json!(["system.run", "system.which"]));
    assert_eq!(admin.call("node.pair.list", json!({})).unwrap()["pending"], json!([]));
    drop(node);
}

#[test]
fn node_setup_code_approves_the_offered_commands() {
    let gateway = Gateway::new();
    let device = Device::new();
    let who = Who::v4()
        .offering(LINUX, &COMMANDS, &["system"])
        .code(&gateway.code("node"))
        .device(&device);
    let _node = gateway.connect(&who).unwrap();
    assert_eq!(
        row(&mut gateway.admin(), &device)["commands"],
        json!(["system.run", "system.which"])
    );
}

/// Returns code, message and details of a failed invoke, with `{id}` for the node's id.
fn failed(failed: Failed, device: &Device) -> (String, String, Value) {
    let details = failed.0["details"].to_string().replace(&device.id, "{id}");
    (
        failed.code().to_string(),
        failed.message().to_string(),
        serde_json::from_str(&details).unwrap(),
    )
}

#[test]
fn invoke_failures_have_the_format_of_each_protocol() {
    let gateway = Gateway::new();
    let (device, unknown) = (Device::new(), Device::new());
    let mut node = node(&gateway, 4, &device);
    approve(&gateway, &device);
    for protocol in [3, 4] {
        let v4 = protocol == 4;
        let mut operator = operator(&gateway, protocol, &["write"]);
        let mut ask =
            |params: Value| failed(operator.call("node.invoke", params).unwrap_err(), &device);
        let error = json!({ "code": "NOT_CONNECTED", "message": "node not connected" });
        let (code, message, details) = ask(invoke(&unknown, "system.which", json!({})));
        assert_eq!((code.as_str(), message.as_str()), ("UNAVAILABLE", "node not connected"));
        let expected =
            json!({ "code": "NOT_CONNECTED", "nodeError": error, "nodeCommandDispatched": false });
        assert_eq!(details, if v4 { expected } else { json!({ "code": "NOT_CONNECTED" }) });
        for (command, reason, why) in [
            (
                "sms.send",
                "command not allowlisted",
                "\"sms.send\" requires explicit gateway.nodes.commands.allow opt-in",
            ),
            (
                "made.up",
                "command not allowlisted",
                "\"made.up\" is not in the allowlist for platform \"linux\"",
            ),
            (
                "system.notify",
                "command not declared by node",
                "the node (platform: linux) does not support \"system.notify\"",
            ),
        ] {
            let (code, message, details) = ask(invoke(&device, command, json!({})));
            let expected = if v4 {
                format!("node command not allowed: {why}")
            } else {
                "node command not allowed".into()
            };
            assert_eq!((code.as_str(), message), ("INVALID_REQUEST", expected));
            assert_eq!(details, json!({ "reason": reason, "command": command }));
        }
        let (code, message, _) = ask(json!({ "nodeId": device.id, "command": "system.which" }));
        assert_eq!(code, "INVALID_REQUEST");
        assert_eq!(
            message,
            "invalid node.invoke params: must have required property 'idempotencyKey'"
        );
        let (_, message, _) = ask(json!({ "nodeId": " ", "command": "x", "idempotencyKey": "k" }));
        assert_eq!(message, "nodeId and command required");
        // the node returns an error
        let call = operator.start("node.invoke", invoke(&device, "system.which", json!({})));
        let asked = node.event("node.invoke.request");
        let error = json!({ "code": "BROKEN", "message": "it is broken" });
        let result = json!({ "id": asked["id"], "nodeId": device.id, "ok": false, "error": error });
        node.call("node.invoke.result", result.clone()).unwrap();
        let (code, message, details) = failed(operator.answer(&call).unwrap_err(), &device);
        assert_eq!(
            (code.as_str(), message.as_str()),
            ("UNAVAILABLE", if v4 { "BROKEN: it is broken" } else { "it is broken" })
        );
        let expected = json!({ "nodeError": error, "nodeCommandDispatched": true });
        assert_eq!(details, if v4 { expected } else { json!({ "nodeError": error }) });
        // a second result is ignored, a result of another node is rejected
        assert_eq!(
            node.call("node.invoke.result", result).unwrap(),
            json!({ "ok": true, "ignored": true })
        );
        let other = json!({ "id": asked["id"], "nodeId": unknown.id, "ok": true });
        assert_eq!(
            node.call("node.invoke.result", other).unwrap_err().message(),
            "nodeId mismatch"
        );
        // the invoke times out
        let mut params = invoke(&device, "system.which", json!({}));
        params["timeoutMs"] = json!(60);
        let (code, message, details) =
            failed(operator.call("node.invoke", params).unwrap_err(), &device);
        let expected = if v4 { "TIMEOUT: node invoke timed out" } else { "node invoke timed out" };
        assert_eq!((code.as_str(), message.as_str()), ("UNAVAILABLE", expected));
        assert_eq!(details["nodeError"]["code"], "TIMEOUT");
        let late = node.event("node.invoke.request");
        assert_eq!(late["timeoutMs"], 60);
        assert_eq!(node.event("node.invoke.cancel")["invokeId"], late["id"]);
        let result = json!({ "id": late["id"], "nodeId": device.id, "ok": true });
        assert_eq!(node.call("node.invoke.result", result).unwrap()["ignored"], true);
    }
    // the node disconnects
    let mut operators = [3, 4].map(|protocol| operator(&gateway, protocol, &["write"]));
    let calls: Vec<String> = operators
        .iter_mut()
        .map(|operator| operator.start("node.invoke", invoke(&device, "system.which", json!({}))))
        .collect();
    (0..2).for_each(|_| drop(node.event("node.invoke.request")));
    drop(node);
    let said = [
        "Error: node disconnected (system.which)",
        "DISCONNECTED: node disconnected (system.which)",
    ];
    for ((operator, call), said) in operators.iter_mut().zip(calls).zip(said) {
        let (code, message, details) = failed(operator.answer(&call).unwrap_err(), &device);
        assert_eq!((code.as_str(), message.as_str()), ("UNAVAILABLE", said));
        assert_eq!(details["nodeError"]["code"], "DISCONNECTED");
    }
}

#[test]
fn only_approvers_can_mark_a_command_as_approved() {
    let gateway = Gateway::new();
    let device = Device::new();
    let mut node = node(&gateway, 3, &device);
    approve(&gateway, &device);
    let marks = [
        json!({ "approved": true }),
        json!({ "approvalDecision": "allow-once" }),
        json!({ "approvalSource": "ask-fallback" }),
    ];
    let filling: String = (0..70).map(|at| format!("\"f{at}\":0,")).collect();
    let hidden: Value = serde_json::from_str(&format!("{{{filling}\"approved\":true}}")).unwrap();
    for protocol in [3, 4] {
        let mut writer = operator(&gateway, protocol, &["write"]);
        for mark in marks.iter().chain([&hidden]) {
            let failed = writer
                .call("node.invoke", invoke(&device, "system.run", mark.clone()))
                .unwrap_err();
            assert_eq!(failed.0["details"]["code"], "APPROVAL_REQUIRED", "{mark}");
        }
        let mut trusted = operator(&gateway, protocol, &["write", "approvals"]);
        let call = trusted.start("node.invoke", invoke(&device, "system.run", marks[0].clone()));
        assert_eq!(answer(&mut node, &device, "{}")["paramsJSON"], r#"{"approved":true}"#);
        trusted.answer(&call).unwrap();
        let call = writer
            .start("node.invoke", invoke(&device, "system.run", json!({ "approved": false })));
        answer(&mut node, &device, "{}");
        writer.answer(&call).unwrap();
    }
}

#[test]
fn reconnecting_node_replaces_its_connection_without_losing_requests() {
    let gateway = Gateway::new();
    let device = Device::new();
    let mut old = node(&gateway, 4, &device);
    approve(&gateway, &device);
    let mut operator = operator(&gateway, 4, &["write"]);
    let first = operator.start("node.invoke", invoke(&device, "system.which", json!({ "n": 1 })));
    let asked = old.event("node.invoke.request");
    let mut new = node(&gateway, 4, &device);
    let second = operator.start("node.invoke", invoke(&device, "system.which", json!({ "n": 2 })));
    // a result for a request of the old connection may arrive on the new one
    let result = json!({ "id": asked["id"], "nodeId": device.id, "ok": true, "payload": 1 });
    assert_eq!(new.call("node.invoke.result", result).unwrap(), json!({ "ok": true }));
    assert_eq!(operator.answer(&first).unwrap()["payload"], 1);
    drop(old);
    let mut admin = gateway.admin();
    let rows = admin.call("node.list", json!({})).unwrap()["nodes"].clone();
    assert_eq!(
        (rows.as_array().unwrap().len(), &rows[0]["connected"]),
        (1, &json!(true)),
        "{rows}"
    );
    answer(&mut new, &device, "2");
    assert_eq!(operator.answer(&second).unwrap()["payload"], 2);
}

#[test]
fn large_payloads_are_relayed_unchanged() {
    let gateway = Gateway::new();
    let device = Device::new();
    let mut node = node(&gateway, 4, &device);
    approve(&gateway, &device);
    let mut operator = operator(&gateway, 4, &["write"]);
    let text = "0123456789\"\\\u{e9}".repeat(600_000);
    let call =
        operator.start("node.invoke", invoke(&device, "system.which", json!({ "text": text })));
    let asked = node.event("node.invoke.request");
    let sent: Value = serde_json::from_str(asked["paramsJSON"].as_str().unwrap()).unwrap();
    assert_eq!(sent["text"], text.as_str());
    let held = json!({ "text": text }).to_string();
    let result = json!({ "id": asked["id"], "nodeId": device.id, "ok": true, "payloadJSON": held });
    node.call("node.invoke.result", result).unwrap();
    let got = operator.answer(&call).unwrap();
    assert_eq!((&got["payload"]["text"], &got["payloadJSON"]), (&json!(text), &json!(held)));
}
