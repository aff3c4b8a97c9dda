//! Peers that disconnect during a call: each call ends with the right error, and no state remains.

use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use serde_json::{json, Value};
use support::client::{Device, Failed, Got, Session, Who};
use support::gateway::{Gateway, TOKEN};
use support::runner;

use crate::nodes::invoke::{answer, approve, invoke, node, operator};
use crate::nodes::load::{memory, nothing_waits, Held, KIB};
use crate::owner::owner;

/// Operator with a call that its node has received and not answered.
struct Scene<'g> {
    gateway: &'g Gateway,
    admin: &'g mut Session,
    /// Protocols of node and operator.
    speaks: (u32, u32),
    device: Device,
    node: Option<Session>,
    operator: Option<Session>,
    call: String,
    /// Request that the node received.
    asked: Value,
}

fn scene<'g>(gateway: &'g Gateway, admin: &'g mut Session, speaks: (u32, u32)) -> Scene<'g> {
    let device = Device::new();
    let mut node = node(gateway, speaks.0, &device);
    approve(gateway, &device);
    let mut operator = gateway.connect(&Who::of(speaks.1).token(TOKEN)).unwrap();
    let call = operator.start("node.invoke", invoke(&device, "system.which", json!({})));
    let asked = node.event("node.invoke.request");
    Scene {
        gateway,
        admin,
        speaks,
        device,
        node: Some(node),
        operator: Some(operator),
        call,
        asked,
    }
}

/// Resets the connection without a close frame, as happens after a power loss when another machine
/// answers for the address.
fn vanish(session: Session) {
    set_socket_linger(&session.socket.ws.get_ref().0, Some(Duration::ZERO)).unwrap();
}

impl Scene<'_> {
    fn node(&mut self) -> &mut Session {
        self.node.as_mut().unwrap()
    }

    fn outcome(&mut self) -> Result<Value, Failed> {
        self.operator.as_mut().unwrap().answer(&self.call)
    }

    /// Asserts that the call failed because the node disconnected.
    fn is_disconnected(&mut self) {
        let failed = self.outcome().unwrap_err();
        let v4 = self.speaks.1 == 4;
        let front = if v4 { "DISCONNECTED" } else { "Error" };
        assert_eq!(failed.message(), format!("{front}: node disconnected (system.which)"));
        let details = &failed.0["details"];
        assert_eq!(
            (failed.code(), &details["nodeError"]["code"]),
            ("UNAVAILABLE", &json!("DISCONNECTED"))
        );
        assert_eq!(details.get("nodeCommandDispatched"), v4.then_some(&json!(true)));
    }

    /// Asserts that a result of the node is now ignored.
    fn is_ignored(&mut self) {
        let result = json!({ "id": self.asked["id"], "nodeId": self.device.id, "ok": true });
        let response = self.node().call("node.invoke.result", result).unwrap();
        assert_eq!(response, json!({ "ok": true, "ignored": true }));
    }

    fn forget(&mut self, method: &str, params: Value, reason: &str) {
        self.admin.call(method, params).unwrap();
        assert_eq!(self.node().closed(), (4001, reason.to_string()));
        self.is_disconnected();
    }
}

