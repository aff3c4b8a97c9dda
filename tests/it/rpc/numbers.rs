//! Numbers at the limits of their types: the sender gets an answer, and the gateway keeps running.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{json, Value};
use support::client::{Device, Who};
use support::gateway::Gateway;

/// Returns values where sums and signs overflow, and values around the current time.
fn edges() -> Vec<u64> {
    let now =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let half = 1 << 63;
    let turns = [1 << 31, 1 << 32, 1 << 53, half, half + now / 2, half + now, half + 2 * now];
    let beside = turns.into_iter().flat_map(|edge| [edge - 1, edge, edge + 1]);
    beside.chain([0, 1, now, u64::MAX - now, u64::MAX - 1, u64::MAX]).collect()
}

#[test]
fn unauthenticated_clients_may_send_any_time_and_protocol_number() {
    let gateway = Gateway::new();
    for number in edges() {
        let who = Who::v4().token("wrong").device(&Device::new());
        let refused = |patch: Value| gateway.connect(&who.clone().patch(patch)).unwrap_err();
        let bare = json!({ "signedAt": number, "id": "a", "publicKey": "a", "signature": "a", "nonce": null });
        for device in [json!({ "signedAt": number }), bare] {
            let refused = refused(json!({ "device": device }));
            assert_eq!(refused.rule(), "5", "{number}: {refused:?}");
        }
        refused(json!({ "minProtocol": number, "maxProtocol": u64::MAX }));
        refused(json!({ "minProtocol": 5, "maxProtocol": number }));
    }
    assert!(gateway.dial().get("/healthz").starts_with("HTTP/1.1 200"));
}

#[test]
fn admitted_clients_may_send_any_number_in_parameters() {
    let gateway = Gateway::new();
    let device = Device::new();
    let who = Who::v4().offering(("linux", "Linux"), &["system.which"], &[]).device(&device);
    let (mut admin, mut node) =
        (gateway.admin(), gateway.connect(&who.code(&gateway.code("node"))).unwrap());
    let of = &device.id;
    for number in edges() {
        let calls = [
            ("logs.tail", json!({ "cursor": number })),
            ("logs.tail", json!({ "limit": number, "maxBytes": number })),
            ("gatelet.refusals", json!({ "limit": number })),
            (
                "node.pending.enqueue",
                json!({ "nodeId": of, "type": "status.request", "expiresInMs": number }),
            ),
            (
                "exec.approval.request",
                json!({ "command": "ls", "timeoutMs": number, "twoPhase": true }),
            ),
        ];
        for (method, params) in calls {
            let _ = admin.call(method, params);
        }
        let invoke = json!({ "nodeId": of, "command": "system.which", "idempotencyKey": "k", "timeoutMs": number });
        admin.start("node.invoke", invoke);
        let host =
            json!({ "cpuCount": number, "memoryTotalBytes": number, "memoryFreeBytes": number });
        let _ = node.call("node.event", json!({ "event": "node.hostStats", "payload": host }));
        let _ = node.call("node.pending.drain", json!({ "maxItems": number }));
    }
    assert!(admin.call("health", json!({})).is_ok() && node.call("health", json!({})).is_ok());
}
