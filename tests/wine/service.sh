#!/usr/bin/env bash
# Tests gatelet.exe as a Windows service and on a console, under wine.
#   tests/wine/service.sh RUNNER EXE
# RUNNER is the output of tests/wine/setup.sh. Prints one line "ok ..." per check; exits with code 1
# at the first failure. Wine's service manager differs from Windows': rights, accounts, start at
# boot and restarts are not covered.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# = 2 ] || { echo "usage: tests/wine/service.sh RUNNER EXE" >&2; exit 2; }
runner=$1
exe=$(realpath "$2")
export LC_ALL=C.UTF-8
unset GATELET_TOKEN OPENCLAW_GATEWAY_TOKEN GATELET_CONFIG OPENCLAW_CONFIG_PATH GATELET_LOG WT_SESSION TERM_PROGRAM
service=gatelet-test-$$
# a port on which nothing listens, outside of the range of ephemeral ports
port=$((20000 + $$ % 10000))
while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
work=$(mktemp -d)
# a space and a non-ASCII letter, as in many user names
state="$work/state of J"$'\xc3\xb6'"rg"
keeper='' holder='' blocker=''

main() {
  trap cleanup EXIT
  keep_wine_up
  by_hand
  console
  held_open
  create
  starts_and_serves
  stops_cleanly
  finds_its_table_again
  cannot_start
}

cleanup() {
  wine net.exe stop "$service" >/dev/null 2>&1 || true
  wine sc.exe delete "$service" >/dev/null 2>&1 || true
  exec 8>&- 9>&- || true
  for process in $holder $blocker $keeper; do kill "$process" 2>/dev/null || true; done
  rm -rf "$work"
}

# wine's service manager and all services end with the last user program
keep_wine_up() {
  mkfifo "$work/keep"
  wine cmd.exe /c pause <"$work/keep" >/dev/null 2>&1 &
  keeper=$!
  exec 9>"$work/keep"
}

by_hand() {
  if wine "$exe" service --state-dir "$(windows_path "$state")" >"$work/out" 2>&1; then fail "service by hand: exit code 0"; fi
  holds ' run`; to make it a service'
  ok "started by hand, it says what it is for"
}

console() {
  local code=0
  python3 "$here/console.py" 120 '#token=' "$runner" "$exe" run --state-dir "$(windows_path "$state")" --port $port >"$work/out" 2>&1 9>&- || code=$?
  [ $code = 0 ] || fail "Ctrl-C on a console: exit code $code"
  holds "stopping: interrupted"
  holds " info stopped"
  [ ! -e "$state/gateway.addr" ] || fail "Ctrl-C on a console: gateway.addr is left"
  ok "on a console it shows the link, and Ctrl-C stops it cleanly"
}

# simulates a virus scanner or backup that holds a file open, with the command interpreter
held_open() {
  local dir=$work/busy mine
  mine=$(windows_path "$dir")
  mkdir "$dir"
  wine "$exe" token rotate --state-dir "$mine" >"$work/out" 2>&1 || fail "token rotate"
  mkfifo "$work/hold"
  hold_token() {
    wine cmd.exe /c "pause >> $mine\\token" <"$work/hold" >/dev/null 2>&1 &
    exec 8>"$work/hold"
    for _ in $(seq 100); do if grep -q any "$dir/token"; then break; fi; sleep 0.1; done
  }
  hold_token
  if wine "$exe" token rotate --state-dir "$mine" >"$work/out" 2>&1 8>&-; then fail "it replaced a file that another program holds"; fi
  holds "cannot write $mine\\token"
  # the program retries for half a second from its start, which the test cannot observe exactly
  local pause replaced=
  for pause in 0.3 0.5 0.7 1 1.5; do
    wine "$exe" token rotate --state-dir "$mine" >"$work/out" 2>&1 8>&- &
    local rotate=$!
    sleep $pause
    exec 8>&-
    if wait $rotate; then replaced=yes; break; fi
    hold_token
  done
  [ "$replaced" ] || fail "a file that was held for a moment could not be replaced"
  holds "new token"
  ok "a file that another program holds is waited for, and named when that lasts"
}

create() {
  wine sc.exe create "$service" start= demand \
    binPath= "\"$(windows_path "$exe")\" service --state-dir \"$(windows_path "$state")\" --port $port" >"$work/out" 2>&1 || fail "sc create"
}

