//! Calls of operators on their way to nodes, and the answers on their way back: `node.invoke`, `node.invoke.result`,
//! `node.invoke.progress`, and `exec.approvals.node.*`, which are the same under another name (protocol 3 and 4).
//!
//! Parameters and payloads are not looked into: they are text inside text on the way to a node and back, as the protocol has it.
//!
//! No client takes a frame of more than [`limits::FRAME_AFTER_HELLO`] bytes, and both ways can make a text longer: parameters
//! become JSON inside a string, and what a node answers in a string goes back as JSON and as the string. So each frame is
//! measured first. Parameters that do not fit are refused before they are sent. An answer that does not fit in both
//! forms has `payloadJSON: null`, as clients that read it read `payload` without it; one that does not fit at all is an
//! error with both sizes. Every connection stays open.
//!
//! The idempotency key goes to the node, which alone can know what it did already. Who is answered is known by the
//! connection that asked: an operator that is gone gets nothing, and a node of protocol 4 is told to stop.

use std::borrow::Cow;

use super::ends::{End, Ends};
use super::live::Node;
use super::work;
use crate::gate::commands::{invoke_scope, NOT_ALLOWED};
use crate::gate::facts::Dialect;
use crate::gate::ids::{ConnId, DeviceId, Millis, RequestId};
use crate::gate::limits;
use crate::gate::scopes::Scope;
use crate::gate::text::cut;
use crate::rpc::params::{self, ByNode, InvokeProgress, InvokeResult, NodeApprovalsSet};
use crate::rpc::{Call, Effect, Failure, Reply};
use crate::wire::frames;
use crate::wire::json::{self, Kind, Value, Writer};
use crate::wire::message::Params;

/// A call that its node has not answered yet.
pub struct Invoke {
    id: RequestId,
    /// Who asked, and under which id.
    caller: ConnId,
    request: String,
    dialect: Dialect,
    node: DeviceId,
    node_conn: ConnId,
    node_dialect: Dialect,
    command: String,
    /// The caller wants what the node answers alone, not as the answer to an invoke.
    bare: bool,
    /// Kept where the node may say that it cannot do it now, see [`work`].
    kept: Option<Box<work::Action>>,
    since: Millis,
    deadline: Millis,
}

/// All of them, in no order.
#[derive(Default)]
pub struct Invokes {
    list: Vec<Invoke>,
    /// None of them ends before that; looked for anew when it has come.
    next: Option<Millis>,
    pub ends: Ends,
}

impl Invokes {
    /// When the first one has waited long enough.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.next
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.list.len()
    }

    /// Ends those that waited long enough.
    pub fn expire(&mut self, now: Millis) -> Vec<Effect> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let late = self.take(|invoke| invoke.deadline <= now);
        self.next = self.list.iter().map(|invoke| invoke.deadline).min();
        let said = |invoke: Invoke| {
            self.ends.count(End::Timeout);
            let failed = invoke.failed("TIMEOUT", "node invoke timed out");
            [Some(failed), invoke.cancel()]
        };
        late.into_iter().flat_map(said).flatten().collect()
    }

    /// Ends those of a connection that is gone: a node's callers are told, an operator's nodes may stop.
    pub fn leave(&mut self, conn: ConnId) -> Vec<Effect> {
        let ended = self.take(|invoke| invoke.node_conn == conn || invoke.caller == conn);
        let said = |invoke: Invoke| {
            let abandoned = invoke.caller == conn;
            self.ends.count(if abandoned { End::Abandoned } else { End::Disconnected });
            match abandoned {
                true => invoke.cancel(),
                false => Some(invoke.failed("DISCONNECTED", &["node disconnected (", &invoke.command, ")"].concat())),
            }
        };
        ended.into_iter().filter_map(said).collect()
    }

    /// Ends one that could not even be sent.
    pub fn unsent(&mut self, id: RequestId) -> Option<Effect> {
        let invoke = self.take(|invoke| invoke.id == id).pop()?;
        self.ends.count(End::Busy);
        Some(invoke.failed("BUSY", "the node does not read what it is sent; try again later"))
    }

    /// Ends all: the gateway goes down.
    pub fn stop(&mut self) -> Vec<Effect> {
        let ended = self.take(|_| true);
        let said = |invoke: &Invoke| {
            self.ends.count(End::Stopping);
            invoke.failed("GATEWAY_STOPPING", "gateway restart in progress")
        };
        ended.iter().map(said).collect()
    }

    fn take(&mut self, which: impl Fn(&Invoke) -> bool) -> Vec<Invoke> {
        let mut taken = Vec::new();
        let mut at = 0;
        while at < self.list.len() {
            if which(&self.list[at]) {
                taken.push(self.list.swap_remove(at));
            } else {
                at += 1;
            }
        }
        taken
    }
}

