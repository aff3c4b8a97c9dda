#!/usr/bin/env bash
# The Autobahn test suite, all its cases without compression (gatelet agrees on no extension), against the gateway's own socket
# (src/server/socket.rs) with an echo behind it (echo.rs). Any result that is not the one in expected.tsv is a failure.
#   tests/autobahn/run.sh             all cases, half a minute; installs the suite first if it is not there, another half
#   tests/autobahn/run.sh CASE...     only these, as the suite names them: 6.4.1 "7.*"
#   UPDATE=1 tests/autobahn/run.sh    all, and expected.tsv becomes what was seen
# One line for each case that is not as expected and one for each class; the last line counts the cases.
# Work files, and the suite's own report (report/index.html): target/autobahn.
#
# The suite is a program for Python 2. Debian 11 had the last one; its packages are unpacked below target/autobahn, not
# installed (seen on Debian 12, x86_64). Needed: apt, python3 with venv. AUTOBAHN_PYTHON=FILE takes another Python 2.7.
#
# expected.tsv: case, behavior, behaviorClose (the suite's words), and the code with which the gateway closed, "-" for none.
# For the suite no code is always as good as the right one; for expected.tsv it is not. Not simply OK are:
#   6.4.3, 6.4.4           NON-STRICT. A text that is not UTF-8 comes in one frame, bit by bit. It is turned down (1007) when
#                          the frame is whole, not at its first wrong byte: tungstenite looks at whole frames. No byte of it
#                          goes further, and its length is bounded, so a frame reader of our own would win nothing.
#   7.1.6, 7.13.1, 7.13.2  INFORMATIONAL, whatever is done. A long message before a close frame is answered before it; the
#                          close codes 5000 and 65535, which nobody may send, get 1002.
#
# Where the stack below (tungstenite) is known to be soft, and what became of it:
#   a breach or a message that is too large ends in an error, and the peer, who still sends, gets a reset in place of the close code:
#     mended in src/server/socket.rs. 1007 and 1002 are cases here; 1009 is no case of the suite. All three are asked of the gateway
#     itself, before hello and after it, by tests/it/wire_session.rs, and while the peer goes on talking by tests/it/floods.rs
#   texts are looked at as whole frames: explained above, and harmless
#   control frames and empty pieces are taken without end, in one go, and each ping is answered whether anybody reads or not:
#     bounded in src/server/socket.rs (limits READS_PER_TURN, PINGS_WAITING; tests/it/floods.rs). Its buffers, 128 KiB for each
#     connection and unlimited for writing, are given small sizes, and our own frames go around them (src/server/frame_stream.rs)
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
  python3 $here/verdict.py "$dir/report" $here/expected.tsv $mode
}

# logged FUNCTION: what it says is shown only if it fails
logged() {
  # in a shell of its own, in which a failing command ends it
  (set -e; "$1") >"$dir/$1.log" 2>&1 &
  wait $! || { tail -n 30 "$dir/$1.log"; echo "FAILED  $1"; exit 1; }
}

# from the place where this machine's packages come from, with a package list of its own
unpack_python() {
  local from apt=$dir/apt
  rm -rf "$dir/python" "$apt"
  mkdir -p "$dir/python" "$apt/lists/partial" "$apt/cache/archives/partial"
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

# with the libraries that Python 2.7 has of its own
old() { LD_LIBRARY_PATH=$(echo "$dir"/python/usr/lib/*-linux-gnu) "$@"; }

install_suite() {
  rm -rf "$dir/tools" "$dir/venv"
  python3 -m venv "$dir/tools"
  # the last one that makes an environment for Python 2.7
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

# a case gives up by itself, after 100 s at most
run_suite() { old timeout 900 "$dir/venv/bin/wstest" -m fuzzingclient -s "$dir/spec.json"; }

main "$@"
