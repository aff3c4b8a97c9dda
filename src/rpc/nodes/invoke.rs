//! Calls of operators to nodes, and their answers: `node.invoke`, `node.invoke.result`,
//! `node.invoke.progress`, and `exec.approvals.node.*`, which is the same under another name
//! (protocol 3 and 4).
//!
//! Parameters and payloads are not interpreted: they are text inside text on the way to a node and
//! back, as in the protocol. Parameters become JSON inside a string, which can be longer, so the
//! frame is measured first, and parameters that do not fit are rejected before they are sent.
//!
//! The idempotency key is passed to the node, because only the node can know which calls it has
//! already done. The answer goes to the connection that sent the request: after an operator
//! disconnects there is none, and a node of protocol 4 is asked to cancel.

use super::outcomes::CallOutcome;
use super::pending_invokes::{AnswerForm, PendingInvoke};
use super::pending_work::Action;
use super::prepared::{is_marked, CallParams, NodeError, NodeResult};
use super::registry::ConnectedNode;
use crate::gate::commands::{invoke_scope, NOT_ALLOWED};
use crate::gate::facts::Protocol;
use crate::gate::ids::{DeviceId, RequestId};
use crate::gate::limits;
use crate::gate::scopes::Scope;
use crate::rpc::params::{self, ByNode, InvokeProgress, InvokeResult, NodeApprovalsSet};
use crate::rpc::{Call, Effect, Failure, Prepared, Reply};
use crate::wire::frames;
use crate::wire::json::{self, Value};
use crate::wire::message::Params;

/// Handles `node.invoke {nodeId, command, params?, timeoutMs?, idempotencyKey}`. Protocol 4 also
/// has members about the agent's turn.
pub fn invoke(call: &mut Call<'_>, params: Params<'_>) -> Result<Reply, Failure> {
    let prepared = call.prepared;
    count_rejected(call, |call| match prepared {
        Prepared::Invoke(Ok(read)) => {
            invoke_command(call, &read.sent, read.params(), &|| read.is_marked)
        }
        Prepared::Invoke(Err(problems)) => Err(Failure::invalid(problems)),
        _ => {
            let sent: params::Invoke<'_> = params.read()?;
            let params = sent.params.map(|params| CallParams::Json(params.raw()));
            invoke_command(call, &sent, params, &|| is_marked(sent.params))
        }
    })
}

