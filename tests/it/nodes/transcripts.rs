//! Golden transcripts of the relay: the exact messages of operators and nodes of each protocol.
//!
//! Exchanges are counted, and the test fails for a method or event that hello names and no
//! transcript shows.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use gatelet::config::{load, Env, Overrides};
use gatelet::gate::facts::{DeviceProof, Host, Identity, Origin};
use gatelet::gate::ids::{ConnId, Millis, Now, Role, TableAge, WallMs};
use gatelet::gate::net::Via;
use gatelet::gate::pairing_requests::About;
use gatelet::gate::scopes::Scopes;
use gatelet::rpc::{Devices, Status};
use gatelet::server::gateway::attempt::{Attempt, ClientInfo, PresentedCredentials};
use gatelet::server::gateway::{Event, Gateway as Owner};
use gatelet::server::net::send_queue::{Next, SendQueue};
use gatelet::server::os::clock::SystemEntropy;
use gatelet::server::runtime_config::{RuntimeConfig, SecretDigest};
use serde_json::{json, Value};
use support::client::{Device, Session, Who};
use support::gateway::{Gateway, TOKEN};

use crate::handshake::transcripts::{compare, folder, Mask};
use crate::rpc::agent_stubs;

const COMMANDS: [&str; 5] = [
    "camera.snap",
    "system.execApprovals.get",
    "system.execApprovals.set",
    "system.run",
    "system.which",
];
const LINUX: (&str, &str) = ("linux", "Linux");

/// Transcript being written.
struct Script {
    protocol: u32,
    text: String,
    mask: Mask,
    /// Number of calls and events so far.
    ran: usize,
    events: BTreeSet<String>,
}

impl Script {
    fn v4(&self) -> bool {
        self.protocol == 4
    }

    fn note(&mut self, name: &str, title: &str) {
        self.events.insert(name.to_string());
        self.text.push_str(&format!("## {title}\n"));
    }

    fn show(&mut self, body: &Value) {
        self.ran += 1;
        let body = self.mask.show(body);
        self.text.push_str(&format!("{body}\n\n"));
    }

    /// Makes a call and records its response.
    fn ask(&mut self, session: &mut Session, method: &str, why: &str, params: Value) -> Value {
        let call = self.start(session, method, why, params);
        self.answered(session, &call)
    }

    /// Records a call that is answered later.
    fn start(&mut self, session: &mut Session, method: &str, why: &str, params: Value) -> String {
        self.note(method, &format!("{method}, {why}"));
        let line = self.mask.line(&params);
        self.text.push_str(&format!("> {line}\n"));
        session.start(method, params)
    }

    /// Records the response to the call recorded just before.
    fn answered(&mut self, session: &mut Session, call: &str) -> Value {
        let outcome = session.answer(call);
        let shown = outcome.clone().unwrap_or_else(|failed| json!({ "error": failed.0 }));
        self.show(&shown);
        outcome.unwrap_or_default()
    }

    /// Records the response to an earlier call.
    fn answer(&mut self, session: &mut Session, method: &str, call: &str) -> Value {
        self.note(method, &format!("the answer to {method}"));
        self.answered(session, call)
    }

    /// Records the next event `name` and returns its payload.
    fn event(&mut self, session: &mut Session, to: &str, name: &str) -> Value {
        let frame = session.frame_of(name);
        self.frame(to, name, frame)
    }

    fn frame(&mut self, to: &str, name: &str, mut frame: Value) -> Value {
        self.note(name, &format!("event {name} to {to}"));
        for (path, mask) in [("/seq", "<seq>"), ("/stateVersion/presence", "<version>")] {
            if let Some(number) = frame.pointer_mut(path) {
                *number = mask.into();
            }
        }
        self.show(&frame);
        frame["payload"].clone()
    }
}

/// Participants.
struct Setting {
    gateway: Gateway,
    admin: Session,
    writer: Session,
    node: Session,
    device: Device,
}

fn who(protocol: u32, scopes: &[&str]) -> Who {
    Who::of(protocol).token(TOKEN).scopes(scopes)
}

