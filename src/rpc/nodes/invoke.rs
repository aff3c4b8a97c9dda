//! Calls of operators to nodes, and their answers: `node.invoke`, `node.invoke.result`,
//! `node.invoke.progress`, and `exec.approvals.node.*`, which is the same under another name
//! (protocol 3 and 4).
//!
//! Parameters and payloads are not interpreted: they are text inside text on the way to a node and
//! back, as in the protocol.
//!
//! No client accepts a frame of more than [`limits::FRAME_AFTER_HELLO`] bytes, and a text can grow
//! in both directions: parameters become JSON inside a string, and an answer that a node sends in a
//! string is returned both as JSON and as the string. So each frame is measured first. Parameters
//! that do not fit are rejected before they are sent. An answer that does not fit in both forms has
//! `payloadJSON: null`, because clients that read this member use `payload` without it; an answer
//! that does not fit in one form is an error with both sizes. No connection is closed.
//!
//! The idempotency key is passed to the node, because only the node can know which calls it has
//! already done. The answer goes to the connection that sent the request: after an operator
//! disconnects there is none, and a node of protocol 4 is asked to cancel.

use std::borrow::Cow;

use super::outcomes::{CallOutcome, CallOutcomes};
use super::pending_work;
use super::registry::ConnectedNode;
use crate::gate::commands::{invoke_scope, NOT_ALLOWED};
use crate::gate::facts::Protocol;
use crate::gate::ids::{ConnId, DeviceId, Millis, RequestId};
use crate::gate::limits;
use crate::gate::scopes::Scope;
use crate::gate::text::cut;
use crate::rpc::params::{self, ByNode, InvokeProgress, InvokeResult, NodeApprovalsSet};
use crate::rpc::{Call, Effect, Failure, Reply};
use crate::wire::frames;
use crate::wire::json::{self, Kind, Value, Writer};
use crate::wire::message::Params;

/// Call that its node has not answered yet.
pub struct PendingInvoke {
    id: RequestId,
    /// Connection of the caller; `request` is the id of its request.
    caller: ConnId,
    request: String,
    protocol: Protocol,
    node: DeviceId,
    node_conn: ConnId,
    node_protocol: Protocol,
    command: String,
    /// Whether the caller gets the answer of the node alone, not as the answer to an invoke.
    bare: bool,
    /// Action to keep if the node answers that it cannot do it now; see [`work`].
    kept: Option<Box<pending_work::Action>>,
    since: Millis,
    deadline: Millis,
}

/// All unanswered calls, in no order.
#[derive(Default)]
pub struct PendingInvokes {
    list: Vec<PendingInvoke>,
    /// Time before which no call expires; computed again when it has passed.
    next: Option<Millis>,
    pub outcomes: CallOutcomes,
}

