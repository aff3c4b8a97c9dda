//! Second implementation of the gate's rules, from the list in the product description and as plain
//! as possible: every path of admission is a line of its own, checked in the order of the list,
//! with nothing shared between lines. Deliberately slow and repetitive.

use gatelet::gate::device::Provenance;
use gatelet::gate::facts::*;
use gatelet::gate::ids::{Role, Roles, Slot};
use gatelet::gate::policy::{Admission, PolicyOutcome, Registration, Verdict};
use gatelet::gate::refusal::{Refusal, Rule};
use gatelet::gate::scopes::{Scope, Scopes};
use gatelet::gate::table::Vacancy;

/// State in the table of the device that proved its key.
#[derive(Clone, Copy, Debug)]
pub enum Known {
    No,
    /// The id is in the table with another key. Cannot happen, because an id is the hash of a key;
    /// the gate must still handle it.
    UnderAnotherKey,
    Yes {
        slot: Slot,
        roles: Roles,
        revoked: Roles,
        scopes: Scopes,
        provenance: Provenance,
    },
}

/// Returns the verdict that the gate must give.
pub fn expected(facts: &Facts, policy: &Policy, known: Known, room: Vacancy) -> Verdict {
    let verdict = before_capacity(facts, policy, known, room);
    match verdict.outcome {
        PolicyOutcome::Admit(_) if !facts.has_capacity => {
            no(Rule::Capacity, Refusal::TooManyConnections)
        }
        _ => verdict,
    }
}

