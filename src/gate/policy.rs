//! Admission rules: from facts to a verdict.
//!
//! The rules in the order of evaluation; the first one that refuses ends it, and the verdict
//! carries its number. A gateway that is starting or stopping refuses before rule 2.
//!
//! 1. Frame: checked by `wire`; an unreadable frame does not reach this module.
//! 2. Protocol: the highest of versions 3 and 4 in the client's range.
//! 3. Role: operator or node.
//! 4. Origin: a page must come from a name of this gateway; with `auth.mode: none` Host must be a
//!    loopback name.
//! 5. Device proof: if a device is presented, its key must have signed the challenge.
//! 6. Credential: one presented credential must be valid: secret, device token, setup code, the key
//!    of a known device, an authorized key, a vouched identity, or (`auth.mode: none`) a local
//!    connection.
//! 7. Admission: 7.1 to 7.9, see [`Rule`].
//! 8. Capacity: phase, number of connections, space in the table.
//!
//! **The decision depends on proof, not on the address:** the facts contain no address, only
//! `local` and `cidr`, and neither is a credential unless the owner configured it
//! (`auth.mode: none`, `autoApproveLocal`, `autoApproveCidrs`).

use core::ops::DerefMut;

use super::device::{Device, Provenance};
use super::facts::{
    AuthMethod, AuthMode, Code, DeviceProof, DeviceToken, Facts, Grant, Host, Identity, Origin,
    PairingMode, PairingSource, Phase, Policy, Protocol, SecretCheck, Unremembered,
};
use super::ids::{DeviceId, PublicKey, Role, Roles, Slot};
use super::refusal::{Refusal, Rule};
use super::scopes::Scopes;
use super::table::{Cell, Table, Vacancy};

/// Outcome of a decision and the rule that determined it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    pub rule: Rule,
    pub outcome: PolicyOutcome,
}

/// Outcome of a decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PolicyOutcome {
    Admit(Admission),
    /// Refused; a pending request is created or renewed for the owner to approve.
    Pend(Refusal),
    Refuse(Refusal),
}

/// Terms of an admission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Admission {
    pub protocol: Protocol,
    pub role: Role,
    pub scopes: Scopes,
    pub method: AuthMethod,
    pub registration: Registration,
    /// Requested scopes that were not granted. A pending request is created for them while the
    /// connection stays open.
    pub pending_scopes: Scopes,
}

/// Table entry of an admitted client, and the change to make to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registration {
    /// No entry; admitted for this connection only.
    None(Unremembered),
    /// Existing entry, unchanged.
    Existing(Slot),
    /// Existing entry, extended by `pairing`.
    Extend { slot: Slot, pairing: PairingSource },
    /// New entry for this slot; an existing entry in the slot is evicted.
    Insert { slot: Slot, id: DeviceId, key: PublicKey, pairing: PairingSource },
}

/// Decides about one connection. Depends only on its arguments and does not allocate.
pub fn decide<S: DerefMut<Target = [Cell]>>(
    facts: &Facts,
    policy: &Policy,
    table: &Table<S>,
) -> Verdict {
    match examine(facts, policy, table) {
        Ok((rule, admission)) if facts.has_capacity => {
            Verdict { rule, outcome: PolicyOutcome::Admit(admission) }
        }
        Ok(_) => Verdict {
            rule: Rule::Capacity,
            outcome: PolicyOutcome::Refuse(Refusal::TooManyConnections),
        },
        Err(verdict) => verdict,
    }
}

/// Result of a step of the evaluation; `Err` is the final verdict.
type Step<T> = Result<T, Verdict>;

fn refuse<T>(rule: Rule, refusal: Refusal) -> Step<T> {
    Err(Verdict { rule, outcome: PolicyOutcome::Refuse(refusal) })
}

fn pend<T>(rule: Rule, refusal: Refusal) -> Step<T> {
    Err(Verdict { rule, outcome: PolicyOutcome::Pend(refusal) })
}

