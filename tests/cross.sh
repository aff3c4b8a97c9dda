#!/usr/bin/env bash
# Builds gatelet for the machines it is shipped to (CROSS_STD=debian unless set) and runs each file on what this machine can
# be made to run: the walk (tests/it/walk.rs) on every processor named below, and more where it says so.
#   tests/cross.sh [--no-build] [TRIPLE...]     default: all five triples
# One line for each binary and processor; the last line counts the tests. Work files: target/cross, logs: target/test-logs.
# Of another processor this shows the instructions, not the speed and not the kernel; of Windows, what Debian's wine knows of it.
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
  # a file that is too large is a failure, and runs all the same
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
    x86_64-unknown-linux-musl) it "$1: walk" "$1" "" walk:: ;;
    aarch64-unknown-linux-musl)
      qemu=$(tests/qemu.sh aarch64)
      # the processors of a Raspberry Pi 3 and 4, which have no instructions for AES and SHA, and one that has everything
      for cpu in cortex-a53 cortex-a72 max; do it "$1 $cpu: walk" "$1" "$qemu -cpu $cpu" walk::; done
      it "$1 cortex-a53: all integration tests" "$1" "$qemu -cpu cortex-a53"
      ;;
    armv7-unknown-linux-musleabihf) it "$1 cortex-a7: walk" "$1" "$(tests/qemu.sh arm) -cpu cortex-a7" walk:: ;;
    aarch64-pc-windows-gnullvm)
      check "$1 wine" tests/wine/setup.sh aarch64 || return 0
      keep_wine_up aarch64
      it "$1 wine: walk" "$1" "$wine/run-aarch64" walk::
      it "$1 wine: files and start" "$1" "$wine/run-aarch64" "${not_on_windows[@]}" cli_files:: start::
      service "$1" aarch64
      ;;
    x86_64-pc-windows-gnullvm)
      check "$1 wine" tests/wine/setup.sh x86_64 || return 0
      keep_wine_up x86_64
      it "$1 wine: walk" "$1" "$wine/run-x86_64" walk::
      it "$1 wine: files, processes and sockets" "$1" "$wine/run-x86_64" \
        "${not_on_windows[@]}" cli_files:: control_ui:: durable:: floods:: lifecycle:: start:: transcripts:: wire_session::
      service "$1" x86_64
      unit_tests "$1"
      ;;
    *) echo "tests/cross.sh: no target \"$1\"" >&2; exit 2 ;;
  esac
}

# what cannot be asked of a Windows program: systemd's notification, and a network namespace, which wine's server is outside of
not_on_windows=(--skip systemd_is_notified --skip one_address_cannot_crowd_out)

# it NAME TRIPLE RUNNER [FILTER...]: integration tests with that binary
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

# The unit tests as a program for Windows: what store/ and config/ make of its file system
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
    flags=(-Zbuild-std=std,panic_unwind,test)
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

# check NAME COMMAND...: said only when it fails, and counted then
check() {
  run "$@"
  [ $status -eq 0 ] || failure "$1" "$(log "$1")"
  return $status
}

# run NAME COMMAND...: into the log of that name; $status is the exit code
run() {
  local name=$1
  shift
  status=0
  "$@" >"$(log "$name")" 2>&1 || status=$?
}

log() { echo "$logs/$(tr -cs '[:alnum:]_\n' - <<<"$1").log"; }

# what the test program's last words say
tally() {
  local words
  words=$(grep -aE '^test result: ' "$(log "$1")" | tail -n 1 || true)
  count "$1" "$(of "$words" passed)" "$(of "$words" failed)" "$(of "$words" ignored)" "$2"
}

of() { sed -nE "s/.* ([0-9]+) $2.*/\1/p" <<<"$1" | grep . || echo 0; }

# count NAME PASSED FAILED SKIPPED SECONDS
count() {
  local name=$1 good=$2 bad=$3
  # a runner that fails without a failing test, or that ran nothing, is a failure too
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

# Wine's own services end with the last program that is none; those that a program under test started would hold its output
# open for as long, and cost seconds each time. This program ends when wine is stopped.
keep_wine_up() {
  rm -f "$wine/$1/keep"
  mkfifo "$wine/$1/keep"
  "$wine/run-$1" cmd.exe /c pause <>"$wine/$1/keep" >/dev/null 2>&1 &
  # when this has ended, wine is up
  "$wine/run-$1" cmd.exe /c ver </dev/null >/dev/null 2>&1 || true
}

# nothing of wine stays behind
stop_wine() {
  local stop
  for stop in "$wine"/stop-*; do
    if [ -x "$stop" ]; then "$stop" 2>/dev/null || true; fi
  done
}

main "$@"
