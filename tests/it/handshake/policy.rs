//! Checks `policy::decide` against a second, plain implementation of the rules, and against
//! invariants of every decision.
//!
//! The full product of all facts, options and table states has 76 thousand million rows. Three
//! parts of it are walked completely, each with all axes that can interact (rules before the
//! credential; devices; no device), ten million rows in total. A random sample of the whole product
//! detects an axis that matters outside its part.

use std::collections::HashSet;

use gatelet::gate::device::{Device, Provenance};
use gatelet::gate::facts::*;
use gatelet::gate::ids::{DeviceId, PublicKey, Role, Roles, Slot, TableAge, WallMs};
use gatelet::gate::limits;
use gatelet::gate::policy::{decide, Admission, PolicyOutcome, Registration, Verdict};
use gatelet::gate::refusal::{Refusal, Rule};
use gatelet::gate::scopes::{Scope, Scopes};
use gatelet::gate::table::{Cell, Table, Vacancy};

use crate::handshake::policy_spec::{everything_in, expected, Known};

#[test]
fn rules_before_the_credential_match_the_plain_implementation() {
    let axes = Axes::base()
        .all(&[
            PHASE, ROOM, PROTOCOL, ROLE, CONTROL_UI, LOCAL, HOST, ORIGIN, AUTH, INSECURE, DISABLE,
            FALLBACK,
        ])
        .some(SITUATION, &[NO_DEVICE, BAD_PROOF, NEW, KNOWN])
        .some(SECRET, &[0, RIGHT]);
    assert_eq!(compare(&axes), 1_769_472);
}

#[test]
fn decisions_with_a_device_match_the_plain_implementation() {
    let device = [
        LOCAL, SITUATION, SECRET, TOKEN, CODE, IDENTITY, AUTHORIZED, CIDR, AUTH, PAIRING,
        AUTO_LOCAL,
    ];
    let axes = || Axes::base().all(&device).some(ROLE, &[0, 1]);
    assert_eq!(compare(&axes().all(&[REQUESTED])), 5_529_600);
    // the protocol matters only for clients that request no scopes
    assert_eq!(compare(&axes().some(PROTOCOL, &[1]).some(REQUESTED, &[1])), 1_105_920);
}

#[test]
fn decisions_without_a_device_match_the_plain_implementation() {
    let axes = Axes::base()
        .all(&[
            CONTROL_UI, LOCAL, SECRET, TOKEN, CODE, IDENTITY, REQUESTED, AUTH, PAIRING, INSECURE,
            DISABLE,
        ])
        .some(SITUATION, &[NO_DEVICE, BAD_PROOF])
        .some(PROTOCOL, &[0, 1])
        .some(ROLE, &[0, 1])
        .some(ORIGIN, &[0, 3]);
    assert_eq!(compare(&axes), 2_764_800);
}

#[test]
fn random_rows_of_the_whole_product_match_the_plain_implementation() {
    let world = World::new();
    for dials in sample(1_000_000) {
        world.check(&world.row(&dials));
    }
}

#[test]
fn every_policy_refusal_is_reachable_and_reported_with_its_rule() {
    let world = World::new();
    let mut seen = HashSet::new();
    for dials in sample(400_000) {
        let verdict = world.decide(&world.row(&dials));
        if let PolicyOutcome::Refuse(refusal) | PolicyOutcome::Pend(refusal) = verdict.outcome {
            assert!(
                rules_of(refusal).contains(&verdict.rule),
                "{refusal:?} came from rule {}",
                verdict.rule.title()
            );
            assert_eq!(
                matches!(verdict.outcome, PolicyOutcome::Pend(_)),
                matches!(refusal, Refusal::PairingRequired | Refusal::RoleUpgrade),
                "only these two leave a pending request: {refusal:?}"
            );
            seen.insert(refusal);
        }
    }
    for refusal in Refusal::ALL {
        assert_eq!(seen.contains(&refusal), !rules_of(refusal).is_empty(), "{refusal:?}");
    }
}

#[test]
fn admission_requires_a_credential_and_grants_no_more_than_it() {
    let world = World::new();
    let mut admitted = 0;
    for dials in sample(600_000) {
        let row = world.row(&dials);
        if let Some(admission) = world.admission(&row) {
            admitted += 1;
            assert_earned(&row, &admission);
            assert_shape(&row, &admission);
        }
    }
    assert!(admitted > 10_000, "{admitted}");
}

