//! Other parts of the relay: approvals between operators, wake words, pending work, host statistics
//! of a node, recipients of events, and the owner's lists of commands.

use std::thread;
use std::time::{Duration, Instant};

use gatelet::gate::limits;
use serde_json::{json, Value};
use support::client::{Device, Session, Who};
use support::gateway::{Gateway, Plan, TOKEN};
use support::runner::{patience, until};

const LINUX: (&str, &str) = ("linux", "Linux");
const BOTH: [u32; 2] = [3, 4];

/// Connects a node and approves its commands.
fn node_on(
    gateway: &Gateway,
    protocol: u32,
    platform: (&'static str, &'static str),
    commands: &[&str],
) -> (Session, Device) {
    let device = Device::new();
    let who =
        Who::of(protocol).offering(platform, commands, &["system"]).name("Shed").device(&device);
    let node = gateway.connect(&who.code(&gateway.code("node"))).unwrap();
    (node, device)
}

fn names(session: &Session) -> Vec<String> {
    session.kept().filter_map(|frame| frame["event"].as_str().map(str::to_string)).collect()
}

/// Returns the names of all events received before the response to a call made now.
fn received_events(session: &mut Session) -> Vec<String> {
    let _ = session.call("health", json!({}));
    let events = names(session);
    session.forget();
    events
}

/// Waits until no approval is pending.
fn nothing_waits(gateway: &Gateway) {
    let mut admin = gateway.admin();
    until(|| admin.status()["approvals"] == 0, || "an approval is still pending".into());
}

#[test]
fn approval_request_is_answered_by_the_decision_of_another_operator() {
    let gateway = Gateway::new();
    for asks in BOTH {
        for decides in BOTH {
            let mut asker = gateway.operator(asks, &["approvals"]);
            let mut decider = gateway.operator(decides, &["approvals"]);
            let mut reader = gateway.operator(decides, &["write", "pairing"]);
            let call = asker
                .start("exec.approval.request", json!({ "command": "ls", "timeoutMs": 60_000 }));
            let asked = decider.event("exec.approval.requested");
            assert_eq!(
                (&asked["request"]["command"], &asked["request"]["cwd"]),
                (&json!("ls"), &Value::Null)
            );
            assert_eq!(asker.event("exec.approval.requested")["id"], asked["id"]);
            assert_eq!(gateway.admin().status()["approvals"], 1);
            let decision = json!({ "id": asked["id"], "decision": "allow-always" });
            let denied = reader.call("exec.approval.resolve", decision.clone()).unwrap_err();
            assert_eq!(denied.message(), "missing scope: operator.approvals");
            assert_eq!(
                decider.call("exec.approval.resolve", decision).unwrap(),
                json!({ "ok": true })
            );
            let answer = asker.answer(&call).unwrap();
            let times = |name: &str| asked[name].clone();
            let expected = json!({ "id": asked["id"], "decision": "allow-always",
                "createdAtMs": times("createdAtMs"), "expiresAtMs": times("expiresAtMs") });
            assert_eq!(answer, expected, "protocol {asks} asks protocol {decides}");
            for session in [&mut asker, &mut decider] {
                let event = session.event("exec.approval.resolved");
                assert_eq!(
                    (&event["id"], &event["decision"]),
                    (&asked["id"], &json!("allow-always"))
                );
                assert_eq!(
                    (&event["resolvedBy"], &event["request"]["command"]),
                    (&json!("cli"), &json!("ls"))
                );
            }
            assert!(
                received_events(&mut reader).iter().all(|name| !name.starts_with("exec.")),
                "only clients with the scope receive it"
            );
            assert_eq!(gateway.admin().status()["approvals"], 0);
        }
    }
}

