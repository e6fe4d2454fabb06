#!/usr/bin/env bash
# From a folder of photos to a backbone: bash tools/pretrain.sh PHOTOS --out RUN
# Creates .venv (or $MMBEITV2_VENV) and installs the tested versions first; --help says the rest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec python "$(dirname "${BASH_SOURCE[0]}")/pretrain.py" "$@"
