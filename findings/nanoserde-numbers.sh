#!/usr/bin/env bash
# nanoserde 0.2.1 reads some valid JSON numbers wrongly, and rejects others.
#
# Behaviour (0.2.1, derive(DeJson), all inputs are valid JSON by RFC 8259):
#   - An integer above i64::MAX read into an i64 field wraps to a negative number. No error.
#   - A number above the range of f64 becomes infinity, and is then written as `inf`: not JSON.
#   - A number with a plus sign in its exponent is rejected, even in an unknown member.
#   - An integer with a fraction of zero (1.0) is rejected for a u64 field.
# A u64 field is exact up to u64::MAX.
# Workaround: use only u64 and u32, and pass only members that the struct has.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat >"$dir/Cargo.toml" <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"
[dependencies]
nanoserde = { version = "=0.2.1", default-features = false, features = ["json"] }
[workspace]
END
cat >"$dir/src/main.rs" <<'END'
use nanoserde::{DeJson, SerJson};

#[derive(DeJson)]
struct Signed { n: i64 }
#[derive(DeJson)]
struct Unsigned { n: u64 }
#[derive(DeJson, SerJson)]
struct Float { n: f64 }

fn main() {
    let signed = |text| Signed::deserialize_json(text).map(|read| read.n).map_err(|_| "refused");
    let unsigned = |text| Unsigned::deserialize_json(text).map(|read| read.n).map_err(|_| "refused");
    println!("i64 from 18446744073709551615: {:?}", signed(r#"{"n":18446744073709551615}"#));
    println!("u64 from 18446744073709551615: {:?}", unsigned(r#"{"n":18446744073709551615}"#));
    println!("u64 from 1.0: {:?}", unsigned(r#"{"n":1.0}"#));
    println!("u64 beside an unknown member 1e+5: {:?}", unsigned(r#"{"n":1,"other":1e+5}"#));
    println!("u64 beside an unknown member 1e5: {:?}", unsigned(r#"{"n":1,"other":1e5}"#));
    let float = Float::deserialize_json(r#"{"n":1e999}"#).map_err(|_| "refused");
    println!("f64 from 1e999, written again: {:?}", float.map(|read| read.serialize_json()));
}
END
expected='i64 from 18446744073709551615: Ok(-1)
u64 from 18446744073709551615: Ok(18446744073709551615)
u64 from 1.0: Err("refused")
u64 beside an unknown member 1e+5: Err("refused")
u64 beside an unknown member 1e5: Ok(1)
f64 from 1e999, written again: Ok("{\"n\":inf}")'
seen=$(cd "$dir" && CARGO_TARGET_DIR=$dir/target cargo run --quiet)
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
  printf 'The behaviour changed. Expected:\n%s\n' "$expected" >&2
  exit 1
fi