#[test]
fn undecided_approvals_expire_and_abandoned_ones_are_removed() {
    let gateway = Gateway::new();
    let _decider = gateway.operator(4, &["approvals"]);
    for protocol in BOTH {
        let mut asker = gateway.operator(protocol, &["approvals"]);
        let question = json!({ "command": "ls", "timeoutMs": 40 });
        let answer = asker.call("exec.approval.request", question.clone()).unwrap();
        assert_eq!(answer["decision"], Value::Null);
        nothing_waits(&gateway);
        // disconnected before the timeout and before a decision
        asker.start("exec.approval.request", question);
        asker.start(
            "exec.approval.request",
            json!({ "id": "kept", "command": "ls", "timeoutMs": 60_000 }),
        );
        asker.event("exec.approval.requested");
        asker.event("exec.approval.requested");
        asker.leave();
        let mut admin = gateway.operator(protocol, &["approvals"]);
        admin.call("exec.approval.resolve", json!({ "id": "kept", "decision": "deny" })).unwrap();
        nothing_waits(&gateway);
    }
}

#[test]
fn pending_approval_is_answered_when_the_gateway_stops() {
    for protocol in BOTH {
        let gateway = Gateway::new();
        let mut asker = gateway.operator(protocol, &["approvals"]);
        let mut decider = gateway.operator(protocol, &["approvals"]);
        let call = asker.start("exec.approval.request", json!({ "command": "ls" }));
        decider.event("exec.approval.requested");
        gateway.terminate();
        let failed = asker.answer(&call).unwrap_err();
        assert_eq!(
            (failed.code(), failed.message()),
            ("UNAVAILABLE", "gateway restart in progress")
        );
        assert_eq!(asker.closed(), (1012, "service restart".to_string()));
    }
}

#[test]
fn protocol_4_decision_can_be_awaited_by_several_and_read_afterwards() {
    let gateway = Gateway::new();
    let mut decider = gateway.operator(4, &["approvals"]);
    let mut asker = gateway.operator(4, &["approvals"]);
    let question = json!({ "id": "q", "command": "ls", "timeoutMs": 60_000, "twoPhase": true });
    let call = asker.start("exec.approval.request", question);
    let taken = asker.answer(&call).unwrap();
    assert_eq!(
        (&taken["status"], &taken["deliveryRoute"]),
        (&json!("accepted"), &json!("approval-client"))
    );
    let waits = [json!({ "id": "q" }), json!({ "id": "q" })]
        .map(|id| asker.start("exec.approval.waitDecision", id));
    assert_eq!(decider.call("exec.approval.list", json!({})).unwrap()[0]["id"], "q");
    decider.call("exec.approval.resolve", json!({ "id": "q", "decision": "deny" })).unwrap();
    for call in waits.iter().chain([&call]) {
        assert_eq!(asker.answer(call).unwrap()["decision"], "deny");
    }
    assert_eq!(decider.call("exec.approval.list", json!({})).unwrap(), json!([]));
    assert_eq!(
        decider.call("exec.approval.waitDecision", json!({ "id": "q" })).unwrap()["decision"],
        "deny"
    );
    let other = json!({ "id": "q", "decision": "allow-once" });
    let failed = decider.call("exec.approval.resolve", other).unwrap_err();
    assert_eq!(failed.message(), "approval already resolved");
    assert_eq!(failed.0["details"]["reason"], "APPROVAL_ALREADY_RESOLVED");
}

#[test]
fn protocol_4_approval_without_an_approver_ends_at_once() {
    let gateway = Gateway::new();
    let mut asker = gateway.operator(4, &["approvals"]);
    let mut reader = gateway.operator(4, &["write"]);
    let question = json!({ "command": "ls", "twoPhase": true });
    assert_eq!(asker.call("exec.approval.request", question).unwrap()["decision"], Value::Null);
    assert!(received_events(&mut asker).is_empty() && received_events(&mut reader).is_empty());
    let patient = json!({ "command": "ls", "twoPhase": true, "requireDeliveryRoute": false, "timeoutMs": 60_000 });
    let taken = asker.call("exec.approval.request", patient).unwrap();
    assert_eq!((&taken["status"], &taken["deliveryRoute"]), (&json!("accepted"), &json!("none")));
    let mut late = gateway.operator(3, &["approvals"]);
    late.call("exec.approval.resolve", json!({ "id": taken["id"], "decision": "deny" })).unwrap();
    assert_eq!(asker.event("exec.approval.resolved")["decision"], "deny");
}

