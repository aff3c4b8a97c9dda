//! The gate's rules: facts in, verdict out.
//!
//! The rules, in the order in which they are asked. The first that refuses ends it; the number is in the verdict.
//!
//! 1. Frame: read by `wire`; a frame that cannot be read never gets here.
//! 2. Protocol: the highest of 3 and 4 in the client's range.
//! 3. Role: operator or node.
//! 4. Origin: a page must come from a name that is ours; with `auth.mode: none` Host must be a loopback name.
//! 5. Device proof: if a device is presented, its key signed our nonce.
//! 6. Credential: one of the presented ones is right: secret, device token, setup code, the known key itself, an
//!    authorized key, a vouched identity, or (`auth.mode: none`) being local.
//! 7. Admission: 7.1 to 7.9, see [`Rule`].
//! 8. Capacity: phase, connections, room in the table.
//!
//! **Proof decides, the address does not:** the facts hold no address, only `local` and `cidr`, and neither of them is a
//! credential unless the owner said so (`auth.mode: none`, `autoApproveLocal`, `autoApproveCidrs`).

use core::ops::DerefMut;

use super::device::{Device, Provenance};
use super::facts::{
    AuthMode, Code, DeviceToken, Dialect, Facts, Grant, Host, Identity, Method, Origin, Pairing, PairingMode, Phase,
    Policy, Proof, Secret, Unremembered,
};
use super::ids::{DeviceId, PublicKey, Role, Roles, Slot};
use super::refusal::{Refusal, Rule};
use super::scopes::Scopes;
use super::table::{Cell, Room, Table};

/// What is done, and by which rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    pub rule: Rule,
    pub outcome: Outcome,
}

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Admit(Admission),
    /// Refused with `refusal`, and a pending request is made or renewed that the owner can approve.
    Pend(Refusal),
    Refuse(Refusal),
}

/// As what a client is let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Admission {
    pub dialect: Dialect,
    pub role: Role,
    pub scopes: Scopes,
    pub method: Method,
    pub place: Place,
    /// Scopes it asked for and does not have: a pending request is made for them while the connection lives on.
    pub ask: Scopes,
}

/// Where an admitted client stands in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Nowhere; admitted for this connection only.
    Nowhere(Unremembered),
    /// Known, and nothing changes.
    Known(Slot),
    /// Known, and gains this.
    Grows { slot: Slot, pairing: Pairing },
    /// New, goes into this slot; whatever stood there gave way.
    New { slot: Slot, id: DeviceId, key: PublicKey, pairing: Pairing },
}

/// Decides about one connection. Looks at nothing but its arguments and allocates nothing.
pub fn decide<S: DerefMut<Target = [Cell]>>(facts: &Facts, policy: &Policy, table: &Table<S>) -> Verdict {
    match examine(facts, policy, table) {
        Ok((rule, admission)) if facts.room => Verdict { rule, outcome: Outcome::Admit(admission) },
        Ok(_) => Verdict { rule: Rule::Capacity, outcome: Outcome::Refuse(Refusal::TooManyConnections) },
        Err(verdict) => verdict,
    }
}

/// An admission with its rule, or the verdict that ends it.
type Step<T> = Result<T, Verdict>;

fn refuse<T>(rule: Rule, refusal: Refusal) -> Step<T> {
    Err(Verdict { rule, outcome: Outcome::Refuse(refusal) })
}

fn pend<T>(rule: Rule, refusal: Refusal) -> Step<T> {
    Err(Verdict { rule, outcome: Outcome::Pend(refusal) })
}

fn examine<S: DerefMut<Target = [Cell]>>(facts: &Facts, policy: &Policy, table: &Table<S>) -> Step<(Rule, Admission)> {
    match facts.phase {
        Phase::Starting => return refuse(Rule::Capacity, Refusal::Starting),
        Phase::Stopping => return refuse(Rule::Capacity, Refusal::Stopping),
        Phase::Running => {}
    }
    let Some(dialect) = Dialect::negotiate(facts.min_protocol, facts.max_protocol) else {
        return refuse(Rule::Protocol, Refusal::ProtocolMismatch);
    };
    let Some(role) = facts.role else {
        return refuse(Rule::Role, Refusal::InvalidRole);
    };
    check_origin(facts, policy)?;
    let device = check_proof(facts, policy)?;
    let claim = Claim { facts, policy, dialect, role, requested: requested(facts.requested, role) };
    match device {
        None => claim.without_device(),
        Some((id, key)) => match table.find(&id) {
            Some((slot, known)) if known.key == key => claim.with_known(slot, known),
            Some(_) => refuse(Rule::Proof, Refusal::DeviceIdMismatch),
            None => claim.with_new(id, key, table),
        },
    }
}

/// Rule 4.
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
    }
}

/// Rule 5.
fn check_proof(facts: &Facts, policy: &Policy) -> Step<Option<(DeviceId, PublicKey)>> {
    if facts.control_ui && policy.disable_device_auth {
        return Ok(None);
    }
    match facts.proof {
        Proof::Absent => Ok(None),
        Proof::Valid { id, key } => Ok(Some((id, key))),
        Proof::Invalid(refusal) => refuse(Rule::Proof, refusal),
    }
}

