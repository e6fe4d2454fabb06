#!/usr/bin/env bash
# Shared by dist_train.sh and dist_test.sh: torchrun.sh PROCESSES SCRIPT [arguments of the script]
set -euo pipefail
tools="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
processes=$1
script=$2
shift 2
if [[ ! "$processes" =~ ^[1-9][0-9]*$ ]]; then
    echo "the number of processes is '$processes', but must be a whole number from 1 on" >&2
    exit 2
fi

nodes="${NNODES:-1}"
address="${MASTER_ADDR:-127.0.0.1}"
if [[ "$nodes" != 1 && ( -z "${MASTER_ADDR:-}" || -z "${PORT:-}" || -z "${NODE_RANK:-}" ) ]]; then
    echo "NNODES=$nodes also needs NODE_RANK, MASTER_ADDR and PORT, the last two the same on all" >&2
    exit 2
fi
if [[ "$nodes" == 1 && -z "${PORT:-}" ]]; then
    # torchrun opens a free port itself: one found here could be taken by another run meanwhile.
    rendezvous=(--standalone --local-addr=127.0.0.1)
else
    rendezvous=(--nnodes="$nodes" --node_rank="${NODE_RANK:-0}"
        --master_addr="$address" --master_port="$PORT")
fi
if [[ -z "${OMP_NUM_THREADS:-}" ]]; then
    # torchrun's own default of 1 leaves cores idle on a CPU machine.
    OMP_NUM_THREADS="$(python -c "import os; print(max(1, len(os.sched_getaffinity(0)) // $processes) \
if hasattr(os, 'sched_getaffinity') else max(1, os.cpu_count() // $processes))")"
fi
# As MKL does by default; where it is not set, mmengine sets 1 and warns of it in every process.
export OMP_NUM_THREADS MKL_NUM_THREADS="${MKL_NUM_THREADS:-$OMP_NUM_THREADS}"

PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}" exec python "$tools/torchrun.py" \
    "${rendezvous[@]}" --nproc_per_node="$processes" \
    "$tools/$script" "$@" --launcher pytorch
