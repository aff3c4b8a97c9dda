//! Reports of a device about itself (`system-event`): sent to other clients, merged into its
//! presence entry, bounded.

use serde_json::{json, Value};
use support::client::{Device, Session, Who};
use support::gateway::{Gateway, TOKEN};

fn seen(session: &mut Session, host: &str) -> Vec<Value> {
    let list = session.call("system-presence", json!({})).unwrap();
    list.as_array().unwrap().iter().filter(|entry| entry["host"] == host).cloned().collect()
}

#[test]
fn system_event_updates_presence_in_both_protocols() {
    let gateway = Gateway::new();
    for protocol in [3, 4] {
        let mut watcher = gateway.operator(4, &["read"]);
        let mut admin = gateway.connect(&Who::of(protocol).token(TOKEN)).unwrap();
        let host = format!("desk-{protocol}");
        let report = json!({
            "text": format!("Node: {host} (10.0.0.7) \u{b7} mode ui \u{b7} reason launch"), "host": host, "ip": "10.0.0.7", "mode": "ui",
            "instanceId": format!("I-{protocol}"), "version": "1.2", "lastInputSeconds": 4, "reason": "launch",
            "roles": ["operator"], "tags": ["x"],
        });
        assert_eq!(admin.call("system-event", report.clone()).unwrap(), json!({ "ok": true }));
        let presence_event = watcher.event("presence");
        let entry = presence_event["presence"]
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["host"] == host.as_str())
            .unwrap()
            .clone();
        for name in
            ["text", "ip", "mode", "version", "lastInputSeconds", "reason", "roles", "instanceId"]
        {
            assert_eq!(entry[name], report[name], "{name}");
        }
        assert!(entry["ts"].as_u64().unwrap() > 0);
        let more = json!({ "text": "Node: again", "instanceId": format!("i-{protocol}"), "reason": "periodic" });
        admin.call("system-event", more).unwrap();
        let entries = seen(&mut watcher, &host);
        assert_eq!(entries.len(), 1, "the same instance, one entry");
        assert_eq!(
            (&entries[0]["reason"], &entries[0]["ip"]),
            (&json!("periodic"), &json!("10.0.0.7"))
        );
    }
}

#[test]
fn reported_values_are_merged_into_the_entry_of_the_connection_and_end_with_it() {
    let gateway = Gateway::new();
    let mut admin = gateway.admin();
    let device = Device::new();
    let page =
        gateway.connect(&Who::v4().page().token(TOKEN).device(&device).name("Kitchen")).unwrap();
    let report = json!({ "text": "hello", "deviceId": device.id.to_ascii_uppercase(), "host": "Kitchen", "lastInputSeconds": 9 });
    admin.call("system-event", report).unwrap();
    let entries = seen(&mut admin, "Kitchen");
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(
        (&entries[0]["lastInputSeconds"], &entries[0]["text"]),
        (&json!(9), &json!("hello"))
    );
    assert_eq!(entries[0]["clientId"], "openclaw-control-ui", "the rest is that of the connection");
    assert_eq!(entries[0]["deviceId"], device.id, "the proven device id is not overwritten");
    page.leave();
    admin.event("presence");
    while !seen(&mut admin, "Kitchen").is_empty() {
        admin.event("presence");
    }
}

#[test]
fn invalid_reports_and_agent_only_events_are_rejected() {
    let gateway = Gateway::new();
    let mut admin = gateway.admin();
    for params in [json!({}), json!({ "text": " " })] {
        assert_eq!(admin.call("system-event", params).unwrap_err().message(), "text required");
    }
    let failed = admin.call("system-event", json!({ "text": "x", "secret": 1 })).unwrap_err();
    assert_eq!(
        failed.message(),
        "invalid system-event params: at root: unexpected property 'secret'"
    );
    let failed = admin.call("system-event", json!({ "text": "x", "wake": true })).unwrap_err();
    assert_eq!(
        (failed.code(), &failed.0["details"]["code"]),
        ("UNAVAILABLE", &json!("NO_AGENT_RUNTIME"))
    );
    let long = json!({ "text": "y".repeat(100_000), "host": "h".repeat(100_000), "lastInputSeconds": 1e300 });
    admin.call("system-event", long).unwrap();
    let list = admin.call("system-presence", json!({})).unwrap().to_string();
    assert!(list.len() < 2_000 && list.contains("hhhhh"), "{} bytes", list.len());
    let mut writer = gateway.operator(4, &["write"]);
    for method in ["system-event", "set-heartbeats"] {
        let failed = writer.call(method, json!({ "text": "x", "enabled": true })).unwrap_err();
        assert_eq!(failed.message(), "missing scope: operator.admin");
    }
    for mut admin in [admin, gateway.connect(&Who::v3().token(TOKEN)).unwrap()] {
        let answer = admin.call("set-heartbeats", json!({ "enabled": false })).unwrap();
        assert_eq!(answer, json!({ "ok": true, "enabled": false }));
        let failed = admin.call("set-heartbeats", json!({ "enabled": "yes" })).unwrap_err();
        assert_eq!(failed.message(), "invalid set-heartbeats params: enabled (boolean) required");
        assert_eq!(admin.call("last-heartbeat", json!({})).unwrap(), Value::Null);
    }
}
