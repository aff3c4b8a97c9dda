//! Rejects clients: response, log line, entry for `gatelet explain --last`, and the pending request
//! that the owner can approve.

use super::attempt::{Attempt, ClientInfo};
use super::log_line::attempt_fields;
use super::{Fault, Gateway, InvalidFirstFrame, InvalidRequest};
use crate::config::Secret;
use crate::gate::facts::{DeviceProof, Protocol};
use crate::gate::ids::{ConnId, Now, RequestId, Role, Roles};
use crate::gate::limits;
use crate::gate::net;
use crate::gate::no_connect::NoConnect;
use crate::gate::pairing_requests::RequestContent;
use crate::gate::policy;
use crate::gate::refusal::{Fill, Hint, Refusal, Rule};
use crate::gate::scopes::Scopes;
use crate::rpc::RejectionRecord;
use crate::wire::frames::{self, ErrorShape};
use crate::wire::json::{self, Writer};

impl Gateway {
    /// Creates or renews the pending request of the device, and notifies clients that can approve
    /// it.
    pub(super) fn request_pairing(
        &mut self,
        attempt: &Attempt,
        scopes: Scopes,
        now: Now,
    ) -> Option<RequestId> {
        let (DeviceProof::Valid { id, key }, Some(role)) = (attempt.device_proof, attempt.role)
        else {
            return None;
        };
        let content = RequestContent {
            device: id,
            key,
            roles: Roles::of(role),
            scopes: policy::requested(scopes, role),
            surface: self.declared_surface(attempt),
            about: attempt.about.clone(),
            known: self.devices.find(&id).is_some(),
        };
        Some(self.add_pending_request(content, now))
    }

    /// Rejects an attempt. `pending` is the request that the owner can approve.
    pub(super) fn reject_attempt(
        &mut self,
        conn: ConnId,
        attempt: &Attempt,
        rule: Rule,
        refusal: Refusal,
        pending: Option<RequestId>,
        now: Now,
    ) {
        let rejection = Rejection {
            conn,
            rule,
            refusal,
            protocol: attempt.protocol(),
            client_info: &attempt.client_info,
            attempt: Some(attempt),
            pending: pending.map(|id| id.to_string()).unwrap_or_default(),
        };
        let message = refusal.message(rejection.protocol);
        self.reject(&rejection, Some(&attempt.request), message, now);
    }

    /// Rejects a client whose first message was not a valid connect request.
    pub(super) fn reject_first_frame(&mut self, conn: ConnId, frame: &InvalidFirstFrame, now: Now) {
        let protocol = Protocol::V4;
        let message = frame.refusal.message(protocol);
        let message = match &frame.problems {
            Some(problems) => format!("{message}: {problems}"),
            None => message.to_string(),
        };
        let rejection = Rejection {
            conn,
            rule: Rule::Frame,
            refusal: frame.refusal,
            protocol,
            client_info: &frame.client_info,
            attempt: None,
            pending: String::new(),
        };
        self.reject(&rejection, frame.request.as_deref(), &message, now);
    }

    /// Reports a rejected request, which has its response already, to the log, the counters and
    /// `gatelet explain --last`. It is logged once per hour for each network and reason.
    pub(super) fn reject_request(&mut self, conn: ConnId, request: &InvalidRequest, now: Now) {
        let InvalidRequest { reason, peer, ref client_info } = *request;
        let (message, hint) = (reason.to_string(), reason.hint());
        let text = |text: fn(&ClientInfo) -> &String| {
            client_info.as_ref().map(text).cloned().unwrap_or_default()
        };
        let (host, origin) = (text(|info| &info.host_text), text(|info| &info.origin_text));
        self.counters.requests[reason.cause()] += 1;
        if self.fault_warnings.add((net::network(peer), Fault::Request(reason)), now.at) {
            log::warn!(
                "conn={conn} peer={peer} host={host:?} origin={origin:?} reason={message:?} hint={hint:?}; \
                 not logged again for this peer within an hour"
            );
        }
        self.refusal_log.remember_once(RejectionRecord {
            rule: BEFORE_RULES,
            code: reason.status_text(),
            message,
            hint: hint.to_string(),
            at: now.wall.0,
            conn: conn.0,
            peer: peer.to_string(),
            client: client_info.as_ref().map_or(peer, |info| info.client).to_string(),
            via: client_info.as_ref().map_or("direct", ClientInfo::via_name),
            host,
            origin,
            ..RejectionRecord::default()
        });
    }

