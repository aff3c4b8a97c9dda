#!/usr/bin/env bash
# Fuzzing: builds the fuzz targets, creates their corpora, runs each, and compares the coverage with
# floors.tsv.
#   tests/fuzz/run.sh [TARGET...]                      fixed number of runs from a fixed seed: about
#                                                      two minutes
#   FUZZ_SECONDS=3600 tests/fuzz/run.sh [TARGET...]    that long per target, two in parallel, with
#                                                      the inputs that earlier runs have found
# Prints a line per target and the totals in the last line. Work files: target/fuzz/ (kept),
# target/tools/.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
# the compiler flags that count edges are unstable; this enables them in the stable compiler
export RUSTC_BOOTSTRAP=1
version=0.13.1
seconds=${FUZZ_SECONDS:-0}
work=target/fuzz
bin=$work/build/x86_64-unknown-linux-gnu/release

tool=target/tools/bin/cargo-fuzz
if [ "$($tool --version 2>/dev/null)" != "cargo-fuzz $version" ]; then
  cargo install cargo-fuzz --version "$version" --locked --root target/tools || exit 1
fi
# cargo-fuzz silently updates an outdated lock file; the committed one must be valid
cargo metadata --locked --format-version 1 --manifest-path tests/fuzz/Cargo.toml >/dev/null || exit 1
# No address sanitizer: neither gatelet nor the fuzz targets contain unsafe code, and it would halve
# the speed. The targets count allocations themselves (src/bound.rs).
"$tool" build --fuzz-dir tests/fuzz --sanitizer none --target-dir "$work/build" || exit 1

# fuzz TARGET: runs one target; output is written to its log
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
    # new inputs are stored in the corpus
    dirs=("$corpus" "${dirs[@]}")
    how=(-max_total_time="$seconds")
  else
    # new inputs are stored with the seeds of this run, which are created again for the next run, so
    # that each run starts from the same seeds
    how=(-runs="$runs" -seed=1)
  fi
  from=$(date +%s)
  "$bin/$target" "${how[@]}" -max_len="$len" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=64 -print_final_stats=1 \
    -dict="tests/fuzz/dict/$target.dict" -artifact_prefix="$artifacts/" "${dirs[@]}" >>"$log" 2>&1 || status=$?
  cov=$(grep -oE '\bDONE +cov: [0-9]+' "$log" | tail -n 1 | grep -oE '[0-9]+$')
  if [ "$status" -ne 0 ]; then
    echo "FAILED $target: $(grep -m1 -E 'panicked at|ALLOCATED|ERROR: libFuzzer|Error' "$log")"
    grep -A3 -E 'panicked at' "$log" | head -n 8
    # shellcheck disable=SC2012  # names of libFuzzer, without blanks
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
  # two in parallel
  while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
done
wait
said=$(for target in "${targets[@]}"; do cat "$work/$target.said"; done)
echo "$said"
failed=$(grep -c '^FAILED' <<<"$said")
echo "$(grep -c '^ok ' <<<"$said") passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