fn before_capacity(facts: &Facts, policy: &Policy, known: Known, room: Vacancy) -> Verdict {
    // 8, the part that is checked first: a gateway that is stopping admits no client
    if facts.phase == Phase::Stopping {
        return no(Rule::Capacity, Refusal::Stopping);
    }

    // 2: the highest of 3 and 4 in the client's range
    let speaks = |number| facts.min_protocol <= number && number <= facts.max_protocol;
    let protocol = match (speaks(4), speaks(3)) {
        (true, _) => Protocol::V4,
        (false, true) => Protocol::V3,
        (false, false) => return no(Rule::Protocol, Refusal::ProtocolMismatch),
    };

    // 3
    let Some(role) = facts.role else { return no(Rule::Role, Refusal::InvalidRole) };

    // 4
    if policy.auth == AuthMode::None && facts.host != Host::Loopback {
        return no(Rule::Origin, Refusal::HostNotLoopback);
    }
    if facts.origin == Origin::Foreign {
        return no(Rule::Origin, Refusal::OriginForeign);
    }
    if facts.origin == Origin::Opaque {
        return no(Rule::Origin, Refusal::OriginOpaque);
    }
    let ours = facts.host == Host::Loopback || facts.host == Host::Served;
    if facts.origin == Origin::Same && !ours && !policy.host_origin_fallback {
        return no(Rule::Origin, Refusal::HostForeign);
    }

    // 5
    let ignored = policy.disable_device_auth && facts.control_ui;
    if let (DeviceProof::Invalid(why), false) = (facts.device_proof, ignored) {
        return no(Rule::Proof, why);
    }
    let (DeviceProof::Valid { id, key }, false) = (facts.device_proof, ignored) else {
        return without_device(facts, policy, protocol, role);
    };

    // 7
    let wants = wants(facts, role);
    let yes = |rule, scopes: Scopes, method, registration, pending_scopes| {
        let admission = Admission { protocol, role, scopes, method, registration, pending_scopes };
        Verdict { rule, outcome: PolicyOutcome::Admit(admission) }
    };
    match known {
        Known::UnderAnotherKey => no(Rule::Proof, Refusal::DeviceIdMismatch),
        Known::Yes { slot, roles, revoked, scopes, provenance } => {
            let token_mode_secret =
                facts.secret == SecretCheck::Right && policy.pairing == PairingMode::Token;
            let code = match facts.code {
                Code::Right(grant) if !grant.roles.contains(role) => None,
                Code::Right(grant) if adds(grant, roles, scopes) => Some(grant),
                _ => None,
            };
            // a setup code of the owner admits its device, revoked or not
            if let Some(grant) = code {
                let has = scopes.with(grant.scopes);
                let lacks = wants.without(everything_in(has));
                let (gains, ask) =
                    if token_mode_secret { (lacks, Scopes::NONE) } else { (Scopes::NONE, lacks) };
                let pairing = PairingSource {
                    provenance: Provenance::Code,
                    roles: grant.roles,
                    scopes: grant.scopes.with(gains),
                };
                return yes(
                    Rule::SetupCode,
                    if token_mode_secret { wants } else { gets(wants, has) },
                    AuthMethod::SetupCode,
                    Registration::Extend { slot, pairing },
                    ask,
                );
            }
            // revoked in this role, or in the only roles it had: rejected, with or without the
            // secret
            let nothing_left = roles == Roles::NONE && revoked != Roles::NONE;
            if revoked.contains(role) || nothing_left {
                return no(Rule::Revoked, Refusal::DeviceRevoked);
            }
            // approved for this role
            if roles.contains(role) {
                let rule = if facts.device_token == DeviceToken::Wrong {
                    Rule::StaleToken
                } else {
                    Rule::KnownDevice
                };
                let method = match (facts.secret, policy.auth) {
                    (SecretCheck::Right, AuthMode::Password) => AuthMethod::Password,
                    (SecretCheck::Right, _) => AuthMethod::Token,
                    _ => AuthMethod::Device,
                };
                let lacks = wants.without(everything_in(scopes));
                if lacks == Scopes::NONE {
                    return yes(rule, wants, method, Registration::Existing(slot), Scopes::NONE);
                }
                if token_mode_secret {
                    let pairing =
                        PairingSource { provenance, roles: Roles::of(role), scopes: lacks };
                    return yes(
                        rule,
                        wants,
                        method,
                        Registration::Extend { slot, pairing },
                        Scopes::NONE,
                    );
                }
                return yes(rule, gets(wants, scopes), method, Registration::Existing(slot), lacks);
            }
            // known in another role only: treated as a new device, but a proven known key is never
            // rejected permanently
            match way_in(facts, policy, role, wants) {
                Way::Paired(rule, method, pairing) => {
                    let pairing = PairingSource { provenance, ..pairing };
                    yes(rule, wants, method, Registration::Extend { slot, pairing }, Scopes::NONE)
                }
                Way::Free => {
                    let registration = Registration::None(Unremembered::AuthNone);
                    yes(Rule::Identity, wants, AuthMethod::None, registration, Scopes::NONE)
                }
                Way::Waits(_) | Way::None(..) => wait(Rule::KnownDevice, Refusal::RoleUpgrade),
            }
        }
        Known::No => match way_in(facts, policy, role, wants) {
            Way::Paired(rule, method, pairing) => {
                let gets = gets(wants, pairing.scopes);
                match room {
                    Vacancy::Free(slot) | Vacancy::Evict(slot) => {
                        let ask = wants.without(everything_in(pairing.scopes));
                        yes(
                            rule,
                            gets,
                            method,
                            Registration::Insert { slot, id, key, pairing },
                            ask,
                        )
                    }
                    Vacancy::Full if facts.secret == SecretCheck::Right => {
                        let method = if policy.auth == AuthMode::Password {
                            AuthMethod::Password
                        } else {
                            AuthMethod::Token
                        };
                        yes(
                            Rule::Capacity,
                            gets,
                            method,
                            Registration::None(Unremembered::TableFull),
                            Scopes::NONE,
                        )
                    }
                    Vacancy::Full => no(Rule::Capacity, Refusal::TableFull),
                }
            }
            Way::Free => yes(
                Rule::Identity,
                wants,
                AuthMethod::None,
                Registration::None(Unremembered::AuthNone),
                Scopes::NONE,
            ),
            Way::Waits(rule) => wait(rule, Refusal::PairingRequired),
            Way::None(rule, why) => no(rule, why),
        },
    }
}