fn examine<S: DerefMut<Target = [Cell]>>(
    facts: &Facts,
    policy: &Policy,
    table: &Table<S>,
) -> Step<(Rule, Admission)> {
    match facts.phase {
        Phase::Stopping => return refuse(Rule::Capacity, Refusal::Stopping),
        Phase::Running => {}
    }
    let Some(protocol) = Protocol::negotiate(facts.min_protocol, facts.max_protocol) else {
        return refuse(Rule::Protocol, Refusal::ProtocolMismatch);
    };
    let Some(role) = facts.role else {
        return refuse(Rule::Role, Refusal::InvalidRole);
    };
    check_origin(facts, policy)?;
    let device = check_proof(facts, policy)?;
    let claim =
        Candidate { facts, policy, protocol, role, requested: requested(facts.requested, role) };
    match device {
        None => claim.without_device(),
        Some((id, key)) => match table.find(&id) {
            Some((slot, known)) if known.key == key => claim.with_known(slot, known),
            Some(_) => refuse(Rule::Proof, Refusal::DeviceIdMismatch),
            None => claim.with_new(id, key, table),
        },
    }
}

/// Checks rule 4.
fn check_origin(facts: &Facts, policy: &Policy) -> Step<()> {
    if policy.auth == AuthMode::None && facts.host != Host::Loopback {
        return refuse(Rule::Origin, Refusal::HostNotLoopback);
    }
    match facts.origin {
        Origin::Absent | Origin::Listed | Origin::LoopbackPair => Ok(()),
        Origin::Same if policy.host_origin_fallback => Ok(()),
        Origin::Same => match facts.host {
            Host::Loopback | Host::Served => Ok(()),
            Host::Absent | Host::Foreign => refuse(Rule::Origin, Refusal::HostForeign),
        },
        Origin::Foreign => refuse(Rule::Origin, Refusal::OriginForeign),
        Origin::Opaque => refuse(Rule::Origin, Refusal::OriginOpaque),
    }
}

/// Checks rule 5. Returns the device, or `None` if none was presented or devices are disabled.
fn check_proof(facts: &Facts, policy: &Policy) -> Step<Option<(DeviceId, PublicKey)>> {
    if facts.control_ui && policy.disable_device_auth {
        return Ok(None);
    }
    match facts.device_proof {
        DeviceProof::Absent => Ok(None),
        DeviceProof::Valid { id, key } => Ok(Some((id, key))),
        DeviceProof::Invalid(refusal) => refuse(Rule::Proof, refusal),
    }
}

/// Returns the scopes that a connection in this role requests; none for a node.
pub fn requested(sent: Scopes, role: Role) -> Scopes {
    match role {
        Role::Node => Scopes::NONE,
        Role::Operator => sent,
    }
}

/// A connection that has passed rules 1 to 5.
struct Candidate<'a> {
    facts: &'a Facts,
    policy: &'a Policy,
    protocol: Protocol,
    role: Role,
    requested: Scopes,
}