impl PendingInvokes {
    /// Returns a time before which no call expires, if there are calls.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.next
    }

    /// Returns the number of unanswered calls.
    pub fn waiting(&self) -> usize {
        self.list.len()
    }

    /// Ends the calls that have expired.
    pub fn expire(&mut self, now: Millis) -> Vec<Effect> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let late = self.take(|invoke| invoke.deadline <= now);
        self.next = self.list.iter().map(|invoke| invoke.deadline).min();
        let said = |invoke: PendingInvoke| {
            self.outcomes.count(CallOutcome::Timeout);
            let failed = invoke.failed("TIMEOUT", "node invoke timed out");
            [Some(failed), invoke.cancel()]
        };
        late.into_iter().flat_map(said).flatten().collect()
    }

    /// Ends the calls of a closed connection: an error for the callers of a node, a cancellation
    /// for the nodes that an operator called.
    pub fn leave(&mut self, conn: ConnId) -> Vec<Effect> {
        let ended = self.take(|invoke| invoke.node_conn == conn || invoke.caller == conn);
        let said = |invoke: PendingInvoke| {
            let abandoned = invoke.caller == conn;
            self.outcomes.count(if abandoned {
                CallOutcome::Abandoned
            } else {
                CallOutcome::Disconnected
            });
            match abandoned {
                true => invoke.cancel(),
                false => Some(invoke.failed(
                    "DISCONNECTED",
                    &["node disconnected (", &invoke.command, ")"].concat(),
                )),
            }
        };
        ended.into_iter().filter_map(said).collect()
    }

    /// Ends a call that could not be sent.
    pub fn unsent(&mut self, id: RequestId) -> Option<Effect> {
        let invoke = self.take(|invoke| invoke.id == id).pop()?;
        self.outcomes.count(CallOutcome::Busy);
        Some(invoke.failed("BUSY", "the node does not read what it is sent; try again later"))
    }

    /// Ends all calls, because the gateway is stopping.
    pub fn stop(&mut self) -> Vec<Effect> {
        let ended = self.take(|_| true);
        let said = |invoke: &PendingInvoke| {
            self.outcomes.count(CallOutcome::Stopping);
            invoke.failed("GATEWAY_STOPPING", "gateway restart in progress")
        };
        ended.iter().map(said).collect()
    }

    fn take(&mut self, which: impl Fn(&PendingInvoke) -> bool) -> Vec<PendingInvoke> {
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

impl PendingInvoke {
    /// Returns the error for the caller.
    fn failed(&self, code: &'static str, message: &str) -> Effect {
        let error = json::object(|o| {
            o.str("code", code);
            o.str("message", message);
        });
        let shown = match (self.protocol, code) {
            // In the form that OpenClaw 2026.1.29 prints.
            (Protocol::V3, "DISCONNECTED") => ["Error: ", message].concat(),
            (Protocol::V3, _) => message.to_string(),
            (Protocol::V4, _) => [code, ": ", message].concat(),
        };
        self.fail(shown, Some(&error), code != "BUSY")
    }

    fn fail(&self, message: String, error: Option<&[u8]>, dispatched: bool) -> Effect {
        let details = json::object(|o| {
            o.raw("nodeError", error.unwrap_or(b"null"));
            if self.protocol == Protocol::V4 {
                o.bool("nodeCommandDispatched", dispatched);
            }
        });
        let failure = Failure::unavailable(message).detailed(details);
        Effect::Fail { conn: self.caller, id: self.request.clone(), failure }
    }

    /// Returns the cancellation for the node (protocol 4). If the node's send queue has no space it
    /// is dropped, because it does not justify closing the connection.
    fn cancel(&self) -> Option<Effect> {
        let frame = frames::event_with("node.invoke.cancel", 128, &mut |frame| {
            frame.obj("payload", |o| {
                o.shown("invokeId", &self.id);
                o.shown("nodeId", &self.node);
            });
        });
        (self.node_protocol == Protocol::V4).then_some(Effect::Invoke {
            id: self.id,
            conn: self.node_conn,
            frame,
        })
    }

    /// Returns the answer for the caller: `payload` as the node sent it, or `held`, which is JSON
    /// inside a string. Returns an error if the answer does not fit in a frame.
    fn answered(&self, payload: Option<Value<'_>>, held: Option<Value<'_>>) -> Effect {
        let frame = self.answer(payload, held);
        if frame.len() <= limits::FRAME_AFTER_HELLO {
            return Effect::Frame { conn: self.caller, frame };
        }
        self.failed(frames::TOO_LARGE, &frames::too_large_message("the node's answer", frame.len()))
    }

    /// Writes the frame of that answer. It has both forms of `held` only if both fit, so it is
    /// never much larger than the frame of the node, and too large only if one form alone is.
    fn answer(&self, payload: Option<Value<'_>>, held: Option<Value<'_>>) -> Vec<u8> {
        let size = payload.map_or(0, |value| value.raw().len())
            + 2 * held.map_or(0, |value| value.raw().len());
        let size = size.min(limits::FRAME_AFTER_HELLO);
        let json = |o: &mut Writer<'_>, key: &str| match held {
            None => o.opt_raw(
                key,
                payload.map(|payload| payload.raw().as_bytes()).or(self.bare.then_some(b"null")),
            ),
            Some(text) if !o.held(key, &text) => {
                o.obj(key, |o| o.raw("payloadJSON", text.raw().as_bytes()))
            }
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
                let fits =
                    |text: &Value<'_>| before + text.raw().len() <= limits::FRAME_AFTER_HELLO;
                o.raw(
                    "payloadJSON",
                    held.filter(fits).map_or(b"null", |text| text.raw().as_bytes()),
                );
            });
        })
    }
}

