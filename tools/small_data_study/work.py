"""Working through the cells, one in each process, each result written as soon as it is there."""

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

from mmbeitv2.engine import choose_precision
from mmbeitv2.launch.processor import processor_name

from .cells import Cell
from .crops import tokenizer_config
from .pretraining import pretrain, untrained
from .record import Result, today
from .settings import ROOT, Settings
from .tokenizers import tokenizer_file, train_tokenizer

CODE = ('mmbeitv2', 'tools/small_data.py', 'tools/small_data_study', 'configs')
MAKERS = dict(tokenizer=train_tokenizer, pretraining=pretrain, untrained=untrained)


def measure(cell: Cell, settings: Settings) -> Result:
    """Make one cell in this process, with one thread."""
    wall, cpu = time.monotonic(), time.process_time()
    found = MAKERS[cell.stage](cell, settings)
    return Result(
        cell=cell,
        figures=found['figures'],
        history=found['history'],
        seconds=round(time.monotonic() - wall, 1),
        cpu_seconds=round(time.process_time() - cpu, 1),
        digest=settings.digest,
        commit=_git('rev-parse', 'HEAD').strip(),
        changed=[line[3:] for line in _git('status', '--porcelain', '--', *CODE).splitlines()],
        date=today(),
        machine=processor_name(),
        torch=torch.__version__.split('+')[0],
        precision=str(choose_precision().dtype).removeprefix('torch.'),
    )


def results_of(
    cells: Sequence[Cell], settings: Settings, processes: int, seconds: float | None = None
) -> Iterator[Result]:
    """Make cells in processes of one thread and yield their results as they end.

    Args:
        cells: in this order.
        settings: of the study.
        processes: cells at once.
        seconds: after which no other cell is begun; None for no limit.
    """
    end = None if seconds is None else time.monotonic() + seconds
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(processes, context, initializer=prepare) as pool:

        def submit(cell: Cell) -> Future[Result]:
            return pool.submit(measure, cell, settings)

        yield from in_turn(cells, processes, submit, end)


def in_turn(
    cells: Sequence[Cell],
    most: int,
    submit: Callable[[Cell], Future[Result]],
    end: float | None = None,
) -> Iterator[Result]:
    """Submit cells and yield their results as they end; a pretraining follows its tokenizer.

    Args:
        cells: in this order, where nothing has to be waited for.
        most: cells at once.
        submit: begins one.
        end: reading of the monotonic clock after which none is begun; None for no end.
    """
    waiting, running = list(cells), dict[Future[Result], Cell]()
    while waiting or running:
        if end is not None and time.monotonic() > end:
            waiting = []
        for cell in list(waiting):
            unfinished = {*waiting, *running.values()} - {cell}
            if len(running) < most and cell.tokenizer not in unfinished:
                waiting.remove(cell)
                print(f'begun: {cell.name}', flush=True)
                running[submit(cell)] = cell
        ended = wait(running, return_when=FIRST_COMPLETED).done
        # What has been made is not lost with what has failed.
        for future in sorted(ended, key=lambda future: future.exception() is not None):
            del running[future]
            yield future.result()


def with_tokenizers(cells: Sequence[Cell], settings: Settings) -> list[Cell]:
    """Cells with the tokenizers that they need and this work directory has not."""
    missing = [
        cell.tokenizer
        for cell in cells
        if cell.stage == 'pretraining' and not tokenizer_file(cell, settings).is_file()
    ]
    return list(dict.fromkeys([*(c for c in missing if c not in cells), *cells]))


def prepare() -> None:
    """Make a process ready for cells: one thread, and no line for every parameter that is drawn."""
    torch.set_num_threads(1)
    # Where tools find their neighbours.
    sys.path.insert(0, str(ROOT / 'tools'))
    MMLogger.get_instance('small_data', log_level='WARNING')
    # Whose names the configs have, as a runner would say.
    DefaultScope.get_instance('small_data', scope_name=tokenizer_config().default_scope)


def _git(*arguments: str) -> str:
    command = ['git', '-C', str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
