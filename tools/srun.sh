#!/usr/bin/env bash
# Shared by slurm_train.sh and slurm_test.sh: srun.sh PARTITION JOB_NAME SCRIPT [its arguments]
set -euo pipefail
tools="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
partition=$1
job_name=$2
script=$3
shift 3
gpus="${GPUS:-8}"
gpus_per_node="${GPUS_PER_NODE:-8}"
if (( gpus < gpus_per_node )); then
    gpus_per_node=$gpus
fi
# SRUN_ARGS is split into words on purpose: it holds several options.
PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}" exec srun \
    -p "$partition" --job-name="$job_name" --gres="gpu:$gpus_per_node" \
    --ntasks="$gpus" --ntasks-per-node="$gpus_per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    python -u "$tools/$script" "$@" --launcher slurm
