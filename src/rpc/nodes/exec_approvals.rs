//! Approvals of commands (`exec.approval.*`, protocol 3 and 4): an operator asks, clients that may
//! approve are notified, one of them decides, and the pending request of the operator is answered.
//!
//! The question, which is the request of the operator, is passed on as it was received. It is
//! answered only by a decision, by the end of its time, or by an error when the gateway stops. A
//! decision can still be fetched for a moment after it was made. Approvals are in memory only:
//! after a restart none is pending.

use crate::gate::facts::Protocol;
use crate::gate::ids::{ConnId, Millis, Now, WallMs};
use crate::gate::limits;
use crate::gate::scopes::Scope;
use crate::rpc::params::{ApprovalRequest, ApprovalResolve, ById, MaybeById};
use crate::rpc::{self, answers, Audience, Call, Effect, Failure, Reply};
use crate::wire::frames;
use crate::wire::json::{self, Kind, Value, Writer};
use crate::wire::message::Params;

/// Approval of one command, pending or decided a moment ago.
struct Approval {
    id: String,
    /// Question as one JSON object.
    request: Vec<u8>,
    created: WallMs,
    expires: WallMs,
    /// Time at which a pending approval ends without a decision, or a decided one is removed.
    until: Millis,
    decision: Option<Decision>,
    /// Connections to answer, each with the id of its request.
    waiting: Vec<(ConnId, String)>,
}

type Decision = &'static str;

const DECISIONS: [Decision; 3] = ["allow-once", "allow-always", "deny"];

/// All approvals, the oldest first.
#[derive(Default)]
pub struct Approvals(Vec<Approval>);

/// Members of the question that may be text or null in both protocols. [`V4`] has the members of
/// protocol 4 only.
const TEXTS: [&str; 7] =
    ["cwd", "host", "security", "ask", "agentId", "resolvedPath", "sessionKey"];
const V4: [&str; 15] = [
    "commandArgv",
    "systemRunPlan",
    "nodeId",
    "warningText",
    "scope",
    "unavailableDecisions",
    "commandSpans",
    "sessionId",
    "runId",
    "toolCallId",
    "turnSourceChannel",
    "turnSourceTo",
    "turnSourceAccountId",
    "turnSourceThreadId",
    "approvalReviewerDeviceIds",
];

impl Approvals {
    /// Returns the next time at which an approval expires.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.0.iter().map(|approval| approval.until).min()
    }

    /// Returns the number of approvals that are not decided.
    pub fn waiting(&self) -> usize {
        self.0.iter().filter(|approval| approval.decision.is_none()).count()
    }

    /// Answers expired approvals with no decision, and removes those that were decided.
    pub fn expire(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.0.retain(|approval| {
            let late = approval.until <= now.at;
            if late && approval.decision.is_none() {
                effects.extend(approval.answers());
            }
            !late
        });
        effects
    }

    /// Fails all pending requests, because the gateway is stopping.
    pub fn stop(&mut self) -> Vec<Effect> {
        let waiting = self.0.drain(..).flat_map(|approval| approval.waiting);
        let failed = |(conn, id)| {
            let failure = Failure::unavailable("gateway restart in progress").retryable();
            Effect::Fail { conn, id, failure }
        };
        waiting.map(failed).collect()
    }

    /// Removes a closed connection from the pending approvals.
    pub fn leave(&mut self, conn: ConnId) {
        self.0
            .iter_mut()
            .for_each(|approval| approval.waiting.retain(|(waiting, _)| *waiting != conn));
    }

    fn find(&mut self, id: &str) -> Option<&mut Approval> {
        self.0.iter_mut().find(|approval| approval.id == id)
    }
}

impl Approval {
    fn answers(&self) -> Vec<Effect> {
        let answer = |(conn, id): &(ConnId, String)| {
            let frame = frames::response_with(id, 128, &mut |frame| {
                frame.obj("payload", |o| self.outcome(o))
            });
            Effect::Frame { conn: *conn, frame }
        };
        self.waiting.iter().map(answer).collect()
    }

    fn outcome(&self, o: &mut Writer<'_>) {
        o.str("id", &self.id);
        match self.decision {
            Some(decision) => o.str("decision", decision),
            None => o.null("decision"),
        }
        self.times(o);
    }

    fn times(&self, o: &mut Writer<'_>) {
        o.u64("createdAtMs", self.created.0);
        o.u64("expiresAtMs", self.expires.0);
    }

