"""From a folder of photos to a backbone, from a script or a notebook."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmbeitv2.apis.encoder import PhotoEncoder, load_encoder
from mmbeitv2.commands import environment, tools_folder
from mmbeitv2.datasets.photo_sources import Source, check_sources, source_paths
from mmbeitv2.errors import InputError

# How the command begins its last line: what a user can mend, and that it was stopped.
ERROR, INTERRUPTED = 'error: ', 'interrupted: '
# Before it, argparse says which program it is.
OF_ARGUMENTS = 'pretrain.py: '
# By the name of the argument, where it is another than the option's.
OPTIONS = dict(start='from')


@dataclass(frozen=True)
class OwnRun:
    """A run of :func:`pretrain` at its end.

    Args:
        folder: of everything that it has written.
    """

    folder: Path

    @property
    def page(self) -> Path:
        """The report, which opens in a browser."""
        return self.folder / 'report.html'

    @property
    def plan(self) -> dict[str, Any]:
        """What was chosen, as ``plan.json`` has it."""
        return json.loads((self.folder / 'plan.json').read_text())

    @property
    def results(self) -> list[dict[str, Any]]:
        """Rows of the report's table."""
        return json.loads((self.folder / 'report' / 'results.json').read_text())

    @property
    def verdict(self) -> str:
        """What the results say, in words."""
        text = (self.folder / 'report' / 'summary.txt').read_text(encoding='utf-8')
        return text.partition('\n\n')[0]

    def encoder(self) -> PhotoEncoder:
        """The pretrained backbone with its codes, ready for photos."""
        return load_encoder(self.folder / 'pretraining')


def pretrain(
    photos: Source,
    out: str | Path,
    hours: float | None = None,
    labels: str | Path | None = None,
    teacher: str | None = None,
    tokenizer: str | Path | None = None,
    start: str | Path | None = None,
    size: str | None = None,
    image_size: int | None = None,
    codes: int | None = None,
    value_range: tuple[float, float] | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    seed: int = 0,
) -> OwnRun:
    """Train a tokenizer and a backbone on one's own photos, and judge them.

    It runs ``mmbeitv2 pretrain`` in a process of its own, whose output it prints: training takes
    GPUs and workers that a notebook keeps otherwise. The same call goes on where an earlier one was
    interrupted, and trains nothing again that is finished.

    Args:
        photos: folder, list, tars, tables or LMDB file, or several of them, see
            :func:`mmbeitv2.datasets.photo_sources.find_sources`.
        out: folder to write.
        hours: for everything; usual lengths otherwise.
        labels: to judge by alone: a CSV file whose lines are PHOTO,CLASS, photos relative to
            ``photos``; another folder, of class folders; ``'folders'`` where ``photos`` has them.
            The ``.cls`` members of tars, and a table's classes with names, unless given.
        teacher: ``'clip'``, ``'dino'``, ``'lite0'`` or ``'timm:MODEL'``, each also with ``@FILE``
            for its weights.
        tokenizer: checkpoint of one to take, so that none is trained.
        start: checkpoint of a backbone to go on from.
        size: of the model, a key of :data:`mmbeitv2.launch.plan.SIZES`.
        image_size: in pixels, a multiple of 16.
        codes: of the tokenizer.
        value_range: black and white of photos of float or 32-bit numbers.
        image_column: of tables; None for their only column of image files.
        label_column: of tables; None for the only one whose classes have names.
        seed: of everything random.

    Returns:
        Where everything is.

    Raises:
        ValueError: photos, labels, weights or wishes that cannot be used; the message is the
            command's own.
        FileNotFoundError: no such photos.
        KeyboardInterrupt: the run was stopped; the same call goes on.
        RuntimeError: a stage has failed; its log is named.
    """
    chosen: dict[str, Any] = dict(hours=hours, labels=labels, size=size, image_size=image_size)
    chosen |= dict(teacher=teacher, tokenizer=tokenizer, start=start, codes=codes, seed=seed)
    chosen |= dict(value_range=value_range, image_column=image_column)
    chosen |= dict(label_column=label_column)
    out = Path(out).expanduser()
    check_sources(photos)
    _run([*source_paths(photos), '--out', str(out), *_options(chosen)])
    return OwnRun(out)


def _options(chosen: Mapping[str, Any]) -> Iterator[str]:
    """The command line's options of what is given."""
    for name, value in chosen.items():
        if value is not None:
            yield f'--{OPTIONS.get(name, name).replace("_", "-")}'
            yield from map(str, value if isinstance(value, tuple | list) else (value,))


def _run(arguments: list[str]) -> None:
    tools = tools_folder()
    process = subprocess.Popen(
        [sys.executable, '-u', str(tools / 'pretrain.py'), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(tools),
        text=True,
    )
    assert process.stdout is not None
    said = ''
    try:
        for line in process.stdout:
            print(line, end='', flush=True)
            said = line.strip() if line.strip() else said
        code = process.wait()
    finally:
        # Left by an exception, such as a notebook's interruption: it ends its own runs.
        if process.poll() is None:
            process.terminate()
            process.wait()
    if said.startswith(INTERRUPTED):
        raise KeyboardInterrupt
    said = said.removeprefix(OF_ARGUMENTS)
    if code and said.startswith(ERROR):
        raise InputError(said.removeprefix(ERROR))
    if code:
        raise RuntimeError(said)
