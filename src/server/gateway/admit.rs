//! Persists pairings and admits clients: the last stage of a handshake.

use super::admission_log::AdmissionKind;
use super::attempt::Attempt;
use super::continuation::{Continuation, PendingAdmission};
use super::decide::admitted;
use super::log_line::attempt_fields;
use super::write_queue::{TableAccess, WriteOutcome};
use super::Gateway;
use crate::gate::device::{Device, Provenance};
use crate::gate::facts::{PairingSource, Unremembered};
use crate::gate::ids::{ConnId, Now, Role, Slot};
use crate::gate::net;
use crate::gate::policy::Registration;
use crate::gate::refusal::{Refusal, Rule};
use crate::gate::scopes::Scopes;
use crate::gate::session::Admitted;
use crate::rpc::{self, PresenceEntry};
use crate::store::tokens;
use crate::wire::frames;
use crate::wire::hello::{FilePaths, Hello, IssuedToken};

impl Gateway {
    /// Stores the pairing of an admission if it changes, then completes the admission.
    pub(super) fn persist(
        &mut self,
        pending: PendingAdmission,
        generation: Option<u32>,
        table_access: TableAccess,
        now: Now,
    ) {
        let ticket = match pending.admission.registration {
            Registration::None(_) => None,
            Registration::Existing(slot) => {
                let ticket = self.write_queue.in_flight(slot);
                self.token_used(slot, pending.admission.role, generation);
                ticket
            }
            Registration::Extend { .. } | Registration::Insert { .. }
                if table_access == TableAccess::ReadOnly =>
            {
                return self.complete_admission(pending, WriteOutcome::Failed, now)
            }
            Registration::Extend { slot, pairing } => {
                self.devices.get(slot).cloned().map(|mut device| {
                    extend_pairing(&mut device, &pairing, now);
                    describe(&mut device, &pending.attempt);
                    self.approve_commands(&mut device, &pending, now);
                    self.write_queue.change(&mut self.devices, slot, Some(device))
                })
            }
            Registration::Insert { slot, id, key, pairing } => {
                let mut device = Device::new(id, key, pairing.provenance);
                (device.created, device.seen, device.seen_age) =
                    (now.wall, now.wall, self.devices.age());
                extend_pairing(&mut device, &pairing, now);
                device.describe(&pending.attempt.about);
                self.approve_commands(&mut device, &pending, now);
                Some(self.write_queue.change(&mut self.devices, slot, Some(device)))
            }
        };
        match ticket {
            Some(_) if table_access == TableAccess::ReadOnly => {
                self.reject_unstored(pending.conn, &pending.attempt, now)
            }
            Some(ticket) => {
                let holder = pending.attempt.holder();
                self.write_queue.wait(ticket, holder, Continuation::Admit(Box::new(pending)));
            }
            None => self.complete_admission(pending, WriteOutcome::Durable, now),
        }
    }

