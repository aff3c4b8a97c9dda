#!/usr/bin/env bash
# Builds gatelet as it is shipped, measures it and prints the tables of the design's numbers, which are also in
# target/bench.md then. Some four minutes.
#   tests/bench/run.sh [instructions|idle|strangers|openclaw]   only these
#   BENCH_OPENCLAW=0   not side by side with OpenClaw 2026.1.29 and 2026.9.6, which is done when tests/e2e/install.sh installed them
#   BENCH_STRICT=1     a missed target is a failure; one of a count that no load moves is one anyway
#   GATELET_BIN=FILE   measures that binary instead
#   UPDATE=1           writes the instructions that were counted (valgrind) to instructions.txt; more of them than that and a
#                      margin is a failure. "tests/bench/run.sh instructions" counts them and measures nothing else
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p "${CARGO_TARGET_DIR:-target}"
target=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
export BENCH_DIR=${BENCH_DIR:-$target/bench-state}
cargo bench --quiet --bench numbers --no-run
if [ -z "${GATELET_BIN:-}" ]; then
  cargo build --release --quiet
  GATELET_BIN=$target/release/gatelet
fi
export GATELET_BIN
export BENCH_TABLE=${BENCH_TABLE:-$target/bench.md}
# ten thousand sockets at a time, on both sides
ulimit -n "$(ulimit -Hn)"
cargo bench --quiet --bench numbers -- "$@"