fn shed(protocol: u32, device: &Device, commands: &[&str]) -> Who {
    let patch = json!({ "commands": commands, "caps": ["system"], "permissions": { "screenRecording": true },
        "pathEnv": "/usr/bin:/bin" });
    Who::of(protocol)
        .offering(LINUX, &[], &[])
        .patch(patch)
        .name("Shed")
        .token(TOKEN)
        .device(device)
}

fn pending(admin: &mut Session) -> Value {
    let list = admin.call("node.pair.list", json!({})).unwrap();
    json!({ "requestId": list["pending"][0]["requestId"] })
}

/// Connects a node, lists it, and approves its commands.
fn node_connects(s: &mut Script) -> Setting {
    let gateway = Gateway::new();
    let protocol = s.protocol;
    let challenge = gateway.dial().open().frame();
    s.frame("all", "connect.challenge", challenge);
    let mut admin = gateway.connect(&who(protocol, &["admin"])).unwrap();
    s.ask(&mut admin, "node.list", "there is none", json!({}));
    s.ask(&mut admin, "node.pair.list", "none is pending", json!({}));
    let device = Device::from_seed([31; 32]);
    let mut node = gateway.connect(&shed(protocol, &device, &COMMANDS)).unwrap();
    s.event(&mut admin, "an operator", "node.pair.requested");
    s.event(&mut admin, "an operator", "presence");
    s.event(&mut node, "the node", "voicewake.changed");
    s.ask(&mut admin, "node.list", "one is pending", json!({}));
    s.ask(&mut admin, "node.pair.list", "one is pending", json!({}));
    let mut reader = gateway.connect(&who(protocol, &["read"])).unwrap();
    s.ask(&mut reader, "node.describe", "by a reader", json!({ "nodeId": device.id }));
    let invoke = json!({ "nodeId": device.id, "command": "system.which", "idempotencyKey": "k" });
    s.ask(&mut admin, "node.invoke", "nothing is approved", invoke);
    let request = pending(&mut admin);
    let mut pairing = gateway.connect(&who(protocol, &["pairing"])).unwrap();
    s.ask(&mut pairing, "node.pair.approve", "with the pairing scope only", request.clone());
    s.ask(&mut admin, "node.pair.approve", "by an administrator", request.clone());
    s.event(&mut admin, "an operator", "node.pair.resolved");
    if s.v4() {
        s.event(&mut node, "the node", "node.pair.resolved");
    }
    s.ask(&mut admin, "node.pair.approve", "again", request.clone());
    s.ask(&mut admin, "node.pair.reject", "again", request);
    s.ask(&mut admin, "node.pair.list", "one is paired", json!({}));
    s.ask(&mut admin, "node.list", "one is paired", json!({}));
    if s.v4() {
        s.ask(&mut reader, "environments.list", "by a reader", json!({}));
    }
    s.ask(&mut admin, "node.describe", "of an unknown node", json!({ "nodeId": "f".repeat(64) }));
    s.ask(&mut admin, "node.describe", "without a node", json!({}));
    for (why, node, name) in [
        ("to a name", device.id.as_str(), "The shed"),
        ("to nothing", device.id.as_str(), " "),
        ("of an unknown node", "unknown", "The shed"),
    ] {
        s.ask(&mut admin, "node.rename", why, json!({ "nodeId": node, "displayName": name }));
    }
    if s.v4() {
        s.event(&mut admin, "an operator", "device.pair.changed");
    }
    s.ask(&mut admin, "node.describe", "renamed", json!({ "nodeId": device.id }));
    let writer = gateway.connect(&who(protocol, &["write"])).unwrap();
    Setting { gateway, admin, writer, node, device }
}

fn call_of(device: &Device, command: &str) -> Value {
    json!({ "nodeId": device.id, "command": command, "idempotencyKey": "key-1" })
}

