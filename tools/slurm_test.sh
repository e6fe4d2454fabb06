#!/usr/bin/env bash
# Tests on a SLURM cluster:
#   tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of test.py]
# GPUS (8) processes in all, GPUS_PER_NODE (8) per node, CPUS_PER_TASK (workers of the
# config and one); SRUN_ARGS for srun.
set -euo pipefail
if [[ $# -lt 4 ]]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of test.py]" >&2
    exit 2
fi
partition=$1
job_name=$2
shift 2
exec bash "$(dirname "${BASH_SOURCE[0]}")/srun.sh" "$partition" "$job_name" test.py "$@"
