#!/usr/bin/env bash
# Builds gatelet for all targets that are shipped (CROSS_STD=debian unless set) and runs each file
# as far as this machine can: the first-use test (tests/it/cli/first_use.rs) on every processor
# named below, and more where noted.
#   tests/cross.sh [--no-build] [TRIPLE...]     default: all five triples
# Prints one line per binary and processor; the last line counts the tests. Work files:
# target/cross, logs: target/test-logs. Emulation of another processor tests its instructions, not
# its speed and not its kernel; Windows is tested as far as Debian's wine implements it.
set -euo pipefail
cd "$(dirname "$0")/.."
export CROSS_STD=${CROSS_STD:-debian} CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
unset GATELET_BIN GATELET_RUNNER GATELET_PATIENCE
logs=target/test-logs/cross
wine=$PWD/target/cross/wine
passed=0 failed=0 skipped=0

main() {
  local build=yes triple triples
  if [ "${1:-}" = --no-build ]; then build=no; shift; fi
  triples=("$@")
  [ ${#triples[@]} -gt 0 ] || triples=(x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf
    aarch64-pc-windows-gnullvm x86_64-pc-windows-gnullvm)
  mkdir -p $logs
  trap stop_wine EXIT
  # a file over the size limit is a failure, but is tested nevertheless
  if [ $build = yes ]; then
    check "build" targets/build.sh "${triples[@]}" || true
    grep -a ' bytes' "$(log build)" || true
  fi
  check "build of the tests" cargo test --locked --test it --no-run || { echo "0 passed, $failed failed, 0 skipped"; exit 1; }
  tests=$(sed -n 's/^ *Executable tests\/it\/main.rs (\(.*\))$/\1/p' "$(log "build of the tests")")
  for triple in "${triples[@]}"; do
    check "$triple: what it is made of" grep -qF "$(cut -c 1-64 "targets/$triple"/gatelet*.sha256)" \
      "targets/$triple/gatelet.cdx.json" || true
    on "$triple"
  done
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" -eq 0 ]
}

on() {
  local qemu cpu
  case $1 in
    x86_64-unknown-linux-musl) it "$1: first use" "$1" "" cli::first_use:: ;;
    aarch64-unknown-linux-musl)
      qemu=$(tests/qemu.sh aarch64)
      # the processors of a Raspberry Pi 3 and 4, which have no instructions for AES and SHA, and
      # one with all features
      for cpu in cortex-a53 cortex-a72 max; do it "$1 $cpu: first use" "$1" "$qemu -cpu $cpu" cli::first_use::; done
      it "$1 cortex-a53: all integration tests" "$1" "$qemu -cpu cortex-a53"
      ;;
    armv7-unknown-linux-musleabihf) it "$1 cortex-a7: first use" "$1" "$(tests/qemu.sh arm) -cpu cortex-a7" cli::first_use:: ;;
    aarch64-pc-windows-gnullvm)
      check "$1 wine" tests/wine/setup.sh aarch64 || return 0
      keep_wine_up aarch64
      it "$1 wine: first use" "$1" "$wine/run-aarch64" cli::first_use::
      it "$1 wine: files and start" "$1" "$wine/run-aarch64" "${not_on_windows[@]}" cli::files:: cli::start::
      service "$1" aarch64
      ;;
    x86_64-pc-windows-gnullvm)
      check "$1 wine" tests/wine/setup.sh x86_64 || return 0
      keep_wine_up x86_64
      it "$1 wine: first use" "$1" "$wine/run-x86_64" cli::first_use::
      it "$1 wine: files, processes and sockets" "$1" "$wine/run-x86_64" \
        "${not_on_windows[@]}" cli::files:: http::control_ui:: store::durability:: handshake::floods:: handshake::lifecycle:: \
        cli::start:: handshake::transcripts:: handshake::session::
      service "$1" x86_64
      unit_tests "$1"
      ;;
    *) echo "tests/cross.sh: no target \"$1\"" >&2; exit 2 ;;
  esac
}

# tests that a Windows program cannot run: systemd notification, a network namespace, because wine's
# server is outside of it, and a refusal that needs a limit of descriptors
not_on_windows=(--skip systemd_is_notified --skip one_address_cannot_crowd_out
  --skip refusals_match_the_transcripts)

# it NAME TRIPLE RUNNER [FILTER...]: runs the integration tests with that binary
it() {
  local name=$1 triple=$2 runner=$3 file from
  shift 3
  file=$PWD/targets/$triple/gatelet
  case $triple in *-windows-*) file=$file.exe ;; esac
  if [ ! -x "$file" ]; then
    failure "$name: no $file"
    return
  fi
  from=$SECONDS
  GATELET_BIN=$file GATELET_RUNNER=$runner \
    run "$name" timeout 1800 "$tests" --test-threads=3 "$@"
  tally "$name" $((SECONDS - from))
}

