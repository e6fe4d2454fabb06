#!/usr/bin/env bash
# Trains on a SLURM cluster:
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG [WORK_DIR] [arguments of train.py]
# GPUS (8) processes in all, GPUS_PER_NODE (8) per node, CPUS_PER_TASK (workers of the
# config and one); SRUN_ARGS for srun.
# Two minutes (WARN_SECONDS) before its time ends the run is warned, saves and ends with code 75.
# Then it goes on from there: within a batch job by requeueing that, otherwise by another srun,
# at most RESTARTS (100) times; RESTARTS=0 leaves it at the checkpoint.
set -euo pipefail
if [[ $# -lt 3 ]]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG [WORK_DIR] [arguments of train.py]" >&2
    exit 2
fi
partition=$1
job_name=$2
config=$3
shift 3
work_dir=()
if [[ $# -gt 0 && "$1" != -* ]]; then
    work_dir=(--work-dir "$1")
    shift
fi
for name in WARN_SECONDS RESTARTS; do
    if [[ ! "${!name:-0}" =~ ^[0-9]+$ ]]; then
        echo "$name is '${!name}', but must be a whole number from 0 on" >&2
        exit 2
    fi
done
restarts="${RESTARTS:-100}"
stopped=75
# train.py then goes on from the newest checkpoint of the work directory, where there is one.
if [[ "${SLURM_RESTART_COUNT:-0}" != 0 ]]; then
    export MMBEITV2_RESTARTED=1
fi
# The warning's own option comes first: one of SRUN_ARGS overrides it.
export SRUN_ARGS="--signal=USR1@${WARN_SECONDS:-120} ${SRUN_ARGS:-}"
for (( start = 0; ; start++ )); do
    status=0
    bash "$(dirname "${BASH_SOURCE[0]}")/srun.sh" "$partition" "$job_name" \
        train.py "$config" ${work_dir[@]+"${work_dir[@]}"} "$@" ||
        status=$?
    if (( status != stopped || start >= restarts )); then
        exit "$status"
    fi
    if [[ -n "${SLURM_JOB_ID:-}" ]]; then
        echo "stopped with a checkpoint: requeueing job $SLURM_JOB_ID" >&2
        scontrol requeue "$SLURM_JOB_ID" || exit "$status"
        exit "$status"
    fi
    echo "stopped with a checkpoint: starting again" >&2
    export MMBEITV2_RESTARTED=1
done
