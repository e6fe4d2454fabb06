#!/usr/bin/env bash
# Lints and tests the repository: bash tools/run_tests.sh [--all] [pytest arguments]
# --all includes the tests marked slow. A -m of your own replaces 'not slow': with -m equality the
# suite of docs/equality.md runs, its slow tests too, and prints the table of largest differences.
# Files of tests run side by side, one on each core and four at most; -n 0 runs one after the other.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ " $* " == *' --help '* || " $* " == *' -h '* ]]; then
    # The comment above.
    sed -n '2,/^[^#]/s/^# //p' tools/run_tests.sh
    exit
fi
source tools/env.sh

markers=(-m 'not slow')
if [[ "${1:-}" == --all ]]; then
    markers=()
    shift
fi

ruff check
ruff format --check
exec python -m pytest -n auto --maxprocesses 4 --dist loadfile ${markers[@]+"${markers[@]}"} "$@"
