"""Working through the cells, one in each process, each result written as soon as it is there."""

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait

import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

from mmbeitv2.engine import choose_precision
from mmbeitv2.launch.processor import processor_name

from .cells import Cell
from .crops import held_out_crops, tokenizer_config, training_crops
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
    cells: Sequence[Cell],
    settings: Settings,
    processes: int,
    seconds: float | None = None,
    make: Callable[[Cell, Settings], Result] = measure,
) -> Iterator[Result]:
    """Make cells and yield their results as they end.

    Args:
        cells: in this order; a pretraining follows its tokenizer.
        settings: of the study.
        processes: cells at once.
        seconds: after which no other cell is begun; None for no limit.
        make: what makes one.
    """
    end = None if seconds is None else time.monotonic() + seconds
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(processes, context, initializer=_prepare) as pool:
        for future in _crops_of(cells, settings, pool):
            future.result()
        waiting, running = list(cells), set[Future[Result]]()
        unfinished = {cell for cell in cells if cell.stage == 'tokenizer'}
        while waiting or running:
            if end is not None and time.monotonic() > end:
                waiting = []
            ready = [
                c for c in waiting if c.stage != 'pretraining' or c.tokenizer not in unfinished
            ]
            for cell in ready[: processes - len(running)]:
                waiting.remove(cell)
                print(f'begun: {cell.name}', flush=True)
                running.add(pool.submit(make, cell, settings))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                result = future.result()
                unfinished.discard(result.cell)
                yield result


def with_tokenizers(cells: Sequence[Cell], settings: Settings) -> list[Cell]:
    """Cells with the tokenizers that they need and this work directory has not."""
    missing = [
        cell.tokenizer
        for cell in cells
        if cell.stage == 'pretraining' and not tokenizer_file(cell, settings).is_file()
    ]
    return list(dict.fromkeys([*(c for c in missing if c not in cells), *cells]))


def _crops_of(cells: Sequence[Cell], settings: Settings, pool: Executor) -> list[Future[object]]:
    """What the cells share is made before them, so that no two make it at once."""
    trained = [cell for cell in cells if cell.stage != 'untrained']
    futures: list[Future[object]] = []
    for photos, teacher in dict.fromkeys((c.photos, c.teacher) for c in trained):
        futures.append(pool.submit(_make_crops, settings, photos, teacher))
    for teacher in dict.fromkeys(cell.teacher for cell in trained):
        futures.append(pool.submit(_make_held_out, settings, teacher))
    return futures


def _make_crops(settings: Settings, photos: int, teacher: str) -> None:
    training_crops(settings, photos, teacher)


def _make_held_out(settings: Settings, teacher: str) -> None:
    held_out_crops(settings, teacher)


def _prepare() -> None:
    """Of a process: one thread, and no line for every parameter that is drawn."""
    torch.set_num_threads(1)
    # Where tools find their neighbours.
    sys.path.insert(0, str(ROOT / 'tools'))
    MMLogger.get_instance('small_data', log_level='WARNING')
    # Whose names the configs have, as a runner would say.
    DefaultScope.get_instance('small_data', scope_name=tokenizer_config().default_scope)


def _git(*arguments: str) -> str:
    command = ['git', '-C', str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
