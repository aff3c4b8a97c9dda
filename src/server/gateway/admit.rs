//! Evaluates connection attempts and admits clients. Rejection is in [`super::reject`].
//!
//! This module decides nothing: it compares the presented credentials, asks `gate::policy` and
//! carries out the verdict.

use super::attempt::Attempt;
use super::rate_limit::code_of;
use super::reject::line;
use super::{Continuation, Gateway};
use crate::gate::device::{Device, Provenance};
use crate::gate::facts::{
    AuthMode, Code, DeviceProof, DeviceToken, Facts, PairingSource, SecretCheck, Unremembered,
};
use crate::gate::ids::{ConnId, DeviceId, Now, PublicKey, Role, Slot};
use crate::gate::limits;
use crate::gate::policy::{self, Admission, PolicyOutcome, Registration};
use crate::gate::refusal::{Refusal, Rule};
use crate::gate::scopes::Scopes;
use crate::gate::session::Admitted;
use crate::gate::setup_codes::UsedCode;
use crate::rpc::{self, PresenceEntry};
use crate::store::tokens;
use crate::wire::frames;
use crate::wire::hello::{FilePaths, Hello, IssuedToken};

/// An admission whose hello response is not sent yet.
pub(crate) struct Welcome {
    conn: ConnId,
    rule: Rule,
    admission: Admission,
    device: Option<(DeviceId, PublicKey)>,
    attempt: Attempt,
    /// Setup code that the admission used up. It is given back if the pairing cannot be stored.
    code: Option<UsedCode>,
    /// Whether the client presented the shared secret. It is then admitted even if the pairing
    /// cannot be stored.
    secret_held: bool,
}

impl Gateway {
    /// Decides on an attempt, after a conflicting write of its device if there is one. If too many
    /// actions wait for the disk, decides at once without writing.
    pub(crate) fn connect(&mut self, conn: ConnId, attempt: Attempt, now: Now) {
        let room = !self.commits.is_full();
        let wait = match attempt.device_proof {
            DeviceProof::Valid { id, .. } => self.commits.before(&mut self.devices, &id),
            _ => None,
        };
        match wait {
            Some(ticket) if room => self
                .commits
                .wait(ticket, Continuation::Connect { conn, attempt: Box::new(attempt) }),
            _ => self.decide(conn, attempt, room && wait.is_none(), now),
        }
    }

    /// Decides on an attempt and carries out the verdict. If `writable` is false, no pairing is
    /// written and the attempt does not wait for a write.
    pub(crate) fn decide(&mut self, conn: ConnId, attempt: Attempt, writable: bool, now: Now) {
        let (facts, generation) = self.facts(&attempt, now);
        self.count_guess(&attempt, &facts, now);
        let verdict = policy::decide(&facts, &self.setup.policy, &self.devices);
        match verdict.outcome {
            PolicyOutcome::Refuse(refusal) => {
                self.refuse(conn, &attempt, verdict.rule, refusal, None, now)
            }
            PolicyOutcome::Pend(refusal) => {
                let pending = self.ask(&attempt, facts.requested, now);
                self.refuse(conn, &attempt, verdict.rule, refusal, pending, now);
            }
            PolicyOutcome::Admit(_) if self.is_replayed(&attempt) => {
                self.refuse(conn, &attempt, Rule::Proof, Refusal::SignatureExpired, None, now);
            }
            PolicyOutcome::Admit(admission) => {
                let by_code = verdict.rule == Rule::SetupCode;
                let code = if by_code { self.use_code(&attempt, facts.secret, now) } else { None };
                if by_code && code.is_none() {
                    return self.refuse(
                        conn,
                        &attempt,
                        Rule::Credential,
                        Refusal::SetupCodeInvalid,
                        None,
                        now,
                    );
                }
                let device = device_of(&facts, &admission, &self.setup.policy);
                let secret_held = facts.secret == SecretCheck::Right;
                let welcome = Welcome {
                    conn,
                    rule: verdict.rule,
                    admission,
                    device,
                    attempt,
                    code,
                    secret_held,
                };
                self.admit(welcome, generation, writable, now);
            }
        }
    }

