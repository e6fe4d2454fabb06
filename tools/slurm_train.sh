#!/usr/bin/env bash
# Trains on a SLURM cluster:
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG [WORK_DIR] [arguments of train.py]
# GPUS (8) processes in all, GPUS_PER_NODE (8) per node, CPUS_PER_TASK (workers of the
# config and one); SRUN_ARGS for srun.
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
exec bash "$(dirname "${BASH_SOURCE[0]}")/srun.sh" "$partition" "$job_name" \
    train.py "$config" ${work_dir[@]+"${work_dir[@]}"} "$@"
