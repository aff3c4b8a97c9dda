//! Frames of any size between operators and nodes: no frame exceeds the limit of the clients, and
//! no frame ends a connection.

use serde_json::{json, Value};
use support::client::{Device, Failed, Session, Who, MOST};
use support::gateway::{Gateway, TOKEN};

use crate::nodes::invoke::{answer, approve, invoke, operator};

const MIB: usize = 1024 * 1024;
const COMMAND: &str = "system.which";

/// Connects a node of this protocol with its device, admitted by the token.
fn node(gateway: &Gateway, protocol: u32, device: &Device) -> Session {
    let commands = [COMMAND, "system.execApprovals.get", "system.execApprovals.set"];
    let who = Who::of(protocol).offering(("linux", "Linux"), &commands, &["system"]);
    gateway.connect(&who.token(TOKEN).device(device)).unwrap()
}

/// Node, operator, and a second operator that makes small calls meanwhile.
struct Scene {
    gateway: Gateway,
    device: Device,
    node: Session,
    operator: Session,
    other_operator: Session,
    calls: u64,
}

/// Returns the response to a request: size of its frame in bytes, and payload or error.
fn answered(session: &mut Session, id: &str) -> (usize, Result<Value, Failed>) {
    let answer = session.answer(id);
    (session.socket.bytes, answer)
}

/// Returns the next request for a node: size of its frame in bytes, and payload.
fn asked(node: &mut Session) -> (usize, Value) {
    let call = node.event("node.invoke.request");
    (node.socket.bytes, call)
}

/// Result of a node in one or both forms, each as JSON text: `payload` (JSON) and `held`
/// (`payloadJSON`).
#[derive(Clone, Copy)]
struct Given<'a> {
    payload: Option<&'a str>,
    held: Option<&'a str>,
}

impl Scene {
    fn new(protocol: u32, node_protocol: u32) -> Scene {
        let gateway = Gateway::new();
        let device = Device::new();
        let node = node(&gateway, node_protocol, &device);
        approve(&gateway, &device);
        let [operator, other_operator] = [(); 2].map(|()| operator(&gateway, protocol, &["write"]));
        Scene { gateway, device, node, operator, other_operator, calls: 0 }
    }

    /// Sends a request of the operator with an id of `len` characters.
    fn ask(&mut self, len: usize, params: &str) -> String {
        self.calls += 1;
        let id = format!("{:0len$}", self.calls);
        let (device, operator) = (&self.device.id, &mut self.operator.socket);
        operator.text(&format!(
            r#"{{"type":"req","id":"{id}","method":"node.invoke","params":{{"nodeId":"{device}","command":"{COMMAND}","params":{params},"idempotencyKey":"k"}}}}"#
        ));
        id
    }

