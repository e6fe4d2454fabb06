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
export PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}"
for name in GPUS GPUS_PER_NODE CPUS_PER_TASK; do
    if [[ ! "${!name:-1}" =~ ^[1-9][0-9]*$ ]]; then
        echo "$name is '${!name}', but must be a whole number from 1 on" >&2
        exit 2
    fi
done
if (( gpus < gpus_per_node )); then
    gpus_per_node=$gpus
fi
cpus="${CPUS_PER_TASK:-}"
if [[ -z "$cpus" ]]; then
    # Workers that share CPUs are slower than the GPU that waits for them.
    cpus="$(python -W ignore -m mmbeitv2.launch.cpus "$@")"
    echo "$cpus CPUs a GPU, as the config's workers need; nodes with fewer: set CPUS_PER_TASK" >&2
fi
# SRUN_ARGS is split into words on purpose: it holds several options.
exec srun \
    -p "$partition" --job-name="$job_name" --gres="gpu:$gpus_per_node" \
    --ntasks="$gpus" --ntasks-per-node="$gpus_per_node" --cpus-per-task="$cpus" \
    --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    python -u "$tools/$script" "$@" --launcher slurm
