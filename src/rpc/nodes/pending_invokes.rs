//! Calls that nodes have not answered yet, and the answers that end them.
//!
//! No client accepts a frame of more than [`limits::FRAME_AFTER_HELLO`] bytes, and an answer that a
//! node sends in a string is returned both as JSON and as the string. An answer that does not fit
//! in both forms has `payloadJSON: null`, because clients that read this member use `payload`
//! without it; an answer that does not fit in one form is an error with both sizes. No connection
//! is closed.

use super::outcomes::{CallOutcome, CallOutcomes};
use super::pending_work::Action;
use crate::gate::budget::{has_share, Budget, Holder};
use crate::gate::facts::Protocol;
use crate::gate::ids::{ConnId, DeviceId, Millis, RequestId};
use crate::gate::limits;
use crate::rpc::{Effect, Failure};
use crate::wire::frames;
use crate::wire::json::{self, Value, Writer};

/// Call that its node has not answered yet.
pub struct PendingInvoke {
    pub id: RequestId,
    /// Connection of the caller; `request` is the id of its request.
    pub caller: ConnId,
    pub holder: Holder,
    pub request: String,
    pub protocol: Protocol,
    pub node: DeviceId,
    pub node_conn: ConnId,
    pub node_protocol: Protocol,
    pub command: String,
    pub form: AnswerForm,
    /// Action to queue if the node answers that it is in the background.
    pub action: Option<Box<Action>>,
    pub since: Millis,
    pub deadline: Millis,
}

/// Form of the answer to the caller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AnswerForm {
    /// Answer to `node.invoke`: the payload of the node, with the node and the command.
    Invoke,
    /// Payload of the node alone.
    Payload,
}

/// Answer of a node as JSON inside a string.
#[derive(Clone, Copy)]
pub enum AnswerText<'a> {
    /// The string, which may contain anything.
    Unread(Value<'a>),
    /// The string, and the JSON that it contains.
    Json(Value<'a>, &'a [u8]),
    /// A string that does not contain JSON.
    NotJson(Value<'a>),
}

impl<'a> AnswerText<'a> {
    fn raw(self) -> &'a str {
        match self {
            AnswerText::Unread(text) | AnswerText::Json(text, _) | AnswerText::NotJson(text) => {
                text.raw()
            }
        }
    }
}

/// All unanswered calls, in no order.
pub struct PendingInvokes {
    calls: Vec<PendingInvoke>,
    budget: Budget,
    /// Time before which no call expires; computed again when it has passed.
    next_deadline: Option<Millis>,
    pub outcomes: CallOutcomes,
}

impl Default for PendingInvokes {
    /// Creates a list without calls.
    fn default() -> PendingInvokes {
        PendingInvokes {
            calls: Vec::new(),
            budget: Budget::new(limits::INVOKES),
            next_deadline: None,
            outcomes: CallOutcomes::default(),
        }
    }
}

