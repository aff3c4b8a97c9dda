//! Decisions do not allocate: the global allocator of this binary counts bytes per thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell as Counter;
use std::fmt::Write;
use std::hint::black_box;
use std::net::IpAddr;

use gatelet::gate::budget::Holder;
use gatelet::gate::device::{Device, Provenance};
use gatelet::gate::facts::*;
use gatelet::gate::ids::{
    DeviceId, Millis, Nonce, PublicKey, RequestId, Role, Roles, Slot, TableAge, WallMs,
};
use gatelet::gate::limits;
use gatelet::gate::net::{client_address, Cidr};
use gatelet::gate::origin::{self, Names};
use gatelet::gate::pairing_requests::{About, PairingRequests, RequestContent};
use gatelet::gate::policy::{decide, PolicyOutcome};
use gatelet::gate::rate_limit::{AttemptKey, Rate, RateLimiter};
use gatelet::gate::refusal::{Fill, Hint, Refusal};
use gatelet::gate::scopes::{Scope, Scopes};
use gatelet::gate::setup_codes::{CodeState, CodeText, SetupCodes};
use gatelet::gate::signature::{self, Signed, Version};
use gatelet::gate::surface::Surface;
use gatelet::gate::table::{Cell, Table, Vacancy};
use gatelet::gate::text::clip;

struct Counting;

thread_local! {
    static BYTES: Counter<usize> = const { Counter::new(0) };
}

fn count(bytes: usize) {
    // a thread that is ending has no counter any more; nothing is measured there
    let _ = BYTES.try_with(|counter| counter.set(counter.get() + bytes));
}

// SAFETY: every call is forwarded unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        System.alloc(layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        System.alloc_zeroed(layout)
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        System.realloc(old, layout, size)
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        System.dealloc(old, layout)
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns the number of bytes that `work` allocates.
fn allocated(work: impl FnOnce()) -> usize {
    let before = BYTES.get();
    work();
    BYTES.get() - before
}

#[test]
fn counter_counts_allocations() {
    assert_eq!(allocated(|| drop(black_box(Box::new([0u8; 24])))), 24);
    assert_eq!(allocated(|| drop(black_box(vec![0u8; 5]))), 5);
    assert_eq!(allocated(|| _ = black_box(1 + 1)), 0);
}

const SIZE: u16 = 256;

fn device(n: u16, provenance: Provenance) -> Device {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&n.to_le_bytes());
    let mut device = Device::new(DeviceId(id), PublicKey(id), provenance);
    device.approve(Role::Operator, Scopes::of(Scope::Write), WallMs(0));
    device
}

/// Returns a full table in which no device is evictable yet.
fn full_table() -> Table<Vec<Cell>> {
    let mut table = Table::new(SIZE, 3, TableAge(0));
    (0..SIZE).for_each(|n| table.put(Slot(n), device(n, Provenance::Token)));
    table
}

const FACTS: Facts = Facts {
    phase: Phase::Running,
    has_capacity: true,
    min_protocol: 3,
    max_protocol: 4,
    role: Some(Role::Operator),
    control_ui: true,
    local: false,
    host: Host::Served,
    origin: Origin::Same,
    device_proof: DeviceProof::Absent,
    secret: SecretCheck::Absent,
    device_token: DeviceToken::Absent,
    code: Code::Absent,
    identity: Identity::Absent,
    authorized_key: false,
    cidr: false,
    requested: Scopes::ALL,
};

