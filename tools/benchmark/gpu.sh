#!/usr/bin/env bash
# Is a GPU right, how fast is it, where is time lost: bash tools/benchmark/gpu.sh FOLDER [cpu]
# Options: --only NAME[,NAME], --stage 1,2,3, --list, --again. Runs the `python` on PATH.
set -euo pipefail
exec python -W ignore "$(dirname "${BASH_SOURCE[0]}")/gpu.py" "$@"