impl Invoke {
    /// The caller is told that it came to nothing.
    fn failed(&self, code: &'static str, message: &str) -> Effect {
        let error = json::object(|o| {
            o.str("code", code);
            o.str("message", message);
        });
        let shown = match (self.dialect, code) {
            // as OpenClaw 2026.1.29 prints it
            (Dialect::V3, "DISCONNECTED") => ["Error: ", message].concat(),
            (Dialect::V3, _) => message.to_string(),
            (Dialect::V4, _) => [code, ": ", message].concat(),
        };
        self.fail(shown, Some(&error), code != "BUSY")
    }

    fn fail(&self, message: String, error: Option<&[u8]>, dispatched: bool) -> Effect {
        let details = json::object(|o| {
            o.raw("nodeError", error.unwrap_or(b"null"));
            if self.dialect == Dialect::V4 {
                o.bool("nodeCommandDispatched", dispatched);
            }
        });
        let failure = Failure::unavailable(message).detailed(details);
        Effect::Fail { conn: self.caller, id: self.request.clone(), failure }
    }

    /// Nobody waits for it any more (protocol 4). Left out for a node that has no room for it: it is not worth a connection.
    fn cancel(&self) -> Option<Effect> {
        let frame = frames::event_with("node.invoke.cancel", 128, &mut |frame| {
            frame.obj("payload", |o| {
                o.shown("invokeId", &self.id);
                o.shown("nodeId", &self.node);
            });
        });
        (self.node_dialect == Dialect::V4).then_some(Effect::Invoke { id: self.id, conn: self.node_conn, frame })
    }

    /// The answer to the caller: `payload` as the node gave it, or `held`, which is JSON inside a string. An error if it
    /// does not fit a frame.
    fn answered(&self, payload: Option<Value<'_>>, held: Option<Value<'_>>) -> Effect {
        let frame = self.answer(payload, held);
        if frame.len() <= limits::FRAME_AFTER_HELLO {
            return Effect::Frame { conn: self.caller, frame };
        }
        self.failed(frames::TOO_LARGE, &frames::too_large_message("the node's answer", frame.len()))
    }

    /// The frame of that answer. It has both forms of `held` only where both fit, so it is never much larger than what
    /// came from the node, and too large only if one form alone is.
    fn answer(&self, payload: Option<Value<'_>>, held: Option<Value<'_>>) -> Vec<u8> {
        let size = payload.map_or(0, |value| value.raw().len()) + 2 * held.map_or(0, |value| value.raw().len());
        let size = size.min(limits::FRAME_AFTER_HELLO);
        let json = |o: &mut Writer<'_>, key: &str| match held {
            None => o.opt_raw(key, payload.map(|payload| payload.raw().as_bytes()).or(self.bare.then_some(b"null"))),
            Some(text) if !o.held(key, &text) => o.obj(key, |o| o.raw("payloadJSON", text.raw().as_bytes())),
            Some(_) => {}
        };
        frames::response_with(&self.request, size + 256, &mut |frame| {
            if self.bare {
                return json(frame, "payload");
            }
            frame.obj("payload", |o| {
                o.bool("ok", true);
                o.shown("nodeId", &self.node);
                o.str("command", &self.command);
                json(o, "payload");
                let before = o.written() + r#","payloadJSON":}}"#.len();
                let fits = |text: &Value<'_>| before + text.raw().len() <= limits::FRAME_AFTER_HELLO;
                o.raw("payloadJSON", held.filter(fits).map_or(b"null", |text| text.raw().as_bytes()));
            });
        })
    }
}

