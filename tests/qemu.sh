#!/usr/bin/env bash
# Prints the path of qemu's user emulator for a processor family: tests/qemu.sh aarch64|arm
# If the host has none, Debian's package is unpacked below target/cross/qemu, not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v "qemu-$1-static" && exit
unpacked=$PWD/target/cross/qemu
if [ ! -x "$unpacked/usr/bin/qemu-$1-static" ]; then
  mkdir -p "$unpacked"
  (cd "$unpacked" && apt-get download -qq qemu-user-static && dpkg -x qemu-user-static_*.deb . && rm qemu-user-static_*.deb) >&2
fi
echo "$unpacked/usr/bin/qemu-$1-static"
