"""The study's record: one line of JSON for each finished cell."""

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from mmbeitv2.errors import InputError

from .cells import Cell


@dataclass(frozen=True)
class Result:
    """A cell, measured.

    Args:
        cell: what was made.
        figures: by name.
        history: figures on the way.
        seconds: of the wall, on a machine that may have had other work.
        cpu_seconds: of the processor, in one thread.
        digest: of configs and lengths; only results of the same are compared.
        commit: of the checkout.
        changed: files of its code that differed from it.
        date: of the end, YYYY-MM-DD.
        machine: name of the processor.
        torch: version.
        precision: of the training.
    """

    cell: Cell
    figures: Mapping[str, float]
    history: Sequence[Mapping[str, float]]
    seconds: float
    cpu_seconds: float
    digest: str
    commit: str
    changed: Sequence[str]
    date: str
    machine: str
    torch: str
    precision: str


def read_results(path: Path) -> list[Result]:
    """The results of a file; none if it is not there.

    Raises:
        ValueError: a line that is no result.
    """
    if not path.is_file():
        return []
    results = []
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        try:
            content: dict[str, Any] = json.loads(line)
            results.append(Result(**{**content, 'cell': Cell(**content['cell'])}))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f'{path}:{number} is no result of the study ({error}): restore the file from git '
                'or take the line out.'
            ) from error
    return results


def check_digest(results: Sequence[Result], digest: str, path: Path) -> None:
    """Refuse to add to results of other configs or lengths.

    Raises:
        ValueError: names the first of them, and the cure.
    """
    for result in results:
        if result.digest != digest:
            raise InputError(
                f'{path} has {result.cell.name} of other configs or lengths (digest '
                f'{result.digest} of commit {result.commit[:10]}, now {digest}): give another file '
                'by --record, or go on from that commit.'
            )


def write_results(results: Sequence[Result], path: Path) -> None:
    """Replace the file at once: a kill leaves the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f'{path.name}.new')
    new.write_text(''.join(f'{json.dumps(asdict(r))}\n' for r in results), encoding='utf-8')
    os.replace(new, path)


def add_result(result: Result, path: Path) -> None:
    """Put a result into the record, beside what another process has put there meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f'.{path.name}.lock')):
        kept = [other for other in read_results(path) if other.cell != result.cell]
        write_results([*kept, result], path)


def today() -> str:
    """Date for a result."""
    return datetime.date.today().isoformat()
