"""Cost against tokens, codes and processes: no term may grow faster than its mathematics.

    python tools/benchmark/scaling.py

Image sides 224 to 640 (tokens: linear layers in proportion, attention by the square), codebooks of
1k to 64k codes (in proportion), and one or two processes with a core or a GPU each (the same images
a process: the step should take no longer). Every series is timed in turns.
"""

import argparse
import os
import statistics

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from costs import flops, peak_bytes
from paired import machine, parser, seconds, silence, start, write
from steps import pretraining_step, quantizer_step

from mmbeitv2.launch.user_errors import one_line_errors

SIDES = (224, 384, 512, 640)
CODES = (1024, 4096, 16384, 65536)
# What travels between processes is of the same size whatever the batch. 64 are the paper's images
# of one GPU (tokenizer training); in pretraining a core would need minutes for as many.
QUANTIZER_BATCH, PRETRAINING_BATCH = 64, 8
PROCESS_STEPS = {'quantizer': quantizer_step, 'pretraining': pretraining_step}


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


def train_in_turns(index: int, places: list, name: str, args: argparse.Namespace, talk) -> None:
    """One process of the runs of one process and of two, which wait while the other run steps."""
    world, rank = places[index]
    barrier, queue, port = talk
    silence()
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port + world))
    gpu = args.device != 'cpu'
    dist.init_process_group('nccl' if gpu else 'gloo', rank=rank, world_size=world)
    device = f'cuda:{rank}' if gpu else 'cpu'
    if gpu:
        torch.cuda.set_device(rank)
    else:
        torch.set_num_threads(1)
    torch.manual_seed(rank)
    step = PROCESS_STEPS[name](getattr(args, f'{name}_batch'), device, args.precision)
    step()
    times = []
    for _ in range(args.pairs):
        for turn in sorted({world for world, _ in places}):
            barrier.wait()
            if turn == world:
                times.append(seconds(step, args.steps, device))
    if rank == 0:
        queue.put((world, times))
    barrier.wait()
    dist.destroy_process_group()


def processes(name: str, args: argparse.Namespace) -> dict[int, dict]:
    """Seconds of a step in one process and in two, one thread or GPU each."""
    most = torch.cuda.device_count() if args.device != 'cpu' else os.cpu_count()
    if most < 2:
        print('2 processes not measured: 1 device')
    places = [(world, rank) for world in (1, 2) if world <= most for rank in range(world)]
    context = mp.get_context('spawn')
    queue = context.SimpleQueue()
    talk = (context.Barrier(len(places)), queue, 29500 + os.getpid() % 1000)
    mp.spawn(train_in_turns, args=(places, name, args, talk), nprocs=len(places))
    turns = dict(queue.get() for _, rank in places if rank == 0)
    return {
        world: dict(seconds=statistics.median(turns[world]), turns=turns[world])
        for world in sorted(turns)
    }


def show_processes(name: str, batch: int, result: dict[int, dict]) -> None:
    """Print seconds and images a second for each number of processes."""
    print(f'{name} step in processes, {batch} images in each')
    for world, row in result.items():
        rate = world * batch / row['seconds']
        print(f'{world:>9} {row["seconds"]:>9.4g} s/step {rate:>9.4g} images/s')
    print()


def main() -> None:
    """Run the tool."""
    options = parser(__doc__, batch=2, pairs=3)
    options.add_argument('--sides', type=int, nargs='+', default=SIDES, help='pixels')
    options.add_argument('--codes', type=int, nargs='+', default=CODES)
    options.add_argument(
        '--quantizer-batch', type=int, default=QUANTIZER_BATCH, help='images a process'
    )
    options.add_argument(
        '--pretraining-batch', type=int, default=PRETRAINING_BATCH, help='images a process'
    )
    args = options.parse_args()
    start(args)
    sides = {
        side: pretraining_step(args.batch, args.device, args.precision, img_size=side)
        for side in args.sides
    }
    by_side = series(sides, args)
    del sides
    show(f'pretraining step, {args.batch} images', 'side', by_side)
    by_codes = series(
        {num: quantizer_step(16, args.device, args.precision, num_codes=num) for num in args.codes},
        args,
    )
    show('quantizer step, 16 images', 'codes', by_codes)
    by_processes = {}
    for name in PROCESS_STEPS:
        by_processes[name] = processes(name, args)
        show_processes(name, getattr(args, f'{name}_batch'), by_processes[name])
    facts = machine(args.device)
    print(', '.join(f'{key} {value}' for key, value in facts.items()))
    write(
        args.json,
        dict(side=by_side, codes=by_codes, processes=by_processes, machine=facts),
    )


if __name__ == '__main__':
    with one_line_errors():
        main()