fn invoke_command(
    call: &mut Call<'_>,
    sent: &params::Invoke<'_>,
    params: Option<CallParams<'_>>,
    is_marked: &dyn Fn() -> bool,
) -> Result<Reply, Failure> {
    let (node, command) = (sent.node_id.trim(), sent.command.trim());
    if node.is_empty() || command.is_empty() {
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
    check_approval_marks(call, command, is_marked)?;
    let id = call.new_id();
    let node = find_connected(call, node)?;
    check_allowed(call, node, command, NOT_ALLOWED)?;
    let timeout = sent.timeout_ms.map(|ms| ms.min(limits::INVOKE_MS_MAX));
    let key = &*sent.idempotency_key;
    let outgoing = OutgoingInvoke { id, command, params, timeout, key };
    let (invoke, effect) = outgoing.prepare(call, node, AnswerForm::Invoke)?;
    call.nodes.invokes.insert(invoke)?;
    Ok(Reply::later(vec![effect]))
}

/// Handles `exec.approvals.node.get {nodeId}`.
pub fn node_approvals_get(call: &mut Call<'_>, params: ByNode) -> Result<Reply, Failure> {
    invoke_exec_approvals(call, &params.node_id, "system.execApprovals.get", "{}")
}

/// Handles `exec.approvals.node.set {nodeId, file, baseHash?}` (protocol 4: also `native`).
pub fn node_approvals_set(
    call: &mut Call<'_>,
    params: NodeApprovalsSet<'_>,
) -> Result<Reply, Failure> {
    let members =
        [("file", params.file), ("native", params.native), ("baseHash", params.base_hash)];
    let given = json::object(|o| {
        for (name, value) in members {
            o.opt_raw(name, value.map(|value| value.raw().as_bytes()));
        }
    });
    let given = String::from_utf8(given).unwrap_or_default();
    invoke_exec_approvals(call, &params.node_id, "system.execApprovals.set", &given)
}

fn invoke_exec_approvals(
    call: &mut Call<'_>,
    node: &str,
    command: &str,
    params: &str,
) -> Result<Reply, Failure> {
    count_rejected(call, |call| {
        let id = call.new_id();
        let node = find_connected(call, node.trim())?;
        check_allowed(call, node, command, &format!("{NOT_ALLOWED}: {command}"))?;
        let (params, key) = (Some(CallParams::Json(params)), &*id.to_string());
        let outgoing = OutgoingInvoke { id, command, params, timeout: None, key };
        let (invoke, effect) = outgoing.prepare(call, node, AnswerForm::Payload)?;
        call.nodes.invokes.insert(invoke)?;
        Ok(Reply::later(vec![effect]))
    })
}

/// Counts a call that is rejected before it is sent.
fn count_rejected(
    call: &mut Call<'_>,
    invoke: impl FnOnce(&mut Call<'_>) -> Result<Reply, Failure>,
) -> Result<Reply, Failure> {
    let result = invoke(call);
    if result.is_err() {
        call.nodes.invokes.outcomes.count(CallOutcome::Refused);
    }
    result
}

/// Call in the form in which it is sent to a node.
struct OutgoingInvoke<'a> {
    id: RequestId,
    command: &'a str,
    params: Option<CallParams<'a>>,
    timeout: Option<u64>,
    key: &'a str,
}

impl OutgoingInvoke<'_> {
    /// Returns the call, and the effect that sends its frame to the node. Fails if the frame is
    /// larger than the node accepts.
    fn prepare(
        &self,
        call: &Call<'_>,
        node: &ConnectedNode,
        form: AnswerForm,
    ) -> Result<(PendingInvoke, Effect), Failure> {
        let params = self.params;
        let text = params.map_or(0, CallParams::escaped_len);
        let most =
            text + json::escaped_len(self.command) + json::escaped_len(self.key) + FRAME_ROOM;
        if most > limits::FRAME_AFTER_HELLO {
            let bytes = self.frame(node, params.map(|_| CallParams::Json("")), 0).len() + text;
            if bytes > limits::FRAME_AFTER_HELLO {
                return Err(too_large(bytes, call.caller.protocol()));
            }
        }
        let frame = self.frame(node, params, most);
        debug_assert!(frame.len() <= most, "{} bytes in room for {most}", frame.len());
        let wait = self.timeout.unwrap_or(limits::INVOKE_MS);
        let invoke = PendingInvoke {
            id: self.id,
            caller: call.caller.conn(),
            holder: call.caller.holder(),
            request: call.id.to_string(),
            protocol: call.caller.protocol(),
            node: node.device,
            node_conn: node.conn,
            node_protocol: node.protocol,
            command: self.command.to_string(),
            form,
            action: self.action(call, node).map(Box::new),
            since: call.now.at,
            deadline: call.now.at.plus(wait),
        };
        Ok((invoke, Effect::Invoke { id: self.id, conn: node.conn, frame }))
    }

    /// Returns the action that the call becomes if its node is in the background; large parameters
    /// cannot be queued.
    fn action(&self, call: &Call<'_>, node: &ConnectedNode) -> Option<Action> {
        let params = match self.params {
            Some(CallParams::Json(params)) => Some(params),
            Some(CallParams::Escaped(_)) => return None,
            None => None,
        };
        Action::of(node, call.caller.holder(), self.id, self.command, params, self.key)
    }

    /// Writes the event for the node, with capacity for about `size` bytes.
    fn frame(&self, node: &ConnectedNode, params: Option<CallParams<'_>>, size: usize) -> Vec<u8> {
        frames::event_with("node.invoke.request", size, &mut |frame| {
            frame.obj("payload", |o| {
                o.shown("id", &self.id);
                o.shown("nodeId", &node.device);
                o.str("command", self.command);
                match params {
                    Some(params) => params.write("paramsJSON", o),
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
const FRAME_ROOM: usize = 320;

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

fn find_connected<'n>(call: &'n Call<'_>, named: &str) -> Result<&'n ConnectedNode, Failure> {
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
fn check_allowed(
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
fn check_approval_marks(
    call: &Call<'_>,
    command: &str,
    is_marked: &dyn Fn() -> bool,
) -> Result<(), Failure> {
    if command != "system.run" || call.caller.may(Scope::Approvals) || !is_marked() {
        return Ok(());
    }
    let details = json::object(|o| o.str("code", "APPROVAL_REQUIRED"));
    let message =
        "approval required: only who has operator.approvals can say that a command is approved";
    Err(Failure::invalid(message).detailed(details))
}

/// Handles `node.invoke.result {id, nodeId, ok, payload?, payloadJSON?, error?}`.
pub fn result(call: &mut Call<'_>, params: Params<'_>) -> Result<Reply, Failure> {
    match call.prepared {
        Prepared::Result(Ok(read)) => complete(call, &read.result(params.value())),
        Prepared::Result(Err(problems)) => Err(Failure::invalid(problems)),
        _ => {
            let sent: InvokeResult<'_> = params.read()?;
            let error = NodeError::of(&sent);
            complete(call, &NodeResult::of(&sent, &error))
        }
    }
}

fn complete(call: &mut Call<'_>, result: &NodeResult<'_>) -> Result<Reply, Failure> {
    let sent = result.sent;
    let node = check_own_node(call, &sent.node_id)?;
    let id = RequestId::parse(&sent.id);
    let Some(invoke) = id.and_then(|id| call.nodes.invokes.remove(id, node)) else {
        return Ok(Reply::of(br#"{"ok":true,"ignored":true}"#.to_vec()));
    };
    let ms = call.now.at.since(invoke.since);
    call.nodes.invokes.outcomes.answered(sent.ok, ms);
    let effect = match sent.ok {
        true => invoke.answer(result.payload, result.text),
        false => node_failed(call, invoke, result.error, result.error_text),
    };
    Ok(Reply::ok().with(vec![effect]))
}

/// Returns the effect of an error from the node: queues the action if the node is in the
/// background, otherwise fails the call.
fn node_failed(
    call: &mut Call<'_>,
    invoke: PendingInvoke,
    error: Option<Value<'_>>,
    text: &NodeError,
) -> Effect {
    // If the whole error could make the frame too large, only the message is passed on.
    let raw = error.map(|error| error.raw().as_bytes());
    let raw = raw.filter(|raw| raw.len() <= limits::NODE_ERROR_WHOLE);
    if text.is_background {
        let queued = invoke
            .action
            .as_ref()
            .and_then(|action| call.nodes.work.queue(Action::clone(action), call.now));
        if let Some(id) = queued {
            return queued_until_foreground(&invoke, id, raw);
        }
    }
    let message = if text.message.is_empty() { "node invoke failed" } else { &text.message };
    let message = failure_message(invoke.protocol, &text.code, message);
    invoke.fail(message, raw, true)
}

/// Returns the message for the caller. Protocol 4 begins it with the code of the node, except where
/// the caller reads that code already: as code of the answer, or in the node's own message.
fn failure_message(protocol: Protocol, code: &str, message: &str) -> String {
    let is_said = matches!(code, "" | "UNAVAILABLE")
        || message.strip_prefix(code).is_some_and(|rest| rest.starts_with(':'));
    match protocol {
        Protocol::V4 if !is_said => format!("{code}: {message}"),
        _ => message.to_string(),
    }
}

fn queued_until_foreground(
    invoke: &PendingInvoke,
    action: RequestId,
    node_error: Option<&[u8]>,
) -> Effect {
    let details = json::object(|o| {
        o.str("code", "QUEUED_UNTIL_FOREGROUND");
        o.shown("queuedActionId", &action);
        o.shown("nodeId", &invoke.node);
        o.str("command", &invoke.command);
        o.raw("nodeError", node_error.unwrap_or(b"null"));
    });
    let message = "node command queued until iOS returns to foreground";
    invoke.failed(Failure::unavailable(message).detailed(details).retryable())
}

/// Handles `node.invoke.progress {invokeId, nodeId, seq, chunk}` (protocol 4). It is ignored,
/// because in the protocol no caller of `node.invoke` receives progress either.
pub fn progress(call: &mut Call<'_>, params: InvokeProgress) -> Result<Reply, Failure> {
    check_own_node(call, &params.node_id)?;
    Ok(Reply::of(br#"{"ok":true,"ignored":true}"#.to_vec()))
}

/// Returns the device of the caller. Fails if `named` is not its id.
fn check_own_node(call: &Call<'_>, named: &str) -> Result<DeviceId, Failure> {
    let own = call.caller.device().filter(|own| DeviceId::parse(named) == Some(*own));
    own.ok_or_else(|| Failure::invalid("nodeId mismatch"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_message_names_the_code_of_the_node_once() {
        for (code, message, v4) in [
            ("", "no", "no"),
            ("BROKEN", "no", "BROKEN: no"),
            ("BROKEN", "BROKEN: no", "BROKEN: no"),
            ("BROKEN", "BROKENLY: no", "BROKEN: BROKENLY: no"),
            ("UNAVAILABLE", "no", "no"),
            ("UNAVAILABLE", "UNAVAILABLE: no", "UNAVAILABLE: no"),
            ("UNAVAILABLE", "PERMISSION_MISSING: x", "PERMISSION_MISSING: x"),
        ] {
            assert_eq!(failure_message(Protocol::V4, code, message), v4, "{code} {message}");
            assert_eq!(failure_message(Protocol::V3, code, message), message, "{code} {message}");
        }
    }
}
