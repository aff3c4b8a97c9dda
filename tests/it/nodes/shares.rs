//! Shares of what clients use together: one device, on any number of connections, leaves calls,
//! approvals, items and codes to others, and what it asked for ends with it.

use gatelet::gate::limits;
use serde_json::json;
use support::client::{Device, Session, Who};
use support::gateway::{Gateway, TOKEN};
use support::runner::until;

use crate::nodes::invoke::{answer, approve, invoke, node};

/// Connections of one device, in both protocols.
fn crowd(gateway: &Gateway, device: &Device, scopes: &[&str]) -> Vec<Session> {
    let who = |protocol| Who::of(protocol).token(TOKEN).device(device).scopes(scopes);
    [4, 3, 4, 3].map(|protocol| gateway.connect(&who(protocol)).unwrap()).into()
}

/// Asserts that of these calls, which are answered only if they are refused, exactly `most` wait,
/// and returns `retryAfterMs` of the last refusal.
fn refused_beyond(sessions: &mut [Session], calls: &[String], most: usize) -> Option<u64> {
    let (mut refused, mut retry) = (0, None);
    let each = calls.len() / sessions.len();
    for (session, calls) in sessions.iter_mut().zip(calls.chunks(each)) {
        // this call is answered after all that were refused
        session.call("health", json!({})).unwrap();
        for call in calls {
            let Some(frame) = session.kept().find(|frame| frame["id"] == call.as_str()) else {
                continue;
            };
            let error = &frame["error"];
            let message = error["message"].as_str().unwrap();
            assert_eq!(
                (&error["code"], &error["retryable"]),
                (&json!("UNAVAILABLE"), &json!(true))
            );
            assert!(message.contains("share") && message.contains("retry"), "{message}");
            (refused, retry) = (refused + 1, error["retryAfterMs"].as_u64());
        }
    }
    assert_eq!(calls.len() - refused, most);
    retry
}

#[test]
fn calls_of_one_device_leave_calls_to_others_and_end_with_its_connections() {
    let gateway = Gateway::new();
    for protocol in [3, 4] {
        let device = Device::new();
        let mut node = node(&gateway, protocol, &device);
        approve(&gateway, &device);
        let mut admin = gateway.admin();
        let mut attackers = crowd(&gateway, &Device::new(), &["read", "write"]);
        let long = |key: usize| {
            json!({ "nodeId": device.id, "command": "system.which", "params": {},
                "timeoutMs": 86_400_000, "idempotencyKey": format!("{key}") })
        };
        let mut calls = Vec::new();
        for session in &mut attackers {
            calls.extend((0..100).map(|key| session.start("node.invoke", long(key))));
        }
        refused_beyond(&mut attackers, &calls, limits::INVOKES_OF_ONE);
        assert_eq!(admin.status()["invokes"], limits::INVOKES_OF_ONE);
        let first = node.event("node.invoke.request");
        assert_eq!(first["timeoutMs"], limits::INVOKE_MS_MAX, "a day is cut to an hour");
        let call = admin.start("node.invoke", invoke(&device, "system.which", json!({})));
        for _ in 1..limits::INVOKES_OF_ONE {
            node.event("node.invoke.request");
        }
        answer(&mut node, &device, "{}");
        admin.answer(&call).unwrap();
        drop(attackers);
        until(|| admin.status()["invokes"] == 0, || "calls outlive their callers".into());
    }
}

