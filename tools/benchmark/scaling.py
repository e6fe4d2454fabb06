"""Cost against tokens, codes and processes: no term may grow faster than its mathematics.

    python tools/benchmark/scaling.py

Image sides 224 to 640 (tokens: linear layers in proportion, attention by the square), codebooks of
1k to 64k codes (in proportion), and one or two processes that share the cores or have a GPU each
(the same images a process: throughput should not fall). Every series is timed in turns.
"""

import argparse
import os
import statistics

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from count import flops, peak_bytes
from paired import machine, parser, seconds, start, write
from steps import pretraining_step, quantizer_step

SIDES = (224, 384, 512, 640)
CODES = (1024, 4096, 16384, 65536)
# The codebook's sums travel whatever the batch; these are the paper's images of one GPU.
IMAGES_PER_PROCESS = 64


def series(steps: dict, args: argparse.Namespace) -> dict[int, dict]:
    """Median time, operations and peak memory of steps, all timed in turns."""
    for step in steps.values():
        step()
    turns = {size: [] for size in steps}
    for _ in range(args.pairs):
        for size, step in steps.items():
            turns[size].append(seconds(step, args.steps, args.device))
    return {
        size: dict(
            seconds=statistics.median(turns[size]),
            turns=turns[size],
            gflop=flops(step) / 1e9,
            peak_mb=peak_bytes(step, args.device) / 1e6,
        )
        for size, step in steps.items()
    }


def show(title: str, unit: str, result: dict[int, dict]) -> None:
    """Print a series relative to its first row."""
    first = next(iter(result.values()))
    print(
        f'{title}\n{unit:>9} {"s/step":>9} {"time":>7} {"operations":>11} {"memory":>7}  (ratios)'
    )
    for size, row in result.items():
        work, memory = (row[key] / first[key] for key in ('gflop', 'peak_mb'))
        ratio = row['seconds'] / first['seconds']
        print(f'{size:>9} {row["seconds"]:>9.4g} {ratio:>7.2f} {work:>11.2f} {memory:>7.2f}')
    print()


def train_in_processes(rank: int, world: int, args: argparse.Namespace, port: int, queue) -> None:
    """One rank of a quantizer training whose codebook is kept equal over ranks."""
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    gpu = args.device != 'cpu'
    dist.init_process_group('nccl' if gpu else 'gloo', rank=rank, world_size=world)
    device = f'cuda:{rank}' if gpu else 'cpu'
    if gpu:
        torch.cuda.set_device(rank)
    else:
        torch.set_num_threads(1)
    torch.manual_seed(rank)
    step = quantizer_step(args.images_per_process, device, args.precision)
    step()
    times = []
    for _ in range(args.pairs):
        dist.barrier()
        times.append(seconds(step, args.steps, device))
    if rank == 0:
        queue.put(times)
    dist.destroy_process_group()


def processes(args: argparse.Namespace) -> dict[int, dict]:
    """Seconds of a quantizer step in one process and in two, one thread or GPU each."""
    most = torch.cuda.device_count() if args.device != 'cpu' else os.cpu_count()
    result = {}
    context = mp.get_context('spawn')
    for world in (1, 2):
        if world > most:
            print(f'{world} processes not measured: {most} device(s)')
            break
        queue = context.SimpleQueue()
        mp.spawn(
            train_in_processes, args=(world, args, 29500 + os.getpid() % 1000, queue), nprocs=world
        )
        times = queue.get()
        result[world] = dict(seconds=statistics.median(times), turns=times)
    return result


def main() -> None:
    """Run the tool."""
    options = parser(__doc__, batch=2, pairs=3)
    options.add_argument('--sides', type=int, nargs='+', default=SIDES, help='pixels')
    options.add_argument('--codes', type=int, nargs='+', default=CODES)
    options.add_argument('--images-per-process', type=int, default=IMAGES_PER_PROCESS)
    args = options.parse_args()
    start(args)
    sides = {
        side: pretraining_step(args.batch, args.device, args.precision, side) for side in args.sides
    }
    by_side = series(sides, args)
    del sides
    show(f'pretraining step, {args.batch} images', 'side', by_side)
    by_codes = series(
        {num: quantizer_step(16, args.device, args.precision, num_codes=num) for num in args.codes},
        args,
    )
    show('quantizer step, 16 images', 'codes', by_codes)
    by_processes = processes(args)
    print('quantizer step, the same images in every process')
    for world, row in by_processes.items():
        rate = world * args.images_per_process / row['seconds']
        print(f'{world:>9} {row["seconds"]:>9.4g} s/step {rate:>9.4g} images/s')
    facts = machine(args.device)
    print(', '.join(f'{key} {value}' for key, value in facts.items()))
    write(
        args.json,
        dict(side=by_side, codes=by_codes, processes=by_processes, machine=facts),
    )


if __name__ == '__main__':
    main()