#[test]
fn address_admits_only_through_the_three_options_for_it() {
    let world = World::new();
    let mut helped = 0;
    for mut dials in sample(400_000) {
        (dials[LOCAL], dials[CIDR]) = (0, 0);
        let far = world.admission(&world.row(&dials));
        for (local, cidr) in [(1, 0), (0, 1), (1, 1)] {
            (dials[LOCAL], dials[CIDR]) = (local, cidr);
            let row = world.row(&dials);
            let near = world.admission(&row);
            let secret = row.facts.secret == SecretCheck::Right;
            let by_option = local == 1 && row.policy.auth == AuthMode::None
                || local == 1 && row.policy.auto_approve_local && secret
                || cidr == 1 && row.facts.role == Some(Role::Node) && secret;
            match (far, near) {
                (None, Some(_)) => {
                    assert!(by_option, "an address caused the admission: {row:?}");
                    helped += 1;
                }
                (Some(_), None) => panic!("an address caused the rejection: {row:?}"),
                (Some(far), Some(near)) => {
                    assert!(everything_in(near.scopes).covers(far.scopes), "{row:?}")
                }
                (None, None) => {}
            }
        }
    }
    assert!(helped > 100, "{helped}");
}

#[test]
fn invalid_credential_next_to_a_valid_one_does_not_change_the_decision() {
    let world = World::new();
    let wrong: [(usize, &[usize]); 4] =
        [(SECRET, &[1, 2]), (TOKEN, &[1]), (CODE, &[1]), (IDENTITY, &[1])];
    let mut compared = 0;
    for mut dials in sample(200_000) {
        for (axis, values) in wrong {
            let was = std::mem::replace(&mut dials[axis], 0);
            let without = world.admission(&world.row(&dials));
            for value in values {
                dials[axis] = *value;
                let row = world.row(&dials);
                let with = world.admission(&row);
                assert_eq!(without, with, "{row:?}");
                compared += usize::from(with.is_some());
            }
            dials[axis] = was;
        }
    }
    assert!(compared > 10_000, "{compared}");
}

#[test]
fn additional_valid_credential_never_causes_rejection() {
    let world = World::new();
    let right: [(usize, &[usize]); 5] = [
        (SECRET, &[RIGHT]),
        (TOKEN, &[2]),
        (CODE, &[2, 3, 4, 5]),
        (IDENTITY, &[2]),
        (AUTHORIZED, &[1]),
    ];
    for mut dials in sample(200_000) {
        for (axis, values) in right {
            let was = std::mem::replace(&mut dials[axis], 0);
            let Some(without) = world.admission(&world.row(&dials)) else {
                dials[axis] = was;
                continue;
            };
            for value in values {
                dials[axis] = *value;
                let row = world.row(&dials);
                // exception: with a full table, a pairing is rejected where `auth.mode: none` alone
                // would admit
                let excused = row.vacancy() == Vacancy::Full
                    && row.policy.auth == AuthMode::None
                    && row.facts.local;
                let Some(with) = world.admission(&row) else {
                    assert!(excused, "{row:?}");
                    continue;
                };
                // a code grants a fixed set; other credentials grant everything requested
                if axis != CODE {
                    assert!(everything_in(with.scopes).covers(without.scopes), "{row:?}");
                }
            }
            dials[axis] = was;
        }
    }
}

#[test]
fn requesting_more_scopes_keeps_granted_ones() {
    let world = World::new();
    for dials in sample(200_000) {
        let row = world.row(&dials);
        let Some(before) = world.admission(&row) else { continue };
        for more in Scope::ALL {
            let mut greedy = row.clone();
            greedy.facts.requested = row.facts.requested.with(Scopes::of(more));
            let Some(after) = world.admission(&greedy) else {
                panic!("requesting {more:?} caused a rejection: {row:?}")
            };
            assert_eq!(
                before.scopes.without(after.scopes),
                Scopes::NONE,
                "requesting {more:?}: {row:?}"
            );
        }
    }
}

