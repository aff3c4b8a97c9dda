#!/usr/bin/env bash
# Builds gatelet for the machines it is shipped to, one static file each, on any x86_64 or ARM64 Linux host.
#   CROSS_STD=rustup|debian targets/build.sh [--check-reproducible] [TRIPLE...]     default: all five triples
# CROSS_STD says where the target's standard library comes from; it is chosen, never probed (README.md beside this file):
#   rustup  prebuilt, by "rustup target add" (the default)
#   debian  built from source for size, with Debian's rustc-web and rust-web-src, unpacked below target/, not installed
# Writes targets/TRIPLE/gatelet[.exe], its .sha256, for Linux its symbols (.debug), and what it is made of (gatelet.cdx.json,
# CycloneDX); all else below target/cross (kept).
# --check-reproducible builds each a second time in another directory and compares the bytes.
# Fails when a binary for ARM64 is larger than the product allows (CROSS_STD=debian; with rustup it warns).
set -euo pipefail
cd "$(dirname "$0")/.."

all_triples="aarch64-unknown-linux-musl aarch64-pc-windows-gnullvm armv7-unknown-linux-musleabihf
  x86_64-unknown-linux-musl x86_64-pc-windows-gnullvm"
zig_version=0.17.1
zigbuild_version=0.24.0
# What the two files for ARM64 may have; above that the build fails. 655,360 is the aim (README.md beside this file)
bytes_max() {
  case $1 in
    aarch64-*-linux-*) echo 733184 ;;
    aarch64-*-windows-*) echo 772096 ;;
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
    case " "${all_triples//$'\n'/ }" " in *" $triple "*) ;; *) fail "no target \"$triple\"; there are: "$all_triples ;; esac
  done
  mkdir -p "$work"
  install_zig
  case $std in
    rustup) rustup target add "${triples[@]}" ;;
    debian) install_debian_rustc ;;
    *) fail "CROSS_STD=$std: say rustup or debian" ;;
  esac
  for triple in "${triples[@]}"; do
    rm -f "targets/$triple"/gatelet*
    compile "$triple" "$work/build"
    publish "$triple"
    if [ $check = yes ]; then compare "$triple"; fi
  done
  # one that is too large does not hide the sizes of the others
  [ "$too_large" = no ] || fail "a file is larger than it may be"
}

fail() {
  echo "targets/build.sh: $*" >&2
  exit 1
}

# zig is linker, C library and Windows import libraries of every target
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

