//! Decides on connection attempts: compares the presented credentials, asks `gate::policy` and
//! carries out the verdict.

use super::attempt::Attempt;
use super::connection_shares::ConnectionPlace;
use super::continuation::{Continuation, PendingAdmission};
use super::write_queue::TableAccess;
use super::Gateway;
use crate::gate::budget::Holder;
use crate::gate::facts::{
    AuthMode, Code, DeviceProof, DeviceToken, Facts, Policy, SecretCheck, Unremembered,
};
use crate::gate::ids::{ConnId, DeviceId, Now, PublicKey};
use crate::gate::limits;
use crate::gate::policy::{self, Admission, PolicyOutcome, Registration};
use crate::gate::refusal::{Refusal, Rule};
use crate::gate::session::Admitted;
use crate::gate::setup_codes::UsedCode;
use crate::store::tokens;

impl Gateway {
    /// Decides on an attempt, after a conflicting write of its device if there is one. If too many
    /// actions of the device wait for the disk, decides at once without writing.
    pub(super) fn connect(&mut self, conn: ConnId, attempt: Attempt, now: Now) {
        let holder = attempt.holder();
        let conflict = match holder {
            Holder::Device(id) => self.write_queue.conflicting_write(&mut self.devices, &id),
            _ => None,
        };
        match conflict {
            _ if !self.write_queue.has_share(holder) => {
                self.decide(conn, attempt, TableAccess::ReadOnly, now)
            }
            Some(ticket) => {
                let continuation = Continuation::Connect { conn, attempt: Box::new(attempt) };
                self.write_queue.wait(ticket, holder, continuation);
            }
            None => self.decide(conn, attempt, TableAccess::ReadWrite, now),
        }
    }

    /// Decides on an attempt and carries out the verdict.
    pub(super) fn decide(
        &mut self,
        conn: ConnId,
        attempt: Attempt,
        table_access: TableAccess,
        now: Now,
    ) {
        let (facts, generation) = self.collect_facts(&attempt, now);
        self.record_attempt(&attempt, &facts, now);
        let verdict = policy::decide(&facts, &self.runtime_config.policy, &self.devices);
        let mut rule = verdict.rule;
        let mut outcome = verdict.outcome;
        let (mut device, mut is_command) = (None, false);
        if let PolicyOutcome::Admit(admission) = &verdict.outcome {
            device = device_of(&facts, admission, &self.runtime_config.policy);
            is_command = device.is_none() && self.is_command(&attempt);
            let client = admitted(admission, conn, device, is_command);
            if let ConnectionPlace::None(refusal) = self.connection_place(&client, now) {
                (rule, outcome) = (Rule::Capacity, PolicyOutcome::Refuse(refusal));
            }
        }
        let (refusal, pending) = match outcome {
            PolicyOutcome::Refuse(refusal) => (refusal, None),
            PolicyOutcome::Pend(refusal) => {
                match self.request_pairing(&attempt, facts.requested, now) {
                    Some(id) => (refusal, Some(id)),
                    None => {
                        rule = Rule::Capacity;
                        (Refusal::TooManyRequests, None)
                    }
                }
            }
            PolicyOutcome::Admit(_) if self.is_replayed(&attempt) => {
                rule = Rule::Proof;
                (Refusal::SignatureExpired, None)
            }
            PolicyOutcome::Admit(admission) => {
                let code = match rule {
                    Rule::SetupCode => self.use_code(&attempt, facts.secret, now),
                    _ => None,
                };
                if rule != Rule::SetupCode || code.is_some() {
                    let has_secret = facts.secret == SecretCheck::Right;
                    let pending = PendingAdmission {
                        conn,
                        rule,
                        admission,
                        device,
                        attempt,
                        code,
                        has_secret,
                        is_command,
                    };
                    return self.persist(pending, generation, table_access, now);
                }
                rule = Rule::Credential;
                (Refusal::SetupCodeInvalid, None)
            }
        };
        self.reject_attempt(conn, &attempt, rule, refusal, pending, now);
    }

