#!/usr/bin/env bash
# Builds gatelet for the machines it is shipped to (CROSS_STD=debian unless set) and starts what this machine can run:
# the ARM64 Linux file under qemu as a Raspberry Pi 3's processor, the x86_64 one as it is, the 32-bit one under qemu.
#   tests/cross.sh [--no-build] [TRIPLE...]     default: all five
# Work files: target/cross. Of another machine's processor this shows the instructions, not the speed and not the kernel.
set -euo pipefail
cd "$(dirname "$0")/.."
export CROSS_STD=${CROSS_STD:-debian}
qemu_dir=target/cross/qemu
build=yes
if [ "${1:-}" = --no-build ]; then build=no; shift; fi
triples=("$@")
[ ${#triples[@]} -gt 0 ] || triples=(x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf
  aarch64-pc-windows-gnullvm x86_64-pc-windows-gnullvm)

main() {
  local status=0
  # a file that is too large is a failure, and runs all the same
  if [ $build = yes ]; then targets/build.sh "${triples[@]}" || status=1; fi
  for triple in "${triples[@]}"; do
    case $triple in
      x86_64-unknown-linux-musl) smoke "$triple" ;;
      aarch64-unknown-linux-musl)
        qemu aarch64
        for cpu in cortex-a53 cortex-a72 max; do smoke "$triple" "$qemu" -cpu $cpu; done
        ;;
      armv7-unknown-linux-musleabihf)
        qemu arm
        smoke "$triple" "$qemu" -cpu cortex-a7
        ;;
      *) echo "not run $triple: built only" ;;
    esac || status=1
  done
  return $status
}

# qemu ARCH: sets $qemu; Debian's package is unpacked, not installed, where the host has none
qemu() {
  qemu=$(command -v "qemu-$1-static") && return
  qemu=$PWD/$qemu_dir/usr/bin/qemu-$1-static
  [ -x "$qemu" ] && return
  mkdir -p "$qemu_dir"
  (cd "$qemu_dir" && apt-get download -qq qemu-user-static && dpkg -x qemu-user-static_*.deb . && rm qemu-user-static_*.deb)
}

# smoke TRIPLE [RUNNER...]: start, ready, the commands that work through the running gateway, stop by SIGTERM
smoke() (
  file=targets/$1/gatelet
  name="$1 ${*:4}"
  shift
  state=$(mktemp -d)
  gateway=
  trap 'if [ -n "$gateway" ]; then kill -9 "$gateway" 2>/dev/null || true; fi; rm -rf "$state"' EXIT
  unset GATELET_TOKEN OPENCLAW_GATEWAY_TOKEN GATELET_CONFIG OPENCLAW_CONFIG_PATH
  gatelet() { "${runner[@]}" "$file" --state-dir "$state" "$@"; }
  runner=(env NO_COLOR=1 "$@")
  port=$((20000 + $$ % 20000))
  step() { "$@" >>"$state/out" 2>&1 || { echo "FAILED  $name: ${*: -2}"; cat "$state/out" "$state/log"; exit 1; }; }
  holds() { grep -q -- "$1" "$state/out"; }

  "${runner[@]}" "$file" --state-dir "$state" run --port $port >"$state/log" 2>&1 &
  gateway=$!
  for _ in $(seq 100); do
    if curl -fs "http://127.0.0.1:$port/readyz" >"$state/out" 2>/dev/null; then break; fi
    sleep 0.1
  done
  step curl -fsS "http://127.0.0.1:$port/readyz"
  step gatelet health
  step gatelet url
  step holds "http://127.0.0.1:$port/#token="
  step gatelet pair
  step holds "oc-pair"
  step gatelet devices list
  step gatelet status
  kill -TERM "$gateway"
  wait "$gateway" || { echo "FAILED  $name: stop by SIGTERM: exit code $?"; cat "$state/log"; exit 1; }
  gateway=
  step gatelet table check
  echo "ok      $name: starts, ready, url, pair, devices list, status, SIGTERM, table check"
)

main