    /// Compares the presented credentials. The second value is the generation of a valid device
    /// token.
    fn facts(&mut self, attempt: &Attempt, now: Now) -> (Facts, Option<u32>) {
        let presented = &attempt.presented;
        let known = match attempt.device_proof {
            DeviceProof::Valid { id, key } => {
                self.devices.find(&id).map(|(_, device)| device).filter(|device| device.key == key)
            }
            _ => None,
        };
        let check = |token: &String| tokens::check(&self.setup.key, known?, attempt.role?, token);
        let generation =
            [&presented.device_token, &presented.token].into_iter().flatten().find_map(check);
        let device_token = match (generation, &presented.device_token) {
            (Some(generation), _) => DeviceToken::Right(generation),
            (None, Some(_)) => DeviceToken::Wrong,
            (None, None) => DeviceToken::Absent,
        };
        let mut secret = self.secret(attempt, now);
        let mut code = Code::Absent;
        if let Some(typed) =
            code_of(attempt, self.setup.policy.auth, secret).filter(|_| !attempt.presented.unread)
        {
            code = self.setup_codes.check(typed, now.at);
        }
        let explained = match self.setup.policy.auth {
            // a wrong password next to a valid credential still counts as a failed attempt
            AuthMode::Password => {
                presented.password.is_none() && presented.token.as_ref().and_then(check).is_some()
            }
            _ => {
                matches!(code, Code::Right(_))
                    || generation.is_some() && presented.password.is_none()
            }
        };
        if secret == SecretCheck::Wrong && explained {
            secret = SecretCheck::Absent;
        }
        let id = match attempt.device_proof {
            DeviceProof::Valid { id, .. } => Some(id),
            _ => None,
        };
        let facts = Facts {
            phase: self.phase,
            has_capacity: self.admitted < limits::CONNECTIONS
                && (attempt.node.is_none() || self.nodes.registry.len() < limits::NODES),
            min_protocol: attempt.min_protocol,
            max_protocol: attempt.max_protocol,
            role: attempt.role,
            control_ui: attempt.control_ui,
            local: attempt.seen.local,
            host: attempt.seen.host,
            origin: attempt.seen.origin,
            device_proof: attempt.device_proof,
            secret,
            device_token,
            code,
            identity: attempt.seen.identity,
            authorized_key: id.is_some_and(|id| self.setup.authorized.contains(&id)),
            cidr: attempt.seen.cidr,
            requested: attempt.requested,
        };
        (facts, generation)
    }

    fn use_code(&mut self, attempt: &Attempt, secret: SecretCheck, now: Now) -> Option<UsedCode> {
        let typed = code_of(attempt, self.setup.policy.auth, secret)?;
        self.setup_codes.take(typed, now.at)
    }

    // --- admission ---------------------------------------------------------------------------

    fn admit(&mut self, welcome: Welcome, generation: Option<u32>, writable: bool, now: Now) {
        let wait = match welcome.admission.registration {
            Registration::None(_) => None,
            Registration::Existing(slot) => {
                let under_way = self.commits.under_way(slot);
                self.token_used(slot, welcome.admission.role, generation);
                under_way
            }
            Registration::Extend { .. } | Registration::Insert { .. } if !writable => {
                return self.welcome(welcome, false, now)
            }
            Registration::Extend { slot, pairing } => {
                self.devices.get(slot).cloned().map(|mut device| {
                    grow(&mut device, &pairing, now);
                    describe(&mut device, &welcome.attempt);
                    self.approve_by_owners_hand(&mut device, &welcome, now);
                    self.commits.change(&mut self.devices, slot, Some(device))
                })
            }
            Registration::Insert { slot, id, key, pairing } => {
                let mut device = Device::new(id, key, pairing.provenance);
                (device.created, device.seen, device.seen_age) =
                    (now.wall, now.wall, self.devices.age());
                grow(&mut device, &pairing, now);
                device.describe(&welcome.attempt.about);
                self.approve_by_owners_hand(&mut device, &welcome, now);
                Some(self.commits.change(&mut self.devices, slot, Some(device)))
            }
        };
        match wait {
            Some(_) if !writable => self.not_remembered(welcome.conn, &welcome.attempt, now),
            Some(ticket) => self.commits.wait(ticket, Continuation::Hello(Box::new(welcome))),
            None => self.welcome(welcome, true, now),
        }
    }