/// `node.invoke {nodeId, command, params?, timeoutMs?, idempotencyKey}`; protocol 4 has fields about the agent's turn besides.
pub fn invoke(call: &mut Call<'_>, params: Params<'_>) -> Result<Reply, Failure> {
    let asked = params.read().map_err(Failure::from).and_then(|params| ask(call, params));
    counted(call, asked)
}

fn ask(call: &mut Call<'_>, params: params::Invoke<'_>) -> Result<Reply, Failure> {
    let (node, command, given) = (&params.node_id, params.command.trim(), params.params);
    if node.trim().is_empty() || command.is_empty() {
        return Err(Failure::invalid("nodeId and command required"));
    }
    if command.starts_with("system.execApprovals.") {
        let message = "node.invoke does not allow system.execApprovals.*; use exec.approvals.node.*";
        return Err(Failure::invalid(message).detailed(json::object(|o| o.str("command", command))));
    }
    let scope = invoke_scope(command);
    if !call.caller.may(scope) {
        return Err(Failure::scope(scope));
    }
    unforged(call, command, given)?;
    let id = call.fresh_id();
    let node = connected(call, node.trim())?;
    allowed(call, node, command, NOT_ALLOWED)?;
    let (timeout, key) = (params.timeout_ms, &params.idempotency_key);
    let sent = Sent { id, command, params: given.map(|value| Cow::Borrowed(value.raw())), timeout, key };
    let (invoke, effect) = sent.to(call, node, false)?;
    start(call, invoke, effect)
}

/// `exec.approvals.node.get {nodeId}`
pub fn node_approvals_get(call: &mut Call<'_>, params: ByNode) -> Result<Reply, Failure> {
    ask_approvals(call, &params.node_id, "system.execApprovals.get", "{}".to_string())
}

/// `exec.approvals.node.set {nodeId, file, baseHash?}` (protocol 4: also `native`)
pub fn node_approvals_set(call: &mut Call<'_>, params: NodeApprovalsSet<'_>) -> Result<Reply, Failure> {
    let given = json::object(|o| {
        for (name, value) in [("file", params.file), ("native", params.native), ("baseHash", params.base_hash)] {
            o.opt_raw(name, value.map(|value| value.raw().as_bytes()));
        }
    });
    ask_approvals(call, &params.node_id, "system.execApprovals.set", String::from_utf8(given).unwrap_or_default())
}

fn ask_approvals(call: &mut Call<'_>, node: &str, command: &str, given: String) -> Result<Reply, Failure> {
    let asked = pass_approvals(call, node, command, given);
    counted(call, asked)
}

/// Counts what is not passed on.
fn counted(call: &mut Call<'_>, asked: Result<Reply, Failure>) -> Result<Reply, Failure> {
    if asked.is_err() {
        call.relay.invokes.ends.count(End::Refused);
    }
    asked
}

fn pass_approvals(call: &mut Call<'_>, node: &str, command: &str, given: String) -> Result<Reply, Failure> {
    let id = call.fresh_id();
    let node = connected(call, node.trim())?;
    allowed(call, node, command, &[NOT_ALLOWED, ": ", command].concat())?;
    let key = id.to_string();
    let sent = Sent { id, command, params: Some(Cow::Owned(given)), timeout: None, key: &key };
    let (invoke, effect) = sent.to(call, node, true)?;
    start(call, invoke, effect)
}

/// What goes to a node.
struct Sent<'a> {
    id: RequestId,
    command: &'a str,
    params: Option<Cow<'a, str>>,
    timeout: Option<u64>,
    key: &'a str,
}