#[test]
fn decision_over_a_full_table_does_not_allocate() {
    let mut table = full_table();
    let (mut admitted, mut refused, mut pending) = (0, 0, 0);
    let bytes = allocated(|| {
        for age in [0, limits::EVICTION_AGE_HOURS] {
            table.set_age(TableAge(age));
            for n in [0, 100, SIZE - 1, SIZE, SIZE + 1] {
                let Device { id, key, .. } = device(n, Provenance::Token);
                for device_proof in [
                    DeviceProof::Absent,
                    DeviceProof::Valid { id, key },
                    DeviceProof::Invalid(Refusal::SignatureInvalid),
                ] {
                    for secret in [
                        SecretCheck::Absent,
                        SecretCheck::Wrong,
                        SecretCheck::RateLimited,
                        SecretCheck::QueueFull,
                        SecretCheck::Right,
                    ] {
                        for pairing in [PairingMode::Token, PairingMode::Strict] {
                            let facts = Facts { device_proof, secret, ..FACTS };
                            let policy = Policy { pairing, ..Policy::DEFAULT };
                            match decide(black_box(&facts), &policy, &table).outcome {
                                PolicyOutcome::Admit(_) => admitted += 1,
                                PolicyOutcome::Refuse(_) => refused += 1,
                                PolicyOutcome::Pend(_) => pending += 1,
                            }
                        }
                    }
                }
            }
        }
    });
    assert_eq!(bytes, 0);
    assert!(admitted > 0 && refused > 0 && pending > 0, "{admitted} {refused} {pending}");
}

#[test]
fn table_operations_do_not_allocate() {
    let mut table = full_table();
    table.set_age(TableAge(limits::EVICTION_AGE_HOURS));
    let bytes = allocated(|| {
        for n in 0..2 * SIZE {
            assert_eq!(table.find(&device(n, Provenance::Token).id).is_some(), n < SIZE);
        }
        for n in SIZE..2 * SIZE {
            let Vacancy::Evict(slot) = table.vacancy(Provenance::Token) else {
                panic!("an old evictable device is replaced")
            };
            table.put(
                slot,
                Device {
                    seen_age: TableAge(limits::EVICTION_AGE_HOURS),
                    ..device(n, Provenance::Token)
                },
            );
            table.set_connected(slot, true);
        }
        assert_eq!(table.vacancy(Provenance::Token), Vacancy::Full);
        (0..SIZE).for_each(|n| drop(table.remove(Slot(n))));
    });
    assert_eq!((bytes, table.len()), (0, 0));
}

#[test]
fn approved_node_commands_do_not_allocate() {
    let mut device = device(1, Provenance::Owner);
    let mut other = Surface::NONE;
    let bytes = allocated(|| {
        for n in 0..40 {
            let mut name = heapless::String::<16>::new();
            write!(name, "robot.{n}").unwrap();
            black_box(
                (other.add_command(&name), other.add_cap(&name), other.add_permission(&name))
                    .0
                    .is_ok(),
            );
            black_box(device.approve_surface(&other, WallMs(n)).is_ok());
        }
        assert!(device.surface.covers(&other) && device.surface.commands().count() > 10);
        let (known, text) = (*device.surface.known(), device.surface.text());
        assert_eq!(Surface::from_parts(known, text).as_ref(), Some(&device.surface));
    });
    assert_eq!(bytes, 0);
}

#[test]
fn rate_limiter_does_not_allocate() {
    let bytes = allocated(|| {
        let mut rate_limiter = RateLimiter::new(Rate::default());
        for n in 0..1000u32 {
            let pair = AttemptKey::of(IpAddr::from(n.to_be_bytes()), &DeviceId([1; 32]));
            (0..12).for_each(|_| rate_limiter.record_failure(pair, Millis(u64::from(n))));
            black_box(rate_limiter.locked_for(pair, Millis(u64::from(n))));
            if n.is_multiple_of(2) {
                rate_limiter.record_success(pair);
            }
        }
    });
    assert_eq!(bytes, 0);
}

