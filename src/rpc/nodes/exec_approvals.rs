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

/// Members of the question that may be text or null in both protocols.
const TEXT_MEMBERS: [&str; 7] =
    ["cwd", "host", "security", "ask", "agentId", "resolvedPath", "sessionKey"];
/// Members of the question that only protocol 4 has.
const V4_MEMBERS: [&str; 15] = [
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
    pub fn undecided(&self) -> usize {
        self.0.iter().filter(|approval| approval.decision.is_none()).count()
    }

    /// Iterates over the connections that wait for a decision.
    pub fn connections(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.0.iter().flat_map(|approval| &approval.waiting).map(|(conn, _)| *conn)
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
        let failed = |(conn, id)| {
            let failure = Failure::unavailable("gateway restart in progress").retryable();
            Effect::Fail { conn, id, failure }
        };
        self.0.drain(..).flat_map(|approval| approval.waiting).map(failed).collect()
    }

    /// Removes a closed connection from the pending approvals.
    pub fn remove_connection(&mut self, conn: ConnId) {
        for approval in &mut self.0 {
            approval.waiting.retain(|(waiting, _)| *waiting != conn);
        }
    }

    /// Checks that an approval with this id can be added.
    fn check_space(&mut self, id: &str) -> Result<(), Failure> {
        if self.find(id).is_some() {
            return Err(Failure::invalid("approval id already pending"));
        }
        if self.0.len() >= limits::EXEC_APPROVALS {
            return Err(Failure::unavailable("too many commands wait for approval; retry later"));
        }
        Ok(())
    }

    fn find(&mut self, id: &str) -> Option<&mut Approval> {
        self.0.iter_mut().find(|approval| approval.id == id)
    }
}

impl Approval {
    /// Returns the answers to the pending requests.
    fn answers(&self) -> Vec<Effect> {
        let answer = |(conn, id): &(ConnId, String)| {
            let frame = frames::response_with(id, 128, &mut |frame| {
                frame.obj("payload", |o| self.write_outcome(o))
            });
            Effect::Frame { conn: *conn, frame }
        };
        self.waiting.iter().map(answer).collect()
    }

    fn write_outcome(&self, o: &mut Writer<'_>) {
        o.str("id", &self.id);
        match self.decision {
            Some(decision) => o.str("decision", decision),
            None => o.null("decision"),
        }
        self.write_times(o);
    }

    /// Returns the additional first answer to a request with `twoPhase`.
    fn accepted(&self, request: &str, route: &str) -> Vec<u8> {
        frames::response_with(request, 192, &mut |frame| {
            frame.obj("payload", |o| {
                o.str("status", "accepted");
                o.str("id", &self.id);
                o.str("deliveryRoute", route);
                self.write_times(o);
            });
        })
    }

    fn write_times(&self, o: &mut Writer<'_>) {
        o.u64("createdAtMs", self.created.0);
        o.u64("expiresAtMs", self.expires.0);
    }

    fn write_question(&self, o: &mut Writer<'_>) {
        o.str("id", &self.id);
        o.raw("request", &self.request);
        self.write_times(o);
    }
}