/// Path of admission for a device without an approved role.
enum Way {
    Paired(Rule, AuthMethod, PairingSource),
    /// Admitted without a record: `auth.mode: none`.
    Free,
    /// Waits for the owner's decision.
    Waits(Rule),
    None(Rule, Refusal),
}

fn way_in(facts: &Facts, policy: &Policy, role: Role, wants: Scopes) -> Way {
    let secret = facts.secret == SecretCheck::Right;
    let by_secret =
        if policy.auth == AuthMode::Password { AuthMethod::Password } else { AuthMethod::Token };
    let paired = |provenance| PairingSource { provenance, roles: Roles::of(role), scopes: wants };
    // paths that grant everything requested
    if facts.authorized_key {
        return Way::Paired(Rule::AuthorizedKey, AuthMethod::Device, paired(Provenance::Config));
    }
    if secret && policy.pairing == PairingMode::Token {
        return Way::Paired(Rule::SharedSecret, by_secret, paired(Provenance::Token));
    }
    if facts.identity == Identity::Right && policy.pairing == PairingMode::Token {
        return Way::Paired(Rule::Identity, AuthMethod::TrustedProxy, paired(Provenance::Identity));
    }
    // paths that grant what the code carries
    if let Code::Right(Grant { roles, scopes }) = facts.code {
        if roles.contains(role) {
            let pairing = PairingSource { provenance: Provenance::Code, roles, scopes };
            return Way::Paired(Rule::SetupCode, AuthMethod::SetupCode, pairing);
        }
    }
    // strict mode, and the owner configured an exception for nodes of this range that hold the
    // secret
    if secret && role == Role::Node && facts.cidr {
        return Way::Paired(Rule::Cidr, by_secret, paired(Provenance::Cidr));
    }
    if secret && facts.local && policy.auto_approve_local {
        return Way::Paired(Rule::Cidr, by_secret, paired(Provenance::Local));
    }
    if policy.auth == AuthMode::None && facts.local {
        return Way::Free;
    }
    if secret {
        return Way::Waits(Rule::SharedSecret);
    }
    if facts.identity == Identity::Right {
        return Way::Waits(Rule::Identity);
    }
    let (rule, why) = what_was_wrong(facts, policy);
    Way::None(rule, why)
}

/// 7.8 and 7.9: admission for this connection only, or rejection.
fn without_device(facts: &Facts, policy: &Policy, protocol: Protocol, role: Role) -> Verdict {
    let secret = facts.secret == SecretCheck::Right;
    let vouched = facts.identity == Identity::Right;
    let free = policy.auth == AuthMode::None && facts.local;
    let page = facts.control_ui || facts.origin != Origin::Absent;
    let page_allowed = policy.allow_insecure_auth || policy.disable_device_auth;
    let device_missing = match role {
        Role::Operator if page => no(Rule::NoDevice, Refusal::ControlUiDeviceRequired),
        _ => no(Rule::NoDevice, Refusal::DeviceRequired),
    };
    if secret || vouched || free {
        let admit = |rule, method, why| {
            let registration = Registration::None(why);
            let scopes = wants(facts, role);
            let admission = Admission {
                protocol,
                role,
                scopes,
                method,
                registration,
                pending_scopes: Scopes::NONE,
            };
            Verdict { rule, outcome: PolicyOutcome::Admit(admission) }
        };
        if role == Role::Node {
            return device_missing;
        }
        if secret && (!page || page_allowed) {
            let method = if policy.auth == AuthMode::Password {
                AuthMethod::Password
            } else {
                AuthMethod::Token
            };
            return admit(Rule::NoDevice, method, Unremembered::NoDevice);
        }
        if vouched {
            return admit(Rule::Identity, AuthMethod::TrustedProxy, Unremembered::NoDevice);
        }
        if free {
            return admit(Rule::Identity, AuthMethod::None, Unremembered::AuthNone);
        }
        return device_missing;
    }
    // a valid code without a device cannot pair anything
    if let Code::Right(_) = facts.code {
        return device_missing;
    }
    let has_secret_to_give = policy.auth == AuthMode::Token || policy.auth == AuthMode::Password;
    if facts.code == Code::Absent && facts.secret == SecretCheck::Absent && has_secret_to_give {
        // a page that the secret alone would admit is asked for the secret
        let operator_page_allowed = page && page_allowed && role == Role::Operator;
        if !operator_page_allowed {
            return device_missing;
        }
    }
    let (rule, why) = what_was_wrong(facts, policy);
    no(rule, why)
}