impl PendingInvokes {
    /// Returns a time before which no call expires, if there are calls.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.next_deadline
    }

    /// Returns the number of unanswered calls.
    pub fn count(&self) -> usize {
        self.calls.len()
    }

    /// Returns the use of the list, counted in calls.
    pub fn budget(&self) -> Budget {
        self.budget.with_used(self.calls.len())
    }

    /// Iterates over the connections of callers and nodes, each once for each call.
    pub fn connections(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.calls.iter().flat_map(|call| [call.caller, call.node_conn])
    }

    /// Adds a call. Fails if the share of its holder is used up.
    pub fn insert(&mut self, mut invoke: PendingInvoke) -> Result<(), Failure> {
        let own = self.calls.iter().filter(|call| call.holder == invoke.holder).count();
        if !has_share(own, self.calls.len(), limits::INVOKES, limits::INVOKES_OF_ONE) {
            let message = format!(
                "{own} calls of this client wait for nodes, which is its share; \
                 wait for their answers, then retry"
            );
            return Err(Failure::share(message, None));
        }
        if invoke.action.is_some() && !self.may_keep_action(invoke.holder) {
            invoke.action = None;
        }
        let deadline = invoke.deadline;
        self.next_deadline = Some(self.next_deadline.map_or(deadline, |next| next.min(deadline)));
        self.calls.push(invoke);
        self.budget.record(self.calls.len());
        Ok(())
    }

    /// Returns whether another call of the holder may keep its parameters, to be queued as an
    /// action. The calls have as many places for this as the queue.
    fn may_keep_action(&self, holder: Holder) -> bool {
        let with_action = || self.calls.iter().filter(|call| call.action.is_some());
        let own = with_action().filter(|call| call.holder == holder).count();
        has_share(own, with_action().count(), limits::ACTIONS, limits::ACTIONS_OF_ONE)
    }

    /// Removes the call with this id that was sent to this node.
    pub fn remove(&mut self, id: RequestId, node: DeviceId) -> Option<PendingInvoke> {
        let at = self.calls.iter().position(|call| call.id == id && call.node == node)?;
        Some(self.calls.swap_remove(at))
    }

    /// Ends the calls that have expired.
    pub fn expire(&mut self, now: Millis) -> Vec<Effect> {
        if self.next_deadline.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let mut effects = Vec::new();
        for invoke in self.calls.extract_if(.., |call| call.deadline <= now) {
            self.outcomes.count(CallOutcome::Timeout);
            effects.push(invoke.error("TIMEOUT", "node invoke timed out"));
            effects.extend(invoke.cancel());
        }
        self.next_deadline = self.calls.iter().map(|call| call.deadline).min();
        effects
    }

    /// Ends the calls of a closed connection: an error for the callers of a node, a cancellation
    /// for the nodes that an operator called.
    pub fn remove_connection(&mut self, conn: ConnId) -> Vec<Effect> {
        let mut effects = Vec::new();
        let of_connection =
            |call: &mut PendingInvoke| call.node_conn == conn || call.caller == conn;
        for invoke in self.calls.extract_if(.., of_connection) {
            if invoke.caller == conn {
                self.outcomes.count(CallOutcome::Abandoned);
                effects.extend(invoke.cancel());
            } else {
                self.outcomes.count(CallOutcome::Disconnected);
                let message = format!("node disconnected ({})", invoke.command);
                effects.push(invoke.error("DISCONNECTED", &message));
            }
        }
        effects
    }

    /// Ends a call that could not be sent.
    pub fn send_failed(&mut self, id: RequestId) -> Option<Effect> {
        let at = self.calls.iter().position(|call| call.id == id)?;
        let invoke = self.calls.swap_remove(at);
        self.outcomes.count(CallOutcome::Busy);
        Some(invoke.error("BUSY", "the node does not read what it is sent; try again later"))
    }

    /// Ends all calls, because the gateway is stopping.
    pub fn stop(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for invoke in self.calls.drain(..) {
            self.outcomes.count(CallOutcome::Stopping);
            effects.push(invoke.error("GATEWAY_STOPPING", "gateway restart in progress"));
        }
        effects
    }
}

impl PendingInvoke {
    /// Returns an error of the gateway for the caller.
    fn error(&self, code: &'static str, message: &str) -> Effect {
        let error = json::object(|o| {
            o.str("code", code);
            o.str("message", message);
        });
        let message = match (self.protocol, code) {
            // In the form that OpenClaw 2026.1.29 prints.
            (Protocol::V3, "DISCONNECTED") => format!("Error: {message}"),
            (Protocol::V3, _) => message.to_string(),
            (Protocol::V4, _) => format!("{code}: {message}"),
        };
        self.fail(message, Some(&error), code != "BUSY")
    }