/// Successful and failing invokes.
fn invokes(s: &mut Script, setting: &mut Setting) {
    let Setting { gateway, writer, node, device, .. } = setting;
    let mut with_params = call_of(device, "system.which");
    with_params["params"] = json!({ "bins": ["sh"] });
    with_params["timeoutMs"] = json!(5000);
    let error = json!({ "code": "BROKEN", "message": "it is broken" });
    for (why, params, mut result) in [
        (
            "answered by text",
            with_params.clone(),
            json!({ "ok": true, "payloadJSON": "{\"bins\":{\"sh\":\"/bin/sh\"}}" }),
        ),
        (
            "answered by a value, without parameters",
            call_of(device, "system.which"),
            json!({ "ok": true, "payload": [1, null] }),
        ),
        (
            "answered by text that is none of JSON",
            with_params.clone(),
            json!({ "ok": true, "payloadJSON": "none" }),
        ),
        ("answered by nothing", with_params.clone(), json!({ "ok": true, "payloadJSON": null })),
        ("refused by the node", with_params.clone(), json!({ "ok": false, "error": error })),
        ("refused by the node without a word", with_params, json!({ "ok": false })),
    ] {
        let call = s.start(writer, "node.invoke", why, params);
        s.text.push('\n');
        let asked = s.event(node, "the node", "node.invoke.request");
        (result["id"], result["nodeId"]) = (asked["id"].clone(), device.id.as_str().into());
        s.ask(node, "node.invoke.result", why, result);
        s.answer(writer, "node.invoke", &call);
    }
    let bare = Device::from_seed([32; 32]);
    let _bare = gateway.connect(&shed(s.protocol, &bare, &[]).name("Bare")).unwrap();
    let mut marked = call_of(device, "system.run");
    marked["params"] = json!({ "command": ["true"], "approved": true });
    for (why, params) in [
        ("of an unknown node", call_of(&Device::from_seed([33; 32]), "system.which")),
        ("of a command that is not allowed", call_of(device, "made.up")),
        ("of a command that the owner must allow", call_of(device, "camera.snap")),
        ("of a command that the node does not declare", call_of(device, "system.notify")),
        ("of a node that has no commands", call_of(&bare, "system.notify")),
        ("of a command for the owner's approvals", call_of(device, "system.execApprovals.get")),
        ("marked as approved without the approvals scope", marked),
        ("without a command", call_of(device, " ")),
        ("without a key", json!({ "nodeId": device.id, "command": "system.which" })),
    ] {
        if why == "of a command for the owner's approvals" && !s.v4() {
            continue;
        }
        s.ask(writer, "node.invoke", why, params);
    }
    let mut late = call_of(device, "system.which");
    late["timeoutMs"] = json!(50);
    s.ask(writer, "node.invoke", "not answered in time", late);
    let asked = s.event(node, "the node", "node.invoke.request");
    if s.v4() {
        s.event(node, "the node", "node.invoke.cancel");
    }
    let late = json!({ "id": asked["id"], "nodeId": device.id, "ok": true });
    s.ask(node, "node.invoke.result", "too late", late);
    s.ask(
        node,
        "node.invoke.result",
        "of another",
        json!({ "id": asked["id"], "nodeId": "x", "ok": true }),
    );
    s.ask(node, "node.invoke.result", "without an invoke", json!({ "nodeId": device.id }));
    if s.v4() {
        let progress = |node: &str, chunk: &str| json!({ "invokeId": "x", "nodeId": node, "seq": 1, "chunk": chunk });
        s.ask(node, "node.invoke.progress", "of no pending call", progress(&device.id, "some"));
        s.ask(node, "node.invoke.progress", "of another", progress("x", "some"));
        s.ask(node, "node.invoke.progress", "with missing members", json!({ "nodeId": device.id }));
    }
}

