#!/usr/bin/env bash
# All that wants a GPU, in eight minutes at most, what matters most first, each result written as it comes:
#   gpu.sh test|bench|all [FOLDER]     results go to FOLDER (build/gpu-results)
# Needs nothing but a GPU where build/gpu.tar.xz (npm run pack:gpu) was carried there; else what the checkout has built.
set -uo pipefail
cd "$(dirname "$0")/.."
what=${1:-all}
mkdir -p "${2:-build/gpu-results}"
out=$(cd "${2:-build/gpu-results}" && pwd)
end=$((SECONDS + 470))
if [ -f build/gpu.tar.xz ]; then
  tree=$(mktemp -d)
  tar -C "$tree" -xJf build/gpu.tar.xz
  cd "$tree"
  export PATH=$tree:$PATH
fi
export LAYERPEEL_DEVICE=cuda NO_COLOR=1
table=""

# step NAME SECONDS COMMAND…: runs it within what time is left, keeps what it prints in NAME.log, and notes its end.
step() {
  local name=$1 seconds=$2
  shift 2
  local left=$((end - SECONDS))
  if [ $left -lt 5 ]; then table+="$name: not run, no time left"$'\n'; return; fi
  [ "$seconds" -lt $left ] || seconds=$left
  local began=$SECONDS code=0 log="$out/${name// /_}.log"
  timeout "$seconds" "$@" > "$log" 2>&1 || code=$?
  local last
  last=$(grep -vE '^ *(Skipped|Duration): |^$' "$log" | tail -n 1 | sed 's/^ *//')
  table+="$name: exit $code after $((SECONDS - began)) s; $last"$'\n'
  tail -n 40 "$log"
}
tests() { node node_modules/uvu/bin.js test "$1"; }
export -f tests

step info 60 node lib/cli/main.js cuda info
if [ "$what" != bench ]; then
  for test in build/Release/gpu_tests/*_test; do
    [ ! -x "$test" ] || step "$(basename "$test")" 60 "$test"
  done
  step device_tests 150 bash -c 'tests "device\.test\.js$"'
  step engine_tests 150 bash -c 'tests "^(array/matmul|collapse|dynamics|losses).*\.test\.js$"'
fi
if [ "$what" != test ]; then
  step bench 150 node bench/gpu.js "$out/gpu.md"
fi
if [ "$what" != bench ] && command -v compute-sanitizer > /dev/null; then
  for tool in memcheck racecheck synccheck initcheck; do
    for test in build/Release/gpu_tests/*_test; do
      [ ! -x "$test" ] || step "$tool $(basename "$test")" 60 compute-sanitizer --tool $tool --error-exitcode 9 "$test"
    done
  done
fi
printf '%s' "$table" | tee "$out/summary.txt"
! grep -qE ': exit [1-9]' "$out/summary.txt"