    /// Returns an error for the caller. `dispatched` says whether the node was sent the call.
    pub fn fail(&self, message: String, node_error: Option<&[u8]>, dispatched: bool) -> Effect {
        let details = json::object(|o| {
            o.raw("nodeError", node_error.unwrap_or(b"null"));
            if self.protocol == Protocol::V4 {
                o.bool("nodeCommandDispatched", dispatched);
            }
        });
        self.failed(Failure::unavailable(message).detailed(details))
    }

    /// Returns the effect that sends this failure to the caller.
    pub fn failed(&self, failure: Failure) -> Effect {
        Effect::Fail { conn: self.caller, id: self.request.clone(), failure }
    }

    /// Returns the cancellation for the node (protocol 4). If the node's send queue has no space it
    /// is dropped, because it does not justify closing the connection.
    fn cancel(&self) -> Option<Effect> {
        if self.node_protocol != Protocol::V4 {
            return None;
        }
        let frame = frames::event_with("node.invoke.cancel", 128, &mut |frame| {
            frame.obj("payload", |o| {
                o.shown("invokeId", &self.id);
                o.shown("nodeId", &self.node);
            });
        });
        Some(Effect::Invoke { id: self.id, conn: self.node_conn, frame })
    }

    /// Returns the answer for the caller: `payload` as the node sent it, or `text`. Returns an
    /// error if the answer does not fit in a frame.
    pub fn answer(&self, payload: Option<Value<'_>>, text: Option<AnswerText<'_>>) -> Effect {
        let frame = self.answer_frame(payload, text);
        if frame.len() <= limits::FRAME_AFTER_HELLO {
            return Effect::Frame { conn: self.caller, frame };
        }
        self.error(frames::TOO_LARGE, &frames::too_large_message("the node's answer", frame.len()))
    }

    /// Writes the frame of that answer. It has both forms of `text` only if both fit, so it is
    /// never much larger than the frame of the node, and too large only if one form alone is.
    fn answer_frame(&self, payload: Option<Value<'_>>, text: Option<AnswerText<'_>>) -> Vec<u8> {
        let size = payload.map_or(0, |value| value.raw().len())
            + 2 * text.map_or(0, |text| text.raw().len());
        let size = size.min(limits::FRAME_AFTER_HELLO);
        frames::response_with(&self.request, size + 256, &mut |frame| {
            if self.form == AnswerForm::Payload {
                return self.write_payload(frame, payload, text);
            }
            frame.obj("payload", |o| {
                o.bool("ok", true);
                o.shown("nodeId", &self.node);
                o.str("command", &self.command);
                self.write_payload(o, payload, text);
                let before = o.written() + r#","payloadJSON":}}"#.len();
                let fits =
                    |text: &AnswerText<'_>| before + text.raw().len() <= limits::FRAME_AFTER_HELLO;
                let text = text.filter(fits);
                o.raw("payloadJSON", text.map_or(b"null", |text| text.raw().as_bytes()));
            });
        })
    }

