#!/usr/bin/env bash
# With blocking 1.7.0, an idle thread of smol's pool for blocking work never ends and wakes twice a
# second.
#
# Behaviour (blocking under smol 2.0.2, Linux): smol::unblock runs a closure on a thread of the
# pool. With blocking 1.6.2 an idle thread ends after half a second. With 1.7.0 it stays as long as
# the pool is below its limit of 500 threads, and wakes every 500 ms. A program that calls
# smol::unblock once keeps an additional thread and never sleeps completely.
# Measured: one thread left and 8 wake-ups in 4 s with 1.7.0; no thread left with 1.6.2.
# The script fails if both versions behave the same.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat >"$dir/src/main.rs" <<'END'
use std::thread::sleep;
use std::time::Duration;

/// The number of threads, and the voluntary context switches of those of the pool.
fn threads() -> (usize, u64) {
    let (mut count, mut switches) = (0, 0);
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        count += 1;
        if std::fs::read_to_string(path.join("comm")).unwrap().starts_with("blocking") {
            let text = std::fs::read_to_string(path.join("status")).unwrap();
            let line = text.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
            switches += line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
        }
    }
    (count, switches)
}

fn main() {
    smol::block_on(smol::Timer::after(Duration::from_millis(1)));
    let before = threads().0;
    smol::block_on(smol::unblock(|| ()));
    sleep(Duration::from_secs(2));
    let (left, early) = threads();
    sleep(Duration::from_secs(4));
    let (_, late) = threads();
    println!("{} {}", left - before, late.saturating_sub(early));
}
END
measure() {
  cat >"$dir/Cargo.toml" <<END
[package]
name = "finding"
version = "0.0.0"
edition = "2021"
[dependencies]
smol = "=2.0.2"
blocking = "=$1"
[workspace]
END
  (cd "$dir" && CARGO_TARGET_DIR=$dir/target cargo run --release --quiet)
}
read -r left_old wakes_old < <(measure 1.6.2)
read -r left_new wakes_new < <(measure 1.7.0)
echo "threads of the pool 2 s after one call, and their wake-ups in the next 4 s: blocking 1.6.2: $left_old, $wakes_old; blocking 1.7.0: $left_new, $wakes_new"
[ "$left_old" -eq 0 ] && [ "$left_new" -ge 1 ] && [ "$wakes_new" -ge 4 ] || { echo "the versions behave the same now" >&2; exit 1; }