type Fault = fn(&mut Scene<'_>);

const FAULTS: [(&str, Fault); 9] = [
    ("the node vanishes", |scene| {
        vanish(scene.node.take().unwrap());
        scene.is_disconnected();
    }),
    ("the node's end is closed without a close frame", |scene| {
        drop(scene.node.take());
        scene.is_disconnected();
    }),
    ("the node says goodbye", |scene| {
        scene.node.take().unwrap().leave();
        scene.is_disconnected();
    }),
    ("the operator vanishes", |scene| {
        vanish(scene.operator.take().unwrap());
        if scene.speaks.0 == 4 {
            let (asked, device) = (scene.asked["id"].clone(), scene.device.id.clone());
            let cancel = scene.node().event("node.invoke.cancel");
            assert_eq!(cancel, json!({ "invokeId": asked, "nodeId": device }));
        } else {
            nothing_waits(scene.admin);
        }
        scene.is_ignored();
    }),
    ("the node is removed", |scene| {
        scene.forget("node.pair.remove", json!({ "nodeId": scene.device.id }), "device removed");
    }),
    ("its device is removed", |scene| {
        scene.forget(
            "device.pair.remove",
            json!({ "deviceId": scene.device.id }),
            "device removed",
        );
    }),
    ("its token is revoked", |scene| {
        let params = json!({ "deviceId": scene.device.id, "role": "node" });
        scene.forget("device.token.revoke", params, "client invalidated: device revoked");
    }),
    ("the node comes anew, twice", |scene| {
        let mut second = node(scene.gateway, scene.speaks.0, &scene.device);
        let operator = scene.operator.as_mut().unwrap();
        let call =
            operator.start("node.invoke", invoke(&scene.device, "system.which", json!({ "n": 2 })));
        let asked = second.event("node.invoke.request");
        let mut third = node(scene.gateway, scene.speaks.0, &scene.device);
        vanish(scene.node.take().unwrap());
        scene.is_disconnected();
        let result =
            json!({ "id": asked["id"], "nodeId": scene.device.id, "ok": true, "payload": 2 });
        assert_eq!(third.call("node.invoke.result", result).unwrap(), json!({ "ok": true }));
        let operator = scene.operator.as_mut().unwrap();
        assert_eq!(operator.answer(&call).unwrap()["payload"], 2);
        vanish(second);
        let call =
            operator.start("node.invoke", invoke(&scene.device, "system.which", json!({ "n": 3 })));
        answer(&mut third, &scene.device, "3");
        assert_eq!(operator.answer(&call).unwrap()["payload"], 3);
    }),
    ("others pair and are approved meanwhile", |scene| {
        let unknown = Device::new();
        let other = node(scene.gateway, scene.speaks.0, &unknown);
        approve(scene.gateway, &unknown);
        let result = json!({ "id": scene.asked["id"], "nodeId": scene.device.id, "ok": true, "payload": [1] });
        assert_eq!(scene.node().call("node.invoke.result", result).unwrap(), json!({ "ok": true }));
        assert_eq!(scene.outcome().unwrap()["payload"], json!([1]));
        drop(other);
        scene.admin.call("device.pair.remove", json!({ "deviceId": unknown.id })).unwrap();
    }),
];

#[test]
fn disconnect_during_a_call_ends_it_with_the_right_error_and_leaves_no_state() {
    let gateway = Gateway::new();
    let mut admin = owner(&gateway);
    let idle = Held::now(&gateway, &mut admin);
    let mut after = Vec::new();
    for _ in 0..4 {
        for (name, fault) in FAULTS {
            for speaks in [(3, 3), (3, 4), (4, 3), (4, 4)] {
                println!("{name}, node and operator of protocols {speaks:?}");
                let mut scene = scene(&gateway, &mut admin, speaks);
                fault(&mut scene);
                let device = scene.device.clone();
                drop((scene.node.take(), scene.operator.take()));
                // some scenes have removed the device already
                let _ = admin.call("device.pair.remove", json!({ "deviceId": device.id }));
                admin.forget();
                idle.again(&gateway, &mut admin);
            }
        }
        after.push(memory(&gateway).0 / KIB);
    }
    println!("memory after each round: {after:?} KiB");
    assert!(
        !runner::native() || after[3] < after[0] + 512,
        "memory after each round: {after:?} KiB"
    );
}

#[test]
fn five_hundred_reconnects_leave_no_state() {
    let gateway = Gateway::new();
    let mut admin = gateway.admin();
    let idle = Held::now(&gateway, &mut admin);
    let device = Device::new();
    drop(node(&gateway, 4, &device));
    let held = node(&gateway, 4, &device);
    approve(&gateway, &device);
    drop(held);
    let mut warm = 0;
    for cycle in 0..500 {
        if cycle == 100 {
            idle.again(&gateway, &mut admin);
            warm = memory(&gateway).0 / KIB;
        }
        let mut node = node(&gateway, 3 + cycle % 2, &device);
        let mut operator = gateway.connect(&Who::of(3 + cycle / 2 % 2).token(TOKEN)).unwrap();
        let call = operator
            .start("node.invoke", invoke(&device, "system.which", json!({ "cycle": cycle })));
        answer(&mut node, &device, "[1,2,3]");
        operator.answer(&call).unwrap();
        // An additional call that is never answered.
        operator.start("node.invoke", invoke(&device, "system.which", json!({})));
        match cycle % 4 {
            0 => operator.leave(),
            1 => node.leave(),
            2 => vanish(node),
            _ => vanish(operator),
        }
        admin.forget();
    }
    idle.again(&gateway, &mut admin);
    let now = memory(&gateway).0 / KIB;
    println!("memory after 100 comings and goings {warm} KiB, after 500 {now} KiB");
    assert!(!runner::native() || now < warm + 512, "memory: {warm} KiB, then {now} KiB");
}

#[test]
fn stopping_gateway_answers_in_flight_calls_before_closing() {
    for speaks in [(3, 4), (4, 3)] {
        let gateway = Gateway::new();
        let mut admin = gateway.admin();
        let mut scene = scene(&gateway, &mut admin, speaks);
        gateway.terminate();
        let failed = scene.outcome().unwrap_err();
        let v4 = speaks.1 == 4;
        let front = if v4 { "GATEWAY_STOPPING: " } else { "" };
        assert_eq!(failed.message(), format!("{front}gateway restart in progress"));
        assert_eq!(
            (failed.code(), &failed.0["details"]["nodeError"]["code"]),
            ("UNAVAILABLE", &json!("GATEWAY_STOPPING"))
        );
        let restart = (1012, "service restart".to_string());
        let mut operator = scene.operator.take().unwrap();
        assert_eq!(operator.closed(), restart);
        assert!(operator.kept().any(|frame| frame["event"] == "shutdown"));
        assert_eq!(scene.node().closed(), restart);
    }
}

#[test]
fn both_peers_reconnect_after_a_kill() {
    let gateway = Gateway::new();
    let device = Device::new();
    let mut first = node(&gateway, 4, &device);
    approve(&gateway, &device);
    let mut caller = operator(&gateway, 4, &["write"]);
    caller.start("node.invoke", invoke(&device, "system.which", json!({})));
    first.event("node.invoke.request");
    let gateway = gateway.kill().start();
    assert_eq!((caller.closed().0, first.closed().0), (1006, 1006));
    let mut second = node(&gateway, 4, &device);
    let mut caller = operator(&gateway, 4, &["write"]);
    let call = caller.start("node.invoke", invoke(&device, "system.which", json!({})));
    answer(&mut second, &device, "1");
    assert_eq!(caller.answer(&call).unwrap()["payload"], 1);
}

#[test]
fn revoked_client_that_does_not_read_is_no_longer_served() {
    let gateway = Gateway::new();
    let device = Device::new();
    let mut node = node(&gateway, 4, &device);
    approve(&gateway, &device);
    let mut admin = gateway.admin();
    let idle = Held::now(&gateway, &mut admin);
    let own = Device::new();
    let mut not_reading =
        gateway.connect(&Who::v4().token(TOKEN).device(&own).scopes(&["write"])).unwrap();
    // a response larger than all buffers of the system for this socket
    not_reading.start("node.invoke", invoke(&device, "system.which", json!({ "n": 1 })));
    answer(&mut node, &device, &format!("\"{}\"", "x".repeat(10 << 20)));
    admin.call("device.token.revoke", json!({ "deviceId": own.id, "role": "operator" })).unwrap();
    not_reading.start("node.invoke", invoke(&device, "system.which", json!({ "n": 2 })));
    idle.again(&gateway, &mut admin);
    admin.start("node.invoke", invoke(&device, "system.which", json!({ "n": 3 })));
    assert_eq!(
        node.event("node.invoke.request")["paramsJSON"],
        r#"{"n":3}"#,
        "a frame of the revoked client was processed"
    );
    assert!(!matches!(not_reading.socket.receive(), Got::Frame(_)));
}

#[test]
fn disconnecting_callers_do_not_close_a_slow_node() {
    let gateway = Gateway::new();
    let device = Device::new();
    let mut node = node(&gateway, 4, &device);
    approve(&gateway, &device);
    let mut admin = gateway.admin();
    // more than the system and the gateway buffer for the node, which does not read yet
    let text = json!({ "text": "x".repeat(16 << 10) });
    let mut operators = [(); 8].map(|()| operator(&gateway, 4, &["write"]));
    for operator in &mut operators {
        (0..225).for_each(|_| {
            drop(operator.start("node.invoke", invoke(&device, "system.which", text.clone())))
        });
    }
    let mut under_way = 1_800;
    for operator in &mut operators {
        // This call is answered at once, so the gateway has read all of them.
        operator.call("health", json!({})).unwrap();
        let busy = |frame: &&Value| frame["error"]["details"]["nodeError"]["code"] == "BUSY";
        under_way -= operator.kept().filter(busy).count();
    }
    assert!(under_way > 100 && under_way < 1_700, "{under_way} calls are in flight");
    drop(operators);
    nothing_waits(&mut admin);
    // The node reads, and answers calls again.
    (0..under_way).for_each(|_| drop(node.event("node.invoke.request")));
    let call = admin.start("node.invoke", invoke(&device, "system.which", json!({})));
    answer(&mut node, &device, "1");
    admin.answer(&call).unwrap();
}
