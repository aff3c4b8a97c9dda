#!/usr/bin/env bash
# Builds gatelet for all supported targets, one static file each, on an x86_64 or ARM64 Linux host.
#   CROSS_STD=rustup|debian targets/build.sh [--check-reproducible] [TRIPLE...]
# Without a TRIPLE, all five are built.
# CROSS_STD selects the source of the target's standard library; there is no fallback from one to
# the other (README.md in this directory):
#   rustup  prebuilt, by "rustup target add" (the default)
#   debian  built from source, with Debian's rustc-web and rust-web-src, unpacked below target/, not
#           installed
# Writes targets/TRIPLE/gatelet[.exe], its .sha256, for Linux its symbols (.debug), and the list of
# its components (gatelet.cdx.json, CycloneDX); all other files below target/cross (kept).
# --check-reproducible builds each file a second time in another directory and compares the bytes.
# Fails if a binary for ARM64 exceeds the size limit of the product (CROSS_STD=debian; a warning
# with rustup).
set -euo pipefail
cd "$(dirname "$0")/.."

all_triples="aarch64-unknown-linux-musl aarch64-pc-windows-gnullvm armv7-unknown-linux-musleabihf
  x86_64-unknown-linux-musl x86_64-pc-windows-gnullvm"
zig_version=0.17.1
zigbuild_version=0.24.0
# Size limits of the two files for ARM64, in bytes. The aims are smaller (README.md in this
# directory)
bytes_max() {
  case $1 in
    aarch64-*-linux-*) echo 1185000 ;;
    aarch64-*-windows-*) echo 1345000 ;;
  esac
}
root=$PWD
work=$root/target/cross
std=${CROSS_STD:-rustup}

main() {
  local check=no triples=()
  for argument in "$@"; do
    case $argument in
      --check-reproducible) check=yes ;;
      -*) fail "unknown option $argument; usage: targets/build.sh [--check-reproducible] [TRIPLE...]" ;;
      *) triples+=("$argument") ;;
    esac
  done
  # shellcheck disable=SC2206
  [ ${#triples[@]} -gt 0 ] || triples=($all_triples)
  for triple in "${triples[@]}"; do
    case " ${all_triples//$'\n'/ } " in *" $triple "*) ;; *) fail "unknown target \"$triple\"; the targets are: ${all_triples//$'\n'/}" ;; esac
  done
  mkdir -p "$work"
  install_zig
  case $std in
    rustup) rustup target add "${triples[@]}" ;;
    debian) install_debian_rustc ;;
    *) fail "CROSS_STD=$std: use rustup or debian" ;;
  esac
  for triple in "${triples[@]}"; do
    rm -f "targets/$triple"/gatelet*
    compile "$triple" "$work/build"
    publish "$triple"
    if [ $check = yes ]; then compare "$triple"; fi
  done
  # checked after the loop, so that the sizes of all files are printed
  [ "$too_large" = no ] || fail "a file exceeds its size limit"
}

fail() {
  echo "targets/build.sh: $*" >&2
  exit 1
}