    /// Compares the presented credentials. The second value is the generation of a valid device
    /// token.
    fn collect_facts(&mut self, attempt: &Attempt, now: Now) -> (Facts, Option<u32>) {
        let presented = &attempt.presented;
        let auth = self.runtime_config.policy.auth;
        let check = |token: &String| self.check_device_token(attempt, token);
        let generation =
            [&presented.device_token, &presented.token].into_iter().flatten().find_map(check);
        let device_token = match (generation, &presented.device_token) {
            (Some(generation), _) => DeviceToken::Right(generation),
            (None, Some(_)) => DeviceToken::Wrong,
            (None, None) => DeviceToken::Absent,
        };
        let mut secret = self.check_secret(attempt, now);
        let code = match presented.setup_code(auth, secret) {
            Some(typed) if !presented.is_rate_limited => self.setup_codes.check(typed, now.at),
            _ => Code::Absent,
        };
        let is_device_token = |token: &String| self.check_device_token(attempt, token).is_some();
        let is_other_credential = match auth {
            // a wrong password next to a valid credential still counts as a failed attempt
            AuthMode::Password => {
                presented.password.is_none()
                    && presented.token.as_ref().is_some_and(is_device_token)
            }
            _ => {
                matches!(code, Code::Right(_))
                    || generation.is_some() && presented.password.is_none()
            }
        };
        if secret == SecretCheck::Wrong && is_other_credential {
            secret = SecretCheck::Absent;
        }
        let client_info = &attempt.client_info;
        let facts = Facts {
            phase: self.phase,
            has_capacity: self.has_node_capacity(attempt),
            min_protocol: attempt.min_protocol,
            max_protocol: attempt.max_protocol,
            role: attempt.role,
            control_ui: attempt.control_ui,
            local: client_info.local,
            host: client_info.host,
            origin: client_info.origin,
            device_proof: attempt.device_proof,
            secret,
            device_token,
            code,
            identity: client_info.identity,
            authorized_key: self.is_authorized(&attempt.device_proof),
            cidr: client_info.cidr,
            requested: attempt.requested,
        };
        (facts, generation)
    }

    /// Returns whether a node can be added, or replaces one with the same device.
    fn has_node_capacity(&self, attempt: &Attempt) -> bool {
        let is_connected = || match attempt.device_proof {
            DeviceProof::Valid { id, .. } => self.nodes.registry.get(&id).is_some(),
            _ => false,
        };
        attempt.node.is_none() || self.nodes.registry.count() < limits::NODES || is_connected()
    }

    /// Returns whether this is the command line of this machine, such as `gatelet status`.
    fn is_command(&self, attempt: &Attempt) -> bool {
        attempt.presented.secrets().any(|text| self.runtime_config.control.matches(text))
    }

    /// Returns the generation of a device token, if it is one of the proven device.
    fn check_device_token(&self, attempt: &Attempt, token: &str) -> Option<u32> {
        let DeviceProof::Valid { id, key } = attempt.device_proof else { return None };
        let (_, device) = self.devices.find(&id).filter(|(_, device)| device.key == key)?;
        tokens::check(&self.runtime_config.key, device, attempt.role?, token)
    }

    /// Uses up the presented setup code.
    fn use_code(&mut self, attempt: &Attempt, secret: SecretCheck, now: Now) -> Option<UsedCode> {
        let typed = attempt.presented.setup_code(self.runtime_config.policy.auth, secret)?;
        self.setup_codes.take(typed, now.at)
    }
}

/// Returns the permissions that an admission grants.
pub(super) fn admitted(
    admission: &Admission,
    conn: ConnId,
    device: Option<(DeviceId, PublicKey)>,
    is_command: bool,
) -> Admitted {
    let client = Admitted::by(admission, conn, device.map(|(id, _)| id));
    if is_command {
        client.as_command()
    } else {
        client
    }
}

/// Returns the device of an admission; `None` if it has none or the policy ignores it.
fn device_of(
    facts: &Facts,
    admission: &Admission,
    policy: &Policy,
) -> Option<(DeviceId, PublicKey)> {
    match (facts.device_proof, admission.registration) {
        (_, Registration::None(Unremembered::NoDevice)) => None,
        (DeviceProof::Valid { .. }, _) if facts.control_ui && policy.disable_device_auth => None,
        (DeviceProof::Valid { id, key }, _) => Some((id, key)),
        _ => None,
    }
}
