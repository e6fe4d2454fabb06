"""The files: pictures composed by several processes, and the table of their sources."""

import csv
import signal
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .assets import load
from .collage import compose
from .jobs import Job

JPEG_QUALITY = 90


def write_pictures(jobs: Sequence[Job], root: Path, image_size: int, workers: int) -> None:
    """Compose and write pictures and annotations, with a progress bar.

    Args:
        jobs: result of ``plan``.
        root: existing folder to write to.
        image_size: side of the pictures in pixels.
        workers: processes; 1 means this one.

    Raises:
        DemoDataError: an asset is unreadable.
    """
    for job in jobs:
        for name in job.files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
    write = partial(_write_picture, root=root, image_size=image_size)
    if workers == 1:
        _consume(map(write, jobs), len(jobs))
        return
    # Ctrl-C is for the parent, which then stops the workers without a traceback from each.
    with ProcessPoolExecutor(
        workers, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)
    ) as pool:
        _consume(pool.map(write, jobs, chunksize=32), len(jobs))


def write_sources(jobs: Sequence[Job], path: Path) -> None:
    """Write the background and the cut-outs of every picture as a CSV table.

    Args:
        jobs: result of ``plan``.
        path: file to write.
    """
    with path.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['picture', 'background', 'cut-outs, back to front'])
        for job in jobs:
            stamps = ' '.join(f'{name}/{stamp.stem}' for stamp, name in job.stamps)
            writer.writerow([job.image, job.background.stem, stamps])


def _write_picture(job: Job, root: Path, image_size: int) -> None:
    picture, annotation = compose(
        load(job.background, 'RGB'),
        [(load(path, 'RGBA'), name) for path, name in job.stamps],
        image_size,
        np.random.default_rng(job.seed),
    )
    picture.save(root / job.image, quality=JPEG_QUALITY)
    if job.annotation is not None:
        annotation.save(root / job.annotation)


def _consume(results: Iterable[None], total: int) -> None:
    for _ in tqdm(
        results,
        total=total,
        desc='demo data',
        unit=' pictures',
        # A file or a pipe keeps every line that a terminal would overwrite.
        mininterval=1 if sys.stderr.isatty() else 30,
    ):
        pass
