#!/usr/bin/env bash
# Formats the C++ sources in place, or with --check only tells which are not formatted. The formatter is pinned, since
# its versions disagree; it comes from PyPI and stays under build/.
set -euo pipefail
cd "$(dirname "$0")/.."
version=23.1.5
formatter=build/clang-format-$version/bin/clang-format

if [ ! -x "$formatter" ]; then
  python3 -m venv "build/clang-format-$version"
  "build/clang-format-$version/bin/pip" install --quiet "clang-format==$version"
fi
mapfile -t sources < <(find native -name '*.h' -o -name '*.cpp' -o -name '*.cu')
if [ "${1:-}" = --check ]; then
  "$formatter" --dry-run --Werror "${sources[@]}"
else
  "$formatter" -i "${sources[@]}"
fi