#[test]
fn revoked_role_is_admitted_only_by_a_setup_code_for_it() {
    let world = World::new();
    let mut kept_out = 0;
    for mut dials in sample(400_000) {
        dials[SITUATION] = REVOKED.start + dials[SITUATION] % REVOKED.len();
        let row = world.row(&dials);
        let (Known::Yes { revoked, .. }, Some(role)) = (row.known(), row.facts.role) else {
            continue;
        };
        let ignored = row.facts.control_ui && row.policy.disable_device_auth;
        let invited = matches!(row.facts.code, Code::Right(grant) if grant.roles.contains(role));
        if !revoked.contains(role) || ignored || invited {
            continue;
        }
        assert_eq!(world.admission(&row), None, "{row:?}");
        kept_out += 1;
    }
    assert!(kept_out > 10_000, "{kept_out}");
}

/// Returns the rules that may give this refusal; none for refusals that the policy does not give.
fn rules_of(refusal: Refusal) -> &'static [Rule] {
    use Refusal::*;
    match refusal {
        ProtocolMismatch => &[Rule::Protocol],
        InvalidRole => &[Rule::Role],
        OriginForeign | OriginOpaque | HostForeign | HostNotLoopback => &[Rule::Origin],
        DeviceIdMismatch | SignatureExpired | NonceRequired | NonceMismatch | SignatureInvalid
        | PublicKeyInvalid => &[Rule::Proof],
        TokenMissing | TokenMismatch | PasswordMissing | PasswordMismatch | RateLimited
        | AttemptQueueFull | DeviceTokenMismatch => &[Rule::Credential],
        SetupCodeInvalid | IdentityMissing | IdentityRefused | AuthNoneNotLocal => {
            &[Rule::Credential]
        }
        SetupCodeRole => &[Rule::SetupCode],
        PairingRequired => &[Rule::SharedSecret, Rule::Identity],
        RoleUpgrade => &[Rule::KnownDevice],
        DeviceRevoked => &[Rule::Revoked],
        DeviceRequired | ControlUiDeviceRequired => &[Rule::NoDevice],
        TableFull | TooManyConnections | Stopping => &[Rule::Capacity],
        InvalidFrame | NotConnect | InvalidConnect | TableUnavailable | TooManyRequests
        | TooManyOfDevice => &[],
    }
}

/// Asserts that an admission has a credential and grants no more than it. Runs on every row of
/// every walk.
fn assert_earned(row: &Row, admission: &Admission) {
    let facts = &row.facts;
    let keyed = matches!(facts.device_proof, DeviceProof::Valid { .. })
        && !(facts.control_ui && row.policy.disable_device_auth);
    let free = row.policy.auth == AuthMode::None && facts.local;
    let gives_all = facts.secret == SecretCheck::Right
        || facts.identity == Identity::Right
        || keyed && facts.authorized_key
        || free;
    let code = match facts.code {
        Code::Right(grant) if keyed && grant.roles.contains(admission.role) => Some(grant.scopes),
        _ => None,
    };
    let approved = match row.known() {
        Known::Yes { roles, scopes, .. } if keyed && roles.contains(admission.role) => Some(scopes),
        // a code restores the role; the scopes were kept
        Known::Yes { scopes, .. } if code.is_some() => Some(scopes),
        _ => None,
    };
    assert!(gives_all || code.is_some() || approved.is_some(), "{row:?}");
    if !gives_all {
        let bound = everything_in(approved.unwrap_or_default().with(code.unwrap_or_default()));
        assert!(
            admission.scopes.without(bound).is_empty(),
            "{:?} is more than {bound:?}: {row:?}",
            admission.scopes
        );
    }
}

