#!/usr/bin/env bash
# From a fresh clone to a report on real photos: bash tools/quickstart.sh [--help]
# Creates .venv (or $MMBEITV2_VENV), installs the tested versions, runs every stage.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/env.sh
exec python tools/quickstart.py "$@"
