#!/usr/bin/env bash
# Builds gatelet as it is shipped, measures it and prints the table of the design's numbers. Writes only below target/.
#   BENCH_OPENCLAW=1   side by side with OpenClaw 2026.1.29 (tests/e2e/install.sh installs it)
#   BENCH_STRICT=1     a missed target is a failure
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
ulimit -n 8192 2>/dev/null || true
cargo bench --quiet --bench numbers -- "$@"
