#!/usr/bin/env bash
# Built for size (opt-level "z"), ed25519-dalek is slower with its vector code than without it.
#
# Behaviour (ed25519-dalek 3.0.0 with curve25519-dalek 5.0.0, x86_64 with AVX2): the library
# selects its AVX2 code at run time. That code consists of small functions that must be inlined. At
# opt-level "z" they are calls, and one verification takes 20 to 60 times as long as with the
# serial code at the same level.
# Measured with rustc 1.95: 1881 us with the AVX2 code, 42 us with the serial code, 29 us with the
# AVX2 code at opt-level 3.
# Two workarounds, both in this script: the serial code (--cfg curve25519_dalek_backend="serial"),
# or opt-level 3 for the package curve25519-dalek alone.
# The script fails if the AVX2 code is less than 5 times slower. It needs a processor with AVX2.
set -euo pipefail
grep -qw avx2 /proc/cpuinfo || { echo "this processor has no AVX2" >&2; exit 1; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat >"$dir/Cargo.toml" <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"
[dependencies]
ed25519-dalek = { version = "=DALEK", default-features = false, features = ["fast"] }
curve25519-dalek = "=CURVE"
[profile.release]
opt-level = "z"
lto = "fat"
codegen-units = 1
panic = "abort"
[workspace]
END
cat >"$dir/src/main.rs" <<'END'
use std::time::Instant;

use ed25519_dalek::{Signer, SigningKey};

fn main() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let signature = key.sign(b"message");
    let mut times: Vec<u128> = (0..101)
        .map(|_| {
            let begun = Instant::now();
            key.verifying_key().verify_strict(b"message", &signature).unwrap();
            begun.elapsed().as_nanos()
        })
        .collect();
    times.sort();
    println!("{}", times[50] / 1000);
}
END
sed -i "s/=DALEK/=3.0.0/; s/=CURVE/=5.0.0/" "$dir/Cargo.toml"
cd "$dir"
vector=$(CARGO_TARGET_DIR=$dir/vector cargo run --release --quiet)
serial=$(CARGO_TARGET_DIR=$dir/serial RUSTFLAGS='--cfg curve25519_dalek_backend="serial"' cargo run --release --quiet)
printf '[profile.release.package.curve25519-dalek]\nopt-level = 3\n' >>Cargo.toml
fast=$(CARGO_TARGET_DIR=$dir/fast cargo run --release --quiet)
echo "median of one verification, microseconds: AVX2 code at opt-level z $vector, serial code at opt-level z $serial, AVX2 code at opt-level 3 $fast"
[ "$vector" -ge $((5 * serial)) ] || { echo "the slowdown is gone" >&2; exit 1; }
