#!/usr/bin/env bash
# Trains on several devices: tools/dist_train.sh CONFIG GPUS [arguments of train.py]
# On a machine without accelerators GPUS is the number of CPU processes.
# Several nodes: run on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
if [[ $# -lt 2 ]]; then
    echo "usage: $0 CONFIG GPUS [arguments of train.py]" >&2
    exit 2
fi
config=$1
processes=$2
shift 2
exec bash "$(dirname "${BASH_SOURCE[0]}")/torchrun.sh" "$processes" train.py "$config" "$@"
