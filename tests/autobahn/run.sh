#!/usr/bin/env bash
# Runs the Autobahn test suite, all cases without compression (gatelet accepts no extension),
# against the gateway's own socket (src/server/net/websocket.rs) in an echo server (echo.rs). A
# result that differs from expected.tsv is a failure.
#   tests/autobahn/run.sh             all cases, half a minute; plus half a minute to install the
#                                     suite at the first run
#   tests/autobahn/run.sh CASE...     some cases, as the suite names them: 6.4.1 "7.*"
#   UPDATE=1 tests/autobahn/run.sh    all cases, and writes the results to expected.tsv
# Prints one line per unexpected result and one per class; the last line counts the cases.
# Work files, including the suite's own report (report/index.html): target/autobahn.
#
# The suite is a Python 2 program. Debian 11 was the last release with Python 2; its packages are
# unpacked below target/autobahn, not installed (tested on Debian 12, x86_64). Requires apt and
# python3 with venv. AUTOBAHN_PYTHON=FILE uses another Python 2.7.
#
# expected.tsv: case, behavior, behaviorClose (terms of the suite), and the close code sent by the
# gateway, "-" for none. The suite accepts a missing close code in place of the right one;
# expected.tsv does not. Results other than OK:
#   6.4.3, 6.4.4           NON-STRICT. Invalid UTF-8 text is sent in one frame in several parts. It
#                          is rejected (1007) when the frame is complete, not at the first invalid
#                          byte, because tungstenite validates whole frames. No byte is processed
#                          further and the length is bounded, so a frame reader of our own would
#                          have no benefit.
#   7.1.6, 7.13.1, 7.13.2  INFORMATIONAL for any behavior. A long message before a close frame is
#                          answered first; the close codes 5000 and 65535, which no peer may send,
#                          are answered with 1002.
#
# Known weaknesses of tungstenite, and how they are handled:
#   After a protocol error or an oversized message, a peer that is still sending receives a reset
#     instead of the close code: fixed in src/server/net/websocket.rs. 1007 and 1002 are covered by
#     cases of this suite; 1009 is not. tests/it/handshake/session.rs tests all three before and
#     after hello, and tests/it/handshake/floods.rs while the peer continues to send.
#   Texts are validated as whole frames: explained above, and harmless.
#   Control frames and empty fragments are accepted without limit in one read, and each ping is
#     answered even if the peer does not read: bounded in src/server/net/websocket.rs (limits
#     READS_PER_TURN, PINGS_WAITING; tests/it/handshake/floods.rs). Its buffers, 128 KiB per
#     connection and unlimited for writing, are configured small, and our own frames bypass them
#     (src/server/net/frame_stream.rs).
set -euo pipefail
cd "$(dirname "$0")/../.."
here=tests/autobahn
dir=$PWD/target/autobahn
python=${AUTOBAHN_PYTHON:-$dir/python/usr/bin/python2.7}
export CARGO_TERM_COLOR=never PIP_DISABLE_PIP_VERSION_CHECK=1
echo_pid=

main() {
  local mode=${UPDATE:+update}
  if [ $# -gt 0 ]; then mode=part; fi
  mkdir -p "$dir"
  trap 'if [ -n "$echo_pid" ]; then kill "$echo_pid"; fi' EXIT
  if [ -z "${AUTOBAHN_PYTHON:-}" ] && [ ! -e "$dir/python/.done" ]; then
    logged unpack_python
  fi
  if [ "$(cat "$dir/venv/.stamp" 2>/dev/null)" != "$(stamp)" ]; then logged install_suite; fi
  cargo build --quiet --locked --example autobahn
  start_echo
  write_spec "$@"
  rm -rf "$dir/report"
  logged run_suite
  python3 $here/verdict.py "$dir/report" $here/expected.tsv ${mode:+"$mode"}
}

# logged FUNCTION: prints the output of the function only if it fails
logged() {
  # a separate shell, which exits when a command fails
  (set -e; "$1") >"$dir/$1.log" 2>&1 &
  wait $! || { tail -n 30 "$dir/$1.log"; echo "FAILED  $1"; exit 1; }
}

# downloads from the package source of this machine, with a separate package list
unpack_python() {
  local from apt=$dir/apt
  rm -rf "$dir/python" "$apt"
  mkdir -p "$dir/python" "$apt/lists/partial" "$apt/cache/archives/partial"
  # shellcheck disable=SC2016  # for apt
  from=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m 1 '/debian/*$')
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from bullseye main" >"$apt/sources.list"
  cat >"$apt/apt.conf" <<END
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "-";
Dir::State::Lists "$apt/lists";
Dir::Cache "$apt/cache";
Acquire::Languages "none";
APT::Sandbox::User "root";
END
  export APT_CONFIG=$apt/apt.conf
  apt-get -q update
  cd "$apt"
  apt-get -q download python2.7-minimal libpython2.7-minimal libpython2.7-stdlib libssl1.1 libffi7
  for deb in *.deb; do dpkg -x "$deb" "$dir/python"; done
  rm -rf "$apt"
  touch "$dir/python/.done"
}

stamp() { echo "$python $(cat $here/requirements.txt)"; }

# runs a command with the libraries of the unpacked Python 2.7
old() { LD_LIBRARY_PATH=$(echo "$dir"/python/usr/lib/*-linux-gnu) "$@"; }

install_suite() {
  rm -rf "$dir/tools" "$dir/venv"
  python3 -m venv "$dir/tools"
  # the last version that creates environments for Python 2.7
  "$dir/tools/bin/pip" install virtualenv==20.15.1
  old "$dir/tools/bin/virtualenv" --no-download -p "$python" "$dir/venv"
  old "$dir/venv/bin/pip" install --no-deps -r $here/requirements.txt
  old "$dir/venv/bin/wstest" --autobahnversion
  stamp >"$dir/venv/.stamp"
}

start_echo() {
  rm -f "$dir/address"
  mkfifo "$dir/address"
  target/debug/examples/autobahn >"$dir/address" 2>"$dir/echo.log" &
  echo_pid=$!
  read -r address <"$dir/address" || { cat "$dir/echo.log"; echo "FAILED  no echo"; exit 1; }
}

write_spec() {
  local cases=', "*"'
  if [ $# -gt 0 ]; then cases=$(printf ', "%s"' "$@"); fi
  cat >"$dir/spec.json" <<END
{
  "outdir": "$dir/report",
  "servers": [{ "agent": "gatelet", "url": "ws://$address" }],
  "cases": [${cases#, }],
  "exclude-cases": ["12.*", "13.*"]
}
END
}

# a case times out after at most 100 s
run_suite() { old timeout 900 "$dir/venv/bin/wstest" -m fuzzingclient -s "$dir/spec.json"; }

main "$@"