    fn shown(&self, o: &mut Writer<'_>) {
        o.str("id", &self.id);
        o.raw("request", &self.request);
        self.times(o);
    }
}

/// Handles `exec.approval.request {command, host?, ..., timeoutMs?, twoPhase?}`. The answer is sent
/// after a decision, or with `decision: null` if there was none in time. With `twoPhase` (protocol
/// 4) an additional first answer says that the question was accepted. In protocol 4 the answer is
/// sent at once if no other connected client could decide, unless `requireDeliveryRoute` is false.
pub fn request(call: &mut Call<'_>, params: Params<'_>) -> Result<Reply, Failure> {
    let v4 = call.caller.protocol() == Protocol::V4;
    let passed_on = if v4 { [&TEXTS[..], &V4].concat() } else { TEXTS.to_vec() };
    let ApprovalRequest { id, timeout_ms, two_phase, require_route, .. } =
        params.read_with(&passed_on)?;
    let wanted = if v4 { limits::EXEC_APPROVAL_MS_V4 } else { limits::EXEC_APPROVAL_MS_V3 };
    let wait = timeout_ms.unwrap_or(wanted).clamp(1, limits::INVOKE_MS_MAX);
    let unheard = v4 && call.approvers == 0;
    let give_up = unheard && require_route != Some(false);
    let given = params.value();
    let command = command(given, v4).map_err(Failure::invalid)?;
    let kept = question(given, command, v4);
    if kept.len() > limits::EXEC_APPROVAL_LEN {
        return Err(Failure::invalid("the command to approve is too long"));
    }
    let id = id.unwrap_or_else(|| call.new_id().to_string());
    let approvals = &mut call.nodes.approvals;
    if approvals.find(&id).is_some() {
        return Err(Failure::invalid("approval id already pending"));
    }
    if approvals.0.len() >= limits::EXEC_APPROVALS {
        return Err(Failure::unavailable("too many commands wait for approval; retry later"));
    }
    let approval = Approval {
        id,
        request: kept,
        created: call.now.wall,
        expires: WallMs(call.now.wall.0.saturating_add(wait)),
        until: call.now.at.plus(wait),
        decision: None,
        waiting: vec![(call.caller.conn(), call.id.to_string())],
    };
    if give_up {
        return Ok(Reply::of(json::object(|o| approval.outcome(o))));
    }
    let mut effects = vec![told("exec.approval.requested", &mut |o| {
        o.str("approvalKind", "exec");
        approval.shown(o);
    })];
    if two_phase == Some(true) {
        let frame = frames::response_with(call.id, 192, &mut |frame| {
            frame.obj("payload", |o| {
                o.str("status", "accepted");
                o.str("id", &approval.id);
                o.str("deliveryRoute", if unheard { "none" } else { "approval-client" });
                approval.times(o);
            });
        });
        effects.push(Effect::Frame { conn: call.caller.conn(), frame });
    }
    approvals.0.push(approval);
    Ok(Reply::later(effects))
}

/// Returns the command to decide about; the error says what is missing. For a node it is the
/// command of the plan that the node enforces (protocol 4).
fn command(given: Value<'_>, v4: bool) -> Result<Value<'_>, &'static str> {
    let full = |text: &Value<'_>| text.kind() == Kind::String && !text.is_str("");
    if !v4 || !given.at("host").is_str("node") {
        return given.get("command").filter(full).ok_or("command is required");
    }
    given.get("nodeId").filter(full).ok_or("nodeId is required for host=node")?;
    given
        .at("systemRunPlan")
        .get("commandText")
        .filter(full)
        .ok_or("systemRunPlan is required for host=node")
}

/// Writes the members of the question that are passed on; of an environment only the names.
fn question(given: Value<'_>, command: Value<'_>, v4: bool) -> Vec<u8> {
    json::object(|o| {
        o.raw("command", command.raw().as_bytes());
        for name in TEXTS {
            match given.get(name).filter(|value| value.kind() == Kind::String) {
                Some(text) => o.raw(name, text.raw().as_bytes()),
                None => o.null(name),
            }
        }
        for name in V4.iter().filter(|_| v4) {
            let value = given.get(name).filter(|value| !value.is_null());
            o.opt_raw(name, value.map(|value| value.raw().as_bytes()));
        }
        if let Some(env) = given.get("env").filter(|env| v4 && !env.is_null()) {
            o.arr("envKeys", |list| env.fields().for_each(|(name, _)| list.item_str(&name)));
        }
    })
}

