//! Time in nanoseconds and allocations of `policy::decide` with a full table.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell as Counter;
use std::hint::black_box;

use gatelet::gate::device::{Device, Provenance};
use gatelet::gate::facts::*;
use gatelet::gate::ids::{DeviceId, PublicKey, Role, Slot, TableAge, WallMs};
use gatelet::gate::limits;
use gatelet::gate::policy::decide;
use gatelet::gate::scopes::{Scope, Scopes};
use gatelet::gate::table::{Cell, Table as Devices};

use crate::gateway::own_cpu_ns;
use crate::table::{count, median, ns, Goal, Section, Table};

struct Counting;

thread_local! {
    static ALLOCATIONS: Counter<u64> = const { Counter::new(0) };
}

// SAFETY: every call is passed to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // The counter of a thread that ends is gone; nothing is measured there.
        let _ = ALLOCATIONS.try_with(|counter| counter.set(counter.get() + 1));
        System.alloc(layout)
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        System.dealloc(old, layout)
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REPEATS: usize = 500;

/// Adds the rows of the decision.
pub fn rows(table: &mut Table) {
    let capacity = limits::CAPACITY_DEFAULT;
    let mut devices =
        Devices::new(vec![Cell::FREE; capacity as usize].into_boxed_slice(), 3, TableAge(0));
    (0..capacity).for_each(|n| devices.put(Slot(n), device(n)));
    let policy = Policy::DEFAULT;
    let valid = |n| DeviceProof::Valid { id: device(n).id, key: device(n).key };
    let cases: [(&str, Vec<Facts>); 3] = [
        ("a known device", (0..capacity).map(|n| facts(valid(n), SecretCheck::Absent)).collect()),
        (
            "a new device with the token",
            (0..capacity).map(|n| facts(valid(capacity + n), SecretCheck::Right)).collect(),
        ),
        (
            "a wrong token",
            (0..capacity).map(|n| facts(valid(capacity + n), SecretCheck::Wrong)).collect(),
        ),
    ];
    let mut allocations = 0;
    for (name, facts) in cases {
        let mut figures = [0.0; 9];
        for figure in &mut figures {
            let began = own_cpu_ns();
            let before = ALLOCATIONS.get();
            for _ in 0..REPEATS {
                for facts in &facts {
                    black_box(decide(black_box(facts), black_box(&policy), black_box(&devices)));
                }
            }
            allocations += ALLOCATIONS.get() - before;
            *figure = (own_cpu_ns() - began) / (REPEATS * facts.len()) as f64;
        }
        table.row(
            Section::Times,
            &format!("policy decision, {name}"),
            Goal::time(100.0),
            median(&mut figures),
            ns,
            "table of 256, full",
        );
    }
    table.row(
        Section::Builds,
        "allocations of all policy decisions",
        Goal::count(0.0),
        allocations as f64,
        count,
        "",
    );
}

/// Returns a device that was paired long ago and used since, so that it is never evicted.
fn device(n: u16) -> Device {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&n.to_le_bytes());
    let mut device = Device::new(DeviceId(id), PublicKey(id), Provenance::Token);
    device.approve(Role::Operator, Scopes::of(Scope::Admin), WallMs(0));
    device
}

fn facts(device_proof: DeviceProof, secret: SecretCheck) -> Facts {
    Facts {
        phase: Phase::Running,
        has_capacity: true,
        min_protocol: 3,
        max_protocol: 4,
        role: Some(Role::Operator),
        control_ui: true,
        local: false,
        host: Host::Served,
        origin: Origin::Same,
        device_proof,
        secret,
        device_token: DeviceToken::Absent,
        code: Code::Absent,
        identity: Identity::Absent,
        authorized_key: false,
        cidr: false,
        requested: Scopes::of(Scope::Admin),
    }
}
