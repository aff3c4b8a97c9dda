#!/usr/bin/env bash
# Prepares wine for tests of the Windows files.
#   tests/wine/setup.sh x86_64|aarch64   (as root on Debian 12; needs no binfmt)
# Creates a prefix for ARCH, and target/cross/wine/run-ARCH, which starts a
# Windows program and passes on arguments, environment, standard streams and exit code, and
# target/cross/wine/stop-ARCH, which ends all programs in that prefix.
# Debian's wine is unpacked below target/cross/wine, not installed. The ARM64 one runs in qemu's
# user emulator. Each prefix contains the DLL of bcryptprimitives.c, which Windows has and this wine
# lacks.
set -euo pipefail
cd "$(dirname "$0")/../.."
arch=${1:-}
case $arch in
  x86_64) debian=amd64 ;;
  aarch64) debian=arm64 ;;
  *) echo "usage: tests/wine/setup.sh x86_64|aarch64" >&2; exit 2 ;;
esac
work=$PWD/target/cross
home=$work/wine
root=$home/$arch/root
prefix=$home/$arch/prefix
wineserver=$root/usr/lib/wine/wineserver

main() {
  mkdir -p "$home/$arch"
  [ -e "$root/.done" ] || unpack_wine
  write_starters
  [ -e "$prefix/.done" ] || make_prefix
  install_shim
  write_runner
}

unpack_wine() {
  local tool=$home/mmdebstrap
  rm -rf "$root"
  if [ ! -x "$tool/usr/bin/mmdebstrap" ]; then
    mkdir -p "$tool"
    (cd "$tool" && apt-get download -qq mmdebstrap && dpkg -x mmdebstrap_*.deb . && rm mmdebstrap_*.deb) 2>>"$home/$arch/setup.log"
  fi
  # extract: runs no package scripts, so that packages for another processor need no emulator
  "$tool/usr/bin/mmdebstrap" --quiet --variant=extract --architectures=$debian --include=wine,wine64,libwine bookworm "$root" \
    2>>"$home/$arch/setup.log" || { tail "$home/$arch/setup.log" >&2; return 1; }
  touch "$root/.done"
}

# writes scripts with the names by which wine is started, and by which it starts itself and its
# server
write_starters() {
  local wine=$root/usr/lib/wine with libraries
  # With the loader and libraries of its own root, wine uses none of the host, and qemu needs no -L,
  # which would show wine another "/" than the kernel has. Wine finds its files relative to the
  # loader.
  cp -L "$root"/lib/"$arch"-linux-gnu/ld-linux-*.so.? "$wine/ld.so"
  libraries=$root/lib/$arch-linux-gnu:$root/usr/lib/$arch-linux-gnu
  with="exec '$wine/ld.so' --library-path '$libraries'"
  if [ "$arch" = aarch64 ]; then with="exec '$(tests/qemu.sh aarch64)' ${with#exec }"; fi
  # wine prepends its own name to the arguments of this script
  starter "$wine/wine64-preloader" "shift; $with '$wine/wine64' \"\$@\""
  starter "$home/$arch/wine" "$with '$wine/wine64' \"\$@\""
  starter "$wine/wineserver" "$with '$wine/wineserver64' \"\$@\""
}

# starter FILE LINE: writes a script; replaces an old one atomically, because it may be running
starter() {
  printf '#!/bin/sh\n%s\n' "$2" >"$1.new"
  chmod +x "$1.new"
  mv "$1.new" "$1"
}

environment() {
  echo "export WINEPREFIX='$prefix' WINESERVER='$wineserver' WINEDEBUG=\${WINEDEBUG:--all}"
  # no prompts to install Mono and the HTML engine, no menu entries on the host
  echo "export WINEDLLOVERRIDES='mscoree,mshtml=;winemenubuilder.exe=d'"
  echo "unset DISPLAY WAYLAND_DISPLAY"
}

make_prefix() {
  # a server is identified by the inode of its prefix, which the next prefix may reuse
  if [ -d "$prefix" ]; then (eval "$(environment)" && "$wineserver" -k) || true; fi
  rm -rf "$prefix"
  mkdir -p "$prefix/drive_c/windows/system32"
  # Debian's x86_64 wine expects this library below /usr, where nothing is installed
  if [ "$arch" = x86_64 ]; then cp "$root/usr/x86_64-w64-mingw32/lib/zlib1.dll" "$prefix/drive_c/windows/system32/"; fi
  (eval "$(environment)" && "$home/$arch/wine" wineboot --init && "$wineserver" -w) </dev/null >>"$home/$arch/setup.log" 2>&1 ||
    { tail "$home/$arch/setup.log" >&2; return 1; }
  [ -d "$prefix/drive_c/windows/system32" ] || { echo "wine made no prefix: $home/$arch/setup.log" >&2; return 1; }
  touch "$prefix/.done"
}

install_shim() {
  local dll=$prefix/drive_c/windows/system32/bcryptprimitives.dll
  if [ ! "$dll" -nt tests/wine/bcryptprimitives.c ]; then
    install_zig
    ZIG_GLOBAL_CACHE_DIR=$work/zig-cache ZIG_LOCAL_CACHE_DIR=$work/zig-cache "$work/venv/bin/python" -m ziglang cc \
      -target "$arch-windows-gnu" -Os -shared -nostdlib -Wl,--entry,DllMainCRTStartup \
      -o "$home/$arch/bcryptprimitives.dll" tests/wine/bcryptprimitives.c -ladvapi32
    cp "$home/$arch/bcryptprimitives.dll" "$dll"
  fi
}

# the same zig as in targets/build.sh, which may have installed it
install_zig() {
  local stamp
  # shellcheck disable=SC2016
  stamp="ziglang==$(sed -n 's/^zig_version=//p' targets/build.sh) cargo-zigbuild==$(sed -n 's/^zigbuild_version=//p' targets/build.sh)"
  [ "$(cat "$work/venv/.stamp" 2>/dev/null)" != "$stamp" ] || return 0
  rm -rf "$work/venv"
  python3 -m venv "$work/venv"
  # shellcheck disable=SC2086
  "$work/venv/bin/pip" install -q $stamp
  echo "$stamp" >"$work/venv/.stamp"
}

write_runner() {
  starter "$home/run-$arch" "$(environment)"$'\n'"exec '$home/$arch/wine' \"\$@\""
  starter "$home/stop-$arch" "$(environment)"$'\n'"exec '$wineserver' -k"
  echo "$home/run-$arch"
}

main