/// Asserts the invariants of a single admission.
fn assert_shape(row: &Row, admission: &Admission) {
    assert!(
        admission.role == Role::Operator
            || admission.scopes.is_empty() && admission.pending_scopes.is_empty(),
        "{row:?}"
    );
    assert!(admission.scopes.and(admission.pending_scopes).is_empty(), "{row:?}");
    match (admission.registration, row.known(), row.vacancy()) {
        (Registration::None(_), ..) => {
            assert!(admission.pending_scopes.is_empty(), "no record to request scopes for: {row:?}")
        }
        (Registration::Existing(slot), Known::Yes { slot: stands, roles, .. }, _) => {
            assert_eq!(slot, stands);
            assert!(roles.contains(admission.role), "{row:?}");
        }
        (
            Registration::Extend { slot, pairing },
            Known::Yes { slot: stands, roles, scopes, .. },
            _,
        ) => {
            assert_eq!(slot, stands);
            assert!(roles.with(pairing.roles).contains(admission.role), "{row:?}");
            let covered = admission.role == Role::Node
                || scopes.with(pairing.scopes).covers(admission.scopes);
            assert!(covered, "the granted scopes are not the stored ones: {row:?}");
            let grown = roles.with(pairing.roles) != roles || !scopes.covers(pairing.scopes);
            assert!(grown, "a write that changes nothing: {row:?}");
        }
        (
            Registration::Insert { slot, pairing, .. },
            Known::No,
            Vacancy::Free(room) | Vacancy::Evict(room),
        ) => {
            assert_eq!(slot, room);
            assert!(
                pairing.roles.contains(admission.role) && pairing.scopes.covers(admission.scopes),
                "{row:?}"
            );
        }
        (registration, known, room) => panic!("{registration:?} with {known:?} and {room:?}"),
    }
}

// --- the axes, and walks through their product ---------------------------------------------------

const PHASE: usize = 0;
const ROOM: usize = 1;
const PROTOCOL: usize = 2;
const ROLE: usize = 3;
const CONTROL_UI: usize = 4;
const LOCAL: usize = 5;
const HOST: usize = 6;
const ORIGIN: usize = 7;
const SITUATION: usize = 8;
const SECRET: usize = 9;
const TOKEN: usize = 10;
const CODE: usize = 11;
const IDENTITY: usize = 12;
const AUTHORIZED: usize = 13;
const CIDR: usize = 14;
const REQUESTED: usize = 15;
const AUTH: usize = 16;
const PAIRING: usize = 17;
const AUTO_LOCAL: usize = 18;
const INSECURE: usize = 19;
const DISABLE: usize = 20;
const FALLBACK: usize = 21;

/// Number of values of each axis, in the order above.
const SIZES: [usize; 22] = [2, 2, 6, 3, 2, 2, 4, 6, 16, 5, 3, 6, 3, 2, 2, 5, 4, 2, 2, 2, 2, 2];

type Dials = [usize; SIZES.len()];

// values of SITUATION and SECRET that tests name
const NO_DEVICE: usize = 0;
const BAD_PROOF: usize = 1;
const NEW: usize = 2;
const KNOWN: usize = 5;
const REVOKED: std::ops::Range<usize> = 10..13;
const RIGHT: usize = 4;

/// Values of each axis that a walk takes; the first one unless stated otherwise.
struct Axes(Vec<Vec<usize>>);

impl Axes {
    fn base() -> Axes {
        Axes(vec![vec![0]; SIZES.len()])
    }

    fn all(mut self, axes: &[usize]) -> Axes {
        axes.iter().for_each(|&axis| self.0[axis] = (0..SIZES[axis]).collect());
        self
    }

    fn some(mut self, axis: usize, values: &[usize]) -> Axes {
        self.0[axis] = values.to_vec();
        self
    }

    fn rows(&self) -> u64 {
        self.0.iter().map(|values| values.len() as u64).product()
    }

    fn dials(&self, mut row: u64) -> Dials {
        let mut dials = [0; SIZES.len()];
        for (dial, values) in dials.iter_mut().zip(&self.0) {
            *dial = values[(row % values.len() as u64) as usize];
            row /= values.len() as u64;
        }
        dials
    }
}

/// Compares the gate with the plain implementation at each row, on two threads. Returns the number
/// of rows.
fn compare(axes: &Axes) -> u64 {
    std::thread::scope(|scope| {
        let half = |odd: u64| {
            move || {
                let world = World::new();
                (0..axes.rows())
                    .filter(|row| row % 2 == odd)
                    .map(|row| world.check(&world.row(&axes.dials(row))))
                    .count() as u64
            }
        };
        let other = scope.spawn(half(1));
        half(0)() + other.join().expect("the other half passes")
    })
}

/// Rows of the whole product, drawn at random from a fixed seed. Values that end a decision early
/// are drawn less often.
fn sample(rows: usize) -> impl Iterator<Item = Dials> {
    let mut random = fastrand::Rng::with_seed(1);
    (0..rows).map(move |_| {
        let mut dials = [0; SIZES.len()];
        for (axis, dial) in dials.iter_mut().enumerate() {
            *dial = random.usize(..SIZES[axis]);
            if matches!(axis, PHASE | ROOM | PROTOCOL | ROLE | HOST | ORIGIN) && random.u8(..8) != 0
            {
                *dial = random.usize(..2).min(if matches!(axis, PHASE | ROOM | HOST | ORIGIN) {
                    0
                } else {
                    1
                });
            }
        }
        dials
    })
}

