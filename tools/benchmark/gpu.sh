#!/usr/bin/env bash
# All benchmarks on the GPU, meant to stay under 10 minutes: bash tools/benchmark/gpu.sh FOLDER [cpu]
# Writes the JSON and the text of each to FOLDER. With `cpu` it runs the same commands with tiny
# settings on the CPU, to see that they work.
set -euo pipefail
folder="${1:?give the folder for the results: bash tools/benchmark/gpu.sh FOLDER}"
device="${2:-cuda}"
mkdir -p "$folder"
folder="$(cd "$folder" && pwd)"
cd "$(dirname "${BASH_SOURCE[0]}")"

run() { # NAME SCRIPT OPTIONS
    local name="$1" script="$2"
    shift 2
    echo "== $name" >&2
    python -W ignore "$script" --device "$device" --json "$folder/$name.json" "$@" 2>&1 \
        | tee "$folder/$name.txt"
}

if [[ "$device" == cpu ]]; then
    quick=(--batch 1 --pairs 1)
    # Without instructions for bfloat16 a single step in it takes a CPU minutes.
    precision="$(cd .. && python -W ignore -c '
from demo_runs import MIXED_PRECISION
print("bfloat16" if MIXED_PRECISION else "float32")')"
    run quantizer quantizer.py "${quick[@]}" --num-codes 512
    run tokenizing tokenizing.py "${quick[@]}"
    run "pretraining-$precision" pretraining.py "${quick[@]}" --precision "$precision"
    run "vqkd-$precision" vqkd.py "${quick[@]}" --precision "$precision"
    run tokenizing-compiled tokenizing.py "${quick[@]}" --compile
    run segmentation-backbone segmentation.py "${quick[@]}" --size 128
    run scaling scaling.py "${quick[@]}" --sides 64 128 --codes 256 512 \
        --pretraining-batch 1
    run count count.py --batch 1 --step quantizer
    run rate rate.py --pairs 1
    exit
fi
python -c 'import torch; assert torch.cuda.is_available(), "torch sees no GPU"'
run rate rate.py --batch 128 --precision bfloat16 --step pretraining
run quantizer quantizer.py --pairs 20 --steps 10
run tokenizing-float32 tokenizing.py --batch 64 --pairs 5 --steps 3
run tokenizing-bfloat16 tokenizing.py --batch 256 --pairs 5 --steps 3 --precision bfloat16
run pretraining-float32 pretraining.py --batch 32 --pairs 5 --steps 2
run pretraining-bfloat16 pretraining.py --batch 128 --pairs 5 --steps 3 --precision bfloat16
run vqkd-bfloat16 vqkd.py --batch 128 --pairs 5 --steps 3 --precision bfloat16
run segmentation-bfloat16 segmentation.py --batch 8 --pairs 5 --steps 3 --precision bfloat16
run upernet-bfloat16 segmentation.py --part upernet --batch 4 --pairs 5 --steps 3 \
    --precision bfloat16
run scaling scaling.py --batch 16 --pairs 5 --precision bfloat16 --pretraining-batch 128
run count count.py --batch 16
# Last, since compiling takes minutes.
run tokenizing-compiled tokenizing.py --batch 256 --pairs 5 --precision bfloat16 --compile
run pretraining-compiled pretraining.py --batch 128 --pairs 3 --precision bfloat16 --compile
run vqkd-compiled vqkd.py --batch 128 --pairs 3 --precision bfloat16 --compile