#[test]
fn approvals_of_one_device_leave_approvals_to_others() {
    let gateway = Gateway::new();
    for protocol in [3, 4] {
        let (mine, more) = (format!("mine {protocol}"), format!("more {protocol}"));
        let mut decider = gateway.operator(4, &["approvals"]);
        let mut attackers = crowd(&gateway, &Device::new(), &["read", "approvals"]);
        let question = || json!({ "command": "ls", "timeoutMs": 86_400_000 });
        let mut calls = Vec::new();
        for session in &mut attackers {
            calls.extend((0..5).map(|_| session.start("exec.approval.request", question())));
        }
        let retry = refused_beyond(&mut attackers, &calls, limits::EXEC_APPROVALS_OF_ONE);
        let max = limits::EXEC_APPROVAL_MS_MAX;
        assert!(retry.is_some_and(|ms| ms > max - 60_000 && ms <= max), "{retry:?}");
        let theirs = decider.event("exec.approval.requested");
        let [created, expires] = ["createdAtMs", "expiresAtMs"].map(|at| theirs[at].as_u64());
        assert_eq!(expires, created.map(|at| at + max), "a day is cut to an hour");
        let who = Who::of(protocol).token(TOKEN).device(&Device::new()).scopes(&["approvals"]);
        let mut other = gateway.connect(&who).unwrap();
        let call = other.start("exec.approval.request", json!({ "id": mine, "command": "ls" }));
        until(
            || decider.event("exec.approval.requested")["id"] == mine,
            || "the request of another device is not shown".into(),
        );
        // decided approvals do not count
        for (decision, id) in [("deny", &theirs["id"]), ("allow-once", &json!(mine))] {
            let decision = json!({ "id": id, "decision": decision });
            decider.call("exec.approval.resolve", decision).unwrap();
        }
        assert_eq!(other.answer(&call).unwrap()["decision"], "allow-once");
        attackers[3].start("exec.approval.request", json!({ "id": more, "command": "ls" }));
        until(
            || decider.event("exec.approval.requested")["id"] == more,
            || "a decided approval still counts".into(),
        );
        let left = decider.call("exec.approval.list", json!({})).unwrap();
        for one in left.as_array().unwrap() {
            let decision = json!({ "id": one["id"], "decision": "deny" });
            decider.call("exec.approval.resolve", decision).unwrap();
        }
    }
}

#[test]
fn approval_is_requested_and_awaited_on_two_connections() {
    // as the agents of OpenClaw 2026.9.6 do, with and without a device
    let gateway = Gateway::new();
    let mut decider = gateway.operator(4, &["approvals"]);
    for (id, device) in [("q", None), ("r", Some(Device::new()))] {
        let who = Who::v4().token(TOKEN).scopes(&["approvals"]);
        let who = device.iter().fold(who, |who, device| who.device(device));
        let mut first = gateway.connect(&who).unwrap();
        let question = json!({ "id": id, "command": "ls", "twoPhase": true });
        let call = first.start("exec.approval.request", question);
        assert_eq!(first.answer(&call).unwrap()["status"], "accepted");
        first.leave();
        let listed = decider.call("exec.approval.list", json!({})).unwrap();
        assert_eq!(listed[0]["id"], id);
        let mut second = gateway.connect(&who).unwrap();
        let wait = second.start("exec.approval.waitDecision", json!({ "id": id }));
        second.call("exec.approval.list", json!({})).unwrap();
        let decision = json!({ "id": id, "decision": "allow-once" });
        decider.call("exec.approval.resolve", decision).unwrap();
        assert_eq!(second.answer(&wait).unwrap()["decision"], "allow-once");
    }
}

#[test]
fn setup_codes_of_one_device_do_not_end_those_of_others() {
    let gateway = Gateway::new();
    let mut owner = gateway.admin();
    let code = support::gateway::code(&mut owner, "full");
    let mut attackers = crowd(&gateway, &Device::new(), &["admin"]);
    let make = json!({ "includeQr": false });
    let setups: Vec<_> = (0..20)
        .map(|n| {
            let made = attackers[n % 4].call("device.pair.setupCode", make.clone()).unwrap();
            json!({ "setupId": made["setupId"] })
        })
        .collect();
    let states = setups
        .iter()
        .map(|id| owner.call("device.pair.setupStatus", id.clone()).unwrap()["gone"] != true);
    let alive: Vec<bool> = states.collect();
    assert!(alive.iter().enumerate().all(|(at, alive)| *alive == (at >= 12)), "{alive:?}");
    gateway.connect(&Who::v4().code(&code).device(&Device::new())).unwrap();
}
