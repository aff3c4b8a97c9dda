#!/usr/bin/env bash
# Prints the instructions of one operation by module or package, source file and function, as
# counted by callgrind.
#   tests/bench/profile.sh [OPERATION...]   handshake-v4 handshake-v3 health node.invoke
#                      broadcast-to-one; default: all of them
#   GATELET_BIN=FILE   profiles that binary, which must have symbols, instead of building one
# The raw files are target/bench-state/callgrind.OPERATION.N, for callgrind_annotate.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v valgrind >/dev/null || { echo "needs valgrind" >&2; exit 1; }
mkdir -p "${CARGO_TARGET_DIR:-target}"
target=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
export BENCH_DIR=${BENCH_DIR:-$target/bench-state}
mkdir -p "$BENCH_DIR"
if [ -z "${GATELET_BIN:-}" ]; then
  cargo build --profile profiling --quiet
  GATELET_BIN=$target/profiling/gatelet
fi
export GATELET_BIN
cargo bench --quiet --bench numbers -- profile "$@"
