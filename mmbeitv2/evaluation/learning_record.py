"""The looks of a run, one a line of ``learning.jsonl`` in its folder."""

import errno
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.runner import Runner

from mmbeitv2.checkpoints.atomic import free_bytes, write_atomically
from mmbeitv2.errors import UnreadableFileError

FILE = 'learning.jsonl'
FORMAT = 1
Record = dict[str, Any]


def read_learning(work_dir: str | Path) -> list[Record]:
    """All looks of a run, in order.

    Each record has ``kind`` (``'pretraining'`` or ``'tokenizer'``), ``iter``, ``epoch`` (both 0 for
    the look before training), ``max_iters``, ``max_epochs``, ``interval``, ``start`` (``'random'``
    weights or ``'loaded'`` ones), ``photos`` (how many, and a digest of which), ``measures`` and
    ``errors`` by name, ``by_photo``, ``cost`` and ``verdict`` (``word``, ``reason``, ``advice``).

    Args:
        work_dir: of the run.

    Returns:
        Records; none if the run has not been looked at. A last line that is being written, or that
        a killed run has left, does not count.
    """
    path = Path(work_dir, FILE)
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding='utf-8').splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def append_record(work_dir: str | Path, record: Mapping[str, Any]) -> None:
    """Add a look, as one line in one write.

    Raises:
        OSError: it cannot be written; part of the line may have been.
    """
    path = Path(work_dir, FILE)
    line = (_line(record) + '\n').encode()
    try:
        with open(path, 'ab', buffering=0) as file:
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise UnreadableFileError(
            f'cannot write a look to {path}: {error.strerror}, {free_bytes(path):,} bytes are '
            'free. Free some, or make the file one that can be written'
        ) from error


class LearningFile:
    """The file of a run's looks, of which none is lost while it cannot be written."""

    def __init__(self) -> None:
        self._unwritten = False

    def write(self, runner: Runner, records: Sequence[Mapping[str, Any]]) -> None:
        """Add the last look, or all of them after one that could not be written.

        Args:
            runner: of the run; its log is told once, and training goes on.
            records: of all looks, in order.
        """
        try:
            if self._unwritten:
                write_records(runner.work_dir, records)
            else:
                append_record(runner.work_dir, records[-1])
            self._unwritten = False
        except OSError as error:
            if not self._unwritten:
                runner.logger.warning(
                    f'learning: {error}. Training goes on; looks are written once they can be'
                )
            self._unwritten = True


def write_records(work_dir: str | Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write all looks anew.

    Raises:
        OSError: they cannot be written.
    """
    lines = ''.join(_line(record) + '\n' for record in records)
    write_atomically(Path(work_dir, FILE), lines.encode())


def keep_until(work_dir: str | Path, iteration: int) -> list[Record]:
    """Drop the looks of steps that a resumed run will make again, and a line that was cut off.

    Args:
        work_dir: of the run.
        iteration: that the run goes on from; −1 drops all.

    Returns:
        Those that are left.
    """
    kept = [record for record in read_learning(work_dir) if record['iter'] <= iteration]
    if Path(work_dir, FILE).is_file():
        write_records(work_dir, kept)
    return kept


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(_finite(record), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    """JSON has no infinity: such numbers, as the error of a single photo, are left out."""
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items() if not _is_infinite(v)}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in _without_infinite(value)]
    return value


def _is_infinite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _without_infinite(values: Iterable[Any]) -> Iterable[Any]:
    return (None if _is_infinite(value) else value for value in values)