// --- meaning of each axis value ------------------------------------------------------------------

const ID: DeviceId = DeviceId([7; 32]);
const KEY: PublicKey = PublicKey([8; 32]);

/// Proof of a device and its state in the table.
struct Situation {
    proof: DeviceProof,
    known: Known,
    table: Table<Vec<Cell>>,
}

struct World {
    situations: Vec<Situation>,
}

/// One row: all inputs of a decision.
#[derive(Clone)]
struct Row<'w> {
    facts: Facts,
    policy: Policy,
    situation: &'w Situation,
}

impl std::fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#?}\n{:#?}\n{:?}, {:?}", self.facts, self.policy, self.known(), self.vacancy())
    }
}

impl Row<'_> {
    fn known(&self) -> Known {
        self.situation.known
    }

    fn vacancy(&self) -> Vacancy {
        self.situation.table.vacancy(Provenance::Token)
    }
}

impl World {
    fn new() -> World {
        let valid = DeviceProof::Valid { id: ID, key: KEY };
        let (operator, node) = (Roles::of(Role::Operator), Roles::of(Role::Node));
        let (both, none) = (operator.with(node), Roles::NONE);
        let (read, write, admin) =
            (Scopes::of(Scope::Read), Scopes::of(Scope::Write), Scopes::of(Scope::Admin));
        let unknown = |proof, table| Situation { proof, known: Known::No, table };
        let mut situations = vec![
            unknown(DeviceProof::Absent, table(4, 1, false)),
            unknown(DeviceProof::Invalid(Refusal::SignatureInvalid), table(4, 1, false)),
            unknown(valid, table(4, 1, false)),
            unknown(valid, table(3, 3, true)),
            unknown(valid, table(3, 3, false)),
            known(operator, none, read, Provenance::Token),
            known(operator, none, write, Provenance::Owner),
            known(operator, none, admin, Provenance::Code),
            known(node, none, Scopes::NONE, Provenance::Cidr),
            known(both, none, write, Provenance::Identity),
            known(node, operator, admin, Provenance::Owner),
            known(none, operator, read, Provenance::Token),
            known(none, both, write, Provenance::Config),
            known(none, none, Scopes::NONE, Provenance::Import),
            known(operator, none, read.with(Scopes::of(Scope::Pairing)), Provenance::Local),
        ];
        let mut misplaced = known(both, none, admin, Provenance::Owner);
        misplaced.known = Known::UnderAnotherKey;
        misplaced.proof = DeviceProof::Valid { id: ID, key: PublicKey([9; 32]) };
        situations.push(misplaced);
        assert_eq!(situations.len(), SIZES[SITUATION]);
        assert_eq!(situations[3].table.vacancy(Provenance::Token), Vacancy::Evict(Slot(1)));
        assert_eq!(situations[4].table.vacancy(Provenance::Token), Vacancy::Full);
        World { situations }
    }

    fn decide(&self, row: &Row) -> Verdict {
        decide(&row.facts, &row.policy, &row.situation.table)
    }

    fn admission(&self, row: &Row) -> Option<Admission> {
        match self.decide(row).outcome {
            PolicyOutcome::Admit(admission) => Some(admission),
            _ => None,
        }
    }

    fn check(&self, row: &Row) {
        let (is, shall_be) =
            (self.decide(row), expected(&row.facts, &row.policy, row.known(), row.vacancy()));
        assert_eq!(is, shall_be, "left: the gate, right: the second implementation, for\n{row:?}");
        if let PolicyOutcome::Admit(admission) = is.outcome {
            assert_earned(row, &admission);
        }
    }