# Builds the unit tests as a Windows program and runs those of store/ and config/, which use the
# file system
unit_tests() {
  local name="$1 wine: unit tests" from=$SECONDS program
  if ! check "$1 build of the unit tests" build_unit_tests "$1"; then return; fi
  program=$(sed -n 's/^ *Executable unittests src\/lib.rs (\(.*\))$/\1/p' "$(log "$1 build of the unit tests")")
  run "$name" timeout 900 "$wine/run-x86_64" "$program"
  tally "$name" $((SECONDS - from))
}

build_unit_tests() (
  # shellcheck disable=SC2030
  export PATH=$PWD/target/cross/venv/bin:$PATH ZIG_GLOBAL_CACHE_DIR=$PWD/target/cross/zig-cache
  export CARGO_ZIGBUILD_CACHE_DIR=$PWD/target/cross/zigbuild-cache CARGO_TARGET_DIR=target/cross/unit-tests
  flags=()
  if [ "$CROSS_STD" = debian ]; then
    export RUSTC=$PWD/target/cross/debian/rustc RUSTC_BOOTSTRAP=1
    flags=("-Zbuild-std=std,panic_unwind,test")
  fi
  cargo-zigbuild test --locked --lib --no-run --target "$1" ${flags[@]+"${flags[@]}"}
)

service() {
  local name="$1 wine: service" from=$SECONDS good bad
  [ -x tests/wine/service.sh ] || return 0
  run "$name" timeout 900 tests/wine/service.sh "$wine/run-$2" "targets/$1/gatelet.exe"
  good=$(grep -c '^ok ' "$(log "$name")" || true)
  bad=$(grep -c '^FAILED ' "$(log "$name")" || true)
  count "$name" "$good" "$bad" 0 $((SECONDS - from))
}

# check NAME COMMAND...: runs a check; prints and counts it only if it fails
check() {
  run "$@"
  [ $status -eq 0 ] || failure "$1" "$(log "$1")"
  return $status
}

# run NAME COMMAND...: writes output to the log of that name; sets $status to the exit code
run() {
  local name=$1
  shift
  status=0
  "$@" >"$(log "$name")" 2>&1 || status=$?
}

log() { echo "$logs/$(tr -cs '[:alnum:]_\n' - <<<"$1").log"; }

# reads the totals from the last result line of the test program
tally() {
  local words
  words=$(grep -aE '^test result: ' "$(log "$1")" | tail -n 1 || true)
  count "$1" "$(of "$words" passed)" "$(of "$words" failed)" "$(of "$words" ignored)" "$2"
}

of() { sed -nE "s/.* ([0-9]+) $2.*/\1/p" <<<"$1" | grep . || echo 0; }

# count NAME PASSED FAILED SKIPPED SECONDS: adds to the totals and prints a line
count() {
  local name=$1 good=$2 bad=$3
  # a runner that fails without a failing test, or that runs no test, is a failure too
  if [ "$bad" -eq 0 ] && { [ $status -ne 0 ] || [ "$good" -le 0 ]; }; then bad=1; fi
  passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + $4))
  if [ "$bad" -eq 0 ]; then
    echo "ok      $name: $good passed, $4 skipped ($5 s)"
  else
    echo "FAILED  $name: $good passed, $bad failed, $4 skipped ($5 s)"
    grep -aE '^test .* FAILED|panicked at' -A 3 "$(log "$name")" | head -n 40 || true
    tail -n 20 "$(log "$name")"
  fi
}

failure() {
  failed=$((failed + 1))
  echo "FAILED  $1"
  if [ $# -gt 1 ]; then tail -n 40 "$2"; fi
}

# Wine's services end with the last user program. Services started by a program under test would
# keep its output open and take seconds each time. This program runs until wine is stopped.
keep_wine_up() {
  rm -f "$wine/$1/keep"
  mkfifo "$wine/$1/keep"
  "$wine/run-$1" cmd.exe /c pause <>"$wine/$1/keep" >/dev/null 2>&1 &
  # wine is running when this command has ended
  "$wine/run-$1" cmd.exe /c ver </dev/null >/dev/null 2>&1 || true
}

# ends all processes of wine
stop_wine() {
  local stop
  for stop in "$wine"/stop-*; do
    if [ -x "$stop" ]; then "$stop" 2>/dev/null || true; fi
  done
}

main "$@"