    /// Reports a WebSocket that ended without a connect request to the log, the counters and
    /// `gatelet explain --last`. It is logged once per hour for each network and cause.
    pub(super) fn report_no_connect(
        &mut self,
        conn: ConnId,
        cause: NoConnect,
        client_info: &ClientInfo,
        now: Now,
    ) {
        let ClientInfo { peer, client, host_text: host, origin_text: origin, .. } = client_info;
        let (name, message, hint) = (cause.name(), cause.message(), cause.hint());
        self.counters.no_connect[cause as usize] += 1;
        if self.fault_warnings.add((net::network(*peer), Fault::NoConnect(cause)), now.at) {
            log::warn!(
                "{name} conn={conn} peer={peer} host={host:?} origin={origin:?}: {message} hint={hint:?}; \
                 not logged again for this peer within an hour"
            );
        }
        self.refusal_log.remember_once(RejectionRecord {
            rule: BEFORE_RULES,
            code: NoConnect::CODE,
            message: message.to_string(),
            hint: hint.to_string(),
            at: now.wall.0,
            conn: conn.0,
            peer: peer.to_string(),
            client: client.to_string(),
            via: client_info.via_name(),
            host: host.clone(),
            origin: origin.clone(),
            ..RejectionRecord::default()
        });
    }

    /// Reports a rejection to the client, the log and `gatelet explain --last`, and closes the
    /// connection.
    fn reject(
        &mut self,
        rejection: &Rejection<'_>,
        request: Option<&str>,
        message: &str,
        now: Now,
    ) {
        let Rejection { conn, rule, refusal, client_info, attempt, ref pending, .. } = *rejection;
        let words = refusal.words();
        let device = attempt.map(Attempt::device_text).unwrap_or_default();
        let list = if attempt.is_some_and(|attempt| attempt.node.is_some()) { "nodes" } else { "" };
        let fill = self.runtime_config.fill(list, pending, &device, &client_info.origin_text);
        let hint = Hint::new(words.hint, fill).to_string();
        if let Some(open) = self.connections.get(conn) {
            if let Some(id) = request {
                let gatelet = self.runtime_config.command_for(client_info.local);
                let hint = Hint::new(words.hint, Fill { gatelet, ..fill }).to_string();
                open.send_queue.send(rejection.response(id, message, &hint).into());
            }
            open.send_queue.close(words.close, &rejection.close_reason(message));
        }
        self.counters.refused(rule, refusal);
        let fields = attempt_fields(conn, rule, client_info, attempt);
        let prints = match attempt {
            Some(attempt) if refusal == Refusal::TokenMismatch => self.fingerprints(attempt),
            _ => String::new(),
        };
        let code = words.code;
        self.refusal_log.warn(
            format_args!("refuse {fields} code={code}{prints} reason={message:?} hint={hint:?}"),
            now.at,
        );
        self.refusal_log.remember(rejection.record(message, hint, now));
    }

    /// Returns the fingerprints of the presented and the expected token, so that the owner can see
    /// which of several was used.
    fn fingerprints(&self, attempt: &Attempt) -> String {
        let presented = attempt.presented.token.as_ref().or(attempt.presented.password.as_ref());
        let presented = Secret::new(presented.map_or("", |text| text)).fingerprint();
        format!(
            " presented={presented} expected={} from={:?}",
            self.status.secret_fingerprint, self.status.secret_source
        )
    }
}

/// Shown instead of a rule for requests that are rejected before the rules apply.
const BEFORE_RULES: &str = "0 request";

/// A rejected client.
struct Rejection<'a> {
    conn: ConnId,
    rule: Rule,
    refusal: Refusal,
    protocol: Protocol,
    client_info: &'a ClientInfo,
    /// Absent if the client did not send a valid connect request.
    attempt: Option<&'a Attempt>,
    /// Id of the request that the owner can approve, or empty.
    pending: String,
}

