//! Approvals of commands (`exec.approval.*`, protocol 3 and 4): an operator asks, clients that may
//! approve are notified, one of them decides, and the pending request of the operator is answered.
//!
//! The question, which is the request of the operator, is passed on as it was received. It is
//! answered only by a decision, by the end of its time, or by an error when the gateway stops. A
//! decision can still be fetched for a moment after it was made. Approvals are in memory only:
//! after a restart none is pending.
//!
//! An approval is abandoned while no connection waits for it and its device has none. After
//! [`limits::EXEC_APPROVAL_ABANDONED_MS`] it is denied, so that approvers see its end.

use crate::gate::budget::{has_share, Budget, Holder};
use crate::gate::facts::Protocol;
use crate::gate::ids::{ConnId, DeviceId, Millis, Now, WallMs};
use crate::gate::limits;
use crate::gate::scopes::Scope;
use crate::gate::session::Admitted;
use crate::rpc::params::{ApprovalRequest, ApprovalResolve, ById, MaybeById};
use crate::rpc::{self, answers, Audience, Call, Effect, Failure, Reply};
use crate::wire::frames;
use crate::wire::json::{self, Kind, Value, Writer};
use crate::wire::message::Params;

/// Approval of one command, pending or decided a moment ago.
struct Approval {
    id: String,
    asker: Holder,
    /// Question as one JSON object; empty after the decision.
    request: Vec<u8>,
    created: WallMs,
    expires: WallMs,
    /// Time at which a pending approval ends without a decision, or a decided one is removed.
    until: Millis,
    /// Time since which a pending approval is abandoned.
    abandoned: Option<Millis>,
    decision: Option<Decision>,
    waiting: Vec<Waiter>,
}

/// Call to be answered with the decision.
struct Waiter {
    conn: ConnId,
    holder: Holder,
    /// Id of the request.
    request: String,
}

type Decision = &'static str;

const DECISIONS: [Decision; 3] = ["allow-once", "allow-always", "deny"];

/// All approvals, the oldest first.
pub struct Approvals {
    list: Vec<Approval>,
    pending: Budget,
}

