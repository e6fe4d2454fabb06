#!/usr/bin/env bash
# Tests on several devices: tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of test.py]
# On a machine without accelerators GPUS is the number of CPU processes.
# Several nodes: run on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
if [[ $# -lt 3 ]]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [arguments of test.py]" >&2
    exit 2
fi
config=$1
checkpoint=$2
processes=$3
shift 3
exec bash "$(dirname "${BASH_SOURCE[0]}")/torchrun.sh" \
    "$processes" test.py "$config" "$checkpoint" "$@"