/// Handles `exec.approval.request {command, host?, ..., timeoutMs?, twoPhase?}`. The answer is sent
/// after a decision, or with `decision: null` if there was none in time. With `twoPhase` (protocol
/// 4) an additional first answer says that the question was accepted. In protocol 4 the answer is
/// sent at once if no other connected client could decide, unless `requireDeliveryRoute` is false.
pub fn request(call: &mut Call<'_>, params: Params<'_>) -> Result<Reply, Failure> {
    let protocol = call.caller.protocol();
    let v4 = protocol == Protocol::V4;
    let passed_on =
        if v4 { [&TEXT_MEMBERS[..], &V4_MEMBERS].concat() } else { TEXT_MEMBERS.to_vec() };
    let ApprovalRequest { id, timeout_ms, two_phase, require_route, .. } =
        params.read_with(&passed_on)?;
    let default = if v4 { limits::EXEC_APPROVAL_MS_V4 } else { limits::EXEC_APPROVAL_MS_V3 };
    let wait = timeout_ms.unwrap_or(default).clamp(1, limits::INVOKE_MS_MAX);
    let request = question(params.value(), protocol)?;
    let id = id.unwrap_or_else(|| call.new_id().to_string());
    let approvals = &mut call.nodes.approvals;
    approvals.check_space(&id)?;
    let approval = Approval {
        id,
        request,
        created: call.now.wall,
        expires: WallMs(call.now.wall.0.saturating_add(wait)),
        until: call.now.at.plus(wait),
        decision: None,
        waiting: vec![(call.caller.conn(), call.id.to_string())],
    };
    let unanswerable = v4 && call.approvers == 0;
    if unanswerable && require_route != Some(false) {
        return Ok(Reply::object(|o| approval.write_outcome(o)));
    }
    let mut effects = vec![approvals_event("exec.approval.requested", |o| {
        o.str("approvalKind", "exec");
        approval.write_question(o);
    })];
    if two_phase == Some(true) {
        let route = if unanswerable { "none" } else { "approval-client" };
        let frame = approval.accepted(call.id, route);
        effects.push(Effect::Frame { conn: call.caller.conn(), frame });
    }
    approvals.0.push(approval);
    Ok(Reply::later(effects))
}

/// Returns the command to decide about; the error says what is missing. For a node it is the
/// command of the plan that the node enforces (protocol 4).
fn command(params: Value<'_>, protocol: Protocol) -> Result<Value<'_>, &'static str> {
    let full = |text: &Value<'_>| text.kind() == Kind::String && !text.is_str("");
    if protocol == Protocol::V3 || !params.at("host").is_str("node") {
        return params.get("command").filter(full).ok_or("command is required");
    }
    params.get("nodeId").filter(full).ok_or("nodeId is required for host=node")?;
    let command = params.at("systemRunPlan").get("commandText").filter(full);
    command.ok_or("systemRunPlan is required for host=node")
}

/// Returns the members of the question that are passed on; of an environment only the names.
fn question(params: Value<'_>, protocol: Protocol) -> Result<Vec<u8>, Failure> {
    let command = command(params, protocol).map_err(Failure::invalid)?;
    let question = json::object(|o| {
        o.raw("command", command.raw().as_bytes());
        for name in TEXT_MEMBERS {
            let text = params.get(name).filter(|value| value.kind() == Kind::String);
            o.raw(name, text.map_or("null", |text| text.raw()).as_bytes());
        }
        if protocol == Protocol::V4 {
            let given = |name: &str| params.get(name).filter(|value| !value.is_null());
            for name in V4_MEMBERS {
                o.opt_raw(name, given(name).map(|value| value.raw().as_bytes()));
            }
            if let Some(env) = given("env") {
                o.arr("envKeys", |list| env.fields().for_each(|(name, _)| list.item_str(&name)));
            }
        }
    });
    if question.len() > limits::EXEC_APPROVAL_LEN {
        return Err(Failure::invalid("the command to approve is too long"));
    }
    Ok(question)
}

/// Handles `exec.approval.resolve {id, decision}`.
pub fn resolve(call: &mut Call<'_>, params: ApprovalResolve) -> Result<Reply, Failure> {
    let ApprovalResolve { id, decision } = params;
    let protocol = call.caller.protocol();
    let decision = DECISIONS.into_iter().find(|one| *one == decision);
    let decision = decision.ok_or_else(|| Failure::invalid("invalid decision"))?;
    let approval = call.nodes.approvals.find(&id).ok_or_else(|| unknown(protocol))?;
    match approval.decision {
        Some(before) if before == decision => return Ok(Reply::ok()),
        Some(_) => {
            let reason = "APPROVAL_ALREADY_RESOLVED";
            return Err(with_reason("approval already resolved", reason, protocol));
        }
        None => approval.decision = Some(decision),
    }
    let mut effects = approval.answers();
    approval.waiting.clear();
    approval.until = call.now.at.plus(limits::EXEC_APPROVAL_KEPT_MS);
    effects.push(approvals_event("exec.approval.resolved", |o| {
        o.str("id", &id);
        o.str("decision", decision);
        o.str("resolvedBy", call.name);
        o.u64("ts", call.now.wall.0);
        o.raw("request", &approval.request);
    }));
    Ok(Reply::ok().with(effects))
}