#[test]
fn approval_request_shows_the_real_command_without_environment_values() {
    let gateway = Gateway::new();
    let mut decider = gateway.operator(4, &["approvals"]);
    let mut asker = gateway.operator(4, &["approvals"]);
    let plan = json!({ "argv": ["rm", "-r", "x"], "commandText": "rm -r x" });
    let question = json!({ "host": "node", "nodeId": "n", "command": "ls", "systemRunPlan": plan,
        "env": { "KEY": "s3cret", "B": "s3cret" }, "timeoutMs": 60_000, "id": "q" });
    let call = asker.start("exec.approval.request", question);
    let asked = decider.event("exec.approval.requested");
    assert_eq!(
        (&asked["request"]["command"], &asked["request"]["systemRunPlan"]),
        (&json!("rm -r x"), &plan)
    );
    assert_eq!(asked["request"]["envKeys"], json!(["B", "KEY"]));
    assert!(!asked.to_string().contains("s3cret"));
    assert_eq!(
        decider.call("exec.approval.get", json!({ "id": "q" })).unwrap()["commandText"],
        "rm -r x"
    );
    decider.call("exec.approval.resolve", json!({ "id": "q", "decision": "deny" })).unwrap();
    asker.answer(&call).unwrap();
}

#[test]
fn wake_words_are_sent_to_nodes_readers_and_later_connections() {
    let gateway = Gateway::new();
    let mut nodes = BOTH.map(|protocol| node_on(&gateway, protocol, LINUX, &[]).0);
    let mut readers = BOTH.map(|protocol| gateway.operator(protocol, &["read"]));
    let mut other = gateway.operator(4, &["pairing"]);
    let usual = json!({ "triggers": ["openclaw", "claude", "computer"] });
    for node in &mut nodes {
        assert_eq!(node.event("voicewake.changed"), usual);
    }
    let many: Vec<String> = (0..40).map(|n| format!(" {n}{}", "x".repeat(80))).collect();
    for (given, kept) in [
        (json!(["hal", "", " eve ", 7]), json!(["hal", "eve"])),
        (json!(many), many.iter().take(32).map(|word| json!(word.trim()[..64])).collect()),
        (json!([]), usual["triggers"].clone()),
    ] {
        let mut writer = gateway.operator(3, &["write"]);
        let set = writer.call("voicewake.set", json!({ "triggers": given })).unwrap();
        assert_eq!(set, json!({ "triggers": kept }));
        for session in nodes.iter_mut().chain(&mut readers) {
            assert_eq!(session.event("voicewake.changed"), set);
        }
        assert_eq!(readers[1].call("voicewake.get", json!({})).unwrap(), set);
        let mut late = node_on(&gateway, 4, LINUX, &[]).0;
        assert_eq!(late.event("voicewake.changed"), set);
    }
    assert!(!received_events(&mut other).contains(&"voicewake.changed".into()));
}

/// Answers the phone's next request with an error that says it is in the background.
fn asleep(phone: &mut Session, device: &Device) {
    let asked = phone.event("node.invoke.request");
    let error = json!({ "code": "NODE_BACKGROUND_UNAVAILABLE", "message": "not now" });
    let result = json!({ "id": asked["id"], "nodeId": device.id, "ok": false, "error": error });
    phone.call("node.invoke.result", result).unwrap();
}