/// Handles `node.invoke {nodeId, command, params?, timeoutMs?, idempotencyKey}`. Protocol 4 also
/// has members about the agent's turn.
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
        let message =
            "node.invoke does not allow system.execApprovals.*; use exec.approvals.node.*";
        return Err(Failure::invalid(message).detailed(json::object(|o| o.str("command", command))));
    }
    let scope = invoke_scope(command);
    if !call.caller.may(scope) {
        return Err(Failure::scope(scope));
    }
    unforged(call, command, given)?;
    let id = call.new_id();
    let node = connected(call, node.trim())?;
    allowed(call, node, command, NOT_ALLOWED)?;
    let (timeout, key) = (params.timeout_ms, &params.idempotency_key);
    let sent =
        Sent { id, command, params: given.map(|value| Cow::Borrowed(value.raw())), timeout, key };
    let (invoke, effect) = sent.to(call, node, false)?;
    start(call, invoke, effect)
}

/// Handles `exec.approvals.node.get {nodeId}`.
pub fn node_approvals_get(call: &mut Call<'_>, params: ByNode) -> Result<Reply, Failure> {
    ask_approvals(call, &params.node_id, "system.execApprovals.get", "{}".to_string())
}

/// Handles `exec.approvals.node.set {nodeId, file, baseHash?}` (protocol 4: also `native`).
pub fn node_approvals_set(
    call: &mut Call<'_>,
    params: NodeApprovalsSet<'_>,
) -> Result<Reply, Failure> {
    let given = json::object(|o| {
        for (name, value) in
            [("file", params.file), ("native", params.native), ("baseHash", params.base_hash)]
        {
            o.opt_raw(name, value.map(|value| value.raw().as_bytes()));
        }
    });
    ask_approvals(
        call,
        &params.node_id,
        "system.execApprovals.set",
        String::from_utf8(given).unwrap_or_default(),
    )
}

fn ask_approvals(
    call: &mut Call<'_>,
    node: &str,
    command: &str,
    given: String,
) -> Result<Reply, Failure> {
    let asked = pass_approvals(call, node, command, given);
    counted(call, asked)
}

/// Counts a call that is rejected before it is sent.
fn counted(call: &mut Call<'_>, asked: Result<Reply, Failure>) -> Result<Reply, Failure> {
    if asked.is_err() {
        call.nodes.invokes.outcomes.count(CallOutcome::Refused);
    }
    asked
}

fn pass_approvals(
    call: &mut Call<'_>,
    node: &str,
    command: &str,
    given: String,
) -> Result<Reply, Failure> {
    let id = call.new_id();
    let node = connected(call, node.trim())?;
    allowed(call, node, command, &[NOT_ALLOWED, ": ", command].concat())?;
    let key = id.to_string();
    let sent = Sent { id, command, params: Some(Cow::Owned(given)), timeout: None, key: &key };
    let (invoke, effect) = sent.to(call, node, true)?;
    start(call, invoke, effect)
}

/// Call in the form in which it is sent to a node.
struct Sent<'a> {
    id: RequestId,
    command: &'a str,
    params: Option<Cow<'a, str>>,
    timeout: Option<u64>,
    key: &'a str,
}