    /// Sends the result of a call from the node; asserts that the gateway accepts it.
    fn give(&mut self, call: &Value, given: Given<'_>) {
        self.calls += 1;
        let (id, device) = (format!("n{}", self.calls), &self.device.id);
        let mut frame = format!(
            r#"{{"type":"req","id":"{id}","method":"node.invoke.result","params":{{"id":{},"nodeId":"{device}","ok":true"#,
            call["id"]
        );
        for (name, json) in [("payload", given.payload), ("payloadJSON", given.held)] {
            frame += &json.map_or(String::new(), |json| format!(r#","{name}":{json}"#));
        }
        self.node.socket.text(&(frame + "}}"));
        assert_eq!(self.node.answer(&id).unwrap(), json!({ "ok": true }));
    }

    /// Makes a call with an id of `len` characters and this result of the node. Returns the size of
    /// the response frame in bytes, and the response.
    fn relay(&mut self, len: usize, given: Given<'_>) -> (usize, Result<Value, Failed>) {
        let id = self.ask(len, "{}");
        // A small call is pending at the same node while the large one is relayed.
        let small =
            self.other_operator.start("node.invoke", invoke(&self.device, COMMAND, json!({})));
        let calls = [asked(&mut self.node).1, asked(&mut self.node).1];
        let large = calls
            .iter()
            .position(|call| call["idempotencyKey"] == "k")
            .expect("the large call arrived");
        self.give(&calls[large], given);
        let got = answered(&mut self.operator, &id);
        self.give(&calls[1 - large], Given { payload: Some("7"), held: None });
        assert_eq!(self.other_operator.answer(&small).unwrap()["payload"], 7);
        self.works();
        got
    }

    /// Makes a call with an id of `len` characters and these parameters, which the node answers.
    /// Returns the size of the frame that the node received, in bytes.
    fn pass(&mut self, len: usize, params: &str) -> usize {
        let id = self.ask(len, params);
        let (bytes, call) = asked(&mut self.node);
        assert_eq!(call["paramsJSON"], params);
        self.give(&call, Given { payload: Some("1"), held: None });
        assert_eq!(self.operator.answer(&id).unwrap()["payload"], 1);
        bytes
    }

    /// Asserts that both connections are open and relay a call.
    fn works(&mut self) {
        let small =
            self.operator.start("node.invoke", invoke(&self.device, COMMAND, json!({ "a": 1 })));
        answer(&mut self.node, &self.device, "[1]");
        assert_eq!(self.operator.answer(&small).unwrap()["payload"], json!([1]));
    }
}

/// Returns a JSON string of that many bytes.
fn text(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

/// Returns a JSON string that contains a JSON string, of that many bytes.
fn held(bytes: usize) -> String {
    format!(r#""\"{}\"""#, "x".repeat(bytes - 6))
}

fn both_sizes(error: &Failed, bytes: usize) {
    let message = error.message();
    assert!(message.contains(&format!("a frame of {bytes} bytes")), "{message}");
    assert!(message.contains(&format!("at most {MOST} bytes")), "{message}");
}

#[test]
fn node_result_is_relayed_in_the_forms_that_fit() {
    for (protocol, node_protocol) in [(3, 4), (4, 3)] {
        let mut scene = Scene::new(protocol, node_protocol);
        let mut relay = |given: Given<'_>| scene.relay(3, given).1.unwrap();
        for mib in [12, 14, 20] {
            let got = relay(Given { payload: Some(&text(mib * MIB)), held: None });
            assert_eq!(
                got["payload"].as_str().map(str::len),
                Some(mib * MIB - 2),
                "{mib} MiB as JSON"
            );
            assert_eq!(got["payloadJSON"], Value::Null);
            let got = relay(Given { payload: None, held: Some(&held(mib * MIB)) });
            assert_eq!(
                got["payload"].as_str().map(str::len),
                Some(mib * MIB - 6),
                "{mib} MiB as text"
            );
            let kept = got["payloadJSON"].as_str().map(str::len);
            assert_eq!(
                kept,
                (mib == 12).then_some(mib * MIB - 4),
                "{mib} MiB: the text goes along where both fit"
            );
        }
        // The node sends both forms; `payloadJSON` takes precedence.
        let got = relay(Given { payload: Some(&text(10 * MIB)), held: Some(&held(14 * MIB)) });
        assert_eq!(got["payload"].as_str().map(str::len), Some(14 * MIB - 6));
        assert_eq!(got["payloadJSON"], Value::Null);
        // Text that is not JSON is wrapped in an object and is in the response only once.
        let got = relay(Given { payload: None, held: Some(&text(14 * MIB)) });
        assert_eq!(got["payload"]["payloadJSON"].as_str().map(str::len), Some(14 * MIB - 2));
        assert_eq!(got["payloadJSON"], Value::Null);
    }
}

#[test]
fn largest_result_is_relayed_and_one_byte_more_is_an_error_with_both_sizes() {
    for (protocol, node_protocol) in [(3, 3), (4, 4)] {
        let mut scene = Scene::new(protocol, node_protocol);
        for as_text in [false, true] {
            // A long id makes the response larger than the frame of the node.
            let mut relay = |bytes| match as_text {
                false => scene.relay(250, Given { payload: Some(&text(bytes)), held: None }),
                true => scene.relay(250, Given { payload: None, held: Some(&held(bytes)) }),
            };
            // A payload that fits once but not twice; the frame size gives the overhead of the
            // rest.
            let (bytes, got) = relay(14 * MIB);
            assert_eq!(got.unwrap()["payloadJSON"], Value::Null);
            let most = 14 * MIB + MOST - bytes;
            assert!(most > 24 * MIB);
            let (bytes, got) = relay(most);
            assert!(got.is_ok() && bytes == MOST, "{bytes}");
            let error = relay(most + 1).1.unwrap_err();
            assert_eq!(error.code(), "UNAVAILABLE");
            both_sizes(&error, MOST + 1);
            assert_eq!(error.0["details"]["nodeError"]["code"], "FRAME_TOO_LARGE");
            let dispatched = error.0["details"].get("nodeCommandDispatched");
            assert_eq!(dispatched, (protocol == 4).then_some(&json!(true)), "the node did it");
        }
    }
}

#[test]
fn result_one_byte_too_large_for_both_forms_omits_the_text() {
    let mut scene = Scene::new(4, 4);
    let (bytes, got) = scene.relay(16, Given { payload: None, held: Some(&held(1000)) });
    assert!(got.unwrap()["payloadJSON"].is_string());
    // Each byte of the text occurs twice; a longer id makes up for an odd remainder.
    let room = MOST - bytes;
    let (most, len) = (1000 + room / 2, 16 + room % 2);
    for (len, fits) in [(len, true), (len + 1, false)] {
        let (bytes, got) = scene.relay(len, Given { payload: None, held: Some(&held(most)) });
        let got = got.unwrap();
        assert_eq!(got["payload"].as_str().map(str::len), Some(most - 6));
        assert_eq!(got["payloadJSON"].is_string(), fits, "{bytes} bytes");
        assert_eq!(bytes == MOST, fits, "{bytes} bytes");
    }
}

#[test]
fn parameters_that_grow_beyond_the_limit_are_rejected_and_the_node_stays_connected() {
    for (protocol, node_protocol) in [(3, 4), (4, 3)] {
        let mut scene = Scene::new(protocol, node_protocol);
        for (unit, grown) in [(r#"\""#, 4), (r"\\", 4), (r"\n", 3), (r"\u0001", 7)] {
            let params = |count: usize| format!("\"{}\"", unit.repeat(count));
            let passed = scene.pass(3, &params(1000));
            let most = 1000 + (MOST - passed) / grown;
            let passed = scene.pass(3, &params(most));
            assert!(passed <= MOST && passed + grown > MOST, "{passed} bytes of {unit}");
            let id = scene.ask(3, &params(most + 1));
            let error = scene.operator.answer(&id).unwrap_err();
            assert_eq!(error.code(), "INVALID_REQUEST");
            both_sizes(&error, passed + grown);
            let details = &error.0["details"];
            assert_eq!(
                (&details["code"], &details["bytes"]),
                (&json!("FRAME_TOO_LARGE"), &json!(passed + grown))
            );
            assert_eq!(details["maxBytes"], MOST);
            assert_eq!(
                details.get("nodeCommandDispatched"),
                (protocol == 4).then_some(&json!(false))
            );
            scene.works();
        }
    }
}

#[test]
fn largest_parameters_are_relayed_to_the_byte() {
    for node_protocol in [3, 4] {
        let mut scene = Scene::new(4, node_protocol);
        // Escaping the quotes adds more bytes than the frame for the node is shorter than that of
        // the operator.
        let params =
            |bytes: usize| format!("[\"{}\",\"{}\"]", "x".repeat(bytes), "\\\"".repeat(100));
        let most = 1000 + MOST - scene.pass(1, &params(1000));
        assert_eq!(scene.pass(1, &params(most)), MOST);
        let id = scene.ask(1, &params(most + 1));
        both_sizes(&scene.operator.answer(&id).unwrap_err(), MOST + 1);
        scene.works();
    }
}

#[test]
fn node_exec_approvals_are_relayed_or_rejected_with_both_sizes() {
    let mut scene = Scene::new(4, 4);
    let mut admin = scene.gateway.admin();
    let device = scene.device.id.clone();
    // As parameters: a file of quotes, whose size doubles.
    let set = json!({ "nodeId": device, "file": { "version": 1, "note": "\"".repeat(7 * MIB) }, "baseHash": "h" });
    let error = admin.call("exec.approvals.node.set", set).unwrap_err();
    assert_eq!(error.0["details"]["code"], "FRAME_TOO_LARGE", "{}", error.message());
    // As a result, which is in the response only once.
    let id = admin.start("exec.approvals.node.get", json!({ "nodeId": device }));
    let call = asked(&mut scene.node).1;
    scene.give(&call, Given { payload: None, held: Some(&held(20 * MIB)) });
    assert_eq!(admin.answer(&id).unwrap().as_str().map(str::len), Some(20 * MIB - 6));
    scene.works();
}

#[test]
fn oversized_node_frame_closes_only_its_own_connection() {
    let mut scene = Scene::new(4, 4);
    let other_device = Device::new();
    let mut other_node = node(&scene.gateway, 4, &other_device);
    approve(&scene.gateway, &other_device);
    let waits =
        scene.other_operator.start("node.invoke", invoke(&other_device, COMMAND, json!({})));
    let id = scene.ask(3, "{}");
    let call = asked(&mut scene.node).1;
    let result = json!({ "id": call["id"], "nodeId": scene.device.id, "ok": true, "payload": "x".repeat(26 * MIB) });
    scene.node.start("node.invoke.result", result);
    let error = scene.operator.answer(&id).unwrap_err();
    assert_eq!(error.message(), format!("DISCONNECTED: node disconnected ({COMMAND})"));
    answer(&mut other_node, &other_device, "[1]");
    assert_eq!(scene.other_operator.answer(&waits).unwrap()["payload"], json!([1]));
    let more = scene.operator.start("node.invoke", invoke(&other_device, COMMAND, json!({})));
    answer(&mut other_node, &other_device, "[2]");
    assert_eq!(scene.operator.answer(&more).unwrap()["payload"], json!([2]));
}

#[test]
fn node_error_too_large_for_its_details_is_relayed_as_text() {
    for protocol in [3, 4] {
        let mut scene = Scene::new(protocol, 4);
        for (more, whole) in [(MOST - MIB, true), (MOST - 400, false)] {
            let id = scene.ask(250, "{}");
            let call = asked(&mut scene.node).1;
            let error =
                json!({ "code": "BROKEN", "message": "it is broken", "more": "x".repeat(more) });
            let result =
                json!({ "id": call["id"], "nodeId": scene.device.id, "ok": false, "error": error });
            scene.node.call("node.invoke.result", result).unwrap();
            let error = scene.operator.answer(&id).unwrap_err();
            assert!(error.message().ends_with("it is broken"), "{}", error.message());
            assert_eq!(error.0["details"]["nodeError"]["code"] == "BROKEN", whole);
            scene.works();
        }
    }
}

#[test]
fn node_list_stays_small_with_maximal_declarations() {
    let gateway = Gateway::new();
    let granted = |at: usize| (format!("{at:0120}"), json!(true));
    let permissions: serde_json::Map<String, Value> = (0..250).map(granted).collect();
    let much = json!({ "pathEnv": "\"".repeat(13 * 1024), "permissions": permissions });
    let nodes: Vec<Session> = (0..160)
        .map(|_| {
            let who =
                Who::v4().offering(("linux", "Linux"), &[COMMAND], &["system"]).patch(much.clone());
            gateway.connect(&who.token(TOKEN).device(&Device::new())).unwrap()
        })
        .collect();
    let mut admin = gateway.admin();
    let listed = admin.call("node.list", json!({})).unwrap();
    let rows = listed["nodes"].as_array().unwrap();
    let full = rows
        .iter()
        .filter(|row| row["pathEnv"].is_string() && row["permissions"].is_object())
        .count();
    let brief = rows
        .iter()
        .filter(|row| row.get("pathEnv").is_none() && row.get("permissions").is_none())
        .count();
    assert_eq!(full + brief, nodes.len());
    let bytes = admin.socket.bytes;
    assert!(full > 100 && brief > 10, "{full} nodes in full and {brief} not, in {bytes} bytes");
    assert!((8 * MIB..9 * MIB).contains(&bytes), "{bytes}");
    let last =
        admin.call("node.describe", json!({ "nodeId": rows.last().unwrap()["nodeId"] })).unwrap();
    assert!(last["pathEnv"].is_string(), "a node that is asked for alone is shown in full");
}
