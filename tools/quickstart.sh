#!/usr/bin/env bash
# From a fresh clone to a report on real photos: bash tools/quickstart.sh [--help]
# Creates .venv (or $MMBEITV2_VENV), installs the tested versions, runs every stage.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ " $* " == *' --help '* || " $* " == *' -h '* ]]; then
    source tools/find_python.sh
    python="$(mmbeitv2_find_python)"
    cd tools
    exec "$python" -c 'from quickstart_options import parse_args; parse_args()' --help
fi
source tools/env.sh
exec python tools/quickstart.py "$@"