/// Events that a node sends by itself.
fn node_events(s: &mut Script, setting: &mut Setting) {
    let Setting { admin, node, device, .. } = setting;
    let stats = json!({ "cpuCount": 4, "memoryTotalBytes": 8, "memoryFreeBytes": 3, "loadAverage": [0.5, 1, 2] });
    for (name, payload) in [
        ("node.host.stats", stats),
        ("node.host.stats", json!({ "cpuCount": "many" })),
        ("node.presence.alive", Value::Null),
        ("exec.finished", json!({ "runId": "r" })),
        ("made.up", Value::Null),
    ] {
        let text = if payload.is_null() { Value::Null } else { payload.to_string().into() };
        s.ask(node, "node.event", name, json!({ "event": name, "payloadJSON": text }));
    }
    s.ask(node, "node.event", "of no name", json!({}));
    s.ask(node, "skills.bins", "of which there are none", json!({}));
    if s.v4() {
        s.event(admin, "an operator", "node.hostStats");
        s.ask(node, "node.pluginTools.update", "with none", json!({ "tools": [] }));
        let skill = json!({ "name": "n", "description": "d", "content": "c" });
        s.ask(node, "node.skills.update", "with one", json!({ "skills": [skill] }));
        let inventory = json!({ "protocolFeatures": ["node-worker-supervisor-v6"], "workerHost": { "enabled": false } });
        s.ask(node, "node.runnerInventory.update", "of a node host", inventory);
        s.ask(node, "node.pluginSurface.refresh", "of one", json!({ "surface": "canvas" }));
        s.ask(node, "node.pluginSurface.refresh", "of none", json!({}));
    }
    s.ask(admin, "node.describe", "with host statistics", json!({ "nodeId": device.id }));
    let params = json!({ "nodeId": device.id });
    s.ask(node, "node.list", "by a node", params);
}

/// Work that is pending for a node, and a phone in the background (protocol 4).
fn pending_work(s: &mut Script, setting: &mut Setting) {
    let Setting { gateway, admin, writer, node, device } = setting;
    let left = |kind: &str| json!({ "nodeId": device.id, "type": kind });
    s.ask(node, "node.pending.drain", "when nothing is queued", json!({}));
    s.ask(writer, "node.pending.enqueue", "of a place", left("location.request"));
    s.ask(writer, "node.pending.enqueue", "of a place again", left("location.request"));
    let mut urgent = left("status.request");
    (urgent["priority"], urgent["expiresInMs"]) = (json!("high"), json!(60_000));
    s.ask(writer, "node.pending.enqueue", "of its state, urgently", urgent);
    s.ask(writer, "node.pending.enqueue", "of an unknown type", left("made.up"));
    s.ask(
        writer,
        "node.pending.enqueue",
        "for an unknown node",
        json!({ "nodeId": "f".repeat(64), "type": "status.request" }),
    );
    s.ask(node, "node.pending.drain", "the first", json!({ "maxItems": 1 }));
    s.ask(node, "node.pending.drain", "the rest", json!({}));
    s.ask(node, "node.pending.drain", "too many", json!({ "maxItems": 11 }));
    let device = Device::from_seed([34; 32]);
    let iphone =
        Who::v4().offering(("iOS 18.1", "iPhone"), &["camera.list"], &["camera"]).name("Phone");
    let mut phone = gateway.connect(&iphone.token(TOKEN).device(&device)).unwrap();
    let request = pending(admin);
    admin.call("node.pair.approve", request).unwrap();
    let call = s.start(
        writer,
        "node.invoke",
        "of a phone in the background",
        call_of(&device, "camera.list"),
    );
    s.text.push('\n');
    let asked = s.event(&mut phone, "the phone", "node.invoke.request");
    let error = json!({ "code": "NODE_BACKGROUND_UNAVAILABLE", "message": "not now" });
    let result = json!({ "id": asked["id"], "nodeId": device.id, "ok": false, "error": error });
    s.ask(&mut phone, "node.invoke.result", "of a phone in the background", result);
    s.answer(writer, "node.invoke", &call);
    let pulled = s.ask(&mut phone, "node.pending.pull", "of queued calls", json!({}));
    let ids = json!({ "ids": [pulled["actions"][0]["id"]] });
    s.ask(&mut phone, "node.pending.ack", "of completed calls", ids);
    s.ask(&mut phone, "node.pending.ack", "of nothing", json!({ "ids": [] }));
    s.ask(&mut phone, "node.pending.pull", "nothing is left", json!({}));
    phone.leave();
}