impl Rejection<'_> {
    /// Builds the error response to the request `id`.
    fn response(&self, id: &str, message: &str, hint: &str) -> Vec<u8> {
        let words = self.refusal.words();
        let details = self.details(hint);
        let retry_after_ms = (words.retry_ms > 0).then_some(u64::from(words.retry_ms));
        let error = ErrorShape {
            code: words.error.name(self.protocol),
            message,
            details: Some(&details),
            retryable: retry_after_ms.map(|_| true),
            retry_after_ms,
        };
        frames::response_err(id, &error)
    }

    /// Builds the entry for `gatelet explain --last`.
    fn record(&self, message: &str, hint: String, now: Now) -> RejectionRecord {
        let ClientInfo { peer, client, host_text, origin_text, .. } = self.client_info;
        let device = self.attempt.map(Attempt::device_text).unwrap_or_default();
        let client_id = self.attempt.map(|attempt| attempt.about.client_id.to_string());
        RejectionRecord {
            rule: self.rule.title(),
            code: self.refusal.words().code,
            message: message.to_string(),
            hint,
            client_id: client_id.unwrap_or_default(),
            device: device.chars().take(8).collect(),
            request: self.pending.clone(),
            at: now.wall.0,
            conn: self.conn.0,
            peer: peer.to_string(),
            client: client.to_string(),
            via: self.client_info.via_name(),
            host: host_text.clone(),
            origin: origin_text.clone(),
        }
    }

    /// Returns the close reason, which contains the request id in protocol 4.
    fn close_reason(&self, message: &str) -> String {
        let pending = &self.pending;
        match self.protocol {
            Protocol::V4 if !pending.is_empty() => {
                let whole = format!("{message} (requestId: {pending})");
                // a truncated id is useless, so the message is shortened instead
                let (head, _) = message.split_once(':').unwrap_or((message, ""));
                if whole.len() <= limits::CLOSE_REASON {
                    whole
                } else {
                    format!("{head} (requestId: {pending})")
                }
            }
            _ => message.to_string(),
        }
    }

    /// Builds `error.details`.
    fn details(&self, hint: &str) -> Vec<u8> {
        let words = self.refusal.words();
        let given = |text: &'static str| (!text.is_empty()).then_some(text);
        json::object(|o| {
            o.str("code", words.code);
            o.str("rule", self.rule.number());
            o.str("hint", hint);
            o.opt_str("reason", given(words.reason));
            o.opt_str("authReason", given(words.auth_reason));
            o.opt_str("recommendedNextStep", given(words.next));
            if let Some(attempt) = self.attempt {
                self.write_specific_details(o, attempt, hint);
            }
        })
    }

    /// Writes additional members that protocol 4 clients read.
    fn write_specific_details(&self, o: &mut Writer<'_>, attempt: &Attempt, hint: &str) {
        match self.refusal {
            Refusal::ProtocolMismatch => {
                o.u64("clientMinProtocol", attempt.min_protocol.into());
                o.u64("clientMaxProtocol", attempt.max_protocol.into());
                o.u64("expectedProtocol", Protocol::V4.number().into());
                o.u64("minimumProbeProtocol", Protocol::V3.number().into());
            }
            Refusal::PairingRequired | Refusal::RoleUpgrade => {
                o.str("requestId", &self.pending);
                o.str("remediationHint", hint);
                o.str("deviceId", &attempt.device_text());
                o.opt_str("requestedRole", attempt.role.map(Role::name));
                o.scopes("requestedScopes", attempt.requested);
                o.bool("pauseReconnect", false);
            }
            Refusal::DeviceRevoked => {
                o.str("remediationHint", hint);
                o.str("deviceId", &attempt.device_text());
                o.bool("pauseReconnect", true);
            }
            Refusal::TokenMismatch
            | Refusal::TokenMissing
            | Refusal::PasswordMismatch
            | Refusal::PasswordMissing => {
                o.bool("canRetryWithDeviceToken", false);
            }
            _ => {}
        }
    }
}
