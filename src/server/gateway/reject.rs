//! Rejects clients: response, log line, entry for `gatelet explain --last`, and the pending request
//! that the owner can approve.

use super::attempt::{Attempt, ClientInfo};
use super::{Gateway, InvalidFirstFrame};
use crate::config::Secret;
use crate::gate::facts::{DeviceProof, Protocol};
use crate::gate::ids::{ConnId, Now, RequestId, Role, Roles};
use crate::gate::limits;
use crate::gate::net::Via;
use crate::gate::pairing_requests::RequestContent;
use crate::gate::policy;
use crate::gate::refusal::{Hint, Refusal, Rule};
use crate::gate::scopes::Scopes;
use crate::rpc::RejectionRecord;
use crate::wire::frames::{self, ErrorShape};
use crate::wire::json::{self, Writer};

impl Gateway {
    /// Creates or renews the pending request of the device, and notifies clients that can approve
    /// it.
    pub(crate) fn ask(&mut self, attempt: &Attempt, scopes: Scopes, now: Now) -> Option<RequestId> {
        let (DeviceProof::Valid { id, key }, Some(role)) = (attempt.device_proof, attempt.role)
        else {
            return None;
        };
        let scopes = policy::requested(scopes, role);
        let known = self.devices.find(&id).is_some();
        let (roles, surface, about) =
            (Roles::of(role), self.offered(attempt), attempt.about.clone());
        Some(
            self.ask_for(
                RequestContent { device: id, key, roles, scopes, surface, about, known },
                now,
            ),
        )
    }

    /// Rejects an attempt. `pending` is the request that the owner can approve.
    pub(crate) fn refuse(
        &mut self,
        conn: ConnId,
        attempt: &Attempt,
        rule: Rule,
        refusal: Refusal,
        pending: Option<RequestId>,
        now: Now,
    ) {
        let protocol = protocol_of(attempt);
        let turned = Rejection {
            conn,
            rule,
            refusal,
            protocol,
            seen: &attempt.seen,
            attempt: Some(attempt),
            pending,
        };
        self.tell(&turned, Some(&attempt.request), None, now);
    }

    /// Rejects a client whose first message was not a valid connect request.
    pub(crate) fn turn_away(&mut self, conn: ConnId, away: InvalidFirstFrame, now: Now) {
        let rule = Rule::Frame;
        let InvalidFirstFrame { seen, refusal, request, problems } = away;
        let message =
            problems.map(|problems| [refusal.message(Protocol::V4), ": ", &problems].concat());
        let turned = Rejection {
            conn,
            rule,
            refusal,
            protocol: Protocol::V4,
            seen: &seen,
            attempt: None,
            pending: None,
        };
        self.tell(&turned, request.as_deref(), message.as_deref(), now);
    }

    /// Reports a rejection to the client, the log and `gatelet explain --last`, and closes the
    /// connection.
    fn tell(
        &mut self,
        turned: &Rejection<'_>,
        answer_to: Option<&str>,
        message: Option<&str>,
        now: Now,
    ) {
        let words = turned.refusal.words();
        let message = message.unwrap_or(turned.refusal.message(turned.protocol));
        let pending = turned.pending.map(|id| id.to_string()).unwrap_or_default();
        let device =
            turned.attempt.map(|attempt| device_text(&attempt.device_proof)).unwrap_or_default();
        let list =
            if turned.attempt.is_some_and(|attempt| attempt.node.is_some()) { "nodes" } else { "" };
        let hint = Hint::new(
            words.hint,
            self.setup.fill(list, &pending, &device, &turned.seen.origin_text),
        )
        .to_string();
        if let Some(open) = self.conns.get(turned.conn) {
            if let Some(id) = answer_to {
                let details = turned.details(&pending, &hint);
                let retry = (words.retry_ms > 0).then_some(u64::from(words.retry_ms));
                let code = words.error.name(turned.protocol);
                let (details, retryable) = (Some(details.as_slice()), retry.map(|_| true));
                let error = ErrorShape { code, message, details, retryable, retry_after_ms: retry };
                open.outbox.must(frames::response_err(id, &error).into());
            }
            open.outbox.close(words.close, &turned.reason(message, &pending));
        }
        self.counts.refused(turned.rule, turned.refusal);
        let line = line(turned.conn, turned.rule, turned.seen, turned.attempt);
        let prints = turned
            .attempt
            .filter(|_| turned.refusal == Refusal::TokenMismatch)
            .map(|attempt| self.fingerprints(attempt));
        let prints = prints.unwrap_or_default();
        self.log_refusal(
            format_args!(
                "refuse {line} code={}{prints} reason={message:?} hint={hint:?}",
                words.code
            ),
            now,
        );
        self.remember(RejectionRecord {
            rule: turned.rule.title(),
            code: words.code,
            message: message.to_string(),
            hint,
            client_id: turned
                .attempt
                .map(|attempt| attempt.about.client_id.to_string())
                .unwrap_or_default(),
            device: device.chars().take(8).collect(),
            request: pending,
            at: now.wall.0,
            conn: turned.conn.0,
            peer: turned.seen.peer.to_string(),
            client: turned.seen.client.to_string(),
            via: via_name(turned.seen),
            host: turned.seen.host_text.clone(),
            origin: turned.seen.origin_text.clone(),
        });
    }
}

