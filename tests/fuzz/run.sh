#!/usr/bin/env bash
# Builds the fuzz targets and runs each for FUZZ_SECONDS (30), as many at once as there are cores:
#
#   tests/fuzz/run.sh             every target
#   tests/fuzz/run.sh record      this one
#   tests/fuzz/run.sh record FILE what this one makes of a file: a finding, say
#
# Stable Rust, no cargo-fuzz: LLVM's coverage pass is asked for by hand, libFuzzer comes with the crate libfuzzer-sys (which
# wants a C++ compiler). A run begins from the seeds in corpus/ and from what earlier runs found in target/corpus/; what
# kills a target lands in artifacts/.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${FUZZ_SECONDS:-30}
host=$(rustc -vV | sed -n 's/^host: //p')
# A target of its own, whatever the caller's: these flags would have everything built again.
export CARGO_TARGET_DIR=$PWD/target
# Naming the host keeps the flags away from build scripts, which do not link libFuzzer.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares" \
  cargo build --locked --quiet --release --bins --target "$host"
bin=$PWD/target/$host/release

if [ $# = 2 ]; then
  exec "$bin/$1" -rss_limit_mb=512 -timeout=5 "$2"
fi

fuzz() {
  local target=$1 log=target/$1.log
  mkdir -p "target/corpus/$target" artifacts
  local flags=(-max_total_time="$seconds" -max_len=4096 -rss_limit_mb=512 -timeout=5 -artifact_prefix="artifacts/$target-")
  if "$bin/$target" "${flags[@]}" "target/corpus/$target" "corpus/$target" >"$log" 2>&1; then
    # "#1234 DONE cov: 809 ft: 1522 corp: 29/6513b ..."
    local cov runs
    cov=$(sed -n 's/.*DONE *cov: \([0-9]*\).*/\1/p' "$log")
    runs=$(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$log")
    echo "fuzz $target: ${seconds} s, $runs runs, $cov edges, $(ls "target/corpus/$target" | wc -l) inputs found"
  else
    tail -n 40 "$log"
    echo "fuzz $target: a finding in tests/fuzz/artifacts; again: tests/fuzz/run.sh $target FILE"
    return 1
  fi
}
export -f fuzz
export seconds bin

targets=("$@")
[ $# -gt 0 ] || targets=($(sed -n 's/^path = "targets\/\(.*\)\.rs"/\1/p' Cargo.toml))
printf '%s\n' "${targets[@]}" | xargs -P "${FUZZ_JOBS:-$(getconf _NPROCESSORS_ONLN)}" -I{} bash -euo pipefail -c 'fuzz {}'
