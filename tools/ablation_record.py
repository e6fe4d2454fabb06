"""The record of the demo's ablations: one JSON file that grows run by run."""

import json
import os
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from demo_claims import VARIANTS

from mmbeitv2.errors import InputError


@dataclass(frozen=True)
class Run:
    """One pretraining, measured.

    Args:
        variant: key of ``VARIANTS``.
        seed: of the pretraining and of its tokenizer.
        figures: by key, 0 to 1.
        digest: of configs, options and data; runs of different ones are not compared.
        commits: of the checkout that trained, one unless the run was resumed by another.
        changed: files of the checkout that differed from them.
        date: of the end, YYYY-MM-DD.
        machine: name of the processor.
        torch: version.
        precision: of the training.
        minutes: tokenizer included where this run trained it; None of an interrupted run.
    """

    variant: str
    seed: int
    figures: Mapping[str, float]
    digest: str
    commits: list[str]
    changed: list[str]
    date: str
    machine: str
    torch: str
    precision: str
    minutes: float | None


@dataclass
class Record:
    """All runs, and how many pairs were allowed when they were made."""

    max_seeds: int
    runs: list[Run] = field(default_factory=list)

    @property
    def figures(self) -> dict[tuple[str, int], Mapping[str, float]]:
        """Figures by variant and seed."""
        return {(run.variant, run.seed): run.figures for run in self.runs}

    def typical_minutes(self) -> float | None:
        """Median time of the runs, None if none is known."""
        known = [run.minutes for run in self.runs if run.minutes is not None]
        return statistics.median(known) if known else None

    def check_digest(self, variant: str, digest: str, path: Path) -> None:
        """Refuse to compare with runs of another config.

        Raises:
            ValueError: names a run of the same variant with another digest, and the cure.
        """
        for run in self.runs:
            if run.variant == variant and run.digest != digest:
                commit = run.commits[-1][:10] if run.commits else 'unknown'
                raise InputError(
                    f'{path} has seed {run.seed} of configs/demo/{VARIANTS[variant].config}.py as '
                    f'it, its tokenizer, the options or the photos were at commit {commit} (digest '
                    f'{run.digest}, now {digest}): move the file away to begin anew, or go on from '
                    'that commit.'
                )


def read_record(path: Path, max_seeds: int) -> Record:
    """The record of a file.

    Args:
        path: need not exist.
        max_seeds: of a new record.

    Raises:
        ValueError: the file is no such record.
    """
    if not path.is_file():
        return Record(max_seeds)
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        return Record(content['max_seeds'], [Run(**run) for run in content['runs']])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'{path} is no record of ablations ({error}): restore it from git or move it away.'
        ) from error


def write_record(record: Record, path: Path) -> None:
    """Replace the file at once: a kill leaves the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f'{path.name}.new')
    new.write_text(json.dumps(asdict(record), indent=1) + '\n', encoding='utf-8')
    os.replace(new, path)