impl Candidate<'_> {
    fn admit(&self, scopes: Scopes, method: AuthMethod, registration: Registration) -> Admission {
        Admission {
            protocol: self.protocol,
            role: self.role,
            scopes,
            method,
            registration,
            pending_scopes: Scopes::NONE,
        }
    }

    /// Returns the requested scopes that `held` covers.
    ///
    /// If `held` does not cover all of them, also returns the held scopes that a requested scope
    /// would imply: protocol 3 clients request only admin and then work with what they are granted.
    fn covered(&self, held: Scopes) -> Scopes {
        let covered = self.requested.and(held.closure());
        if covered == self.requested {
            covered
        } else {
            covered.with(held.and(self.requested.closure()))
        }
    }

    fn holds_secret(&self) -> bool {
        self.facts.secret == SecretCheck::Right
    }

    fn secret_method(&self) -> AuthMethod {
        match self.policy.auth {
            AuthMode::Password => AuthMethod::Password,
            _ => AuthMethod::Token,
        }
    }

    /// Returns the grant of the setup code if the code is valid and includes this role.
    fn grant(&self) -> Option<Grant> {
        match self.facts.code {
            Code::Right(grant) if grant.roles.contains(self.role) => Some(grant),
            _ => None,
        }
    }

    /// Refuses a client without a valid credential, with the refusal for what it presented.
    fn no_credential<T>(&self) -> Step<T> {
        let facts = self.facts;
        if matches!(facts.code, Code::Right(_)) {
            return refuse(Rule::SetupCode, Refusal::SetupCodeRole);
        }
        let refusal = match self.policy.auth {
            _ if facts.code == Code::Wrong => Refusal::SetupCodeInvalid,
            _ if facts.secret == SecretCheck::RateLimited => Refusal::RateLimited,
            _ if facts.secret == SecretCheck::QueueFull => Refusal::AttemptQueueFull,
            AuthMode::None => Refusal::AuthNoneNotLocal,
            AuthMode::TrustedProxy if facts.identity == Identity::Refused => {
                Refusal::IdentityRefused
            }
            AuthMode::TrustedProxy => Refusal::IdentityMissing,
            AuthMode::Token if facts.secret == SecretCheck::Wrong => Refusal::TokenMismatch,
            AuthMode::Password if facts.secret == SecretCheck::Wrong => Refusal::PasswordMismatch,
            _ if facts.device_token == DeviceToken::Wrong => Refusal::DeviceTokenMismatch,
            AuthMode::Token => Refusal::TokenMissing,
            AuthMode::Password => Refusal::PasswordMissing,
        };
        refuse(Rule::Credential, refusal)
    }

    /// Returns whether a trusted proxy or Tailscale vouches for the user.
    fn identified(&self) -> bool {
        self.facts.identity == Identity::Right
    }

    /// Returns whether a local connection is admitted without a credential (`auth.mode: none`).
    fn is_free(&self) -> bool {
        self.policy.auth == AuthMode::None && self.facts.local
    }

    fn without_device(&self) -> Step<(Rule, Admission)> {
        if !self.holds_secret() && !self.identified() && !self.is_free() {
            return if self.lacks_a_device() {
                self.device_required()
            } else {
                self.no_credential()
            };
        }
        if self.role == Role::Node {
            return self.device_required();
        }
        let secret_will_do = !self.is_page() || self.may_be_insecure();
        let (rule, method, why) = if self.holds_secret() && secret_will_do {
            (Rule::NoDevice, self.secret_method(), Unremembered::NoDevice)
        } else if self.identified() {
            (Rule::Identity, AuthMethod::TrustedProxy, Unremembered::NoDevice)
        } else if self.is_free() {
            (Rule::Identity, AuthMethod::None, Unremembered::AuthNone)
        } else {
            return self.device_required();
        };
        Ok((rule, self.admit(self.requested, method, Registration::None(why))))
    }

    /// Returns whether a client without a valid credential should be asked for a device rather than
    /// for the shared secret.
    fn lacks_a_device(&self) -> bool {
        let nothing_sent =
            self.facts.secret == SecretCheck::Absent && self.facts.code == Code::Absent;
        let by_secret = matches!(self.policy.auth, AuthMode::Token | AuthMode::Password);
        let secret_would_do =
            self.is_page() && self.role == Role::Operator && self.may_be_insecure();
        matches!(self.facts.code, Code::Right(_)) || nothing_sent && by_secret && !secret_would_do
    }

    fn device_required(&self) -> Step<(Rule, Admission)> {
        let page = self.is_page() && self.role == Role::Operator;
        let refusal = if page { Refusal::ControlUiDeviceRequired } else { Refusal::DeviceRequired };
        refuse(Rule::NoDevice, refusal)
    }

    /// Returns whether the client is a page: the Control UI by its own account, or any client with
    /// an Origin header.
    fn is_page(&self) -> bool {
        self.facts.control_ui || self.facts.origin != Origin::Absent
    }

    /// Returns whether the shared secret alone is enough for a page, without a device.
    fn may_be_insecure(&self) -> bool {
        self.policy.allow_insecure_auth || self.policy.disable_device_auth
    }

    fn with_known(&self, slot: Slot, known: &Device) -> Step<(Rule, Admission)> {
        let code = self.grant().filter(|grant| gives_more(grant, known));
        if code.is_none() {
            if known.revoked.contains(self.role)
                || known.roles.is_empty() && !known.revoked.is_empty()
            {
                return refuse(Rule::Revoked, Refusal::DeviceRevoked);
            }
            if !known.roles.contains(self.role) {
                return self.another_role(slot, known);
            }
        }
        let granted = code.map_or(Scopes::NONE, |grant| grant.scopes);
        let held = known.scopes.with(granted);
        let missing = self.requested.without(held.closure());
        let at_once = if self.secret_pairs() { missing } else { Scopes::NONE };
        let (rule, method) = match (code, self.facts.device_token) {
            (Some(_), _) => (Rule::SetupCode, AuthMethod::SetupCode),
            (None, DeviceToken::Wrong) => (Rule::StaleToken, self.known_method()),
            (None, _) => (Rule::KnownDevice, self.known_method()),
        };
        let (provenance, roles) = match code {
            Some(grant) => (Provenance::Code, grant.roles),
            None => (known.provenance, Roles::of(self.role)),
        };
        let registration = if code.is_none() && at_once.is_empty() {
            Registration::Existing(slot)
        } else {
            Registration::Extend {
                slot,
                pairing: PairingSource { provenance, roles, scopes: granted.with(at_once) },
            }
        };
        let pending_scopes = missing.without(at_once);
        Ok((
            rule,
            Admission {
                pending_scopes,
                ..self.admit(self.covered(held.with(at_once)), method, registration)
            },
        ))
    }

    fn known_method(&self) -> AuthMethod {
        if self.holds_secret() {
            self.secret_method()
        } else {
            AuthMethod::Device
        }
    }

    /// Returns whether the shared secret is enough to pair a device.
    fn secret_pairs(&self) -> bool {
        self.holds_secret() && self.policy.pairing == PairingMode::Token
    }

    /// Handles a known device in a role it does not have: conditions that would pair a new device
    /// grant the role, otherwise a pending request is created.
    fn another_role(&self, slot: Slot, known: &Device) -> Step<(Rule, Admission)> {
        let Ok((rule, method, pairing)) = self.new_pairing() else {
            return pend(Rule::KnownDevice, Refusal::RoleUpgrade);
        };
        let registration = match pairing {
            Some(pairing) => Registration::Extend {
                slot,
                pairing: PairingSource { provenance: known.provenance, ..pairing },
            },
            None => Registration::None(Unremembered::AuthNone),
        };
        Ok((rule, self.admit(self.requested, method, registration)))
    }

    fn with_new<S: DerefMut<Target = [Cell]>>(
        &self,
        id: DeviceId,
        key: PublicKey,
        table: &Table<S>,
    ) -> Step<(Rule, Admission)> {
        let (rule, method, pairing) = self.new_pairing()?;
        let Some(pairing) = pairing else {
            return Ok((
                rule,
                self.admit(self.requested, method, Registration::None(Unremembered::AuthNone)),
            ));
        };
        let slot = match table.vacancy(pairing.provenance) {
            Vacancy::Free(slot) | Vacancy::Evict(slot) => slot,
            Vacancy::Full if self.holds_secret() => {
                let registration = Registration::None(Unremembered::TableFull);
                let scopes = self.covered(pairing.scopes);
                return Ok((
                    Rule::Capacity,
                    self.admit(scopes, self.secret_method(), registration),
                ));
            }
            Vacancy::Full => return refuse(Rule::Capacity, Refusal::TableFull),
        };
        let pending_scopes = self.requested.without(pairing.scopes.closure());
        let registration = Registration::Insert { slot, id, key, pairing };
        Ok((
            rule,
            Admission {
                pending_scopes,
                ..self.admit(self.covered(pairing.scopes), method, registration)
            },
        ))
    }

    /// Determines the rule, method and pairing of a new device. The pairing is `None` if nothing is
    /// stored.
    fn new_pairing(&self) -> Step<(Rule, AuthMethod, Option<PairingSource>)> {
        let facts = self.facts;
        let asked = |provenance| {
            Some(PairingSource { provenance, roles: Roles::of(self.role), scopes: self.requested })
        };
        if facts.authorized_key {
            return Ok((Rule::AuthorizedKey, AuthMethod::Device, asked(Provenance::Config)));
        }
        if self.secret_pairs() {
            return Ok((Rule::SharedSecret, self.secret_method(), asked(Provenance::Token)));
        }
        if self.identified() && self.policy.pairing == PairingMode::Token {
            return Ok((Rule::Identity, AuthMethod::TrustedProxy, asked(Provenance::Identity)));
        }
        if let Some(Grant { roles, scopes }) = self.grant() {
            let pairing = PairingSource { provenance: Provenance::Code, roles, scopes };
            return Ok((Rule::SetupCode, AuthMethod::SetupCode, Some(pairing)));
        }
        if self.holds_secret() && self.role == Role::Node && facts.cidr {
            return Ok((Rule::Cidr, self.secret_method(), asked(Provenance::Cidr)));
        }
        if self.holds_secret() && facts.local && self.policy.auto_approve_local {
            return Ok((Rule::Cidr, self.secret_method(), asked(Provenance::Local)));
        }
        if self.is_free() {
            return Ok((Rule::Identity, AuthMethod::None, None));
        }
        match (self.holds_secret(), self.identified()) {
            (true, _) => pend(Rule::SharedSecret, Refusal::PairingRequired),
            (_, true) => pend(Rule::Identity, Refusal::PairingRequired),
            _ => self.no_credential(),
        }
    }
}

/// Returns whether the code grants more than the device has. If not, the code is not used.
fn gives_more(grant: &Grant, known: &Device) -> bool {
    !grant.roles.without(known.roles).is_empty() || !known.scopes.covers(grant.scopes)
}