impl Sent<'_> {
    /// The call, and the frame that takes it to that node. The error is that the node would not take the frame.
    fn to(&self, call: &Call<'_>, node: &Node, bare: bool) -> Result<(Invoke, Effect), Failure> {
        let text = self.params.as_deref().map_or(0, json::escaped_len);
        let most = text + json::escaped_len(self.command) + json::escaped_len(self.key) + SENT_ROOM;
        if most > limits::FRAME_AFTER_HELLO {
            let bytes = self.frame(node, self.params.as_ref().map(|_| ""), 0).len() + text;
            if bytes > limits::FRAME_AFTER_HELLO {
                return Err(too_large(bytes, call.caller.dialect()));
            }
        }
        let frame = self.frame(node, self.params.as_deref(), most);
        debug_assert!(frame.len() <= most, "{} bytes in room for {most}", frame.len());
        let wait = self.timeout.unwrap_or(limits::INVOKE_MS).min(limits::INVOKE_MS_MAX);
        let invoke = Invoke {
            id: self.id,
            caller: call.caller.conn(),
            request: call.id.to_string(),
            dialect: call.caller.dialect(),
            node: node.device,
            node_conn: node.conn,
            node_dialect: node.dialect,
            command: self.command.to_string(),
            bare,
            kept: work::Action::of(node, self.id, self.command, self.params.as_deref(), self.key).map(Box::new),
            since: call.now.at,
            deadline: call.now.at.plus(wait),
        };
        Ok((invoke, Effect::Invoke { id: self.id, conn: node.conn, frame }))
    }

    /// The event for that node, in room for `size` bytes.
    fn frame(&self, node: &Node, params: Option<&str>, size: usize) -> Vec<u8> {
        frames::event_with("node.invoke.request", size, &mut |frame| {
            frame.obj("payload", |o| {
                o.shown("id", &self.id);
                o.shown("nodeId", &node.device);
                o.str("command", self.command);
                match params {
                    Some(params) => o.str("paramsJSON", params),
                    // protocol 4 leaves out what is not there
                    None if node.dialect == Dialect::V3 => o.null("paramsJSON"),
                    None => {}
                }
                o.opt_u64("timeoutMs", self.timeout);
                o.str("idempotencyKey", self.key);
            });
        })
    }
}

/// Bytes that a frame to a node has at most beside command, parameters and key.
const SENT_ROOM: usize = 320;

/// The call would be a frame of so many bytes for its node. It was not sent.
fn too_large(bytes: usize, dialect: Dialect) -> Failure {
    let details = json::object(|o| {
        frames::too_large_details(o, bytes);
        if dialect == Dialect::V4 {
            o.bool("nodeCommandDispatched", false);
        }
    });
    Failure::invalid(frames::too_large_message("the call to the node", bytes)).detailed(details)
}

fn start(call: &mut Call<'_>, invoke: Invoke, effect: Effect) -> Result<Reply, Failure> {
    let invokes = &mut call.relay.invokes;
    let own = invokes.list.iter().filter(|one| one.caller == invoke.caller).count();
    if own >= limits::INVOKES_OF_ONE || invokes.list.len() >= limits::INVOKES {
        return Err(Failure::unavailable("too many calls wait for nodes; retry shortly"));
    }
    invokes.next = Some(invokes.next.map_or(invoke.deadline, |next| next.min(invoke.deadline)));
    invokes.list.push(invoke);
    Ok(Reply::later(vec![effect]))
}