    /// Approves what a node declares if it pairs by a setup code or an authorized key. Both are
    /// explicit approvals by the owner.
    fn approve_commands(&self, device: &mut Device, pending: &PendingAdmission, now: Now) {
        if matches!(pending.rule, Rule::SetupCode | Rule::AuthorizedKey)
            && pending.admission.role == Role::Node
        {
            let declared = self.declared_surface(&pending.attempt);
            if !declared.is_empty() && device.surface.merge(&declared).is_ok() {
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
            self.write_queue.change(&mut self.devices, slot, Some(device));
        }
    }

    /// Completes an admission after the write of its pairing, or at once if there is none.
    pub(super) fn complete_admission(
        &mut self,
        mut pending: PendingAdmission,
        outcome: WriteOutcome,
        now: Now,
    ) {
        // a known device stays known, even if the write that it waited for failed
        let is_lost = outcome == WriteOutcome::Failed
            && !matches!(pending.admission.registration, Registration::Existing(_));
        if is_lost {
            if let Some(code) = pending.code.take() {
                self.setup_codes.restore(code);
            }
        }
        let conn = pending.conn;
        if self.connections.get(conn).is_none() {
            return;
        }
        if is_lost {
            if !pending.has_secret {
                return self.reject_unstored(conn, &pending.attempt, now);
            }
            pending.admission.registration = Registration::None(Unremembered::TableFull);
        }
        let client = admitted(&pending.admission, conn, pending.device, pending.is_command);
        if let Some(refusal) = self.revoked_meanwhile(&client) {
            return self.reject_attempt(conn, &pending.attempt, Rule::Revoked, refusal, None, now);
        }
        if let Err(refusal) = self.take_connection_place(&client, now) {
            return self.reject_attempt(conn, &pending.attempt, Rule::Capacity, refusal, None, now);
        }
        if let Some(device) = client.device() {
            self.nodes.approvals.device_connected(device);
        }
        if let Some(slot) = client.slot() {
            self.devices.set_connected(slot, true);
            self.update_description(slot, &pending.attempt);
            self.mark_seen(slot, now);
        }
        self.send_hello(&client, &pending, now);
        let PendingAdmission { rule, admission, attempt, .. } = pending;
        if matches!(
            admission.registration,
            Registration::Insert { .. } | Registration::Extend { .. }
        ) {
            self.apply_effects(vec![rpc::devices_changed()], now);
        }
        // scopes missing from a setup code were left out by the owner on purpose
        if !admission.pending_scopes.is_empty() && rule != Rule::SetupCode {
            self.request_pairing(&attempt, admission.pending_scopes, now);
        }
        if client.role() == Role::Node {
            self.register_node(&client, attempt, admission.registration, now);
        }
    }

    /// Sends the hello response, from which on the client is admitted.
    fn send_hello(&mut self, client: &Admitted, pending: &PendingAdmission, now: Now) {
        let is_new_presence = self.presence.insert(pending.conn, presence_entry(pending, now));
        let hello = self.hello(client, now);
        let hello = frames::response_ok(&pending.attempt.request, &hello);
        self.make_room(0, hello.len());
        if let Some(open) = self.connections.get_mut(pending.conn) {
            open.send_queue.send(hello.into());
            open.send_queue.mark_admitted();
            self.connections.admit(client, pending.attempt.client_name().as_str(), now.at);
            self.admitted_count += 1;
        }
        self.log_admission(client, pending, now);
        if is_new_presence {
            self.presence_changed(now);
        }
    }

    fn reject_unstored(&mut self, conn: ConnId, attempt: &Attempt, now: Now) {
        self.reject_attempt(conn, attempt, Rule::Capacity, Refusal::TableUnavailable, None, now);
    }

    /// Returns the refusal if the device was removed or revoked while its pairing was being
    /// written.
    fn revoked_meanwhile(&self, client: &Admitted) -> Option<Refusal> {
        client.slot()?;
        match self.slot_of(client).and_then(|slot| self.devices.get(slot)) {
            Some(device) if device.roles.contains(client.role()) => None,
            Some(_) => Some(Refusal::DeviceRevoked),
            None => Some(Refusal::DeviceTokenMismatch),
        }
    }

    /// Updates the description of a known device in memory, except its address. It is written
    /// together with the last-seen time.
    fn update_description(&mut self, slot: Slot, attempt: &Attempt) {
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
        let conn_id = format!("{}-{}", self.runtime_config.boot_id, client.conn());
        let token = client.slot().and_then(|slot| self.devices.get(slot)).and_then(|device| {
            let window = device.tokens[client.role() as usize];
            let known = device.roles.contains(client.role()) && window.current > 0;
            let scopes = if client.role() == Role::Operator { device.scopes } else { Scopes::NONE };
            let token = || {
                tokens::device_token(
                    &self.runtime_config.key,
                    &device.id,
                    client.role(),
                    window.current,
                )
            };
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
            host: &self.runtime_config.machine,
            gateway_id: &self.runtime_config.gateway_id,
            boot_id: &self.runtime_config.boot_id,
            conn_id: &conn_id,
            features: &self.features[protocol as usize],
            presence: &presence,
            health: &health,
            state_version: (self.presence.version(), 1),
            uptime_ms: now.at.0,
            paths: FilePaths {
                config: &self.runtime_config.config_path,
                state_dir: &self.runtime_config.state_dir,
            },
            auth_mode: self.status.auth_mode,
            method: Some(client.method()),
            role: client.role(),
            scopes: client.scopes(),
            token: issued,
            more_tokens: &[],
            max_payload: rpc::frame_limit(client),
        };
        hello.payload()
    }

    fn log_admission(&mut self, client: &Admitted, pending: &PendingAdmission, now: Now) {
        if pending.is_command {
            self.counters.commands += 1;
        } else {
            self.counters.admitted(pending.rule);
        }
        let admission = &pending.admission;
        let remembered = match admission.registration {
            Registration::None(Unremembered::TableFull) => {
                "no: the table is full or cannot be written"
            }
            Registration::None(_) => "no",
            Registration::Existing(_) => "known",
            Registration::Extend { .. } => "grown",
            Registration::Insert { .. } => "new",
        };
        let kind = AdmissionKind {
            holder: client.holder(),
            role: admission.role,
            rule: pending.rule,
            network: net::network(pending.attempt.client_info.client),
            remembered,
        };
        let is_new = matches!(admission.registration, Registration::Insert { .. });
        // a command of this machine is not what the owner looks for
        let is_shown = !pending.is_command && (is_new || self.admission_log.add(kind, now.at));
        let level = if is_shown { log::Level::Info } else { log::Level::Debug };
        if !log::log_enabled!(level) {
            return;
        }
        let fields = attempt_fields(
            pending.conn,
            pending.rule,
            &pending.attempt.client_info,
            Some(&pending.attempt),
        );
        let method = admission.method.name();
        log::log!(
            level,
            "admit {fields} role={} method={method} remembered={remembered}",
            admission.role.name()
        );
        if let Some(off) = pending.attempt.clock_skew {
            log::log!(
                level,
                "conn={} device clock is off by {} s; no decision depends on it",
                pending.conn,
                off / 1000
            );
        }
    }
}

/// Copies the client's description of itself to the device. If a node and a command line share one
/// key, only the description of the node is used.
fn describe(device: &mut Device, attempt: &Attempt) {
    if attempt.role == Some(Role::Node) || !device.roles.contains(Role::Node) {
        device.describe(&attempt.about);
    }
}

fn extend_pairing(device: &mut Device, pairing: &PairingSource, now: Now) {
    if pairing.provenance == Provenance::Code {
        device.provenance = Provenance::Code;
    }
    for role in pairing.roles.iter() {
        device.approve(role, pairing.scopes, now.wall);
    }
}

fn presence_entry(pending: &PendingAdmission, now: Now) -> PresenceEntry {
    let (attempt, about) = (&pending.attempt, &pending.attempt.about);
    PresenceEntry {
        host: attempt.client_name(),
        ip: about.remote,
        version: attempt.version.clone(),
        platform: about.platform.clone(),
        family: about.family.clone(),
        model: attempt.model.clone(),
        client_id: about.client_id.clone(),
        mode: about.client_mode.clone(),
        instance: attempt.instance.clone(),
        device: pending.device.map(|(id, _)| id),
        role: pending.admission.role,
        scopes: pending.admission.scopes,
        since: now.wall,
    }
}