impl Default for Approvals {
    /// Creates an empty list.
    fn default() -> Approvals {
        Approvals { list: Vec::new(), pending: Budget::new(limits::EXEC_APPROVALS) }
    }
}

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
        self.list.iter().map(Approval::deadline).min()
    }

    /// Returns the number of approvals that are not decided.
    pub fn undecided(&self) -> usize {
        self.pending().count()
    }

    /// Returns the use of the list, counted in pending approvals.
    pub fn budget(&self) -> Budget {
        self.pending.with_used(self.undecided())
    }

    /// Iterates over the connections that wait for a decision.
    pub fn connections(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.list.iter().flat_map(|approval| &approval.waiting).map(|waiter| waiter.conn)
    }

    fn pending(&self) -> impl Iterator<Item = &Approval> {
        self.list.iter().filter(|approval| approval.decision.is_none())
    }

    /// Answers expired approvals with no decision, denies abandoned ones, and removes those that
    /// were decided.
    pub fn expire(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.list.retain(|approval| {
            let late = approval.deadline() <= now.at;
            if late && approval.decision.is_none() {
                effects.extend(approval.answers());
                if approval.abandoned.is_some() {
                    effects.push(approval.resolved_event("deny", BY_GATEWAY, now.wall));
                }
            }
            !late
        });
        effects
    }

    /// Fails all pending requests, because the gateway is stopping.
    pub fn stop(&mut self) -> Vec<Effect> {
        let failed = |Waiter { conn, request: id, .. }: Waiter| {
            let failure = Failure::unavailable("gateway restart in progress").retryable();
            Effect::Fail { conn, id, failure }
        };
        self.list.drain(..).flat_map(|approval| approval.waiting).map(failed).collect()
    }

    /// Removes a closed connection of this holder from the pending approvals. `is_connected` says
    /// whether a device has another connection.
    pub fn remove_connection(
        &mut self,
        (conn, holder): (ConnId, Option<Holder>),
        is_connected: impl Fn(DeviceId) -> bool,
        now: Millis,
    ) {
        for approval in self.list.iter_mut().filter(|approval| approval.decision.is_none()) {
            let before = approval.waiting.len();
            approval.waiting.retain(|waiter| waiter.conn != conn);
            let is_concerned = approval.waiting.len() < before || Some(approval.asker) == holder;
            if is_concerned && approval.waiting.is_empty() && approval.abandoned.is_none() {
                let stays =
                    matches!(approval.asker, Holder::Device(device) if is_connected(device));
                approval.abandoned = (!stays).then_some(now);
            }
        }
    }

    /// Continues the abandoned approvals of a device that has connected again.
    pub fn device_connected(&mut self, device: DeviceId) {
        for approval in &mut self.list {
            if approval.asker == Holder::Device(device) {
                approval.abandoned = None;
            }
        }
    }

    /// Checks that the client may add an approval with this id.
    fn check_share(&mut self, id: &str, asker: Holder, now: Millis) -> Result<(), Failure> {
        if id.len() > limits::ID_LEN {
            return Err(Failure::invalid("the approval id is too long"));
        }
        if self.find(id).is_some() {
            return Err(Failure::invalid("approval id already pending"));
        }
        let own = || self.pending().filter(|approval| approval.asker == asker);
        let (held, used) = (own().count(), self.undecided());
        if has_share(held, used, limits::EXEC_APPROVALS, limits::EXEC_APPROVALS_OF_ONE) {
            return Ok(());
        }
        let message = format!(
            "{held} commands of this client wait for approval, which is its share; \
             retry when one is decided"
        );
        let waiting = self.pending().filter(|approval| held == 0 || approval.asker == asker);
        let next = waiting.map(|approval| approval.deadline().since(now)).min();
        Err(Failure::share(message, next))
    }

    /// Removes the oldest decided approvals beyond the share of this client, and beyond the total.
    fn forget_decided(&mut self, asker: Holder) {
        let decided = |approval: &Approval| approval.decision.is_some();
        let own = |approval: &Approval| decided(approval) && approval.asker == asker;
        if self.list.iter().filter(|one| own(one)).count() > limits::EXEC_APPROVALS_OF_ONE {
            self.list.iter().position(own).map(|at| self.list.remove(at));
        }
        if self.list.iter().filter(|one| decided(one)).count() > limits::EXEC_APPROVALS {
            self.list.iter().position(decided).map(|at| self.list.remove(at));
        }
    }

    fn find(&mut self, id: &str) -> Option<&mut Approval> {
        self.list.iter_mut().find(|approval| approval.id == id)
    }
}

/// Name of the gateway as the author of a decision.
const BY_GATEWAY: &str = "gateway";

impl Approval {
    /// Returns the time at which the approval ends or is removed.
    fn deadline(&self) -> Millis {
        let abandoned = self.abandoned.map(|at| at.plus(limits::EXEC_APPROVAL_ABANDONED_MS));
        abandoned.map_or(self.until, |end| end.min(self.until))
    }

    /// Returns the event that the approval was decided.
    fn resolved_event(&self, decision: Decision, by: &str, at: WallMs) -> Effect {
        approvals_event("exec.approval.resolved", |o| {
            o.str("id", &self.id);
            o.str("decision", decision);
            o.str("resolvedBy", by);
            o.u64("ts", at.0);
            o.raw("request", &self.request);
        })
    }

    /// Checks that another call of this client may wait for the decision.
    fn check_waiters(&self, holder: Holder) -> Result<(), Failure> {
        let own = self.waiting.iter().filter(|waiter| waiter.holder == holder).count();
        let others = self.waiting.iter().filter(|waiter| waiter.holder != self.asker).count();
        let (total, max) = (limits::EXEC_APPROVAL_WAITERS, limits::EXEC_APPROVAL_WAITERS_OF_ONE);
        // the client that asked has places of its own
        let used = if holder == self.asker { own } else { others };
        if has_share(own, used, total, max) {
            return Ok(());
        }
        let message = "the share of this client in the calls that wait for this approval is used \
                       up; wait for the decision on one connection";
        Err(Failure::share(message, None))
    }