# Debian keeps only the newest rustc-web of a release, so its version cannot be pinned: the first one fetched stays in $work.
install_debian_rustc() {
  local dir=$work/debian names libs
  libs=$dir/root/usr/lib/$(uname -m)-linux-gnu
  if [ ! -x "$dir/rustc" ]; then
    rm -rf "$dir"
    mkdir -p "$dir/deb" "$dir/root"
    names=$(apt-get install --print-uris -qq -y --no-install-recommends rustc-web rust-web-src | sed "s/^'[^']*' \([^_]*\)_.*/\1/")
    [ -n "$names" ] || fail "apt knows no rustc-web and rust-web-src: needs Debian 12 or later and \"apt-get update\""
    # shellcheck disable=SC2086
    (cd "$dir/deb" && apt-get download -qq $names)
    for package in "$dir"/deb/*.deb; do dpkg -x "$package" "$dir/root"; done
    rm -rf "$dir/deb"
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" "$@"\n' "$libs" "$dir/root/usr/bin/rustc" >"$dir/rustc.new"
    chmod +x "$dir/rustc.new"
    mv "$dir/rustc.new" "$dir/rustc"
  fi
  # build-std is not stable; Debian's compiler takes its flags with this word
  export RUSTC=$dir/rustc RUSTC_BOOTSTRAP=1
  echo "std: built from source by $("$RUSTC" -V)"
}

# compile TRIPLE TARGET_DIR: the paths of this machine are not in the result
compile() {
  local triple=$1 target_dir=$2 strip=none panic=abort flags cargo_flags=() sysroot word compiler=${RUSTC:-rustc}
  sysroot=$("$compiler" --print sysroot)
  flags=("--remap-path-prefix=$root=/gatelet" "--remap-path-prefix=$target_dir=/target"
    "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" "--remap-path-prefix=$sysroot/lib/rustlib/src/rust=/rust")
  if [ "$std" = debian ]; then
    cargo_flags=(-Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size -Zpanic-immediate-abort)
    # a panic ends the process at once, as a crash at an address that the symbols know: its words and places would be 100 kB
    panic=immediate-abort
    flags+=(-Zlocation-detail=none)
    # SHA-256 and SHA-1 in their shortest form, with no second one for processors that have instructions for it: a handshake
    # needs some ten blocks of them, and an Ed25519 signature that takes longer than all
    flags+=('--cfg=sha2_backend="soft"' '--cfg=sha2_backend_soft="compact"' '--cfg=sha1_backend="soft"')
    # zig brings crt1.o; a std built from source has none. Nothing unwinds: the tables would be a sixth of the file
    case $triple in *-linux-musl*) flags+=(-Clink-self-contained=no -Cforce-unwind-tables=no) ;; esac
    case $triple in
      # libunwind has nothing to do then; 32-bit ARM keeps it, more names lead into it there. The last two are for zig: no
      # tables for its C library either
      *64-*-linux-musl)
        python3 -m ziglang cc -target "${triple/unknown-/}" -Os -fno-unwind-tables -fno-asynchronous-unwind-tables \
          -c targets/instead.c -o "$work/instead-$triple.o"
        flags+=("-Clink-arg=$work/instead-$triple.o" -Clink-arg=-fno-unwind-tables -Clink-arg=-fno-asynchronous-unwind-tables)
        ;;
    esac
    # What many functions have in common is kept once: the ways in and out, which save and restore registers, and any other
    # run of instructions. More runs are alike when nothing puts instructions into another order (misched) or makes loops of
    # another shape (lsr) or moves them out of loops (licm), and when a function with a large frame stays one of its own. A call
    # into one that is no longer than the call is not made
    case $triple in
      aarch64-*)
        for word in homogeneous-prolog-epilog machine-outliner-reruns=3 enable-misched=false enable-post-misched=false \
          disable-lsr disable-machine-licm inline-threshold=10 inline-max-stacksize=512; do
          flags+=("-Cllvm-args=-$word")
        done
        ;;
    esac
    case $triple in
      # An address is one instruction instead of two, within a megabyte: the linker fails when the file outgrows it
      aarch64-*-linux-*) flags+=(-Ccode-model=tiny) ;;
      # LLVM keeps nothing once beside Windows' unwind tables, so there are none: README.md, "Windows without unwind tables"
      aarch64-*-windows-*)
        without_unwind_tables "$triple"
        flags+=(-Cforce-unwind-tables=no -Cllvm-args=-exception-model=dwarf)
        ;;
    esac
  fi
  case $triple in
    *-windows-*)
      # zig drops unused functions of its own C runtime only from a Windows file that is stripped when linked
      strip=symbols
      # no time of the build in the file's head
      flags+=(-Clink-arg=-Wl,-Brepro)
      ;;
  esac
  RUSTC=$compiler CARGO_TARGET_DIR=$target_dir CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && printf %s "${flags[*]}") CARGO_INCREMENTAL=0 \
    CARGO_PROFILE_RELEASE_STRIP=$strip CARGO_PROFILE_RELEASE_DEBUG=line-tables-only CARGO_PROFILE_RELEASE_PANIC=$panic \
    cargo zigbuild --locked --quiet --release --bin gatelet --target "$triple" ${cargo_flags[@]+"${cargo_flags[@]}"}
  split "$target_dir/$triple/release/$(file_name "$triple")"
}

# without_unwind_tables TRIPLE: rustc asks for them on Windows, by its description of the target; so this writes a description
# without that word, and a script that stands in for rustc and hands it over
without_unwind_tables() {
  local to=$work/described/$1
  mkdir -p "$to"
  "$RUSTC" -Zunstable-options --print target-spec-json --target "$1" | grep -v '"requires-uwtable"' >"$to/$1.json"
  cat >"$to/rustc.new" <<END
#!/bin/bash
words=() more=()
for word; do
  if [ "\$word" = $1 ]; then word="$to/$1.json" more=(-Zunstable-options); fi
  words+=("\$word")
done
exec "$RUSTC" \${words[@]+"\${words[@]}"} \${more[@]+"\${more[@]}"}
END
  chmod +x "$to/rustc.new"
  # cargo builds all anew when rustc is another file than before
  cmp -s "$to/rustc.new" "$to/rustc" || mv "$to/rustc.new" "$to/rustc"
  compiler=$to/rustc
}

file_name() {
  case $1 in *-windows-*) echo gatelet.exe ;; *) echo gatelet ;; esac
}

# split FILE: FILE.stripped, and FILE.debug where the linker left symbols, by the LLVM objcopy that a Rust toolchain brings for
# its host; it knows every target
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
  made_of "$triple" >"$to/gatelet.cdx.json"
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

made_of() {
  python3 targets/sbom.py "$1" "targets/$1/$(file_name "$1")" "$("${RUSTC:-rustc}" -V)" "$zig_version"
}

compare() {
  local triple=$1 name
  name=$(file_name "$triple")
  rm -rf "$work/again"
  compile "$triple" "$work/again"
  cmp "$work/again/$triple/release/$name.stripped" "targets/$triple/$name" || fail "$triple: two builds differ"
  made_of "$triple" | cmp - "targets/$triple/gatelet.cdx.json" || fail "$triple: two lists of what it is made of differ"
  rm -rf "$work/again"
  echo "targets/$triple/$name: the same bytes from a second build"
}

main "$@"
