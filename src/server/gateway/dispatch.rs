//! Handles requests of admitted clients, from the received frame to the response.

use super::{Continuation, Gateway};
use crate::gate::ids::{ConnId, Now};
use crate::gate::limits;
use crate::gate::refusal::Close;
use crate::rpc::{self, Call, Change, Failure, Log, RejectionRecord, Reply};
use crate::server::config_file::FileWork;
use crate::server::net::send_queue::Queued;
use crate::server::os::host_info;
use crate::server::os::logger;
use crate::wire::frames::{self, BadFrame, ErrorShape, Request};

impl Gateway {
    /// Handles a message of an admitted client. A message that is not JSON is ignored, and an
    /// invalid request gets an error response. The connection stays open in both cases.
    pub(crate) fn frame(&mut self, conn: ConnId, message: &[u8], now: Now) {
        match Request::parse(message) {
            Ok(request) => self.call(conn, &request, now),
            Err(BadFrame::Json(bad)) => log::debug!("conn={conn} sent no JSON: {bad}"),
            Err(BadFrame::Request { id, problems }) => {
                self.fail(
                    conn,
                    &id,
                    &Failure::invalid(["invalid request frame: ", &problems].concat()),
                );
            }
        }
    }

    fn call(&mut self, conn: ConnId, request: &Request<'_>, now: Now) {
        let Some(open) = self.conns.get(conn) else { return };
        let (Some(caller), name) = (open.admitted.clone(), open.name.clone()) else { return };
        let (mut refusals, mut approvers): (Vec<RejectionRecord>, _) = (Vec::new(), 0);
        let mut log = Log::EMPTY;
        match &*request.method {
            "exec.approval.request" => {
                approvers = self.conns.iter().filter(|other| other.may_approve(conn)).count()
            }
            "gatelet.refusals" => refusals.extend(self.refusals().iter().cloned()),
            "gatelet.status" => self.count(now),
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
            key: &self.setup.key,
            name: &name,
            id: &request.id,
            nodes: &mut self.nodes,
            commands: &self.setup.commands,
            presence: &mut self.presence,
            status: &self.status,
            approvers,
            refused: &refusals,
            log: &log,
            random: &mut |bytes| entropy.fill(bytes),
        };
        match rpc::dispatch(&mut call, &request.method, request.params) {
            Ok(reply) => self.answer(conn, &request.id, reply, now),
            Err(failure) => self.fail(conn, &request.id, &failure),
        }
    }

    fn answer(&mut self, conn: ConnId, id: &str, mut reply: Reply, now: Now) {
        match (reply.change.take(), reply.file.take()) {
            (None, None) => self.answered(conn, id, reply, now),
            (change, _) if self.commits.is_full() || self.is_placed_twice(change.as_ref()) => {
                self.fail(
                    conn,
                    id,
                    &Failure::unavailable("too many changes wait for the disk; retry shortly"),
                );
            }
            (Some(Change { slot, device }), _) => {
                let ticket = self.commits.change(&mut self.devices, slot, device);
                self.commits.wait(
                    ticket,
                    Continuation::Answer { conn, id: id.to_string(), reply: Box::new(reply) },
                );
            }
            (None, Some(ask)) => {
                let ticket = self.commits.file(Box::new(FileWork { ask: *ask, done: None }));
                self.commits.wait(ticket, Continuation::File { conn, id: id.to_string() });
            }
        }
    }

    /// Returns whether the file could have the device of the change in two slots for a moment.
    fn is_placed_twice(&mut self, change: Option<&Change>) -> bool {
        let device = change.and_then(|change| change.device.as_ref());
        device.is_some_and(|device| self.commits.before(&mut self.devices, &device.id).is_some())
    }

    pub(crate) fn answered(&mut self, conn: ConnId, id: &str, reply: Reply, now: Now) {
        if !reply.later {
            self.send(conn, frames::response_ok(id, &reply.payload));
        }
        self.happen(reply.effects, now);
    }

    /// Answers a call after its commit succeeded (`well`) or failed.
    pub(crate) fn answer_committed(
        &mut self,
        conn: ConnId,
        id: &str,
        reply: Reply,
        well: bool,
        now: Now,
    ) {
        if well {
            self.answered(conn, id, reply, now);
        } else {
            self.fail(
                conn,
                id,
                &Failure::unavailable(
                    "the pairing table could not be written; see the gateway's log",
                ),
            );
        }
    }

    pub(crate) fn fail(&mut self, conn: ConnId, id: &str, failure: &Failure) {
        let Some(open) = self.conns.get_mut(conn) else { return };
        let Some(client) = &open.admitted else { return };
        let error = ErrorShape {
            code: failure.code.name(client.protocol()),
            message: &failure.message,
            details: failure.details.as_deref(),
            retryable: failure.retryable.then_some(true),
            ..ErrorShape::new("", "")
        };
        open.outbox.must(frames::response_err(id, &error).into());
        if failure.unauthorized {
            open.unauthorized += 1;
            if open.unauthorized > limits::UNAUTHORIZED_CALLS {
                let (code, reason) = Close::Unauthorized.words();
                open.outbox.close(code, reason);
            }
        }
    }

    pub(crate) fn send(&self, conn: ConnId, frame: Vec<u8>) {
        let Some(open) = self.conns.get(conn) else { return };
        let bytes = frame.len();
        if open.outbox.must(frame.into()) == Queued::TooLarge {
            log::warn!("conn={conn} was not sent an event of {bytes} bytes: no client takes a frame of that size");
        }
    }
}