    /// Returns the answers to the pending requests.
    fn answers(&self) -> Vec<Effect> {
        let answer = |waiter: &Waiter| {
            let frame = frames::response_with(&waiter.request, 128, &mut |frame| {
                frame.obj("payload", |o| self.write_outcome(o))
            });
            Effect::Frame { conn: waiter.conn, frame }
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
    let wait = timeout_ms.unwrap_or(default).clamp(1, limits::EXEC_APPROVAL_MS_MAX);
    let request = question(params.value(), protocol)?;
    let id = id.unwrap_or_else(|| call.new_id().to_string());
    let (approvals, asker) = (&mut call.nodes.approvals, call.caller.holder());
    approvals.check_share(&id, asker, call.now.at)?;
    let approval = Approval {
        id,
        asker,
        request,
        created: call.now.wall,
        expires: WallMs(call.now.wall.0.saturating_add(wait)),
        until: call.now.at.plus(wait),
        abandoned: None,
        decision: None,
        waiting: vec![waiter(call.caller, call.id)],
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
    approvals.list.push(approval);
    approvals.pending.record(approvals.undecided());
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
    effects.push(approval.resolved_event(decision, call.name, call.now.wall));
    approval.waiting.clear();
    approval.request = Vec::new();
    (approval.until, approval.abandoned) = (call.now.at.plus(limits::EXEC_APPROVAL_KEPT_MS), None);
    let asker = approval.asker;
    call.nodes.approvals.forget_decided(asker);
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
    approval.check_waiters(call.caller.holder())?;
    approval.waiting.push(waiter(call.caller, call.id));
    approval.abandoned = None;
    Ok(Reply::later(Vec::new()))
}

/// Creates a waiter for the call of this client.
fn waiter(caller: &Admitted, request: &str) -> Waiter {
    Waiter { conn: caller.conn(), holder: caller.holder(), request: request.to_string() }
}

/// Handles `exec.approval.list` (protocol 4): returns the pending approvals.
pub fn list(call: &mut Call<'_>, _: Params<'_>) -> Result<Reply, Failure> {
    let mut out = Vec::new();
    json::arr(&mut out, |list| {
        for approval in call.nodes.approvals.pending() {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn device(n: u8) -> Holder {
        Holder::Device(DeviceId([n; 32]))
    }

    fn add(approvals: &mut Approvals, id: &str, asker: Holder, conn: u64, at: u64) -> bool {
        let fits = approvals.check_share(id, asker, Millis(at)).is_ok();
        if fits {
            let request = String::new();
            approvals.list.push(Approval {
                id: id.to_string(),
                asker,
                request: b"{}".to_vec(),
                created: WallMs(at),
                expires: WallMs(0),
                until: Millis(at + limits::EXEC_APPROVAL_MS_MAX),
                abandoned: None,
                decision: None,
                waiting: vec![Waiter { conn: ConnId(conn), holder: asker, request }],
            });
        }
        fits
    }

    fn now(at: u64) -> Now {
        Now { at: Millis(at), wall: WallMs(at) }
    }

    #[test]
    fn one_client_leaves_approvals_to_others_and_decided_ones_do_not_count() {
        let mut approvals = Approvals::default();
        let fill = |approvals: &mut Approvals, n: u8| {
            (0..100).filter(|one| add(approvals, &format!("{n}-{one}"), device(n), 1, 0)).count()
        };
        let taken: Vec<usize> = (0..12).map(|n| fill(&mut approvals, n)).collect();
        assert_eq!(taken, [8, 8, 8, 8, 8, 8, 8, 4, 2, 1, 1, 0]);
        let refused = approvals.check_share("x", device(0), Millis(1)).unwrap_err();
        assert!(
            refused.retryable && refused.retry_after_ms == Some(limits::EXEC_APPROVAL_MS_MAX - 1)
        );
        assert_eq!((approvals.budget().used(), approvals.budget().free()), (64, 0));
        for approval in approvals.list.iter_mut().filter(|one| one.asker == device(3)) {
            approval.decision = Some("deny");
        }
        assert!(add(&mut approvals, "more", device(3), 1, 0));
    }

    #[test]
    fn decided_approvals_are_bounded_for_each_client_and_in_total() {
        let mut approvals = Approvals::default();
        let decide = |approvals: &mut Approvals, id: &str, n: u8| {
            assert!(add(approvals, id, device(n), 1, 0));
            approvals.find(id).unwrap().decision = Some("deny");
            approvals.forget_decided(device(n));
        };
        decide(&mut approvals, "kept", 0);
        (0..20).for_each(|one| decide(&mut approvals, &one.to_string(), 1));
        assert_eq!(approvals.list.len(), 1 + limits::EXEC_APPROVALS_OF_ONE);
        assert!(approvals.find("kept").is_some() && approvals.find("19").is_some());
        (2..80).for_each(|n| decide(&mut approvals, &format!("of {n}"), n));
        assert_eq!(approvals.list.len(), limits::EXEC_APPROVALS);
    }

    #[test]
    fn abandoned_approvals_are_denied_after_a_minute() {
        let end = 10 + limits::EXEC_APPROVAL_ABANDONED_MS;
        let close = |approvals: &mut Approvals, conn, holder, connected: bool| {
            approvals.remove_connection((ConnId(conn), Some(holder)), |_| connected, Millis(10));
        };
        for (asker, connected, ends) in
            [(device(1), false, true), (device(1), true, false), (Holder::Keyless, true, true)]
        {
            let mut approvals = Approvals::default();
            add(&mut approvals, "one", asker, 1, 0);
            close(&mut approvals, 2, device(2), false);
            assert!(approvals.expire(now(end)).is_empty() && approvals.undecided() == 1);
            close(&mut approvals, 1, asker, connected);
            assert!(approvals.expire(now(end - 1)).is_empty() && approvals.undecided() == 1);
            let effects = approvals.expire(now(end));
            assert_eq!((effects.len(), approvals.undecided()), if ends { (1, 0) } else { (0, 1) });
            if let Some(Effect::Event { name, payload, .. }) = effects.first() {
                let text = String::from_utf8_lossy(payload);
                assert_eq!(*name, "exec.approval.resolved");
                assert!(text.contains(r#""decision":"deny","resolvedBy":"gateway""#), "{text}");
            }
        }
        // the device connects again in time, and leaves for good later
        let mut approvals = Approvals::default();
        add(&mut approvals, "one", device(1), 1, 0);
        close(&mut approvals, 1, device(1), false);
        approvals.device_connected(DeviceId([1; 32]));
        assert!(approvals.expire(now(end)).is_empty() && approvals.undecided() == 1);
        close(&mut approvals, 3, device(1), false);
        assert_eq!(approvals.expire(now(end)).len(), 1);
    }

    #[test]
    fn other_clients_leave_places_to_the_client_that_asked() {
        let mut approvals = Approvals::default();
        add(&mut approvals, "one", device(0), 1, 0);
        let approval = approvals.find("one").unwrap();
        let mut fill = |n: u8| {
            let mut taken = 0;
            while approval.check_waiters(device(n)).is_ok() {
                taken += 1;
                let request = String::new();
                approval.waiting.push(Waiter { conn: ConnId(9), holder: device(n), request });
            }
            taken
        };
        let taken: Vec<usize> = (1..9).map(&mut fill).collect();
        assert_eq!(taken, [4, 4, 4, 2, 1, 1, 0, 0]);
        assert_eq!(fill(0), limits::EXEC_APPROVAL_WAITERS_OF_ONE - 1, "one waits already");
    }
}
