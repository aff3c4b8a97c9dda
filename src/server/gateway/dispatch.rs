//! Handles requests of admitted clients, from the received frame to the response.

use async_tungstenite::tungstenite::Utf8Bytes;

use super::change_limiter::{ChangeLimit, ChangeNumber};
use super::continuation::Continuation;
use super::Gateway;
use crate::gate::budget::Holder;
use crate::gate::device::Device;
use crate::gate::ids::{ConnId, Now};
use crate::gate::limits;
use crate::gate::refusal::Close;
use crate::gate::session::Admitted;
use crate::rpc::{self, Call, Change, Effect, Failure, LargeRequest, Log, Prepared, Reply};
use crate::server::config_file::FileWork;
use crate::server::net::send_queue::{Frame, Queued};
use crate::server::os::host_info;
use crate::server::os::logger;
use crate::wire::frames::{self, BadFrame, ErrorShape, Request};
use crate::wire::json::{self, Malformed};

/// Reads a large message of this client. Takes up to a second, so it is called on another thread.
pub fn read_large(message: Frame, caller: &Admitted) -> Result<LargeRequest<Utf8Bytes>, BadFrame> {
    match Utf8Bytes::try_from(message) {
        Ok(text) => LargeRequest::parse(text, caller),
        Err(error) => Err(BadFrame::Json(Malformed { at: error.valid_up_to(), what: "not UTF-8" })),
    }
}

impl Gateway {
    /// Returns the permissions of an admitted connection.
    pub fn admitted(&self, conn: ConnId) -> Option<Admitted> {
        self.connections.get(conn)?.admitted.clone()
    }

    /// Handles a message of an admitted client. A message that is not JSON is ignored, and an
    /// invalid request gets an error response. The connection stays open in both cases.
    pub(super) fn handle_frame(&mut self, conn: ConnId, message: &[u8], now: Now) {
        match Request::parse(message) {
            Ok(request) => self.call(conn, &request, &Prepared::None, now),
            Err(bad) => self.reject_frame(conn, bad),
        }
    }

    /// Handles a large message of an admitted client, which another thread has read.
    pub(super) fn handle_large(
        &mut self,
        conn: ConnId,
        read: Result<LargeRequest<Utf8Bytes>, BadFrame>,
        now: Now,
    ) {
        match read {
            Ok(large) => self.call(conn, &large.request(), large.prepared(), now),
            Err(bad) => self.reject_frame(conn, bad),
        }
    }

    fn reject_frame(&mut self, conn: ConnId, bad: BadFrame) {
        match bad {
            BadFrame::Json(bad) => {
                log::debug!("conn={conn} invalid JSON: {bad}")
            }
            BadFrame::Request { id, problems } => {
                self.send_error(
                    conn,
                    &id,
                    &Failure::invalid(format!("invalid request frame: {problems}")),
                );
            }
        }
    }

    fn call(&mut self, conn: ConnId, request: &Request<'_>, prepared: &Prepared, now: Now) {
        let Some(open) = self.connections.get_mut(conn) else { return };
        let (Some(caller), name) = (open.admitted.clone(), open.name.clone()) else { return };
        open.last_active = now.at;
        let (mut refusals, mut approvers) = (Vec::new(), 0);
        let mut log = Log::EMPTY;
        match &*request.method {
            "exec.approval.request" => {
                approvers = self.connections.iter().filter(|other| other.may_approve(conn)).count()
            }
            "gatelet.refusals" => refusals = self.refusal_log.recent(),
            "gatelet.status" => self.update_status(now),
            "system.info" => self.status.machine = host_info::measure(),
            "logs.tail" => {
                log = logger::kept();
                let at = now.at.plus(limits::LOG_FORM_KEPT_MS);
                self.forget_log_at.get_or_insert(at);
            }
            _ => {}
        }
        let entropy = &mut self.entropy;
        let mut call = Call {
            caller: &caller,
            now,
            devices: &self.devices,
            pairing_requests: &mut self.pairing_requests,
            setup_codes: &mut self.setup_codes,
            key: &self.runtime_config.key,
            name: &name,
            id: &request.id,
            prepared,
            nodes: &mut self.nodes,
            commands: &self.runtime_config.commands,
            presence: &mut self.presence,
            status: &self.status,
            approvers,
            rejections: &refusals,
            log: &log,
            random: &mut |bytes| entropy.fill(bytes),
        };
        match rpc::dispatch(&mut call, request) {
            Ok(reply) => self.handle_reply(conn, request, reply, now),
            Err(failure) => self.send_error(conn, &request.id, &failure),
        }
    }