#[test]
fn background_phone_commands_are_queued_once() {
    let gateway = Gateway::new();
    let iphone = ("iOS 18.1", "iPhone");
    let (mut phone, device) = node_on(&gateway, 4, iphone, &["camera.list", "device.info"]);
    let mut ids = Vec::new();
    for protocol in BOTH {
        let mut writer = gateway.operator(protocol, &["write"]);
        for (key, command) in
            [("one", "camera.list"), ("one", "camera.list"), ("two", "camera.list")]
        {
            let params = json!({ "nodeId": device.id, "command": command, "idempotencyKey": key, "params": { "n": 1 } });
            let call = writer.start("node.invoke", params);
            asleep(&mut phone, &device);
            let failed = writer.answer(&call).unwrap_err();
            assert_eq!((failed.code(), &failed.0["retryable"]), ("UNAVAILABLE", &json!(true)));
            assert_eq!(failed.0["details"]["code"], "QUEUED_UNTIL_FOREGROUND");
            ids.push(failed.0["details"]["queuedActionId"].clone());
        }
        // commands that may run in the background fail with an ordinary error
        let params =
            json!({ "nodeId": device.id, "command": "device.info", "idempotencyKey": "three" });
        if protocol == 4 {
            let call = writer.start("node.invoke", params);
            asleep(&mut phone, &device);
            assert_eq!(
                writer.answer(&call).unwrap_err().0["details"]["queuedActionId"],
                Value::Null
            );
        }
    }
    assert!(
        ids[0] == ids[1] && ids[0] == ids[3] && ids[2] == ids[5] && ids[0] != ids[2],
        "{ids:?}"
    );
    let pulled = phone.call("node.pending.pull", json!({})).unwrap();
    let actions = pulled["actions"].as_array().unwrap();
    assert_eq!((actions.len(), &actions[0]["id"], &actions[1]["id"]), (2, &ids[0], &ids[2]));
    assert_eq!(
        (&actions[0]["command"], &actions[0]["paramsJSON"]),
        (&json!("camera.list"), &json!("{\"n\":1}"))
    );
    assert_eq!(
        phone.call("node.pending.pull", json!({})).unwrap(),
        pulled,
        "until the node acknowledges it"
    );
    let acked = phone.call("node.pending.ack", json!({ "ids": [ids[0]] })).unwrap();
    assert_eq!(acked, json!({ "nodeId": device.id, "ackedIds": [ids[0]], "remainingCount": 1 }));
    assert_eq!(phone.call("node.pending.pull", json!({})).unwrap()["actions"][0]["id"], ids[2]);
    // another node cannot read or acknowledge this work
    let (mut other, _) = node_on(&gateway, 4, iphone, &["camera.list"]);
    assert_eq!(other.call("node.pending.pull", json!({})).unwrap()["actions"], json!([]));
    assert_eq!(
        other.call("node.pending.ack", json!({ "ids": [ids[2]] })).unwrap()["remainingCount"],
        0
    );
    assert_eq!(
        phone.call("node.pending.pull", json!({})).unwrap()["actions"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn commands_are_not_queued_for_protocol_3_phones() {
    let gateway = Gateway::new();
    let (mut phone, device) = node_on(&gateway, 3, ("ios", "iPhone"), &["camera.list"]);
    let mut writer = gateway.operator(4, &["write"]);
    let call = writer.start(
        "node.invoke",
        json!({ "nodeId": device.id, "command": "camera.list", "idempotencyKey": "k" }),
    );
    asleep(&mut phone, &device);
    let failed = writer.answer(&call).unwrap_err();
    assert_eq!(failed.message(), "NODE_BACKGROUND_UNAVAILABLE: not now");
    assert_eq!(failed.0["details"]["queuedActionId"], Value::Null);
}

#[test]
fn pending_work_is_delivered_once_by_priority() {
    let gateway = Gateway::new();
    let (mut node, device) = node_on(&gateway, 4, LINUX, &[]);
    let mut writer = gateway.operator(4, &["write"]);
    let baseline = node.call("node.pending.drain", json!({})).unwrap();
    assert_eq!(
        (&baseline["items"][0]["id"], &baseline["hasMore"]),
        (&json!("baseline-status"), &json!(false))
    );
    let leave = |writer: &mut Session, kind: &str, priority: &str| {
        let params = json!({ "nodeId": device.id, "type": kind, "priority": priority });
        writer.call("node.pending.enqueue", params).unwrap()["queued"].clone()
    };
    let status = leave(&mut writer, "status.request", "normal");
    let place = leave(&mut writer, "location.request", "high");
    assert_eq!(leave(&mut writer, "status.request", "high"), status, "one of each kind");
    let first = node.call("node.pending.drain", json!({ "maxItems": 1 })).unwrap();
    assert_eq!((&first["items"], &first["hasMore"]), (&json!([place]), &json!(true)));
    let rest = node.call("node.pending.drain", json!({})).unwrap();
    assert_eq!((&rest["items"], &rest["hasMore"]), (&json!([status]), &json!(false)));
    let again = node.call("node.pending.drain", json!({})).unwrap();
    assert_eq!(again["items"][0]["id"], "baseline-status");
    assert!(again["revision"].as_u64() > baseline["revision"].as_u64());
    for (params, why) in [
        (
            json!({ "nodeId": device.id, "type": "x" }),
            "at /type: must be equal to one of the allowed values",
        ),
        (
            json!({ "nodeId": device.id, "type": "status.request", "expiresInMs": 1 }),
            "at /expiresInMs: must be >= 1000",
        ),
    ] {
        let failed = writer.call("node.pending.enqueue", params).unwrap_err();
        assert!(failed.message().contains(why), "{}", failed.message());
    }
}

#[test]
fn host_stats_are_in_the_node_list_and_sent_to_protocol_4_readers() {
    let gateway = Gateway::new();
    let (mut node, device) = node_on(&gateway, 4, LINUX, &[]);
    let mut readers = BOTH.map(|protocol| gateway.operator(protocol, &["read"]));
    let mut other = gateway.operator(4, &["pairing"]);
    let stats = json!({ "cpuCount": 4, "memoryTotalBytes": 16, "memoryFreeBytes": 8, "diskTotalBytes": 9,
        "loadAverage": [0.25, 1, 2.5], "secret": "not passed on" });
    let event = json!({ "event": "node.host.stats", "payloadJSON": stats.to_string() });
    let taken = node.call("node.event", event).unwrap();
    assert_eq!(
        taken,
        json!({ "ok": true, "event": "node.host.stats", "handled": true, "reason": "updated" })
    );
    let event = readers[1].event("node.hostStats");
    let mut expected = stats.clone();
    expected.as_object_mut().unwrap().remove("secret");
    expected["updatedAtMs"] = event["hostStats"]["updatedAtMs"].clone();
    assert_eq!(event, json!({ "nodeId": device.id, "hostStats": expected }));
    let row =
        |session: &mut Session| session.call("node.list", json!({})).unwrap()["nodes"][0].clone();
    assert_eq!(row(&mut readers[1])["hostStats"], expected);
    assert_eq!(row(&mut readers[0]).get("hostStats"), None, "protocol 3 has no such field");
    let names =
        [received_events(&mut readers[0]), received_events(&mut other), received_events(&mut node)]
            .concat();
    assert!(!names.contains(&"node.hostStats".into()), "{names:?}");
    for bad in [json!({}), json!({ "cpuCount": 1 }), json!("text"), Value::Null] {
        let event =
            node.call("node.event", json!({ "event": "node.host.stats", "payload": bad })).unwrap();
        assert_eq!(
            (&event["handled"], &event["reason"]),
            (&json!(false), &json!("invalid_payload"))
        );
    }
    assert_eq!(row(&mut readers[1])["hostStats"], expected);
}

#[test]
fn node_has_one_presence_entry_after_reconnects() {
    let gateway = Gateway::new();
    for protocol in BOTH {
        let (first, device) = node_on(&gateway, protocol, LINUX, &[]);
        let who =
            Who::of(protocol).offering(LINUX, &[], &[]).name("Shed").token(TOKEN).device(&device);
        let mut reader = gateway.operator(protocol, &["read"]);
        let here = |reader: &mut Session| {
            let list = reader.call("system-presence", json!({})).unwrap();
            let list = list.as_array().unwrap().clone();
            list.into_iter()
                .filter(|entry| entry["deviceId"] == device.id.as_str())
                .collect::<Vec<_>>()
        };
        let second = gateway.connect(&who).unwrap();
        let entries = here(&mut reader);
        assert_eq!(entries.len(), 1, "{entries:?}");
        let entry = &entries[0];
        assert_eq!((&entry["host"], &entry["mode"]), (&json!("Shed"), &json!("node")));
        assert_eq!((&entry["roles"], &entry["scopes"]), (&json!(["node"]), &json!([])));
        // the end of the old connection is not the end of the node
        first.leave();
        assert_eq!(here(&mut reader), entries);
        second.leave();
        let begun = Instant::now();
        while !here(&mut reader).is_empty() {
            assert!(begun.elapsed() < patience());
        }
    }
}

#[test]
fn events_are_filtered_by_role_and_scope_without_sequence_gaps() {
    let gateway = Gateway::new();
    let mut nodes = BOTH.map(|protocol| node_on(&gateway, protocol, LINUX, &[]).0);
    let mut poor = gateway.operator(4, &["talk"]);
    let mut admin = gateway.admin();
    let rounds = 4;
    for round in 0..rounds {
        let page = Who::v4().page().token(TOKEN).device(&Device::new());
        drop(gateway.dial().page("127.0.0.1").connect(&page).unwrap());
        let list = admin.call("device.pair.list", json!({})).unwrap();
        let id = list["paired"][0]["deviceId"].clone();
        admin.call("device.pair.rename", json!({ "deviceId": id, "label": "x" })).unwrap();
        admin.call("voicewake.set", json!({ "triggers": [format!("word {round}")] })).unwrap();
        let (node, _) = node_on(&gateway, 4, LINUX, &["system.which"]);
        drop(node);
        // the next wake words are sent at once again
        thread::sleep(Duration::from_millis(limits::NODE_STATE_MS + 50));
    }
    admin.call("voicewake.set", json!({ "triggers": ["last"] })).unwrap();
    // reading fails on a gap in the sequence numbers
    let [three, four] = nodes.each_mut().map(received_events);
    let words =
        |events: &[String]| events.iter().filter(|name| *name == "voicewake.changed").count();
    assert_eq!((words(&three), words(&four)), (rounds + 2, rounds + 2));
    assert!(four.iter().all(|name| name == "voicewake.changed"), "a node of protocol 4: {four:?}");
    let everybodys = ["voicewake.changed", "presence"];
    assert!(
        three.iter().all(|name| everybodys.contains(&name.as_str())),
        "a node of protocol 3: {three:?}"
    );
    assert!(received_events(&mut poor).is_empty());
    assert!(received_events(&mut admin).len() > 3 * rounds);
}

#[test]
fn command_lists_of_the_owner_work_under_both_key_names() {
    let offered = ["camera.snap", "system.notify", "system.which", "my.command"];
    for lists in [
        json!({ "commands": { "allow": ["camera.snap", " my.command "], "deny": ["system.notify"] } }),
        json!({ "allowCommands": ["camera.snap", " my.command "], "denyCommands": ["system.notify"] }),
        json!({ "commands": { "allow": ["camera.snap"], "deny": ["system.notify"] }, "allowCommands": ["my.command"] }),
    ] {
        let gateway = Plan::with(json!({ "nodes": lists })).start();
        for protocol in BOTH {
            let (mut node, device) = node_on(&gateway, protocol, LINUX, &offered);
            for asks in BOTH {
                let mut writer = gateway.operator(asks, &["write"]);
                let row = writer.call("node.describe", json!({ "nodeId": device.id })).unwrap();
                assert_eq!(
                    row["commands"],
                    json!(["camera.snap", "my.command", "system.which"]),
                    "{lists}"
                );
                let params = |command: &str| json!({ "nodeId": device.id, "command": command, "idempotencyKey": "k" });
                let call = writer.start("node.invoke", params("camera.snap"));
                let asked = node.event("node.invoke.request");
                let result = json!({ "id": asked["id"], "nodeId": device.id, "ok": true });
                node.call("node.invoke.result", result).unwrap();
                writer.answer(&call).unwrap();
                let failed = writer.call("node.invoke", params("system.notify")).unwrap_err();
                assert_eq!(failed.0["details"]["reason"], "command not allowlisted");
                let message = failed.message();
                assert!(
                    message.starts_with("node command not allowed")
                        && (asks == 4) == message.contains(':'),
                    "{message}"
                );
            }
        }
    }
}