/// An approval requested by one operator and decided by another.
fn approvals(s: &mut Script, setting: &mut Setting) {
    let (request, resolve) = ("exec.approval.request", "exec.approval.resolve");
    let (requested, resolved) = ("exec.approval.requested", "exec.approval.resolved");
    let mut asker =
        setting.gateway.connect(&who(s.protocol, &["approvals"]).name("Asker")).unwrap();
    let mut decider =
        setting.gateway.connect(&who(s.protocol, &["approvals"]).name("Decider")).unwrap();
    let question = json!({ "id": "a-1", "command": "uname -a", "cwd": "/", "agentId": "main", "timeoutMs": 20_000 });
    let call = s.start(&mut asker, request, "of a command", question.clone());
    s.text.push('\n');
    s.event(&mut decider, "another operator", requested);
    s.event(&mut asker, "the asker", requested);
    s.ask(&mut decider, request, "again", question);
    if s.v4() {
        s.ask(&mut decider, "exec.approval.list", "one is pending", json!({}));
        s.ask(&mut decider, "exec.approval.get", "of a pending request", json!({ "id": "a-1" }));
    }
    s.ask(
        &mut decider,
        resolve,
        "with an invalid decision",
        json!({ "id": "a-1", "decision": "maybe" }),
    );
    s.ask(
        &mut decider,
        resolve,
        "of an unknown request",
        json!({ "id": "b-1", "decision": "deny" }),
    );
    let allow = json!({ "id": "a-1", "decision": "allow-once" });
    s.ask(&mut decider, resolve, "once", allow.clone());
    s.answer(&mut asker, request, &call);
    s.event(&mut asker, "the asker", resolved);
    s.ask(&mut decider, resolve, "once more", allow);
    s.ask(&mut decider, resolve, "the other way", json!({ "id": "a-1", "decision": "deny" }));
    s.ask(
        &mut asker,
        request,
        "that is not decided",
        json!({ "command": "true", "timeoutMs": 30 }),
    );
    s.ask(&mut asker, request, "of nothing", json!({ "command": "" }));
    if s.v4() {
        s.ask(
            &mut decider,
            "exec.approval.waitDecision",
            "when it was made",
            json!({ "id": "a-1" }),
        );
        s.ask(
            &mut decider,
            "exec.approval.waitDecision",
            "of an unknown request",
            json!({ "id": "b-1" }),
        );
        s.ask(&mut decider, "exec.approval.waitDecision", "of nothing", json!({}));
        s.ask(&mut decider, "exec.approval.get", "when it was decided", json!({ "id": "a-1" }));
        on_a_node(s, &mut asker, &mut decider, &setting.device);
    }
}

/// Approvals that only protocol 4 has: commands of nodes, two responses, and no operator that could
/// decide.
fn on_a_node(s: &mut Script, asker: &mut Session, decider: &mut Session, device: &Device) {
    let request = "exec.approval.request";
    let mut question = json!({ "id": "a-2", "host": "node", "command": "ls", "twoPhase": true,
        "env": { "SECRET": "the value" } });
    s.ask(asker, request, "on no node", question.clone());
    question["nodeId"] = device.id.as_str().into();
    s.ask(asker, request, "on a node without a plan", question.clone());
    question["systemRunPlan"] = json!({ "argv": ["uname"], "cwd": null, "commandText": "uname", "agentId": null,
        "sessionKey": null });
    let call = s.start(asker, request, "with two answers", question);
    s.answered(asker, &call);
    // of the request without a decision
    decider.frame_of("exec.approval.requested");
    s.event(decider, "another operator", "exec.approval.requested");
    let deny = json!({ "id": "a-2", "decision": "deny" });
    s.ask(decider, "exec.approval.resolve", "with deny", deny);
    s.answer(asker, request, &call);
    let gateway = Gateway::new();
    let mut alone = gateway.connect(&who(4, &["approvals"])).unwrap();
    s.ask(
        &mut alone,
        request,
        "when no other client is connected",
        json!({ "id": "a-3", "command": "true" }),
    );
}

