#!/usr/bin/env bash
# Builds a variant of the engine into build/<name> and runs the C++ tests on it, and the JavaScript tests that may differ
# there, or with `all` every one:
#   variant.sh reference [all]   without a BLAS: the reference kernels
#   variant.sh clang [all]       built with clang
#   variant.sh sanitize [all]    under AddressSanitizer and UndefinedBehaviorSanitizer
#   variant.sh emulated [all]    with a CUDA device that is emulated on the CPU, where whatever can run there does
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1
case $name in
  reference) flags=(--CDLAYERPEEL_BLAS=none) ;;
  clang) flags=(--CDCMAKE_CXX_COMPILER=clang++) ;;
  emulated) flags=(--CDLAYERPEEL_CUDA=emulated) ;;
  sanitize) flags=(--CDLAYERPEEL_SANITIZE=ON --config RelWithDebInfo) ;;
  *) echo "usage: variant.sh reference | clang | sanitize | emulated [all]" >&2; exit 2 ;;
esac

npm run --silent build:ts
npx cmake-js compile --out "build/$name" "${flags[@]}" --CDLAYERPEEL_TESTS=ON --CDLAYERPEEL_OUTPUT="$PWD/build/$name/build/Release"
# node-gyp-build takes the addon from under the folder that this names.
export LAYERPEEL_PREBUILD=$PWD/build/$name
[ "$name" != emulated ] || export LAYERPEEL_DEVICE=cuda
if [ "$name" = sanitize ]; then
  # LeakSanitizer traces its own process, which some containers forbid.
  leaks=1
  echo 'int main() {}' | c++ -x c++ -fsanitize=leak -o build/leak-probe - && build/leak-probe 2> /dev/null || leaks=0
  ASAN_OPTIONS=detect_leaks=$leaks ctest --test-dir "build/$name" --output-on-failure
  # Node.js itself is not instrumented, and does not free what it holds when it ends.
  export ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=16:allocator_may_return_null=1 LD_PRELOAD
  export LAYERPEEL_TORCH=$PWD/build/no-torch  # nor is libtorch
  LD_PRELOAD=$(c++ -print-file-name=libasan.so)
else
  ctest --test-dir "build/$name" --output-on-failure
fi
if [ "${2:-}" = all ]; then
  npx uvu test "\.test\.js$"
else
  npm run test:engine
  # Hostile calls, threads, memory, exits.
  [ "$name" != sanitize ] || npx uvu test "^house.*\.test\.js$"
fi