    /// Writes the field `payload`: the JSON inside `text` if there is one.
    fn write_payload(
        &self,
        o: &mut Writer<'_>,
        payload: Option<Value<'_>>,
        text: Option<AnswerText<'_>>,
    ) {
        let Some(text) = text else {
            let absent: Option<&[u8]> = (self.form == AnswerForm::Payload).then_some(b"null");
            return o.opt_raw("payload", payload.map(|value| value.raw().as_bytes()).or(absent));
        };
        match text {
            AnswerText::Json(_, json) => return o.raw("payload", json),
            AnswerText::Unread(text) if o.held("payload", &text) => return,
            AnswerText::Unread(_) | AnswerText::NotJson(_) => {}
        }
        o.obj("payload", |o| o.raw("payloadJSON", text.raw().as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: DeviceId = DeviceId([255; 32]);

    fn holder(n: u8) -> Holder {
        match n {
            0 => Holder::Keyless,
            _ => Holder::Device(DeviceId([n; 32])),
        }
    }

    /// Call of connection `conn` of the holder, whose number is also its deadline.
    fn invoke(
        number: u64,
        conn: u64,
        holder: Holder,
        action: Option<Box<Action>>,
    ) -> PendingInvoke {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        PendingInvoke {
            id: RequestId(id),
            caller: ConnId(conn),
            holder,
            request: String::new(),
            protocol: Protocol::V4,
            node: NODE,
            node_conn: ConnId(0),
            node_protocol: Protocol::V3,
            command: String::new(),
            form: AnswerForm::Invoke,
            action,
            since: Millis(0),
            deadline: Millis(number),
        }
    }

    #[test]
    fn one_holder_leaves_calls_to_others_on_any_number_of_connections() {
        let mut invokes = PendingInvokes::default();
        let mut number = 0;
        let mut fill = |invokes: &mut PendingInvokes, holder| {
            let before = invokes.count();
            loop {
                number += 1;
                // each call on a connection of its own
                if let Err(failure) = invokes.insert(invoke(number, number, holder, None)) {
                    assert!(failure.retryable && failure.message.contains("share"));
                    return invokes.count() - before;
                }
            }
        };
        assert_eq!(fill(&mut invokes, holder(1)), limits::INVOKES_OF_ONE);
        assert_eq!(fill(&mut invokes, Holder::Keyless), limits::INVOKES_OF_ONE);
        let rest: Vec<usize> = (2..40).map(|n| fill(&mut invokes, holder(n))).collect();
        assert!(rest[..13].iter().all(|taken| *taken == limits::INVOKES_OF_ONE), "{rest:?}");
        assert!(rest.is_sorted_by(|one, next| one >= next) && rest[20] > 0, "{rest:?}");
        assert_eq!(invokes.budget().used(), invokes.count());
        assert_eq!(invokes.budget().peak(), invokes.count());
    }

    #[test]
    fn calls_of_others_are_never_removed_and_places_return() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut invokes, mut model) = (PendingInvokes::default(), Vec::new());
            for number in 1..6000 {
                let (conn, who) = (random.u64(1..64), holder(random.u8(0..8)));
                if random.u8(0..200) == 0 {
                    invokes.remove_connection(ConnId(conn));
                    model.retain(|(_, of, _)| *of != conn);
                } else if random.u8(0..200) == 0 {
                    let until = number - random.u64(0..number);
                    invokes.expire(Millis(until));
                    model.retain(|(at, _, _)| *at > until);
                } else {
                    let own = model.iter().filter(|(_, _, holder)| *holder == who).count();
                    let fits = own < limits::INVOKES_OF_ONE && own < limits::INVOKES - model.len();
                    let added = invokes.insert(invoke(number, conn, who, None));
                    assert_eq!(added.is_ok(), fits, "seed {seed}, call {number}");
                    model.extend(fits.then_some((number, conn, who)));
                }
                assert_eq!(invokes.count(), model.len(), "seed {seed}, call {number}");
            }
            for (number, conn, who) in &model {
                assert!(invokes.remove(invoke(*number, *conn, *who, None).id, NODE).is_some());
            }
            assert_eq!((invokes.count(), invokes.budget().used()), (0, 0));
        }
    }

    #[test]
    fn calls_keep_as_many_actions_as_the_queue_has_places() {
        let action = || Some(Box::new(Action::test("key", NODE, holder(1))));
        let kept = |invokes: &PendingInvokes| {
            invokes.calls.iter().filter(|call| call.action.is_some()).count()
        };
        let mut invokes = PendingInvokes::default();
        for number in 1..=200 {
            invokes.insert(invoke(number, 1, holder(1), action())).unwrap();
        }
        assert_eq!(kept(&invokes), limits::ACTIONS_OF_ONE);
        invokes.insert(invoke(201, 2, holder(2), action())).unwrap();
        assert_eq!(kept(&invokes), limits::ACTIONS_OF_ONE + 1);
    }
}