/// Approvals kept by a node itself.
fn node_exec_approvals(s: &mut Script, setting: &mut Setting) {
    let Setting { admin, node, device, .. } = setting;
    let file = json!({ "version": 1, "agents": {} });
    let snapshot = json!({ "path": "/a", "exists": true, "hash": "h", "file": file });
    let error = json!({ "code": "INVALID_REQUEST", "message": "baseHash mismatch" });
    let set = json!({ "nodeId": device.id, "file": file, "baseHash": "h" });
    for (method, why, params, mut result) in [
        (
            "exec.approvals.node.get",
            "answered",
            json!({ "nodeId": device.id }),
            json!({ "ok": true, "payloadJSON": snapshot.to_string() }),
        ),
        (
            "exec.approvals.node.set",
            "answered",
            set.clone(),
            json!({ "ok": true, "payload": snapshot }),
        ),
        (
            "exec.approvals.node.set",
            "refused by the node",
            set,
            json!({ "ok": false, "error": error }),
        ),
    ] {
        let call = s.start(admin, method, why, params);
        s.text.push('\n');
        let asked = s.event(node, "the node", "node.invoke.request");
        (result["id"], result["nodeId"]) = (asked["id"].clone(), device.id.as_str().into());
        node.call("node.invoke.result", result).unwrap();
        s.answer(admin, method, &call);
    }
    let get = "exec.approvals.node.get";
    s.ask(admin, get, "of an unknown node", json!({ "nodeId": "f".repeat(64) }));
    s.ask(admin, get, "of nothing", json!({}));
}

fn wake_words(s: &mut Script, setting: &mut Setting) {
    let Setting { admin, node, .. } = setting;
    s.ask(admin, "voicewake.get", "as usual", json!({}));
    s.ask(admin, "voicewake.set", "to one", json!({ "triggers": [" hal ", "", 5] }));
    s.event(node, "the node", "voicewake.changed");
    s.event(admin, "an operator", "voicewake.changed");
    s.ask(admin, "voicewake.set", "to the usual ones", json!({ "triggers": [] }));
    s.ask(admin, "voicewake.set", "to nothing", json!({}));
}

/// A node requests more commands, reconnects and is removed; a node disconnects during an invoke.
fn node_disconnects(s: &mut Script, setting: &mut Setting) {
    let Setting { gateway, admin, writer, node, device } = setting;
    let call = s.start(
        writer,
        "node.invoke",
        "of a node that disconnects",
        call_of(device, "system.which"),
    );
    s.text.push('\n');
    s.event(node, "the node", "node.invoke.request");
    admin.forget();
    let more = [COMMANDS.as_slice(), &["system.notify"]].concat();
    let again = gateway.connect(&shed(s.protocol, device, &more)).unwrap();
    std::mem::replace(node, again).leave();
    s.answer(writer, "node.invoke", &call);
    s.event(admin, "an operator", "node.pair.requested");
    s.ask(
        admin,
        "node.describe",
        "with a pending request for more commands",
        json!({ "nodeId": device.id }),
    );
    let request = pending(admin);
    s.ask(admin, "node.pair.reject", "of the request for more commands", request);
    s.event(admin, "an operator", "node.pair.resolved");
    if !s.v4() {
        let asked = json!({ "nodeId": device.id, "displayName": "Shed" });
        s.ask(admin, "node.pair.request", "for a node", asked.clone());
        s.ask(admin, "node.pair.request", "again", asked);
        s.ask(admin, "node.pair.request", "for an unknown node", json!({ "nodeId": "shed" }));
        let token = node.token();
        let verify = |token: &str| json!({ "nodeId": device.id, "token": token });
        s.ask(admin, "node.pair.verify", "the right token", verify(&token));
        s.ask(admin, "node.pair.verify", "a wrong token", verify("wrong"));
        let request = pending(admin);
        admin.call("node.pair.reject", request).unwrap();
        admin.frame_of("node.pair.resolved");
    }
    s.ask(admin, "node.pair.remove", "of a node", json!({ "nodeId": device.id }));
    s.event(admin, "an operator", "node.pair.resolved");
    let (code, reason) = node.closed();
    s.text.push_str(&format!("the node's connection is closed: {code} {reason}\n\n"));
    s.ask(admin, "node.pair.remove", "of an unknown node", json!({ "nodeId": device.id }));
}