impl Gateway {
    /// Returns the fingerprints of the presented and the expected token, so that the owner can see
    /// which of several was used.
    fn fingerprints(&self, attempt: &Attempt) -> String {
        let came = attempt.presented.token.as_ref().or(attempt.presented.password.as_ref());
        let came = Secret::new(came.map_or("", |text| text)).fingerprint();
        format!(
            " presented={came} expected={} from={:?}",
            self.status.secret_fingerprint, self.status.secret_source
        )
    }
}

/// A rejected client.
struct Rejection<'a> {
    conn: ConnId,
    rule: Rule,
    refusal: Refusal,
    protocol: Protocol,
    seen: &'a ClientInfo,
    /// Absent if the client did not send a valid connect request.
    attempt: Option<&'a Attempt>,
    /// Request that the owner can approve.
    pending: Option<RequestId>,
}

impl Rejection<'_> {
    /// Returns the close reason, which contains the request id in protocol 4.
    fn reason(&self, message: &str, pending: &str) -> String {
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
    fn details(&self, pending: &str, hint: &str) -> Vec<u8> {
        let (refusal, words) = (self.refusal, self.refusal.words());
        let given = |text: &'static str| (!text.is_empty()).then_some(text);
        json::object(|o| {
            o.str("code", words.code);
            o.str("rule", self.rule.number());
            o.str("hint", hint);
            o.opt_str("reason", given(refusal.reason()));
            o.opt_str("authReason", given(refusal.auth_reason()));
            o.opt_str("recommendedNextStep", given(words.next));
            if let Some(attempt) = self.attempt {
                self.specifics(o, attempt, pending, hint);
            }
        })
    }

    /// Writes additional members that protocol 4 clients read.
    fn specifics(&self, o: &mut Writer<'_>, attempt: &Attempt, pending: &str, hint: &str) {
        match self.refusal {
            Refusal::ProtocolMismatch => {
                o.u64("clientMinProtocol", attempt.min_protocol.into());
                o.u64("clientMaxProtocol", attempt.max_protocol.into());
                o.u64("expectedProtocol", Protocol::V4.number().into());
                o.u64("minimumProbeProtocol", Protocol::V3.number().into());
            }
            Refusal::PairingRequired | Refusal::RoleUpgrade => {
                o.str("requestId", pending);
                o.str("remediationHint", hint);
                o.str("deviceId", &device_text(&attempt.device_proof));
                o.opt_str("requestedRole", attempt.role.map(Role::name));
                o.scopes("requestedScopes", attempt.requested);
                o.bool("pauseReconnect", false);
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

/// Returns the path of the connection to the gateway, in one word for the log.
pub(crate) fn via_name(seen: &ClientInfo) -> &'static str {
    match (seen.via, seen.local) {
        (_, true) => "local",
        (Via::Direct, _) => "direct",
        (Via::TrustedProxy, _) => "proxy",
        (Via::UntrustedProxy, _) => "untrusted-proxy",
    }
}

/// Returns the start of each log line about an attempt. Headers chosen by the client are quoted and
/// have no control characters.
pub(crate) fn line(
    conn: ConnId,
    rule: Rule,
    seen: &ClientInfo,
    attempt: Option<&Attempt>,
) -> String {
    let device = attempt.map(|attempt| device_text(&attempt.device_proof)).unwrap_or_default();
    let client_id = attempt.map_or("", |attempt| attempt.about.client_id.as_str());
    format!(
        "conn={conn} rule=\"{}\" peer={} client={} via={} host={:?} origin={:?} clientId={} device={}",
        rule.title(),
        seen.peer,
        seen.client,
        via_name(seen),
        seen.host_text,
        seen.origin_text,
        client_id,
        device.get(..8).unwrap_or("-"),
    )
}

/// Returns the protocol version for responses, whether the client is admitted or not.
pub(crate) fn protocol_of(attempt: &Attempt) -> Protocol {
    Protocol::negotiate(attempt.min_protocol, attempt.max_protocol).unwrap_or(Protocol::V4)
}

fn device_text(proof: &DeviceProof) -> String {
    match proof {
        DeviceProof::Valid { id, .. } => id.to_string(),
        DeviceProof::Absent | DeviceProof::Invalid(_) => String::new(),
    }
}
