#!/usr/bin/env bash
# nanoserde's derive cannot read a struct whose field type comes from a macro as a `ty` fragment.
#
# Behaviour (nanoserde 0.2.1, rustc 1.95): a macro_rules! macro that declares a struct with
# #[derive(DeJson)] compiles if it takes the type of a field as `ident` or `tt`. If it takes the
# type as `ty`, as is usual, the derive fails at compile time, because the compiler passes such a
# fragment as a group without delimiters. The same struct written by hand compiles, and so does the
# same macro with derive(Debug).
# The script fails if all three behave the same.
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
# compiles FRAGMENT DERIVE: prints whether the macro with that fragment and derive compiles
compiles() {
  cat >"$dir/src/main.rs" <<END
macro_rules! declare {
    (\$name:ident { \$field:ident: \$type:$1 }) => {
        #[derive($2)]
        #[allow(dead_code)]
        struct \$name {
            \$field: \$type,
        }
    };
}
declare!(Message { n: u64 });
fn main() {}
END
  if (cd "$dir" && CARGO_TARGET_DIR=$dir/target cargo check --quiet >"$dir/log" 2>&1); then echo yes; else echo no; fi
}
ident=$(compiles ident nanoserde::DeJson)
ty=$(compiles ty nanoserde::DeJson)
echo "error of the compiler: $(grep -m1 -E '^error|panicked|Expected|help: message' "$dir/log")"
debug=$(compiles ty Debug)
echo "compiles with derive(DeJson) and \$type:ident: $ident, with \$type:ty: $ty; with derive(Debug) and \$type:ty: $debug"
[ "$ident $ty $debug" = "yes no yes" ] || { echo "the behaviour changed" >&2; exit 1; }
