"""How long the quick start's stages will take here, and how long they took.

Durations are kept in ``times.json`` of the work folder, and a stage is announced with what it took
there last time. Before the first time it is what it took on another machine, whose ``times.json``
is kept as ``quickstart_times.json``, by the ratio of the machines' speeds: of one-threaded matrix
products and decoded JPEGs, times the number of cores.
"""

import io
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import numpy as np
import torch
from PIL import Image

from mmbeitv2.checkpoints.atomic import write_atomically

REFERENCE = Path(__file__).with_name('quickstart_times.json')
# Without bfloat16 a step takes about twice the time.
SLOWER = 2
SIDE, PRODUCTS, PHOTOS, TRIES = 512, 4, 20, 5


class Announced(NamedTuple):
    """What is said of a stage before it starts.

    Args:
        stage: its name.
        amount: of its work: epochs or iterations, commands, or 1.
        seconds: that it will take; None where no machine has been timed.
        partly: whether some of its work was done before, so that less is left.
    """

    stage: str
    amount: float
    seconds: float | None
    partly: bool

    def __str__(self) -> str:
        if self.seconds is None:
            return 'how long is not known yet'
        text = f'about {rounded(self.seconds)}'
        return f'{text} or less, for some of it was done before' if self.partly else text


@dataclass
class StageTimes:
    """Announces stages and remembers how long they took.

    Args:
        work_dir: whose ``times.json`` is read and written.
        mixed_precision: whether this machine trains in bfloat16 or float16.
        reference: durations on another machine, in the same format.
    """

    work_dir: Path
    mixed_precision: bool
    reference: Path = REFERENCE

    def __post_init__(self) -> None:
        self.speed = {'seconds': calibrate(), 'cores': len(os.sched_getaffinity(0))}
        self.took: list[tuple[Announced, float]] = []

    def announce(self, stage: str, amount: float, trains: bool, partly: bool = False) -> Announced:
        """What to say of a stage before it starts.

        Args:
            stage: its name.
            amount: of its work, in a unit of the stage's own.
            trains: whether the precision of training sets its pace.
            partly: whether some of it was done before.
        """
        own, other = (_read(path).get('stages', {}).get(stage) for path in self._files())
        seconds = None
        if own is not None:
            seconds = own['seconds'] / own['amount'] * amount
        elif other is not None:
            seconds = other['seconds'] / other['amount'] * amount * self._slower(trains)
        return Announced(stage, amount, seconds, partly)

    def finish(self, announced: Announced, seconds: float) -> None:
        """Take down how long a stage took; for the next time only if all of it was done now."""
        self.took.append((announced, seconds))
        if announced.partly:
            return
        own, _ = self._files()
        stages = _read(own).get('stages', {})
        stages[announced.stage] = dict(seconds=round(seconds, 1), amount=announced.amount)
        record = dict(
            machine={**self.speed, 'mixed_precision': self.mixed_precision}, stages=stages
        )
        write_atomically(own, (json.dumps(record, indent=1) + '\n').encode())

    def table(self) -> str:
        """Stages, what was announced, and what they took."""
        rows = [('stage', 'announced', 'took')]
        for announced, seconds in self.took:
            guess = '–' if announced.seconds is None else f'about {rounded(announced.seconds)}'
            guess += ' or less' * (announced.partly and announced.seconds is not None)
            rows.append((announced.stage, guess, f'{seconds:.0f} s'))
        rows.append(('all', '', f'{sum(seconds for _, seconds in self.took) / 60:.1f} minutes'))
        widths = [max(map(len, column)) for column in zip(*rows)]
        return '\n'.join(
            f'{name.ljust(widths[0])}  {guess.rjust(widths[1])}  {took.rjust(widths[2])}'
            for name, guess, took in rows
        )

    def _files(self) -> tuple[Path, Path]:
        return self.work_dir / 'times.json', self.reference

    def _slower(self, trains: bool) -> float:
        """Times as long as on the reference machine, more than 1 on a slower one."""
        machine = _read(self.reference)['machine']
        ratio = self.speed['seconds'] / machine['seconds'] * machine['cores'] / self.speed['cores']
        precisions = int(machine['mixed_precision']) - int(self.mixed_precision)
        return ratio * SLOWER**precisions if trains else ratio


def rounded(seconds: float) -> str:
    """A duration without digits that nobody can promise: tens of seconds, then half minutes."""
    if seconds < 95:
        return f'{max(10, 10 * round(seconds / 10))} s'
    return f'{round(seconds / 30) / 2:g} minutes'


def calibrate() -> float:
    """Seconds that a core of this machine takes for a fixed work; less than one is spent on it.

    The fastest of several tries: what else runs meanwhile comes and goes.
    """
    matrix = torch.full((SIDE, SIDE), 0.5)
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    photo = io.BytesIO()
    Image.fromarray(noise).save(photo, 'jpeg')

    def multiply() -> None:
        for _ in range(PRODUCTS):
            matrix @ matrix

    def decode() -> None:
        for _ in range(PHOTOS):
            Image.open(io.BytesIO(photo.getvalue())).load()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return sum(_fastest(work) for work in (multiply, decode))
    finally:
        torch.set_num_threads(threads)


def _fastest(work: Callable[[], None]) -> float:
    tries = []
    for _ in range(TRIES):
        start = time.perf_counter()
        work()
        tries.append(time.perf_counter() - start)
    return min(tries)


def _read(path: Path) -> dict:
    return json.loads(path.read_text()) if path.is_file() else {}