/// What these scopes ask for; nodes have none.
pub fn requested(sent: Scopes, role: Role) -> Scopes {
    match role {
        Role::Node => Scopes::NONE,
        Role::Operator => sent,
    }
}

/// A connection that has passed rules 1 to 5.
struct Claim<'a> {
    facts: &'a Facts,
    policy: &'a Policy,
    dialect: Dialect,
    role: Role,
    requested: Scopes,
}

impl Claim<'_> {
    fn admit(&self, scopes: Scopes, method: Method, place: Place) -> Admission {
        Admission { dialect: self.dialect, role: self.role, scopes, method, place, ask: Scopes::NONE }
    }

    /// What was requested, as far as the device has it. Of what it has, all that a larger scope it asked for would include, too: clients
    /// of protocol 3 ask for admin alone, and then work with what they get.
    fn covered(&self, held: Scopes) -> Scopes {
        let covered = self.requested.and(held.closure());
        if covered == self.requested {
            covered
        } else {
            covered.with(held.and(self.requested.closure()))
        }
    }

    fn holds_secret(&self) -> bool {
        self.facts.secret == Secret::Right
    }

    fn secret_method(&self) -> Method {
        match self.policy.auth {
            AuthMode::Password => Method::Password,
            _ => Method::Token,
        }
    }

    /// What the setup code gives, if it is right and for this role.
    fn grant(&self) -> Option<Grant> {
        match self.facts.code {
            Code::Right(grant) if grant.roles.contains(self.role) => Some(grant),
            _ => None,
        }
    }

    /// What the secret, the code or the identity would say if nothing else lets it in.
    fn no_credential<T>(&self) -> Step<T> {
        let facts = self.facts;
        if matches!(facts.code, Code::Right(_)) {
            return refuse(Rule::SetupCode, Refusal::SetupCodeRole);
        }
        let refusal = match self.policy.auth {
            _ if facts.code == Code::Wrong => Refusal::SetupCodeInvalid,
            _ if facts.secret == Secret::Throttled => Refusal::RateLimited,
            AuthMode::None => Refusal::AuthNoneNotLocal,
            AuthMode::TrustedProxy if facts.identity == Identity::Refused => Refusal::IdentityRefused,
            AuthMode::TrustedProxy => Refusal::IdentityMissing,
            AuthMode::Token if facts.secret == Secret::Wrong => Refusal::TokenMismatch,
            AuthMode::Password if facts.secret == Secret::Wrong => Refusal::PasswordMismatch,
            _ if facts.device_token == DeviceToken::Wrong => Refusal::DeviceTokenMismatch,
            AuthMode::Token => Refusal::TokenMissing,
            AuthMode::Password => Refusal::PasswordMissing,
        };
        refuse(Rule::Credential, refusal)
    }

    /// A proxy or Tailscale vouches for its user.
    fn identified(&self) -> bool {
        self.facts.identity == Identity::Right
    }

    /// Being local is enough.
    fn is_free(&self) -> bool {
        self.policy.auth == AuthMode::None && self.facts.local
    }

    fn without_device(&self) -> Step<(Rule, Admission)> {
        if !self.holds_secret() && !self.identified() && !self.is_free() {
            return if self.lacks_a_device() { self.device_required() } else { self.no_credential() };
        }
        if self.role == Role::Node {
            return self.device_required();
        }
        let secret_will_do = !self.is_page() || self.may_be_insecure();
        let (rule, method, why) = if self.holds_secret() && secret_will_do {
            (Rule::NoDevice, self.secret_method(), Unremembered::NoDevice)
        } else if self.identified() {
            (Rule::Identity, Method::TrustedProxy, Unremembered::NoDevice)
        } else if self.is_free() {
            (Rule::Identity, Method::None, Unremembered::AuthNone)
        } else {
            return self.device_required();
        };
        Ok((rule, self.admit(self.requested, method, Place::Nowhere(why))))
    }

    /// Without a credential that counts: is the device what it should bring, rather than a secret?
    fn lacks_a_device(&self) -> bool {
        let nothing_sent = self.facts.secret == Secret::Absent && self.facts.code == Code::Absent;
        let by_secret = matches!(self.policy.auth, AuthMode::Token | AuthMode::Password);
        let secret_would_do = self.is_page() && self.role == Role::Operator && self.may_be_insecure();
        matches!(self.facts.code, Code::Right(_)) || nothing_sent && by_secret && !secret_would_do
    }

    fn device_required(&self) -> Step<(Rule, Admission)> {
        let page = self.is_page() && self.role == Role::Operator;
        let refusal = if page { Refusal::ControlUiDeviceRequired } else { Refusal::DeviceRequired };
        refuse(Rule::NoDevice, refusal)
    }

    /// The Control UI by its own word, or any page of a browser.
    fn is_page(&self) -> bool {
        self.facts.control_ui || self.facts.origin != Origin::Absent
    }

    /// May a page that holds the secret do without a device?
    fn may_be_insecure(&self) -> bool {
        self.policy.allow_insecure_auth || self.policy.disable_device_auth
    }

    fn with_known(&self, slot: Slot, known: &Device) -> Step<(Rule, Admission)> {
        let code = self.grant().filter(|grant| gives_more(grant, known));
        if code.is_none() {
            if known.revoked.contains(self.role) || known.roles.is_empty() && !known.revoked.is_empty() {
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
            (Some(_), _) => (Rule::SetupCode, Method::SetupCode),
            (None, DeviceToken::Wrong) => (Rule::StaleToken, self.known_method()),
            (None, _) => (Rule::KnownDevice, self.known_method()),
        };
        let (provenance, roles) = match code {
            Some(grant) => (Provenance::Code, grant.roles),
            None => (known.provenance, Roles::of(self.role)),
        };
        let place = if code.is_none() && at_once.is_empty() {
            Place::Known(slot)
        } else {
            Place::Grows { slot, pairing: Pairing { provenance, roles, scopes: granted.with(at_once) } }
        };
        let ask = missing.without(at_once);
        Ok((rule, Admission { ask, ..self.admit(self.covered(held.with(at_once)), method, place) }))
    }

    fn known_method(&self) -> Method {
        if self.holds_secret() {
            self.secret_method()
        } else {
            Method::Device
        }
    }

    /// Holding the shared secret is all it takes to be paired.
    fn secret_pairs(&self) -> bool {
        self.holds_secret() && self.policy.pairing == PairingMode::Token
    }

    /// A known device in a role it does not have: what would pair a new device gives the role, else the owner is asked.
    fn another_role(&self, slot: Slot, known: &Device) -> Step<(Rule, Admission)> {
        let Ok((rule, method, pairing)) = self.new_pairing() else {
            return pend(Rule::KnownDevice, Refusal::RoleUpgrade);
        };
        let place = match pairing {
            Some(pairing) => Place::Grows { slot, pairing: Pairing { provenance: known.provenance, ..pairing } },
            None => Place::Nowhere(Unremembered::AuthNone),
        };
        Ok((rule, self.admit(self.requested, method, place)))
    }

    fn with_new<S: DerefMut<Target = [Cell]>>(
        &self,
        id: DeviceId,
        key: PublicKey,
        table: &Table<S>,
    ) -> Step<(Rule, Admission)> {
        let (rule, method, pairing) = self.new_pairing()?;
        let Some(pairing) = pairing else {
            return Ok((rule, self.admit(self.requested, method, Place::Nowhere(Unremembered::AuthNone))));
        };
        let slot = match table.room() {
            Room::Free(slot) | Room::GivesWay(slot) => slot,
            Room::Full if self.holds_secret() => {
                let place = Place::Nowhere(Unremembered::TableFull);
                let scopes = self.covered(pairing.scopes);
                return Ok((Rule::Capacity, self.admit(scopes, self.secret_method(), place)));
            }
            Room::Full => return refuse(Rule::Capacity, Refusal::TableFull),
        };
        let ask = self.requested.without(pairing.scopes.closure());
        let place = Place::New { slot, id, key, pairing };
        Ok((rule, Admission { ask, ..self.admit(self.covered(pairing.scopes), method, place) }))
    }

    /// By which rule a new device comes in, and what is written down of it; `None` if nothing is.
    fn new_pairing(&self) -> Step<(Rule, Method, Option<Pairing>)> {
        let facts = self.facts;
        let asked = |provenance| Some(Pairing { provenance, roles: Roles::of(self.role), scopes: self.requested });
        if facts.authorized_key {
            return Ok((Rule::AuthorizedKey, Method::Device, asked(Provenance::Config)));
        }
        if self.secret_pairs() {
            return Ok((Rule::SharedSecret, self.secret_method(), asked(Provenance::Token)));
        }
        if self.identified() && self.policy.pairing == PairingMode::Token {
            return Ok((Rule::Identity, Method::TrustedProxy, asked(Provenance::Identity)));
        }
        if let Some(Grant { roles, scopes }) = self.grant() {
            let pairing = Pairing { provenance: Provenance::Code, roles, scopes };
            return Ok((Rule::SetupCode, Method::SetupCode, Some(pairing)));
        }
        if self.holds_secret() && self.role == Role::Node && facts.cidr {
            return Ok((Rule::Cidr, self.secret_method(), asked(Provenance::Cidr)));
        }
        if self.holds_secret() && facts.local && self.policy.auto_approve_local {
            return Ok((Rule::Cidr, self.secret_method(), asked(Provenance::Local)));
        }
        if self.is_free() {
            return Ok((Rule::Identity, Method::None, None));
        }
        match (self.holds_secret(), self.identified()) {
            (true, _) => pend(Rule::SharedSecret, Refusal::PairingRequired),
            (_, true) => pend(Rule::Identity, Refusal::PairingRequired),
            _ => self.no_credential(),
        }
    }
}

/// Has the code something that the device lacks? If not, it is not used up.
fn gives_more(grant: &Grant, known: &Device) -> bool {
    !grant.roles.without(known.roles).is_empty() || !known.scopes.covers(grant.scopes)
}