/// Handles `exec.approval.resolve {id, decision}`.
pub fn resolve(call: &mut Call<'_>, params: ApprovalResolve) -> Result<Reply, Failure> {
    let ApprovalResolve { id, decision } = params;
    let v4 = call.caller.protocol() == Protocol::V4;
    let decision = DECISIONS.into_iter().find(|one| *one == decision);
    let decision = decision.ok_or_else(|| Failure::invalid("invalid decision"))?;
    let by = call.name;
    let now = call.now;
    let Some(approval) = call.nodes.approvals.find(&id) else { return Err(unknown(v4)) };
    match approval.decision {
        Some(before) if before == decision => return Ok(Reply::of(br#"{"ok":true}"#.to_vec())),
        Some(_) => {
            return Err(reasoned(v4, "approval already resolved", "APPROVAL_ALREADY_RESOLVED"))
        }
        None => approval.decision = Some(decision),
    }
    let mut effects = approval.answers();
    approval.waiting.clear();
    approval.until = now.at.plus(limits::EXEC_APPROVAL_KEPT_MS);
    effects.push(told("exec.approval.resolved", &mut |o| {
        o.str("id", &id);
        o.str("decision", decision);
        o.str("resolvedBy", by);
        o.u64("ts", now.wall.0);
        o.raw("request", &approval.request);
    }));
    Ok(Reply::of(br#"{"ok":true}"#.to_vec()).with(effects))
}

/// Handles `exec.approval.waitDecision {id}` (protocol 4).
pub fn wait(call: &mut Call<'_>, params: Params<'_>) -> Result<Reply, Failure> {
    let id =
        params.read_sound::<MaybeById>().id.ok_or_else(|| Failure::invalid("id is required"))?;
    params.read::<MaybeById>()?;
    let (conn, request) = (call.caller.conn(), call.id.to_string());
    let gone = || Failure::invalid("approval expired or not found");
    let approval = call.nodes.approvals.find(&id).ok_or_else(gone)?;
    if approval.decision.is_some() {
        return Ok(Reply::of(json::object(|o| approval.outcome(o))));
    }
    if approval.waiting.len() >= limits::EXEC_APPROVAL_WAITERS {
        return Err(Failure::unavailable("too many wait for this approval"));
    }
    approval.waiting.push((conn, request));
    Ok(Reply::later(Vec::new()))
}

/// Handles `exec.approval.list` (protocol 4): returns the pending approvals.
pub fn list(call: &mut Call<'_>, _: Params<'_>) -> Result<Reply, Failure> {
    let mut out = Vec::new();
    json::arr(&mut out, |list| {
        for approval in call.nodes.approvals.0.iter().filter(|approval| approval.decision.is_none())
        {
            list.item_obj(|o| {
                approval.shown(o);
                o.str("approvalKind", "exec");
            });
        }
    });
    Ok(Reply::of(out))
}

/// Handles `exec.approval.get {id}` (protocol 4).
pub fn get(call: &mut Call<'_>, params: ById) -> Result<Reply, Failure> {
    let waits =
        call.nodes.approvals.find(&params.id).filter(|approval| approval.decision.is_none());
    let approval = waits.ok_or_else(|| unknown(true))?;
    let request = json::parse(&approval.request, limits::JSON_DEPTH).unwrap_or(Value::EMPTY);
    let field = |name: &str| request.get(name).map_or("null", |value| value.raw()).as_bytes();
    Ok(Reply::of(json::object(|o| {
        o.str("id", &approval.id);
        o.raw("commandText", field("command"));
        o.null("commandPreview");
        o.strs("allowedDecisions", DECISIONS);
        ["host", "nodeId", "agentId"].iter().for_each(|name| o.raw(name, field(name)));
        o.u64("expiresAtMs", approval.expires.0);
    })))
}

fn told(name: &'static str, fields: &mut dyn FnMut(&mut Writer<'_>)) -> Effect {
    let payload = json::object(|o| fields(o));
    let to = Audience::Scope { scope: Scope::Approvals, v3_all: false };
    Effect::Event { name, payload, to }
}

fn unknown(v4: bool) -> Failure {
    let said = if v4 { "unknown or expired approval id" } else { "unknown approval id" };
    reasoned(v4, said, "APPROVAL_NOT_FOUND")
}

fn reasoned(v4: bool, message: &'static str, reason: &str) -> Failure {
    let failure = Failure::invalid(message);
    if !v4 {
        return failure;
    }
    failure.detailed(rpc::json(&answers::ReasonAnswer { reason }))
}