/// Handles `exec.approval.waitDecision {id}` (protocol 4).
pub fn wait(call: &mut Call<'_>, params: Params<'_>) -> Result<Reply, Failure> {
    let id = params.read_sound::<MaybeById>().id;
    let id = id.ok_or_else(|| Failure::invalid("id is required"))?;
    params.read::<MaybeById>()?;
    let approval = call.nodes.approvals.find(&id);
    let approval = approval.ok_or_else(|| Failure::invalid("approval expired or not found"))?;
    if approval.decision.is_some() {
        return Ok(Reply::object(|o| approval.write_outcome(o)));
    }
    if approval.waiting.len() >= limits::EXEC_APPROVAL_WAITERS {
        return Err(Failure::unavailable("too many wait for this approval"));
    }
    approval.waiting.push((call.caller.conn(), call.id.to_string()));
    Ok(Reply::later(Vec::new()))
}

/// Handles `exec.approval.list` (protocol 4): returns the pending approvals.
pub fn list(call: &mut Call<'_>, _: Params<'_>) -> Result<Reply, Failure> {
    let mut out = Vec::new();
    json::arr(&mut out, |list| {
        let approvals = call.nodes.approvals.0.iter();
        for approval in approvals.filter(|approval| approval.decision.is_none()) {
            list.item_obj(|o| {
                approval.write_question(o);
                o.str("approvalKind", "exec");
            });
        }
    });
    Ok(Reply::of(out))
}

/// Handles `exec.approval.get {id}` (protocol 4).
pub fn get(call: &mut Call<'_>, params: ById) -> Result<Reply, Failure> {
    let approval = call.nodes.approvals.find(&params.id);
    let pending = approval.filter(|approval| approval.decision.is_none());
    let approval = pending.ok_or_else(|| unknown(Protocol::V4))?;
    let request = json::parse(&approval.request, limits::JSON_DEPTH).unwrap_or(Value::EMPTY);
    let field = |name: &str| request.get(name).map_or("null", |value| value.raw()).as_bytes();
    Ok(Reply::object(|o| {
        o.str("id", &approval.id);
        o.raw("commandText", field("command"));
        o.null("commandPreview");
        o.strs("allowedDecisions", DECISIONS);
        ["host", "nodeId", "agentId"].iter().for_each(|name| o.raw(name, field(name)));
        o.u64("expiresAtMs", approval.expires.0);
    }))
}

/// Returns an event for the clients that may approve commands.
fn approvals_event(name: &'static str, fields: impl FnOnce(&mut Writer<'_>)) -> Effect {
    Effect::Event { name, payload: json::object(fields), to: Audience::Operators(Scope::Approvals) }
}

fn unknown(protocol: Protocol) -> Failure {
    let message = match protocol {
        Protocol::V3 => "unknown approval id",
        Protocol::V4 => "unknown or expired approval id",
    };
    with_reason(message, "APPROVAL_NOT_FOUND", protocol)
}

/// Creates an error, with a reason in protocol 4.
fn with_reason(message: &str, reason: &str, protocol: Protocol) -> Failure {
    let failure = Failure::invalid(message);
    match protocol {
        Protocol::V3 => failure,
        Protocol::V4 => failure.detailed(rpc::json(&answers::ReasonAnswer { reason })),
    }
}