/// The gateway stops during an invoke.
fn gateway_stops(s: &mut Script, setting: &mut Setting) {
    let Setting { gateway, admin, writer, .. } = setting;
    let device = Device::from_seed([35; 32]);
    let mut node = gateway.connect(&shed(s.protocol, &device, &["system.which"])).unwrap();
    let request = pending(admin);
    admin.call("node.pair.approve", request).unwrap();
    let call =
        s.start(writer, "node.invoke", "while the gateway stops", call_of(&device, "system.which"));
    s.text.push('\n');
    s.event(&mut node, "the node", "node.invoke.request");
    gateway.terminate();
    s.answer(writer, "node.invoke", &call);
    s.event(admin, "an operator", "shutdown");
    s.event(&mut node, "the node", "shutdown");
    for (name, session) in [("operator", admin), ("node", &mut node)] {
        let (code, reason) = session.closed();
        s.text.push_str(&format!("the {name}'s connection is closed: {code} {reason}\n\n"));
    }
}

/// Other calls of operators.
fn other_calls(s: &mut Script, setting: &mut Setting) {
    let Setting { admin, .. } = setting;
    s.ask(admin, "config.schema", "of everything", json!({}));
    s.ask(admin, "set-heartbeats", "on", json!({ "enabled": true }));
    s.ask(admin, "set-heartbeats", "to nothing", json!({}));
    admin.forget();
    let report =
        json!({ "text": "Node: Laptop", "host": "node", "mode": "ui", "instanceId": "i-1" });
    s.ask(admin, "system-event", "of its state", report);
    s.event(admin, "an operator", "presence");
    s.ask(admin, "system-event", "of nothing", json!({}));
    s.note("logs.tail", "logs.tail, the last line");
    let mut tail = admin.call("logs.tail", json!({ "limit": 1 })).unwrap();
    assert!(tail["cursor"].as_u64() > Some(0) && tail["size"].as_u64() > Some(0), "{tail}");
    assert_eq!(tail["lines"].as_array().unwrap().len(), 1);
    for (name, mask) in
        [("cursor", json!("<cursor>")), ("size", json!("<size>")), ("lines", json!(["<line>"]))]
    {
        tail[name] = mask;
    }
    s.show(&tail);
    let hash = admin.call("config.get", json!({})).unwrap()["hash"].clone();
    let raw = "{gateway: {nodes: {commands: {deny: ['sms.send']}}}}";
    s.ask(
        admin,
        "config.patch",
        "of the allowed commands",
        json!({ "raw": raw, "baseHash": hash }),
    );
    if s.v4() {
        s.event(admin, "an operator", "config.changed");
    }
}

/// Environment without files and variables, except for a home directory.
struct Nothing;

impl Env for Nothing {
    fn var(&self, name: &str) -> Option<String> {
        (name == "HOME").then(|| "/home/ann".to_string())
    }

    fn read(&self, _path: &Path, _max: u64) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn mode(&self, _path: &Path) -> Option<u32> {
        None
    }

    fn exists(&self, _path: &Path) -> bool {
        false
    }

    fn readable(&self, _path: &Path) -> bool {
        false
    }
}

/// Returns the attempt of an operator of this protocol with the shared secret and no device.
fn attempt(protocol: u32) -> Attempt {
    let here = IpAddr::from(Ipv4Addr::LOCALHOST);
    Attempt {
        request: "connect-1".into(),
        min_protocol: protocol,
        max_protocol: protocol,
        role: Some(Role::Operator),
        control_ui: false,
        requested: Scopes::ALL,
        device_proof: DeviceProof::Absent,
        presented: PresentedCredentials {
            token: Some(TOKEN.into()),
            ..PresentedCredentials::default()
        },
        about: About::default(),
        version: Default::default(),
        model: Default::default(),
        instance: Default::default(),
        node: None,
        client_info: ClientInfo {
            peer: here,
            client: here,
            via: Via::Direct,
            local: true,
            host_text: String::new(),
            origin_text: String::new(),
            host: Host::Loopback,
            origin: Origin::Absent,
            identity: Identity::Absent,
            cidr: false,
        },
        clock_skew: None,
    }
}

