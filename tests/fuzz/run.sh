#!/usr/bin/env bash
# Hostile input: builds the fuzz targets, makes their corpora, runs each, and compares what was covered with floors.tsv.
#   tests/fuzz/run.sh [TARGET...]                      a fixed count of runs from a fixed seed: about two minutes
#   FUZZ_SECONDS=3600 tests/fuzz/run.sh [TARGET...]    so long each, two at a time, with what earlier runs have found
# Says a line for each target and a last one that counts them. Work files: target/fuzz/ (kept), target/tools/.
set -uo pipefail
cd "$(dirname "$0")/../.."
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
# the flags that make the compiler count edges are for the nightly one; the stable one has them
export RUSTC_BOOTSTRAP=1
version=0.13.1
seconds=${FUZZ_SECONDS:-0}
work=target/fuzz
bin=$work/build/x86_64-unknown-linux-gnu/release

tool=target/tools/bin/cargo-fuzz
if [ "$($tool --version 2>/dev/null)" != "cargo-fuzz $version" ]; then
  cargo install cargo-fuzz --version "$version" --locked --root target/tools || exit 1
fi
# cargo-fuzz builds with whatever lock file it finds and mends it silently; what is committed must be what is built
cargo metadata --locked --format-version 1 --manifest-path tests/fuzz/Cargo.toml >/dev/null || exit 1
# No address sanitizer: neither gatelet nor this crate's targets have unsafe code, and it takes half the speed. What is allocated
# is counted by the crate itself (src/bound.rs).
"$tool" build --fuzz-dir tests/fuzz --sanitizer none --target-dir "$work/build" || exit 1

# fuzz TARGET: one target; its output is in its log, the last line of it in its line
fuzz() {
  local target=$1 runs floor len log=$work/$1.log dirs status=0 cov how from
  read -r _ runs floor len < <(grep -P "^$target\t" tests/fuzz/floors.tsv)
  local seeds=$work/seeds/$target corpus=$work/corpus/$target artifacts=$work/artifacts/$target
  rm -rf "$seeds"
  mkdir -p "$seeds" "$corpus" "$artifacts"
  GATELET_FUZZ_CORPUS=$seeds "$bin/$target" >"$log" 2>&1 || { echo "FAILED $target: makes no seeds"; return 1; }
  dirs=("$seeds")
  [ -d "tests/fuzz/seeds/$target" ] && dirs+=("tests/fuzz/seeds/$target")
  if [ "$seconds" -gt 0 ]; then
    # what is found is kept beside what was known
    dirs=("$corpus" "${dirs[@]}")
    how=(-max_total_time="$seconds")
  else
    # what is found lands among the seeds of this run, which are made anew for the next: it begins with the same
    how=(-runs="$runs" -seed=1)
  fi
  from=$(date +%s)
  "$bin/$target" "${how[@]}" -max_len="$len" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=64 -print_final_stats=1 \
    -dict="tests/fuzz/dict/$target.dict" -artifact_prefix="$artifacts/" "${dirs[@]}" >>"$log" 2>&1 || status=$?
  cov=$(grep -oE '\bDONE +cov: [0-9]+' "$log" | tail -n 1 | grep -oE '[0-9]+$')
  if [ "$status" -ne 0 ]; then
    echo "FAILED $target: $(grep -m1 -E 'panicked at|ALLOCATED|ERROR: libFuzzer|Error' "$log")"
    grep -A3 -E 'panicked at' "$log" | head -n 8
    echo "  to repeat it: $bin/$target $(ls -t "$artifacts"/* 2>/dev/null | head -n 1)"
    return 1
  elif [ "${cov:-0}" -lt "$floor" ]; then
    echo "FAILED $target: covers ${cov:-0}, should be $floor or more"
    return 1
  fi
  echo "ok $target: $(grep -oE 'stat::number_of_executed_units: +[0-9]+' "$log" | grep -oE '[0-9]+$') runs in $(($(date +%s) - from)) s, covers $cov of at least $floor"
}

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(grep -oP '^[a-z]+(?=\t[0-9])' tests/fuzz/floors.tsv)
for target in "${targets[@]}"; do
  fuzz "$target" >"$work/$target.said" &
  # two at a time
  while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
done
wait
said=$(for target in "${targets[@]}"; do cat "$work/$target.said"; done)
echo "$said"
failed=$(grep -c '^FAILED' <<<"$said")
echo "$(grep -c '^ok ' <<<"$said") passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