    /// Answers a call, after its change is durable if it has one.
    fn handle_reply(&mut self, conn: ConnId, request: &Request<'_>, mut reply: Reply, now: Now) {
        let id = &request.id;
        let waits = reply.change.is_some() || reply.file.is_some();
        let cost = self.cost_of(&reply);
        if !waits && cost == ChangeCost::Nothing {
            return self.send_reply(conn, id, reply, now);
        }
        let client = self.connections.get(conn).and_then(|open| open.admitted.as_ref());
        let Some(holder) = client.map(Admitted::holder) else { return };
        let has_place = self.write_queue.has_share(holder);
        if waits && (!has_place || self.is_placed_twice(reply.change.as_ref())) {
            let message = "too many changes of this client wait for the disk; retry shortly";
            return self.send_error(conn, id, &Failure::share(message, None));
        }
        let counted = match self.count_change(holder, &request.method, cost, now) {
            Ok(counted) => counted,
            Err(failure) => return self.send_error(conn, id, &failure),
        };
        if let Some(request) = reply.file.take() {
            let work = Box::new(FileWork { request: *request, result: None });
            let ticket = self.write_queue.file(work);
            let id = id.to_string();
            return self.write_queue.wait(ticket, holder, Continuation::File { conn, id, counted });
        }
        let ticket = reply.change.take().and_then(|Change { slot, device }| match cost {
            ChangeCost::Nothing => self.write_queue.in_flight(slot),
            _ => Some(self.write_queue.change(&mut self.devices, slot, device)),
        });
        match ticket {
            Some(ticket) => {
                let (id, reply) = (id.to_string(), Box::new(reply));
                self.write_queue.wait(ticket, holder, Continuation::Answer { conn, id, reply });
            }
            None => self.send_reply(conn, id, reply, now),
        }
    }

    /// Returns whether a call changes a record to its present value and has no effects. Nothing is
    /// written then; the answer waits only if that value is not durable yet.
    fn is_unchanged(&self, reply: &Reply) -> bool {
        let is_same = |change: &Change| self.devices.get(change.slot) == change.device.as_ref();
        reply.effects.is_empty() && reply.change.as_ref().is_some_and(is_same)
    }

    /// Counts the change of a call against the limits of its client. The command line of this
    /// machine has no limits: its user can write the files.
    fn count_change(
        &mut self,
        holder: Holder,
        method: &str,
        cost: ChangeCost,
        now: Now,
    ) -> Result<Option<ChangeNumber>, Failure> {
        if holder == Holder::Local {
            return Ok(None);
        }
        let Some(method) = rpc::method_name(method) else { return Ok(None) };
        let limiter = &mut self.change_limiter;
        let counted = match cost {
            ChangeCost::Nothing => return Ok(None),
            ChangeCost::Revocation(bytes) => {
                limiter.count_revocation(holder, method, bytes, now.at)
            }
            ChangeCost::Bytes(bytes) => limiter.count(holder, method, bytes, now.at),
        };
        counted.map(Some).map_err(|limit| limit_failure(method, limit))
    }

    /// Returns the cost of the change of a call. It is nothing for a change of a record only if the
    /// record has the new value already.
    fn cost_of(&self, reply: &Reply) -> ChangeCost {
        if self.is_unchanged(reply) {
            return ChangeCost::Nothing;
        }
        if let Some(Change { slot, device }) = &reply.change {
            return match (self.devices.get(*slot), device) {
                (Some(old), Some(new)) => ChangeCost::of_record(old, new),
                // the next pairing writes the record again
                (_, None) => ChangeCost::Bytes(2 * limits::CHANGE_LEN),
                (None, Some(_)) => ChangeCost::Bytes(limits::CHANGE_LEN),
            };
        }
        match &reply.file {
            Some(file) if file.operation.writes() => {
                let len = file.raw.len() + self.config_len;
                ChangeCost::Bytes(len.max(limits::CHANGE_LEN))
            }
            Some(_) => ChangeCost::Nothing,
            None => ChangeCost::of_effects(reply),
        }
    }

    /// Returns whether the file could have the device of the change in two slots for a moment.
    fn is_placed_twice(&mut self, change: Option<&Change>) -> bool {
        let device = change.and_then(|change| change.device.as_ref());
        device.is_some_and(|device| {
            self.write_queue.conflicting_write(&mut self.devices, &device.id).is_some()
        })
    }

