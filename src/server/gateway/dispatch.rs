//! Handles requests of admitted clients, from the received frame to the response.

use async_tungstenite::tungstenite::Utf8Bytes;

use super::continuation::Continuation;
use super::Gateway;
use crate::gate::budget::Holder;
use crate::gate::ids::{ConnId, Now};
use crate::gate::limits;
use crate::gate::refusal::Close;
use crate::gate::session::Admitted;
use crate::rpc::{self, Call, Change, Failure, LargeRequest, Log, Prepared, Reply};
use crate::server::config_file::FileWork;
use crate::server::net::send_queue::{Frame, Queued};
use crate::server::os::host_info;
use crate::server::os::logger;
use crate::wire::frames::{self, BadFrame, ErrorShape, Request};
use crate::wire::json::Malformed;

/// Reads a large message of this client. Takes up to a second, so it is called on another thread.
pub fn read_large(message: Frame, caller: &Admitted) -> Result<LargeRequest<Utf8Bytes>, BadFrame> {
    match Utf8Bytes::try_from(message) {
        Ok(text) => LargeRequest::parse(text, caller),
        Err(error) => Err(BadFrame::Json(Malformed { at: error.valid_up_to(), what: "not UTF-8" })),
    }
}

impl Gateway {
    /// Returns the maximum size of a frame of an admitted client, and the holder of its share.
    pub fn frame_limit(&self, conn: ConnId) -> Option<(usize, Holder)> {
        let client = self.connections.get(conn)?.admitted.as_ref()?;
        Some((rpc::frame_limit(client), client.holder()))
    }

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
        let Some(open) = self.connections.get(conn) else { return };
        let (Some(caller), name) = (open.admitted.clone(), open.name.clone()) else { return };
        let (mut refusals, mut approvers) = (Vec::new(), 0);
        let mut log = Log::EMPTY;
        match &*request.method {
            "exec.approval.request" => {
                approvers = self.connections.iter().filter(|other| other.may_approve(conn)).count()
            }
            "gatelet.refusals" => refusals = self.refusal_log.recent(),
            "gatelet.status" => self.update_status(now),
            "system.info" => self.status.machine = host_info::measure(),
            "logs.tail" => log = logger::kept(),
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
            Ok(reply) => self.handle_reply(conn, &request.id, reply, now),
            Err(failure) => self.send_error(conn, &request.id, &failure),
        }
    }

    /// Answers a call, after its change is durable if it has one.
    fn handle_reply(&mut self, conn: ConnId, id: &str, mut reply: Reply, now: Now) {
        let (change, file) = (reply.change.take(), reply.file.take());
        if change.is_none() && file.is_none() {
            return self.send_reply(conn, id, reply, now);
        }
        if self.write_queue.is_full() || self.is_placed_twice(change.as_ref()) {
            let failure = Failure::unavailable("too many changes wait for the disk; retry shortly");
            return self.send_error(conn, id, &failure);
        }
        let id = id.to_string();
        let (ticket, continuation) = match (change, file) {
            (Some(Change { slot, device }), _) => (
                self.write_queue.change(&mut self.devices, slot, device),
                Continuation::Answer { conn, id, reply: Box::new(reply) },
            ),
            (None, Some(request)) => (
                self.write_queue.file(Box::new(FileWork { request: *request, result: None })),
                Continuation::File { conn, id },
            ),
            (None, None) => return,
        };
        self.write_queue.wait(ticket, continuation);
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
        let Some(open) = self.connections.get_mut(conn) else { return };
        let Some(client) = &open.admitted else { return };
        let error = ErrorShape {
            code: failure.code.name(client.protocol()),
            message: &failure.message,
            details: failure.details.as_deref(),
            retryable: failure.retryable.then_some(true),
            ..ErrorShape::new("", "")
        };
        open.send_queue.send(frames::response_err(id, &error).into());
        if failure.unauthorized {
            open.unauthorized += 1;
            if open.unauthorized > limits::UNAUTHORIZED_CALLS {
                open.send_queue.close_for(Close::Unauthorized);
            }
        }
    }

    /// Sends a frame that must not be left out.
    pub(super) fn send_frame(&self, conn: ConnId, frame: Vec<u8>) {
        let Some(open) = self.connections.get(conn) else { return };
        let bytes = frame.len();
        if open.send_queue.send(frame.into()) == Queued::TooLarge {
            log::warn!("conn={conn} an event of {bytes} bytes was not sent: it is larger than any client accepts");
        }
    }
}
