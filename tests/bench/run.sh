#!/usr/bin/env bash
# Measures gatelet and prints one table: ratios to an older build, then counts, then times. Also
# writes the table to target/bench.md. Takes six to nine minutes; about twice that with a second
# build.
#   tests/bench/run.sh [--against BUILD] [PART...]   all parts, or some of: instructions decision
#                      start messages memory idle reconnects sizes handshakes relay broadcast
#                      unauthenticated abuse openclaw
#   --against BUILD    measures an older build alternately with the new one: a binary, or a commit,
#                      which is built in a git worktree below target/against (for the target of
#                      GATELET_BIN, if that is a file for a target). Without it the ratios of counts
#                      refer to baseline.txt, and there are no ratios of times
#   GATELET_OLD=FILE   the same for a binary
#   GATELET_BIN=FILE   measures that binary instead of a release build
#   UPDATE=1           accepts the counted instructions (valgrind): writes them to instructions.txt
#   UPDATE=baseline    writes the counts of the older build to baseline.txt
#   BENCH_OPENCLAW=0   excludes OpenClaw 2026.1.29 and 2026.9.6, which are measured if
#                      tests/e2e/install.sh has installed them
#   BENCH_STRICT=1     fails also for times beyond their bounds; a count beyond its bound always
#                      fails
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p "${CARGO_TARGET_DIR:-target}"
target=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)

# old_build REVISION: builds that commit, for the target of GATELET_BIN if that is a file for a
# target
old_build() {
  local commit triple tree
  commit=$(git rev-parse --verify --quiet "$1^{commit}") || { echo "neither a binary nor a commit: $1" >&2; return 1; }
  triple=$(basename "$(dirname "$(realpath "$GATELET_BIN")")")
  tree=$target/against/$(git rev-parse --short "$commit")
  [ -e "$tree/.git" ] || git worktree add --quiet --detach "$tree" "$commit" >&2
  if [ -d "targets/$triple" ]; then
    (cd "$tree" && targets/build.sh "$triple") >&2
    echo "$tree/targets/$triple/gatelet"
  else
    (cd "$tree" && CARGO_TARGET_DIR=$tree/target cargo build --release --quiet --locked) >&2
    echo "$tree/target/release/gatelet"
  fi
}

against=${GATELET_OLD:-}
if [ "${1:-}" = --against ]; then
  against=${2:?--against needs a binary or a commit}
  shift 2
fi
export BENCH_DIR=${BENCH_DIR:-$target/bench-state}
export BENCH_TABLE=${BENCH_TABLE:-$target/bench.md}
mkdir -p "$BENCH_DIR"
cargo bench --quiet --bench numbers --no-run
if [ -z "${GATELET_BIN:-}" ]; then
  cargo build --release --quiet
  GATELET_BIN=$target/release/gatelet
fi
export GATELET_BIN
if [ -n "$against" ] && [ ! -f "$against" ]; then against=$(old_build "$against"); fi
export GATELET_OLD=$against
# ten thousand sockets at a time, on both sides
ulimit -n "$(ulimit -Hn)"
cargo bench --quiet --bench numbers -- "$@"