    fn row(&self, dials: &Dials) -> Row<'_> {
        let yes = |axis: usize| dials[axis] == 1;
        let situation = &self.situations[dials[SITUATION]];
        let (min_protocol, max_protocol) =
            [(4, 4), (3, 3), (3, 4), (1, 99), (5, 9), (0, 2)][dials[PROTOCOL]];
        let (operator, node) = (Roles::of(Role::Operator), Roles::of(Role::Node));
        let (read, write, admin) =
            (Scopes::of(Scope::Read), Scopes::of(Scope::Write), Scopes::of(Scope::Admin));
        let code = |roles, scopes| Code::Right(Grant { roles, scopes });
        let facts = Facts {
            phase: [Phase::Running, Phase::Stopping][dials[PHASE]],
            has_capacity: !yes(ROOM),
            min_protocol,
            max_protocol,
            role: [Some(Role::Operator), Some(Role::Node), None][dials[ROLE]],
            control_ui: yes(CONTROL_UI),
            local: yes(LOCAL),
            host: [Host::Loopback, Host::Served, Host::Foreign, Host::Absent][dials[HOST]],
            origin: [
                Origin::Absent,
                Origin::Listed,
                Origin::Same,
                Origin::LoopbackPair,
                Origin::Foreign,
                Origin::Opaque,
            ][dials[ORIGIN]],
            device_proof: match situation.proof {
                DeviceProof::Invalid(_) => {
                    DeviceProof::Invalid(PROOFS[(dials[TOKEN] + 3 * dials[CODE]) % PROOFS.len()])
                }
                proof => proof,
            },
            secret: [
                SecretCheck::Absent,
                SecretCheck::Wrong,
                SecretCheck::RateLimited,
                SecretCheck::QueueFull,
                SecretCheck::Right,
            ][dials[SECRET]],
            device_token: [DeviceToken::Absent, DeviceToken::Wrong, DeviceToken::Right(1)]
                [dials[TOKEN]],
            code: [
                Code::Absent,
                Code::Wrong,
                code(operator, read),
                code(operator, admin),
                code(node, Scopes::NONE),
                code(operator.with(node), write),
            ][dials[CODE]],
            identity: [Identity::Absent, Identity::Refused, Identity::Right][dials[IDENTITY]],
            authorized_key: yes(AUTHORIZED),
            cidr: yes(CIDR),
            requested: [read, Scopes::NONE, write, admin, read.with(Scopes::of(Scope::Pairing))]
                [dials[REQUESTED]],
        };
        let policy = Policy {
            auth: [AuthMode::Token, AuthMode::Password, AuthMode::TrustedProxy, AuthMode::None]
                [dials[AUTH]],
            pairing: [PairingMode::Token, PairingMode::Strict][dials[PAIRING]],
            auto_approve_local: yes(AUTO_LOCAL),
            allow_insecure_auth: yes(INSECURE),
            disable_device_auth: yes(DISABLE),
            host_origin_fallback: yes(FALLBACK),
        };
        Row { facts, policy, situation }
    }
}

const PROOFS: [Refusal; 6] = [
    Refusal::SignatureInvalid,
    Refusal::DeviceIdMismatch,
    Refusal::SignatureExpired,
    Refusal::NonceRequired,
    Refusal::NonceMismatch,
    Refusal::PublicKeyInvalid,
];

/// Returns a table with one device paired by the owner and evictable ones after it, of which slot 1
/// is the oldest.
fn table(capacity: u16, others: u8, old: bool) -> Table<Vec<Cell>> {
    let mut table = Table::new(capacity, 99, TableAge(0));
    for n in 0..others {
        let provenance = if n == 0 { Provenance::Owner } else { Provenance::Token };
        let mut device = Device::new(DeviceId([100 + n; 32]), PublicKey([n; 32]), provenance);
        device.approve(Role::Operator, Scopes::ALL, WallMs(0));
        device.seen_age = TableAge(u32::from(n));
        table.put(Slot(u16::from(n)), device);
    }
    table.set_age(TableAge(if old { 2 * limits::EVICTION_AGE_HOURS } else { 9 }));
    table
}

/// Returns a situation with the device in a full table, so that capacity cannot matter for it.
fn known(roles: Roles, revoked: Roles, scopes: Scopes, provenance: Provenance) -> Situation {
    let mut table = table(3, 2, false);
    let slot = Slot(2);
    table.put(slot, Device { roles, revoked, scopes, ..Device::new(ID, KEY, provenance) });
    let known = Known::Yes { slot, roles, revoked, scopes, provenance };
    Situation { proof: DeviceProof::Valid { id: ID, key: KEY }, known, table }
}