# zig provides linker, C library and Windows import libraries for every target
install_zig() {
  local stamp="ziglang==$zig_version cargo-zigbuild==$zigbuild_version" venv=$work/venv
  if [ "$(cat "$venv/.stamp" 2>/dev/null)" != "$stamp" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    # shellcheck disable=SC2086
    "$venv/bin/pip" install -q $stamp
    echo "$stamp" >"$venv/.stamp"
  fi
  PATH=$venv/bin:$PATH
  export PATH ZIG_GLOBAL_CACHE_DIR=$work/zig-cache CARGO_ZIGBUILD_CACHE_DIR=$work/zigbuild-cache
}

# Debian keeps only the newest rustc-web of a release, so its version cannot be pinned: the first
# one downloaded is kept in $work.
install_debian_rustc() {
  local dir=$work/debian names libs
  libs=$dir/root/usr/lib/$(uname -m)-linux-gnu
  if [ ! -x "$dir/rustc" ]; then
    rm -rf "$dir"
    mkdir -p "$dir/deb" "$dir/root"
    names=$(apt-get install --print-uris -qq -y --no-install-recommends rustc-web rust-web-src | sed "s/^'[^']*' \([^_]*\)_.*/\1/")
    [ -n "$names" ] || fail "apt has no rustc-web and rust-web-src: needs Debian 12 or later, after \"apt-get update\""
    # shellcheck disable=SC2086
    (cd "$dir/deb" && apt-get download -qq $names)
    for package in "$dir"/deb/*.deb; do dpkg -x "$package" "$dir/root"; done
    rm -rf "$dir/deb"
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" "$@"\n' "$libs" "$dir/root/usr/bin/rustc" >"$dir/rustc.new"
    chmod +x "$dir/rustc.new"
    mv "$dir/rustc.new" "$dir/rustc"
  fi
  # build-std is unstable; Debian's compiler accepts unstable flags with this variable
  export RUSTC=$dir/rustc RUSTC_BOOTSTRAP=1
  echo "std: built from source by $("$RUSTC" -V)"
}

# compile TRIPLE TARGET_DIR: builds one target; the result contains no paths of this machine
compile() {
  local triple=$1 target_dir=$2 strip=none flags cargo_flags=() sysroot library compiler=${RUSTC:-rustc}
  sysroot=$("$compiler" --print sysroot)
  # The last matching prefix applies. cargo passes paths below $root as relative paths. The paths in
  # panic messages become short
  library=$sysroot/lib/rustlib/src/rust/library
  flags=("--remap-path-prefix=$root=" "--remap-path-prefix=$target_dir=target"
    "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo" "--remap-path-prefix=$library=std"
    "--remap-path-prefix=${library#"$root"/}=std")
  for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do flags+=("--remap-path-prefix=$registry=crates"); done
  # The compact forms of SHA-1 and SHA-2: all hashes of a handshake take less time than its
  # signature
  flags+=('--cfg=sha2_backend="soft"' '--cfg=sha2_backend_soft="compact"' '--cfg=sha1_backend="soft"')
  if [ "$std" = debian ]; then
    cargo_flags=("-Zbuild-std=std,panic_abort" -Zbuild-std-features=optimize_for_size)
    # zig provides crt1.o; a std built from source has none
    case $triple in *-linux-musl*) flags+=(-Clink-self-contained=no) ;; esac
    case $triple in
      # not for ARMv7, whose unwinder has other functions
      aarch64-*-linux-musl | x86_64-*-linux-musl)
        python3 -m ziglang cc -target "${triple/unknown-/}" -Os -fno-unwind-tables -fno-asynchronous-unwind-tables \
          -c targets/instead.c -o "$work/instead-$triple.o"
        flags+=("-Clink-arg=$work/instead-$triple.o")
        ;;
    esac
  fi
  case $triple in
    aarch64-*)
      # Code for in-order cores is also the smallest. Uses only the base instruction set of ARMv8
      flags+=(-Ctarget-cpu=cortex-a35 "-Ctarget-feature=-aes,-sha2,-crc")
      # Without vector instructions, "s" costs less than 1 % of the instructions of a verification
      cargo_flags+=(--config 'profile.release.package.curve25519-dalek.opt-level="s"')
      cargo_flags+=(--config 'profile.release.package.nanoserde.opt-level="s"')
      ;;
  esac
  case $triple in
    # A panic aborts and std is built without backtraces, so nothing reads unwind tables at run
    # time. gatelet.debug contains them
    *-linux-*) flags+=(-Cforce-unwind-tables=no -Clink-arg=-fno-unwind-tables -Clink-arg=-fno-asynchronous-unwind-tables) ;;
    *-windows-*)
      # zig removes unused functions of its C runtime only from a Windows file that is stripped by
      # the linker
      strip=symbols
      # no build time in the header of the file
      flags+=("-Clink-arg=-Wl,-Brepro")
      ;;
  esac
  CARGO_TARGET_DIR=$target_dir CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && printf %s "${flags[*]}") CARGO_INCREMENTAL=0 \
    CARGO_PROFILE_RELEASE_STRIP=$strip CARGO_PROFILE_RELEASE_DEBUG=line-tables-only \
    cargo zigbuild --locked --quiet --release --bin gatelet --target "$triple" ${cargo_flags[@]+"${cargo_flags[@]}"}
  split "$target_dir/$triple/release/$(file_name "$triple")"
}

file_name() {
  case $1 in *-windows-*) echo gatelet.exe ;; *) echo gatelet ;; esac
}

# split FILE: writes FILE.stripped, and FILE.debug where the linker left symbols, with the LLVM
# objcopy of the Rust toolchain for the host, which supports all targets
split() {
  local toolchain host
  toolchain=$(rustc --print sysroot)
  host=$(rustc -vV | sed -n 's/^host: //p')
  [ -x "$toolchain/lib/rustlib/$host/bin/rust-objcopy" ] || fail "no rust-objcopy in $toolchain: use a Rust from rustup"
  objcopy() { LD_LIBRARY_PATH=$toolchain/lib "$toolchain/lib/rustlib/$host/bin/rust-objcopy" "$@"; }
  case $1 in *.exe) ;; *) objcopy --only-keep-debug "$1" "$1.debug" ;; esac
  objcopy --strip-all "$1" "$1.stripped"
}

too_large=no
publish() {
  local triple=$1 name built to bytes verdict=
  name=$(file_name "$triple")
  built=$work/build/$triple/release/$name
  to=targets/$triple
  mkdir -p "$to"
  cp "$built.stripped" "$to/$name"
  if [ -e "$built.debug" ]; then cp "$built.debug" "$to/$name.debug"; fi
  (cd "$to" && sha256sum "$name" >"$name.sha256")
  components "$triple" >"$to/gatelet.cdx.json"
  bytes=$(stat -c %s "$to/$name")
  most=$(bytes_max "$triple")
  if [ -n "$most" ]; then
    verdict=", limit $most"
    if [ "$bytes" -gt "$most" ]; then
      verdict="$verdict: TOO LARGE"
      [ "$std" = rustup ] || too_large=yes
    fi
  fi
  echo "$to/$name $bytes bytes$verdict, sha256 $(cut -c 1-64 "$to/$name.sha256")"
}

components() {
  python3 targets/sbom.py "$1" "targets/$1/$(file_name "$1")" "$("${RUSTC:-rustc}" -V)" "$zig_version"
}

compare() {
  local triple=$1 name
  name=$(file_name "$triple")
  rm -rf "$work/again"
  compile "$triple" "$work/again"
  cmp "$work/again/$triple/release/$name.stripped" "targets/$triple/$name" || fail "$triple: two builds differ"
  components "$triple" | cmp - "targets/$triple/gatelet.cdx.json" || fail "$triple: the component lists of two builds differ"
  rm -rf "$work/again"
  echo "targets/$triple/$name: identical in a second build"
}

main "$@"