fn what_was_wrong(facts: &Facts, policy: &Policy) -> (Rule, Refusal) {
    let why = match (facts.code, policy.auth) {
        (Code::Right(_), _) => return (Rule::SetupCode, Refusal::SetupCodeRole),
        (Code::Wrong, _) => Refusal::SetupCodeInvalid,
        (Code::Absent, _) if facts.secret == SecretCheck::RateLimited => Refusal::RateLimited,
        (Code::Absent, _) if facts.secret == SecretCheck::QueueFull => Refusal::AttemptQueueFull,
        (Code::Absent, AuthMode::None) => Refusal::AuthNoneNotLocal,
        (Code::Absent, AuthMode::TrustedProxy) => match facts.identity {
            Identity::Refused => Refusal::IdentityRefused,
            Identity::Absent | Identity::Right => Refusal::IdentityMissing,
        },
        (Code::Absent, AuthMode::Token) => match (facts.secret, facts.device_token) {
            (SecretCheck::Wrong, _) => Refusal::TokenMismatch,
            (_, DeviceToken::Wrong) => Refusal::DeviceTokenMismatch,
            _ => Refusal::TokenMissing,
        },
        (Code::Absent, AuthMode::Password) => match (facts.secret, facts.device_token) {
            (SecretCheck::Wrong, _) => Refusal::PasswordMismatch,
            (_, DeviceToken::Wrong) => Refusal::DeviceTokenMismatch,
            _ => Refusal::PasswordMissing,
        },
    };
    (Rule::Credential, why)
}

/// Returns the requested scopes: nodes have none; a protocol 3 operator that names none means
/// admin.
fn wants(facts: &Facts, role: Role) -> Scopes {
    if role == Role::Node {
        Scopes::NONE
    } else {
        facts.requested
    }
}

/// Returns the scopes granted of `wants`. If the device lacks some of them, the result also
/// contains the scopes it has that `wants` implies.
fn gets(wants: Scopes, has: Scopes) -> Scopes {
    if wants.without(everything_in(has)) == Scopes::NONE {
        return wants;
    }
    let wanted = |scope: &Scope| wants.contains(*scope) && everything_in(has).contains(*scope);
    let included = |scope: &Scope| has.contains(*scope) && everything_in(wants).contains(*scope);
    Scope::ALL.into_iter().filter(|scope| wanted(scope) || included(scope)).collect()
}

/// Returns whether the code has a role or scope that the device lacks.
fn adds(grant: Grant, roles: Roles, scopes: Scopes) -> bool {
    let role =
        Role::ALL.into_iter().any(|role| grant.roles.contains(role) && !roles.contains(role));
    let scope = grant.scopes.iter().any(|scope| !everything_in(scopes).contains(scope));
    role || scope
}

/// Returns the set and everything it implies, from the table in `protocol.md` 9.3.
pub fn everything_in(scopes: Scopes) -> Scopes {
    let mut all = scopes;
    if scopes.contains(Scope::Admin) {
        all = Scopes::ALL;
    }
    for (has, gives) in [
        (Scope::Write, Scope::Read),
        (Scope::Write, Scope::Talk),
        (Scope::Write, Scope::SessionsRead),
        (Scope::Write, Scope::SessionsWrite),
        (Scope::Read, Scope::SessionsRead),
        (Scope::SessionsWrite, Scope::SessionsRead),
    ] {
        if scopes.contains(has) {
            all = all.with(Scopes::of(gives));
        }
    }
    all
}

fn no(rule: Rule, why: Refusal) -> Verdict {
    Verdict { rule, outcome: PolicyOutcome::Refuse(why) }
}

fn wait(rule: Rule, why: Refusal) -> Verdict {
    Verdict { rule, outcome: PolicyOutcome::Pend(why) }
}