fn connected<'n>(call: &'n Call<'_>, named: &str) -> Result<&'n Node, Failure> {
    let node = DeviceId::parse(named).and_then(|id| call.relay.nodes.of(&id));
    let v4 = call.caller.dialect() == Dialect::V4;
    node.ok_or_else(|| {
        let details = json::object(|o| {
            o.str("code", "NOT_CONNECTED");
            if v4 {
                o.fields(r#""nodeError":{"code":"NOT_CONNECTED","message":"node not connected"},"nodeCommandDispatched":false"#);
            }
        });
        Failure::unavailable("node not connected").detailed(details)
    })
}

/// May the node be asked for that?
fn allowed(call: &Call<'_>, node: &Node, command: &str, refusal: &str) -> Result<(), Failure> {
    let approved = node.approved(call.devices);
    let Err(denial) = node.rules(call.commands, approved).invoke(command, &|name| approved.has_command(name)) else {
        return Ok(());
    };
    let details = json::object(|o| {
        o.str("reason", denial.reason.word());
        o.str("command", command);
    });
    let message = match call.caller.dialect() {
        Dialect::V3 => refusal.to_string(),
        Dialect::V4 => format!("{refusal}: {denial}"),
    };
    Err(Failure::invalid(message).detailed(details))
}

/// A node host runs what is marked as approved without asking anybody, so only who may approve can mark it.
fn unforged(call: &Call<'_>, command: &str, given: Option<Value<'_>>) -> Result<(), Failure> {
    if command != "system.run" || call.caller.may(Scope::Approvals) {
        return Ok(());
    }
    let marks = ["approved", "approvalDecision", "approvalSource"];
    let given = given.unwrap_or(Value::EMPTY);
    // keys beyond those that are watched could say it a second time
    let hidden = given.fields().nth(limits::JSON_KEYS).is_some();
    let marked = marks
        .iter()
        .any(|mark| given.get(mark).is_some_and(|value| !value.is_null() && value.as_bool() != Some(false)));
    if !marked && !hidden {
        return Ok(());
    }
    let details = json::object(|o| o.str("code", "APPROVAL_REQUIRED"));
    let message = "approval required: only who has operator.approvals can say that a command is approved";
    Err(Failure::invalid(message).detailed(details))
}

/// `node.invoke.result {id, nodeId, ok, payload?, payloadJSON?, error?}`
pub fn result(call: &mut Call<'_>, params: InvokeResult<'_>) -> Result<Reply, Failure> {
    let InvokeResult { ok, payload, payload_json: held, error, .. } = params;
    let own = call.caller.device().filter(|device| DeviceId::parse(&params.node_id) == Some(*device));
    let own = own.ok_or_else(|| Failure::invalid("nodeId mismatch"))?;
    let id = RequestId::parse(&params.id);
    let found = call.relay.invokes.list.iter().position(|invoke| Some(invoke.id) == id && invoke.node == own);
    let Some(at) = found else {
        return Ok(Reply::of(br#"{"ok":true,"ignored":true}"#.to_vec()));
    };
    let invoke = call.relay.invokes.list.swap_remove(at);
    call.relay.invokes.ends.answered(ok, call.now.at.since(invoke.since));
    // what should be text and is not is the payload itself
    let (held, payload) = match held {
        Some(text) if text.kind() == Kind::String => (Some(text).filter(|text| !text.is_str("")), payload),
        other => (None, payload.or(other)),
    };
    let effect = match ok {
        true => invoke.answered(payload, held),
        false => refused(call, invoke, error),
    };
    Ok(Reply::of(br#"{"ok":true}"#.to_vec()).with(vec![effect]))
}

/// The node did not do it.
fn refused(call: &mut Call<'_>, mut invoke: Invoke, error: Option<Value<'_>>) -> Effect {
    let text = |name: &str| error.and_then(|error| error.get(name)?.as_str()).unwrap_or_default();
    let (code, message) = (text("code"), text("message"));
    // the message alone says it where the whole error would make the frame too large
    let raw = error.map(|error| error.raw().as_bytes()).filter(|raw| raw.len() <= limits::NODE_ERROR_WHOLE);
    if let Some(action) = invoke.kept.take().filter(|_| work::is_background(&code, &message)) {
        if let Some(queued) = call.relay.work.keep(*action, call.now) {
            let details = json::object(|o| {
                o.str("code", "QUEUED_UNTIL_FOREGROUND");
                o.shown("queuedActionId", &queued);
                o.shown("nodeId", &invoke.node);
                o.str("command", &invoke.command);
                o.raw("nodeError", raw.unwrap_or(b"null"));
            });
            let message = "node command queued until iOS returns to foreground";
            let failure = Failure::unavailable(message).detailed(details).retryable();
            return Effect::Fail { conn: invoke.caller, id: invoke.request, failure };
        }
    }
    let said = if message.is_empty() { "node invoke failed" } else { cut(&message, limits::NODE_ERROR_LEN) };
    let code = cut(&code, limits::WORD_LEN);
    let shown = match invoke.dialect {
        Dialect::V4 if !code.is_empty() => [code, ": ", said].concat(),
        _ => said.to_string(),
    };
    invoke.fail(shown, raw, true)
}

/// `node.invoke.progress {invokeId, nodeId, seq, chunk}` (protocol 4): nobody who can call from outside wants it there either.
pub fn progress(call: &mut Call<'_>, params: InvokeProgress) -> Result<Reply, Failure> {
    match call.caller.device() {
        Some(own) if DeviceId::parse(&params.node_id) == Some(own) => {
            Ok(Reply::of(br#"{"ok":true,"ignored":true}"#.to_vec()))
        }
        _ => Err(Failure::invalid("nodeId mismatch")),
    }
}