impl Sent<'_> {
    /// Returns the call, and the effect that sends its frame to the node. Fails if the frame is
    /// larger than the node accepts.
    fn to(
        &self,
        call: &Call<'_>,
        node: &ConnectedNode,
        bare: bool,
    ) -> Result<(PendingInvoke, Effect), Failure> {
        let text = self.params.as_deref().map_or(0, json::escaped_len);
        let most = text + json::escaped_len(self.command) + json::escaped_len(self.key) + SENT_ROOM;
        if most > limits::FRAME_AFTER_HELLO {
            let bytes = self.frame(node, self.params.as_ref().map(|_| ""), 0).len() + text;
            if bytes > limits::FRAME_AFTER_HELLO {
                return Err(too_large(bytes, call.caller.protocol()));
            }
        }
        let frame = self.frame(node, self.params.as_deref(), most);
        debug_assert!(frame.len() <= most, "{} bytes in room for {most}", frame.len());
        let wait = self.timeout.unwrap_or(limits::INVOKE_MS).min(limits::INVOKE_MS_MAX);
        let invoke = PendingInvoke {
            id: self.id,
            caller: call.caller.conn(),
            request: call.id.to_string(),
            protocol: call.caller.protocol(),
            node: node.device,
            node_conn: node.conn,
            node_protocol: node.protocol,
            command: self.command.to_string(),
            bare,
            kept: pending_work::Action::of(
                node,
                self.id,
                self.command,
                self.params.as_deref(),
                self.key,
            )
            .map(Box::new),
            since: call.now.at,
            deadline: call.now.at.plus(wait),
        };
        Ok((invoke, Effect::Invoke { id: self.id, conn: node.conn, frame }))
    }

    /// Writes the event for the node, with capacity for about `size` bytes.
    fn frame(&self, node: &ConnectedNode, params: Option<&str>, size: usize) -> Vec<u8> {
        frames::event_with("node.invoke.request", size, &mut |frame| {
            frame.obj("payload", |o| {
                o.shown("id", &self.id);
                o.shown("nodeId", &node.device);
                o.str("command", self.command);
                match params {
                    Some(params) => o.str("paramsJSON", params),
                    // Protocol 4 leaves out absent parameters.
                    None if node.protocol == Protocol::V3 => o.null("paramsJSON"),
                    None => {}
                }
                o.opt_u64("timeoutMs", self.timeout);
                o.str("idempotencyKey", self.key);
            });
        })
    }
}

/// Maximum size in bytes of a frame to a node without its command, parameters and key.
const SENT_ROOM: usize = 320;

/// Creates the error for a call whose frame would have `bytes` bytes. The call was not sent.
fn too_large(bytes: usize, protocol: Protocol) -> Failure {
    let details = json::object(|o| {
        frames::too_large_details(o, bytes);
        if protocol == Protocol::V4 {
            o.bool("nodeCommandDispatched", false);
        }
    });
    Failure::invalid(frames::too_large_message("the call to the node", bytes)).detailed(details)
}

fn start(call: &mut Call<'_>, invoke: PendingInvoke, effect: Effect) -> Result<Reply, Failure> {
    let invokes = &mut call.nodes.invokes;
    let own = invokes.list.iter().filter(|one| one.caller == invoke.caller).count();
    if own >= limits::INVOKES_OF_ONE || invokes.list.len() >= limits::INVOKES {
        return Err(Failure::unavailable("too many calls wait for nodes; retry shortly"));
    }
    invokes.next = Some(invokes.next.map_or(invoke.deadline, |next| next.min(invoke.deadline)));
    invokes.list.push(invoke);
    Ok(Reply::later(vec![effect]))
}