/// Timed events, from a gateway whose clock is set here.
fn by_the_clock(s: &mut Script) {
    let config =
        load(&Overrides::default(), &Nothing).config.expect("an empty configuration is valid");
    let mut setup = RuntimeConfig::of(&config, "host".into(), "gatelet".into());
    setup.secret = Some(SecretDigest::of(TOKEN));
    let devices = Devices::new(4, 1, TableAge(0));
    let now = |at: u64| Now { at: Millis(at), wall: WallMs(1_700_000_000_000 + at) };
    let mut owner =
        Owner::new(Rc::new(setup), devices, Status::default(), Box::new(SystemEntropy), now(0));
    let send_queue = Rc::new(SendQueue::default());
    let conn = ConnId(1);
    owner.handle(Event::Opened { conn, send_queue: send_queue.clone() }, now(0));
    owner.handle(Event::Connect { conn, attempt: Box::new(attempt(s.protocol)) }, now(0));
    let mut came = Vec::new();
    for at in [0, 30_000, 60_000] {
        if at > 0 {
            assert!(owner.next_deadline() <= Millis(at));
            send_queue.mark_alive();
            owner.handle(Event::Tick, now(at));
        }
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(next) = send_queue.poll_next(&mut context) {
            let Next::Frame(frame) = next else { continue };
            let frame: Value = serde_json::from_slice(&frame.to_vec()).unwrap();
            came.extend(Some(frame).filter(|frame| frame["type"] == "event"));
        }
    }
    let names: Vec<&str> = came.iter().map(|frame| frame["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["presence", "tick", "tick", "health"]);
    for frame in &came[2..] {
        s.frame("all", frame["event"].as_str().unwrap(), frame.clone());
    }
}

fn transcript(protocol: u32) -> Script {
    let mut s = Script {
        protocol,
        text: String::new(),
        mask: Mask::default(),
        ran: 0,
        events: BTreeSet::new(),
    };
    let mut setting = node_connects(&mut s);
    let hello = setting.admin.hello["features"].clone();
    invokes(&mut s, &mut setting);
    node_events(&mut s, &mut setting);
    if s.v4() {
        pending_work(&mut s, &mut setting);
    }
    approvals(&mut s, &mut setting);
    node_exec_approvals(&mut s, &mut setting);
    wake_words(&mut s, &mut setting);
    other_calls(&mut s, &mut setting);
    node_disconnects(&mut s, &mut setting);
    gateway_stops(&mut s, &mut setting);
    by_the_clock(&mut s);
    every_name_is_shown(&s, &hello);
    s
}

/// Events that hello names in both protocols and that protocol 3 never receives.
const V4_EVENTS: [&str; 3] = ["config.changed", "device.pair.changed", "node.hostStats"];

/// Asserts that every name in hello is in this transcript or in that of a session, except for
/// methods with an empty response.
fn every_name_is_shown(s: &Script, features: &Value) {
    let session =
        std::fs::read_to_string(folder().join(format!("session_v{}.txt", s.protocol))).unwrap();
    let titles: BTreeSet<&str> =
        session.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let is_shown = |name: &str| {
        let event = format!("event {name}");
        s.events.contains(name) || titles.contains(name) || titles.contains(event.as_str())
    };
    let empty = |name: &str| {
        let mut lines = agent_stubs::READS.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        lines.any(|words| {
            words.len() > 2 && words[0].contains(&s.protocol.to_string()) && words[2] == name
        })
    };
    let names = |list: &str| {
        let list = features[list].as_array().unwrap().clone();
        list.into_iter().map(|name| name.as_str().unwrap().to_string()).collect::<Vec<String>>()
    };
    let methods = names("methods").into_iter().filter(|name| !empty(name));
    let events =
        names("events").into_iter().filter(|name| s.v4() || !V4_EVENTS.contains(&name.as_str()));
    let missing: Vec<String> = methods.chain(events).filter(|name| !is_shown(name)).collect();
    assert!(missing.is_empty(), "no transcript of protocol {} shows {missing:?}", s.protocol);
    if s.v4() {
        assert!(is_shown("node.invoke.cancel"), "only nodes receive it");
    }
}

#[test]
fn relay_messages_match_the_transcripts() {
    let ran = [3, 4].map(|protocol| {
        let script = transcript(protocol);
        compare(&format!("relay_v{protocol}.txt"), &script.text);
        script.ran
    });
    assert_eq!(ran, [117, 156], "exchanges of which the transcripts consist");
}