    /// Sends the response of a call and applies its effects.
    pub(super) fn send_reply(&mut self, conn: ConnId, id: &str, reply: Reply, now: Now) {
        if let Some(payload) = reply.payload {
            self.send_frame(conn, frames::response_ok(id, &payload));
        }
        self.apply_effects(reply.effects, now);
    }

    /// Sends an error response. Closes the connection after too many unauthorized calls.
    pub(super) fn send_error(&mut self, conn: ConnId, id: &str, failure: &Failure) {
        let Some(open) = self.connections.get(conn) else { return };
        let Some(client) = &open.admitted else { return };
        let error = ErrorShape {
            code: failure.code.name(client.protocol()),
            message: &failure.message,
            details: failure.details.as_deref(),
            retryable: failure.retryable.then_some(true),
            retry_after_ms: failure.retry_after_ms,
        };
        self.send_frame(conn, frames::response_err(id, &error));
        let Some(open) = self.connections.get_mut(conn) else { return };
        if failure.unauthorized {
            open.unauthorized += 1;
            if open.unauthorized > limits::UNAUTHORIZED_CALLS {
                open.send_queue.close_for(Close::Unauthorized);
            }
        }
    }

    /// Sends a frame that must not be left out. A large response for which there is no room becomes
    /// an error.
    pub(super) fn send_frame(&self, conn: ConnId, frame: Vec<u8>) {
        let Some(open) = self.connections.get(conn) else { return };
        let bytes = frame.len();
        let error = match self.make_room(open.send_queue.held(), bytes) {
            false if bytes >= limits::SEND_QUEUE_LARGE => frames::no_room(&frame),
            _ => None,
        };
        if open.send_queue.send(error.unwrap_or(frame).into()) == Queued::TooLarge {
            log::warn!("conn={conn} an event of {bytes} bytes was not sent: it is larger than any client accepts");
        }
    }
}

/// Cost of the change of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ChangeCost {
    /// Changes nothing.
    Nothing,
    /// Revokes a role and writes this many bytes.
    Revocation(usize),
    /// Writes this many bytes, or changes something in memory only.
    Bytes(usize),
}

impl ChangeCost {
    /// Returns the cost of a changed record. It includes the write by a later admission of the
    /// device, which is not counted: one with a rotated token, or one that restores what was taken
    /// away.
    fn of_record(old: &Device, new: &Device) -> ChangeCost {
        let is_rotated = old
            .tokens
            .iter()
            .zip(&new.tokens)
            .any(|(old, new)| new.current != old.current && new.floor != new.current);
        let is_less =
            !old.roles.without(new.roles).is_empty() || !old.scopes.without(new.scopes).is_empty();
        let records = 1 + usize::from(is_rotated) + usize::from(is_less);
        let bytes = records * limits::CHANGE_LEN;
        if new.revoked.without(old.revoked).is_empty() {
            ChangeCost::Bytes(bytes)
        } else {
            ChangeCost::Revocation(bytes)
        }
    }

    /// Returns the cost of a call that writes nothing.
    fn of_effects(reply: &Reply) -> ChangeCost {
        if reply.effects.iter().any(Effect::is_change) {
            ChangeCost::Bytes(0)
        } else {
            ChangeCost::Nothing
        }
    }
}

/// Creates the refusal of a change that would exceed a limit. The beginning of the message is that
/// of protocol 4.
fn limit_failure(method: &str, limit: ChangeLimit) -> Failure {
    let (reason, ms) = match limit {
        ChangeLimit::Method(ms) => {
            (format!("a client may call it {} times a minute", limits::CHANGES_OF_METHOD), ms)
        }
        ChangeLimit::Client(ms) => {
            let kib = limits::CHANGE_BYTES_OF_ONE / 1024;
            (format!("changes of one client may write {kib} KiB a minute"), ms)
        }
        ChangeLimit::All(ms) => {
            let kib = limits::CHANGE_BYTES / 1024;
            let advice = "the gatelet command on the gateway is not limited";
            (format!("changes of all clients may write {kib} KiB a minute; {advice}"), ms)
        }
    };
    let seconds = ms.div_ceil(1000);
    let message = format!("rate limit exceeded for {method}; retry after {seconds}s: {reason}");
    let limit = format!("{} per {}s", limits::CHANGES_OF_METHOD, limits::CHANGES_WINDOW_MS / 1000);
    let details = json::object(|o| {
        o.str("method", method);
        o.str("limit", &limit);
    });
    Failure::share(message, Some(ms)).detailed(details)
}
