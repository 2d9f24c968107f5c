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
  # Comments are left as they are, tables among them; only their width is held.
  python3 - "${sources[@]}" << 'END'
import sys, unicodedata
wide = [f"{name}:{at}: {line.rstrip()}" for name in sys.argv[1:] for at, line in enumerate(open(name, encoding="utf-8"), 1)
        if sum(not unicodedata.combining(character) for character in line.rstrip()) > 120]
if wide: sys.exit("\n".join(["Wider than 120 columns:", *wide]))
END
else
  "$formatter" -i "${sources[@]}"
fi