    /// Approves what a node declares if it pairs by a setup code or an authorized key. Both are
    /// explicit approvals by the owner.
    fn approve_by_owners_hand(&self, device: &mut Device, welcome: &Welcome, now: Now) {
        if matches!(welcome.rule, Rule::SetupCode | Rule::AuthorizedKey)
            && welcome.admission.role == Role::Node
        {
            let offered = self.offered(&welcome.attempt);
            if !offered.is_empty() && device.surface.merge(&offered).is_ok() {
                device.surface_approved = now.wall;
            }
        }
    }

    /// Invalidates older device tokens after the newest one was used. This starts a write, but the
    /// client does not wait for it.
    fn token_used(&mut self, slot: Slot, role: Role, generation: Option<u32>) {
        let (Some(generation), Some(device)) = (generation, self.devices.get(slot)) else { return };
        let mut device = device.clone();
        if device.tokens[role as usize].record_use(generation) {
            self.commits.change(&mut self.devices, slot, Some(device));
        }
    }

    /// Completes an admission: the pairing is durable, or none was needed. If `well` is false, the
    /// pairing could not be stored.
    pub(crate) fn welcome(&mut self, mut welcome: Welcome, well: bool, now: Now) {
        // a known device stays known, even if the write that it waited for failed
        let lost = !well && !matches!(welcome.admission.registration, Registration::Existing(_));
        if lost {
            welcome.code.take().into_iter().for_each(|code| self.setup_codes.restore(code));
        }
        if self.conns.get(welcome.conn).is_none() {
            return;
        }
        if lost {
            if !welcome.secret_held {
                return self.not_remembered(welcome.conn, &welcome.attempt, now);
            }
            welcome.admission.registration = Registration::None(Unremembered::TableFull);
        }
        let admitted =
            Admitted::by(&welcome.admission, welcome.conn, welcome.device.map(|(id, _)| id));
        if let Some(refusal) = self.changed_meanwhile(&admitted) {
            return self.refuse(welcome.conn, &welcome.attempt, Rule::Revoked, refusal, None, now);
        }
        if let Some(slot) = admitted.slot() {
            self.devices.set_connected(slot, true);
            self.freshen(slot, &welcome.attempt);
            self.seen(slot, now);
        }
        let entered = self.presence.insert(welcome.conn, entry(&welcome, now));
        let hello = self.hello(&admitted, now);
        if let Some(conn) = self.conns.get_mut(welcome.conn) {
            conn.outbox.must(frames::response_ok(&welcome.attempt.request, &hello).into());
            conn.outbox.admitted();
            let about = &welcome.attempt.about;
            conn.name =
                if about.name.is_empty() { about.client_id.as_str() } else { &about.name }.into();
            conn.admitted = Some(admitted.clone());
            self.admitted += 1;
        }
        self.log_admission(&welcome);
        if entered {
            self.broadcast_presence();
        }
        if matches!(
            welcome.admission.registration,
            Registration::Insert { .. } | Registration::Extend { .. }
        ) {
            self.happen(vec![rpc::devices_changed()], now);
        }
        // scopes missing from a setup code were left out by the owner on purpose
        if !welcome.admission.pending_scopes.is_empty() && welcome.rule != Rule::SetupCode {
            self.ask(&welcome.attempt, welcome.admission.pending_scopes, now);
        }
        if admitted.role() == Role::Node {
            self.node_came(&admitted, welcome.attempt, welcome.admission.registration, now);
        }
    }

    fn not_remembered(&mut self, conn: ConnId, attempt: &Attempt, now: Now) {
        self.refuse(conn, attempt, Rule::Capacity, Refusal::TableUnavailable, None, now);
    }

    /// Returns the refusal if the device was removed or revoked while its pairing was being
    /// written.
    fn changed_meanwhile(&self, client: &Admitted) -> Option<Refusal> {
        client.slot()?;
        match self.slot_of(client).and_then(|slot| self.devices.get(slot)) {
            Some(device) if device.roles.contains(client.role()) => None,
            Some(_) => Some(Refusal::DeviceRevoked),
            None => Some(Refusal::DeviceTokenMismatch),
        }
    }

    /// Updates the description of a known device in memory, except its address. It is written
    /// together with the last-seen time.
    fn freshen(&mut self, slot: Slot, attempt: &Attempt) {
        self.devices.edit(slot, |device| {
            let remote = device.remote;
            describe(device, attempt);
            device.remote = remote;
        });
    }

