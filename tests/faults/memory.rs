//! Memory used by large messages in both directions: bounded while they are relayed, and released
//! afterwards with the connections still open.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use support::client::{Device, Session, Who};
use support::gateway::{Gateway, TOKEN};

const OPERATORS: usize = 10;
/// Size of large parameters or of a large result, in bytes.
const LARGE: usize = 20_000_000;
/// Size of a payload that just fits into a frame, in bytes.
const LARGEST: usize = 25 * 1024 * 1024 - 1024;
const COMMAND: &str = "system.which";

/// Memory that may remain in use after large messages, and time after the last one.
const SPARE_KIB: u64 = 1024;
const SETTLED: Duration = Duration::from_secs(5);

/// Maximum memory used while one payload is relayed, as a multiple of its size.
const ON_ITS_WAY: f64 = 3.0;

struct Scene {
    gateway: Gateway,
    device: Device,
    node: Session,
}

impl Scene {
    fn new() -> Scene {
        let gateway = Gateway::new();
        let device = Device::new();
        let who = Who::v4()
            .offering(("linux", "Linux"), &[COMMAND], &["system"])
            .token(TOKEN)
            .device(&device);
        let node = gateway.connect(&who).unwrap();
        let mut admin = gateway.admin();
        let waits = admin.call("node.pair.list", json!({})).unwrap();
        let request = &waits["pending"][0]["requestId"];
        admin.call("node.pair.approve", json!({ "requestId": request })).unwrap();
        Scene { gateway, device, node }
    }

    fn operator(&self) -> Session {
        self.gateway
            .connect(&Who::v4().token(TOKEN).device(&Device::new()).scopes(&["write"]))
            .unwrap()
    }

    /// Makes one call with these parameters and this result, which the node sends as JSON in a
    /// string if `as_text`.
    fn relay(&mut self, operator: &mut Session, params: &Value, answer: &Value, as_text: bool) {
        let call = json!({ "nodeId": self.device.id, "command": COMMAND, "params": params, "idempotencyKey": "k" });
        let id = operator.start("node.invoke", call);
        let asked = self.node.event("node.invoke.request");
        let mut result = json!({ "id": asked["id"], "nodeId": self.device.id, "ok": true });
        match as_text {
            false => result["payload"] = answer.clone(),
            true => result["payloadJSON"] = answer.to_string().into(),
        }
        self.node.call("node.invoke.result", result).unwrap();
        assert_eq!(&operator.answer(&id).unwrap()["payload"], answer);
    }

    /// Returns a field of `/proc/PID/status` of the gateway, in KiB.
    fn kib(&self, name: &str) -> u64 {
        self.gateway.memory(name) / 1024
    }
}

/// Makes one call per operator with that many bytes of parameters and of result; asserts that the
/// memory is released.
fn given_back(params: usize, answer: usize) {
    let mut scene = Scene::new();
    let mut operators: Vec<Session> = (0..OPERATORS).map(|_| scene.operator()).collect();
    for operator in &mut operators {
        scene.relay(operator, &json!("small"), &json!("small"), false);
    }
    let before = scene.kib("VmRSS");
    let (params, answer) = (json!("x".repeat(params)), json!("y".repeat(answer)));
    for operator in &mut operators {
        scene.relay(operator, &params, &answer, false);
    }
    let at_once = scene.kib("VmRSS");
    let last = Instant::now();
    let after = loop {
        let after = scene.kib("VmRSS");
        if after <= before + SPARE_KIB || last.elapsed() > SETTLED {
            break after;
        }
        thread::sleep(Duration::from_millis(100));
    };
    println!(
        "memory {before} KiB before, {at_once} at the end, {after} afterwards, {} at most",
        scene.kib("VmHWM")
    );
    assert!(
        after <= before + SPARE_KIB,
        "{before} KiB before, {after} KiB {SETTLED:?} after the last large message"
    );
    // All connections still work.
    for operator in &mut operators {
        scene.relay(operator, &json!("small"), &json!("small"), false);
    }
    scene.gateway.stop();
}

#[test]
fn memory_of_large_parameters_is_released_while_clients_stay_connected() {
    given_back(LARGE, 10);
}

#[test]
fn memory_of_large_results_is_released_while_clients_stay_connected() {
    given_back(10, LARGE);
}

#[test]
fn relayed_payload_uses_at_most_three_times_its_size() {
    let (large, small) = (json!("x".repeat(LARGEST)), json!("small"));
    let ways =
        [("params", &large, &small), ("payload", &small, &large), ("payloadJSON", &small, &large)];
    for (way, params, answer) in ways {
        let mut scene = Scene::new();
        let mut operator = scene.operator();
        scene.relay(&mut operator, &small, &small, false);
        let before = scene.kib("VmRSS");
        scene.relay(&mut operator, params, answer, way == "payloadJSON");
        let payloads = ((scene.kib("VmHWM") - before) * 1024) as f64 / LARGEST as f64;
        println!("{way}: {payloads:.2} payloads in memory at most");
        assert!(payloads <= ON_ITS_WAY, "{way}: {payloads:.2} payloads in memory");
        scene.gateway.stop();
    }
}