fn connected<'n>(call: &'n Call<'_>, named: &str) -> Result<&'n ConnectedNode, Failure> {
    let node = DeviceId::parse(named).and_then(|id| call.nodes.registry.get(&id));
    let v4 = call.caller.protocol() == Protocol::V4;
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

/// Checks that the command may be invoked on the node.
fn allowed(
    call: &Call<'_>,
    node: &ConnectedNode,
    command: &str,
    refusal: &str,
) -> Result<(), Failure> {
    let approved = node.approved(call.devices);
    let Err(denial) =
        node.rules(call.commands, approved).invoke(command, &|name| approved.has_command(name))
    else {
        return Ok(());
    };
    let details = json::object(|o| {
        o.str("reason", denial.reason.word());
        o.str("command", command);
    });
    let message = match call.caller.protocol() {
        Protocol::V3 => refusal.to_string(),
        Protocol::V4 => format!("{refusal}: {denial}"),
    };
    Err(Failure::invalid(message).detailed(details))
}

/// Checks that only a caller that may approve commands marks one as approved, because a node host
/// runs marked commands without asking.
fn unforged(call: &Call<'_>, command: &str, given: Option<Value<'_>>) -> Result<(), Failure> {
    if command != "system.run" || call.caller.may(Scope::Approvals) {
        return Ok(());
    }
    let marks = ["approved", "approvalDecision", "approvalSource"];
    let given = given.unwrap_or(Value::EMPTY);
    // Keys after those that are checked for duplicates could repeat a mark.
    let hidden = given.fields().nth(limits::JSON_KEYS).is_some();
    let marked = marks.iter().any(|mark| {
        given.get(mark).is_some_and(|value| !value.is_null() && value.as_bool() != Some(false))
    });
    if !marked && !hidden {
        return Ok(());
    }
    let details = json::object(|o| o.str("code", "APPROVAL_REQUIRED"));
    let message =
        "approval required: only who has operator.approvals can say that a command is approved";
    Err(Failure::invalid(message).detailed(details))
}

/// Handles `node.invoke.result {id, nodeId, ok, payload?, payloadJSON?, error?}`.
pub fn result(call: &mut Call<'_>, params: InvokeResult<'_>) -> Result<Reply, Failure> {
    let InvokeResult { ok, payload, payload_json: held, error, .. } = params;
    let own =
        call.caller.device().filter(|device| DeviceId::parse(&params.node_id) == Some(*device));
    let own = own.ok_or_else(|| Failure::invalid("nodeId mismatch"))?;
    let id = RequestId::parse(&params.id);
    let found = call
        .nodes
        .invokes
        .list
        .iter()
        .position(|invoke| Some(invoke.id) == id && invoke.node == own);
    let Some(at) = found else {
        return Ok(Reply::of(br#"{"ok":true,"ignored":true}"#.to_vec()));
    };
    let invoke = call.nodes.invokes.list.swap_remove(at);
    call.nodes.invokes.outcomes.answered(ok, call.now.at.since(invoke.since));
    // A `payloadJSON` that is not a string is the payload itself.
    let (held, payload) = match held {
        Some(text) if text.kind() == Kind::String => {
            (Some(text).filter(|text| !text.is_str("")), payload)
        }
        other => (None, payload.or(other)),
    };
    let effect = match ok {
        true => invoke.answered(payload, held),
        false => refused(call, invoke, error),
    };
    Ok(Reply::of(br#"{"ok":true}"#.to_vec()).with(vec![effect]))
}

/// Returns the effect of an error from the node: queues the action if the node is in the
/// background, otherwise fails the call.
fn refused(call: &mut Call<'_>, mut invoke: PendingInvoke, error: Option<Value<'_>>) -> Effect {
    let text = |name: &str| error.and_then(|error| error.get(name)?.as_str()).unwrap_or_default();
    let (code, message) = (text("code"), text("message"));
    // If the whole error could make the frame too large, only the message is passed on.
    let raw = error
        .map(|error| error.raw().as_bytes())
        .filter(|raw| raw.len() <= limits::NODE_ERROR_WHOLE);
    if let Some(action) =
        invoke.kept.take().filter(|_| pending_work::is_background(&code, &message))
    {
        if let Some(queued) = call.nodes.work.keep(*action, call.now) {
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
    let said = if message.is_empty() {
        "node invoke failed"
    } else {
        cut(&message, limits::NODE_ERROR_LEN)
    };
    let code = cut(&code, limits::WORD_LEN);
    let shown = match invoke.protocol {
        Protocol::V4 if !code.is_empty() => [code, ": ", said].concat(),
        _ => said.to_string(),
    };
    invoke.fail(shown, raw, true)
}

/// Handles `node.invoke.progress {invokeId, nodeId, seq, chunk}` (protocol 4). It is ignored,
/// because in the protocol no caller of `node.invoke` receives progress either.
pub fn progress(call: &mut Call<'_>, params: InvokeProgress) -> Result<Reply, Failure> {
    match call.caller.device() {
        Some(own) if DeviceId::parse(&params.node_id) == Some(own) => {
            Ok(Reply::of(br#"{"ok":true,"ignored":true}"#.to_vec()))
        }
        _ => Err(Failure::invalid("nodeId mismatch")),
    }
}
