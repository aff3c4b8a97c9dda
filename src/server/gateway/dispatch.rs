//! Handles requests of admitted clients, from the received frame to the response.

use super::continuation::Continuation;
use super::Gateway;
use crate::gate::ids::{ConnId, Now};
use crate::gate::limits;
use crate::gate::refusal::Close;
use crate::rpc::{self, Call, Change, Failure, Log, Reply};
use crate::server::config_file::FileWork;
use crate::server::net::send_queue::Queued;
use crate::server::os::host_info;
use crate::server::os::logger;
use crate::wire::frames::{self, BadFrame, ErrorShape, Request};

impl Gateway {
    /// Handles a message of an admitted client. A message that is not JSON is ignored, and an
    /// invalid request gets an error response. The connection stays open in both cases.
    pub(super) fn handle_frame(&mut self, conn: ConnId, message: &[u8], now: Now) {
        match Request::parse(message) {
            Ok(request) => self.call(conn, &request, now),
            Err(BadFrame::Json(bad)) => {
                log::debug!("conn={conn} invalid JSON: {bad}")
            }
            Err(BadFrame::Request { id, problems }) => {
                self.send_error(
                    conn,
                    &id,
                    &Failure::invalid(format!("invalid request frame: {problems}")),
                );
            }
        }
    }

    fn call(&mut self, conn: ConnId, request: &Request<'_>, now: Now) {
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
            nodes: &mut self.nodes,
            commands: &self.runtime_config.commands,
            presence: &mut self.presence,
            status: &self.status,
            approvers,
            rejections: &refusals,
            log: &log,
            random: &mut |bytes| entropy.fill(bytes),
        };
        match rpc::dispatch(&mut call, &request.method, request.params) {
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
        let Some(open) = self.connections.get(conn) else { return };
        let Some(client) = &open.admitted else { return };
        let error = ErrorShape {
            code: failure.code.name(client.protocol()),
            message: &failure.message,
            details: failure.details.as_deref(),
            retryable: failure.retryable.then_some(true),
            ..ErrorShape::new("", "")
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