starts_and_serves() {
  start
  await_state RUNNING
  # RUNNING implies that the gateway listens, so there is no wait here
  curl -fsS -m 20 "http://127.0.0.1:$port/readyz" >"$work/out" 2>&1 || fail "the running service does not answer"
  ok "the manager starts it; RUNNING, it answers at once"
  hold
  wine "$exe" status --state-dir "$(windows_path "$state")" >"$work/out" 2>&1 || fail "status beside the service"
  holds "127.0.0.1:$port"
  ok "a client says hello; status finds the service through its state directory, whose name has a blank and an umlaut"
  python3 "$here/console.py" 60 '' "$runner" "$exe" pair --state-dir "$(windows_path "$state")" >"$work/out" 2>&1 9>&- || fail "pair on a console"
  holds $'\xe2\x96\x80'
  ! holds_now $'\x1b[97;40m' || fail "colours on a console that may not read them"
  ok "pair draws its QR code on a console, without colours"
  ! grep -qF -- "$(cat "$state/token")" "$state/gatelet.log" || fail "the token is in the log"
  ok "the log is there, and the token is not in it"
}

stops_cleanly() {
  wine net.exe stop "$service" >"$work/out" 2>&1 || fail "net stop"
  await_state STOPPED
  holds "SERVICE_EXIT_CODE  : 0"
  wait "$holder" || fail "the client was cut off"
  holder=''
  cp "$work/held" "$work/out"
  holds "event shutdown"
  holds "closed 1012"
  [ ! -e "$state/gateway.addr" ] || fail "gateway.addr is left after a stop"
  tail -1 "$state/gatelet.log" >"$work/out"
  holds " info stopped"
  ok "the manager stops it: the client gets the shutdown event and a close, the log ends in \"stopped\""
}

finds_its_table_again() {
  local before
  before=$(cat "$state/token")
  start
  await_state RUNNING
  wine "$exe" devices list --state-dir "$(windows_path "$state")" >"$work/out" 2>&1 || fail "devices list beside the service"
  if wine "$exe" table check --state-dir "$(windows_path "$state")" >"$work/out" 2>&1; then fail "table check took a table in use"; fi
  wine net.exe stop "$service" >"$work/out" 2>&1 || fail "the second net stop"
  await_state STOPPED
  [ "$(cat "$state/token")" = "$before" ] || fail "another token after the second start"
  wine "$exe" table check --state-dir "$(windows_path "$state")" >"$work/out" 2>&1 || fail "table check"
  ok "a second start finds the table, which is locked while it runs and good afterwards"
}

cannot_start() {
  python3 -m http.server --bind 127.0.0.1 $port >/dev/null 2>&1 &
  blocker=$!
  for _ in $(seq 100); do if curl -s -o "$work/out" "http://127.0.0.1:$port/"; then break; fi; sleep 0.1; done
  start
  await_state STOPPED
  holds "SERVICE_EXIT_CODE  : 1 "
  tail -1 "$state/gatelet.log" >"$work/out"
  holds "not started: cannot listen on 127.0.0.1:$port: the port is in use"
  ok "when the port is taken, the manager gets an error and the log the reason"
}

start() {
  # wine's exit code does not tell whether the service started
  wine net.exe start "$service" >"$work/out" 2>&1 || true
}

# connects a client that is still connected when the service stops
hold() {
  python3 "$here/hold.py" $port "$state/token" >"$work/held" 2>&1 9>&- &
  holder=$!
  for _ in $(seq 200); do if [ -s "$work/held" ]; then break; fi; sleep 0.1; done
  cp "$work/held" "$work/out"
  holds "hello 4"
}

await_state() {
  for _ in $(seq 100); do
    wine sc.exe query "$service" 2>&1 | tr -d '\r' >"$work/out"
    if grep -q "STATE .*$1" "$work/out"; then return; fi
    sleep 0.2
  done
  fail "the service does not get $1"
}

wine() { "$runner" "$@" 9>&-; }

# converts a path to that of Windows programs (drive Z:)
windows_path() { printf 'Z:%s' "${1//\//\\}"; }

holds_now() { grep -qF -- "$1" "$work/out"; }

holds() { holds_now "$1" || fail "missing: $1"; }

ok() { echo "ok      $*"; }

fail() {
  echo "FAILED  $*"
  cat "$work/out" 2>/dev/null || true
  tail -5 "$state/gatelet.log" 2>/dev/null || true
  exit 1
}

main