    fn hello(&self, client: &Admitted, now: Now) -> Vec<u8> {
        let protocol = client.protocol();
        let (presence, health) =
            (self.presence.list(protocol), rpc::health_json(protocol, now.wall));
        let conn_id = format!("{}-{}", self.setup.boot_id, client.conn());
        let token = client.slot().and_then(|slot| self.devices.get(slot)).and_then(|device| {
            let window = device.tokens[client.role() as usize];
            let known = device.roles.contains(client.role()) && window.current > 0;
            let scopes = if client.role() == Role::Operator { device.scopes } else { Scopes::NONE };
            let token =
                || tokens::device_token(&self.setup.key, &device.id, client.role(), window.current);
            known.then(|| (token(), scopes, device.approved))
        });
        let issued = token.as_ref().map(|(token, scopes, issued)| IssuedToken {
            token: token.as_str(),
            role: client.role(),
            scopes: *scopes,
            issued: *issued,
        });
        let hello = Hello {
            protocol,
            version: env!("CARGO_PKG_VERSION"),
            host: &self.setup.machine,
            boot_id: &self.setup.boot_id,
            conn_id: &conn_id,
            features: &self.features[protocol as usize],
            presence: &presence,
            health: &health,
            state_version: (self.presence.version(), 1),
            uptime_ms: now.at.0,
            paths: FilePaths { config: &self.setup.config_path, state_dir: &self.setup.state_dir },
            auth_mode: self.status.auth_mode,
            method: Some(client.method()),
            role: client.role(),
            scopes: client.scopes(),
            token: issued,
            more_tokens: &[],
        };
        hello.payload()
    }

    fn log_admission(&mut self, welcome: &Welcome) {
        self.counts.admitted(welcome.rule);
        let admission = &welcome.admission;
        let remembered = match admission.registration {
            Registration::None(Unremembered::TableFull) => {
                "no: the table is full or cannot be written"
            }
            Registration::None(_) => "no",
            Registration::Existing(_) => "known",
            Registration::Extend { .. } => "grown",
            Registration::Insert { .. } => "new",
        };
        let line = line(welcome.conn, welcome.rule, &welcome.attempt.seen, Some(&welcome.attempt));
        let method = admission.method.name();
        log::info!(
            "admit {line} role={} method={method} remembered={remembered}",
            admission.role.name()
        );
        if let Some(off) = welcome.attempt.clock_off {
            log::info!(
                "conn={} device clock is off by {} s; nothing depends on it",
                welcome.conn,
                off / 1000
            );
        }
    }
}

/// Returns the device of an admission; `None` if it has none or the policy ignores it.
fn device_of(
    facts: &Facts,
    admission: &Admission,
    policy: &crate::gate::facts::Policy,
) -> Option<(DeviceId, PublicKey)> {
    match (facts.device_proof, admission.registration) {
        (_, Registration::None(Unremembered::NoDevice)) => None,
        (DeviceProof::Valid { .. }, _) if facts.control_ui && policy.disable_device_auth => None,
        (DeviceProof::Valid { id, key }, _) => Some((id, key)),
        _ => None,
    }
}

/// Copies the client's description of itself to the device. If a node and a command line share one
/// key, only the description of the node is used.
fn describe(device: &mut Device, attempt: &Attempt) {
    if attempt.role == Some(Role::Node) || !device.roles.contains(Role::Node) {
        device.describe(&attempt.about);
    }
}

fn grow(device: &mut Device, pairing: &PairingSource, now: Now) {
    if pairing.provenance == Provenance::Code {
        device.provenance = Provenance::Code;
    }
    pairing.roles.iter().for_each(|role| device.approve(role, pairing.scopes, now.wall));
}

fn entry(welcome: &Welcome, now: Now) -> PresenceEntry {
    let (attempt, about) = (&welcome.attempt, &welcome.attempt.about);
    PresenceEntry {
        host: if about.name.is_empty() {
            crate::gate::text::clip(&about.client_id)
        } else {
            about.name.clone()
        },
        ip: about.remote,
        version: attempt.version.clone(),
        platform: about.platform.clone(),
        family: about.family.clone(),
        model: attempt.model.clone(),
        client_id: about.client_id.clone(),
        mode: about.client_mode.clone(),
        instance: attempt.instance.clone(),
        device: welcome.device.map(|(id, _)| id),
        role: welcome.admission.role,
        scopes: welcome.admission.scopes,
        since: now.wall,
    }
}
