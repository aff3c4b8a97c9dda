//! The whole gateway in a simulated world, from one seed: clocks that jump, a disk that fails and
//! loses power, clients that connect, vanish, lie and never read. A plain model beside it states
//! what must hold (`model.rs`); the world (`world.rs`) compares after every event; events are drawn
//! in `play.rs`.
//!
//! Same seed, same run: `SIM_SEED=123 cargo test --test sim` repeats one and prints its last lines
//! on failure, with `SIM_TRACE=1` all of them. `SIM_SEEDS=100000 cargo test --release --test sim --
//! --nocapture` is the long run, `SIM_FROM` its first seed.

mod model;
mod play;
mod trace;
mod world;

use std::collections::BTreeMap;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::Instant;

use support::number;
use support::temp_dir::TempDir;

use trace::Trace;
use world::World;

const SEEDS: u64 = 200;
const STEPS: usize = 4000;
/// Number of failed seeds after which the remaining ones are skipped.
const FAILURES: u64 = 5;
/// One seed in this many is run twice.
const TWICE: u64 = 8;

type Seen = BTreeMap<&'static str, u64>;

/// Runs one seed; returns its hash and the situations that occurred.
fn run(seed: u64, keep: bool, dir: &std::path::Path) -> (u64, Seen) {
    let shown = keep && std::env::var_os("SIM_TRACE").is_some();
    let steps = number("SIM_STEPS").map_or(STEPS, |steps| steps as usize);
    trace::logged();
    let mut world = World::new(seed, Trace::new(keep, shown), dir.to_path_buf());
    for _ in 0..steps {
        world.step();
    }
    world.end();
    (world.trace.hash(), std::mem::take(&mut world.seen))
}

/// Situations that must occur in a full run for it to be meaningful; the rarest occurred 81 times.
const REQUIRED: [&str; 23] = [
    "admitted",
    "all disconnected",
    "clock set",
    "closed by a change",
    "configured",
    "cut in a commit",
    "disk failed",
    "evicted",
    "failed attempts",
    "flooded",
    "invoke allowed",
    "invoke answered",
    "invoke relayed",
    "kill",
    "list compared",
    "many connections",
    "power cut",
    "rejected",
    "repaired",
    "replayed",
    "share of the disk used up",
    "stop",
    "waited for an attempt",
];

#[test]
fn gateway_behaves_as_the_model_expects() {
    trace::listen();
    if let Some(seed) = number("SIM_SEED") {
        let dir = TempDir::new();
        let (hash, seen) = run(seed, true, &dir.0);
        println!("seed {seed}: {hash:016x} {seen:?}");
        return;
    }
    let (from, seeds) = (number("SIM_FROM").unwrap_or(0), number("SIM_SEEDS").unwrap_or(SEEDS));
    let (next, failed, begun) = (AtomicU64::new(from), AtomicU64::new(0), Instant::now());
    let met = Mutex::new(Seen::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (next, failed, met) = (&next, &failed, &met);
            scope.spawn(move || {
                let dir = TempDir::new();
                while failed.load(Ordering::Relaxed) < FAILURES {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let done = seed - from;
                    if done > 0 && done.is_multiple_of(1000) {
                        println!("{done} of {seeds} seeds, {} s", begun.elapsed().as_secs());
                    }
                    let once = || {
                        let (hash, seen) = run(seed, false, &dir.0);
                        if seed.is_multiple_of(TWICE) {
                            assert_eq!(
                                run(seed, false, &dir.0).0,
                                hash,
                                "the same seed gave a different run"
                            );
                        }
                        seen
                    };
                    match catch_unwind(AssertUnwindSafe(once)) {
                        Ok(seen) => {
                            let mut met = met.lock().unwrap();
                            seen.into_iter()
                                .for_each(|(what, count)| *met.entry(what).or_default() += count);
                        }
                        Err(_) => {
                            eprintln!(
                                "seed {seed}, number {done}: SIM_SEED={seed} cargo test --test sim"
                            );
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    assert_eq!(failed.into_inner(), 0, "see above");
    let met = met.into_inner().unwrap();
    println!("{seeds} seeds in {} s: {met:?}", begun.elapsed().as_secs());
    if seeds >= SEEDS {
        let missing: Vec<_> = REQUIRED.into_iter().filter(|what| !met.contains_key(what)).collect();
        assert!(missing.is_empty(), "never occurred in any run: {missing:?}");
    }
}
