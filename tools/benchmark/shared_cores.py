"""A step on all cores, alone and beside another process: threads that wait asleep, or turn.

    python tools/benchmark/shared_cores.py

Forward and backward of the demo's backbone, 32 photos, in bfloat16 where the processor has it. Each
side (``mmbeitv2.launch.threads``, and GNU OpenMP as it is) runs in fresh processes, in turns: on
cores that are free, and with one that is taken by a process that does nothing but count. Run it on
a machine with nothing else to do.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from paired import machine, seconds, silence, write

from mmbeitv2.engine import choose_precision
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.threads import CHOSEN, wait_asleep
from mmbeitv2.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
PHOTOS, SIDE, WARM_UP, STEPS = 32, 96, 4, 10
OURS, THEIRS = 'asleep after 1,000 turns', 'GNU OpenMP as it is'


def measure() -> float:
    """Median seconds of a step of the backbone in this process."""
    silence()
    torch.manual_seed(0)
    config = load_config(str(ROOT / 'configs/demo/beitv2_demo.py')).model.backbone
    backbone = MODELS.build(config)
    backbone.init_weights()
    photos, precision = torch.randn(PHOTOS, 3, SIDE, SIDE), choose_precision().dtype

    def step() -> None:
        with torch.autocast('cpu', precision, enabled=precision != torch.float32):
            tokens = backbone(photos)[-1]
        tokens.float().square().mean().backward()

    times = [seconds(step, 1, 'cpu') for _ in range(WARM_UP + STEPS)]
    return statistics.median(times[WARM_UP:])


@contextlib.contextmanager
def another_process(runs: bool) -> Iterator[None]:
    """One that counts, in a session of its own, as other people's are."""
    if not runs:
        yield
        return
    other = subprocess.Popen([sys.executable, '-c', 'while True: pass'], start_new_session=True)
    try:
        yield
    finally:
        other.kill()
        other.wait()


def in_a_process(side: str, threads: int) -> float:
    """Seconds of a step in a fresh process."""
    environment = {name: value for name, value in os.environ.items() if name not in CHOSEN}
    environment['OMP_NUM_THREADS'] = str(threads)
    if side == OURS:
        wait_asleep(environment)
    command = [sys.executable, '-W', 'ignore', __file__, '--measure']
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    # The hosts print as they are imported.
    return float(done.stdout.split()[-1])


def main() -> None:
    """Run the tool."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument('--pairs', type=int, default=3, help='turns of each side')
    options.add_argument('--threads', type=int, default=len(os.sched_getaffinity(0)))
    options.add_argument('--json', metavar='FILE', help='write all measurements to this file')
    options.add_argument('--measure', action='store_true', help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.measure:
        print(measure())
        return
    results = {}
    for taken in (False, True):
        where = 'one core taken' if taken else 'cores free'
        turns = {OURS: [], THEIRS: []}
        with another_process(taken):
            for _ in range(args.pairs):
                for side, values in turns.items():
                    values.append(in_a_process(side, args.threads))
        ratios = [theirs / ours for ours, theirs in zip(*turns.values())]
        results[where] = dict(turns=turns, ratios=ratios)
        shown = ', '.join(
            f'{side}: {statistics.median(values):.3f} s ({min(values):.3f}–{max(values):.3f})'
            for side, values in turns.items()
        )
        print(
            f'{where}: {shown}; {statistics.median(ratios):.2f} times as fast '
            f'({min(ratios):.2f}–{max(ratios):.2f})',
            flush=True,
        )
    write(args.json, dict(results=results, machine=machine('cpu')))


if __name__ == '__main__':
    main()