#[test]
fn setup_codes_do_not_allocate() {
    let grant = Grant { roles: Roles::of(Role::Node), scopes: Scopes::NONE };
    let bytes = allocated(|| {
        let mut setup_codes = SetupCodes::new();
        for n in 0..100u8 {
            let (id, text) = (RequestId([n; 16]), CodeText::from_random([n; 8]));
            let holder = Holder::Device(DeviceId([n % 3; 32]));
            setup_codes.add(id, holder, text, grant, Millis(u64::from(n))).unwrap();
            assert_eq!(setup_codes.check(text.as_str(), Millis(100)), Code::Right(grant));
            assert_eq!(setup_codes.check("2345-6789", Millis(100)), Code::Wrong);
            if n.is_multiple_of(3) {
                assert_eq!(
                    setup_codes.take(text.as_str(), Millis(100)).map(|taken| taken.id()),
                    Some(id)
                );
                assert_eq!(setup_codes.state(id, Millis(100)), CodeState::Gone);
            }
        }
    });
    assert_eq!(bytes, 0);
}

#[test]
fn pending_requests_do_not_allocate() {
    let bytes = allocated(|| {
        let mut pairing_requests = PairingRequests::new();
        for n in 0..2 * limits::PENDING as u16 {
            let Device { id, key, .. } = device(n, Provenance::Token);
            let remote = Some(IpAddr::from([10, 0, 0, (n % 3) as u8]));
            let about = About { name: clip("a phone\nwith a name"), remote, ..About::default() };
            let mut surface = Surface::NONE;
            ["system.run", "robot.walk", "robot.sit"]
                .iter()
                .try_for_each(|name| surface.add_command(name))
                .unwrap();
            let roles = Roles::of(Role::Node);
            let ask = RequestContent {
                device: id,
                key,
                roles,
                scopes: Scopes::ALL,
                surface,
                about,
                known: false,
            };
            let added = pairing_requests.add(
                ask,
                RequestId([n as u8; 16]),
                Millis(u64::from(n)),
                WallMs(0),
            );
            assert!(added.is_some());
            pairing_requests.mark_shown(|_| false, Millis(0));
            black_box(pairing_requests.iter(Millis(u64::from(n))).count());
        }
        let last = RequestId([2 * limits::PENDING as u8 - 1; 16]);
        assert!(pairing_requests.get(last, Millis(200)).is_some());
        pairing_requests.remove(last);
        assert!(pairing_requests.get(last, Millis(200)).is_none());
    });
    assert_eq!(bytes, 0);
}

#[test]
fn proof_addresses_and_texts_do_not_allocate() {
    let signed = Signed {
        device_id: "ab",
        client_id: "cli",
        client_mode: "cli",
        role: "operator",
        scopes: &["operator.admin", "operator.read"],
        signed_at: u64::MAX,
        token: "secret",
        nonce: "n",
        platform: " Linux ",
        family: "Pi",
    };
    let mut id = heapless::String::<64>::new();
    write!(id, "{}", DeviceId([7; 32])).unwrap();
    let trusted = [Cidr::parse("10.0.0.0/8").unwrap()];
    let peer: IpAddr = "10.0.0.1".parse().unwrap();
    let names =
        Names { allowed: &["https://a.example"], public: None, machine: "pi", reached: Some(peer) };
    let bytes = allocated(|| {
        let mut len = 0;
        for version in [Version::V1, Version::V2, Version::V3] {
            signed.payload(version, &mut |part| len += part.len());
        }
        assert!(len > 200, "{len}");
        let claim = signature::SignedClaim {
            device_id: &id,
            key_id: Some(DeviceId([7; 32])),
            nonce: Some("00"),
            challenge: Nonce([0; 16]),
            elapsed: 0,
            judged_skew: None,
            local: false,
        };
        assert_eq!(claim.check(), Err(Refusal::NonceMismatch));
        black_box(client_address(peer, Some("203.0.113.5, 10.0.0.7"), None, &trusted, false));
        let page = origin::classify(Some("pi.local:8080"), Some("http://pi.local:8080"), &names);
        assert_eq!(page, (Host::Served, Origin::Same));
        for refusal in Refusal::ALL {
            let mut out = heapless::String::<512>::new();
            let fill = Fill { gatelet: "gatelet", origin: "http://a", ..Fill::default() };
            write!(out, "{}", Hint::new(refusal.words().hint, fill)).unwrap();
        }
    });
    assert_eq!(bytes, 0);
}
