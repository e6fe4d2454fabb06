"""Read what mmengine leaves in a work directory: scalars, test results, checkpoint and config.

A work directory has one folder ``TIMESTAMP`` for each start. ``vis_data/scalars.json`` below it has
one record a line: of training with ``iter``, of validation with the metrics. A test leaves its
metrics in ``TIMESTAMP/TIMESTAMP.json`` (``LoggerHook.after_test_epoch``), and ``PhotoOutcomesHook``
what was right on each photo in ``TIMESTAMP/outcomes_{val,test}.json``.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

Record = dict[str, float]


def read_scalars(work_dir: str | Path) -> list[Record]:
    """Training and validation records of all starts, in order of the iterations.

    A start that begins at an iteration replaces what earlier starts logged from there on: a resumed
    run continues the curve, a run from scratch begins it anew.

    Args:
        work_dir: of a run.

    Returns:
        Records, each with ``iter``; for those of validation that of the last training record.
        Empty if the run has logged nothing.
    """
    merged: list[Record] = []
    for folder in _starts(work_dir):
        records = _read_start(folder)
        trained = [r['iter'] for r in records if 'lr' in r]
        if trained:
            merged = [r for r in merged if r['iter'] < trained[0]]
        merged += records
    return merged


def series(records: list[Record], key: str) -> tuple[list[float], list[float]]:
    """Iterations and values of the records that have ``key``."""
    points = [(r['iter'], r[key]) for r in records if key in r]
    return [x for x, _ in points], [y for _, y in points]


def last_value(records: list[Record], key: str) -> float | None:
    """Newest value of ``key``, None if it was never logged."""
    values = series(records, key)[1]
    return values[-1] if values else None


def read_test_metrics(work_dir: str | Path) -> Record:
    """Metrics of the test after the newest training.

    Args:
        work_dir: of a run.

    Returns:
        Numbers by name; empty if the newest training has not been tested.
    """
    file = _newest_test(work_dir)
    metrics = {} if file is None else json.loads(file.read_text())
    return {name: value for name, value in metrics.items() if _is_number(value)}


def read_outcomes(work_dir: str | Path, phase: str) -> dict[str, Any] | None:
    """What was right on each photo, of the evaluation whose metrics are shown.

    Args:
        work_dir: of a run.
        phase: ``'val'``, the newest validation, or ``'test'``, the test after the newest training.

    Returns:
        As ``PhotoOutcomesHook`` wrote it; None if the run had no such hook.
    """
    if phase == 'test':
        tested = _newest_test(work_dir)
        folders = [] if tested is None else [tested.parent]
    else:
        folders = _starts(work_dir)[::-1]
    files = (folder / f'outcomes_{phase}.json' for folder in folders)
    file = next((file for file in files if file.is_file()), None)
    return None if file is None else json.loads(file.read_text())


def newest_checkpoint(work_dir: str | Path) -> Path | None:
    """The checkpoint that ``last_checkpoint`` names, None before the first one.

    Only its name counts, so that a work directory may be moved.
    """
    note = Path(work_dir, 'last_checkpoint')
    if not note.is_file():
        return None
    checkpoint = Path(work_dir, Path(note.read_text().strip()).name)
    return checkpoint if checkpoint.is_file() else None


def config_file(work_dir: str | Path) -> Path | None:
    """The newest config that mmengine dumped into the work directory, None before the first."""
    configs = sorted(Path(work_dir).glob('*.py'), key=lambda path: path.stat().st_mtime)
    return configs[-1] if configs else None


def _starts(work_dir: str | Path) -> list[Path]:
    return sorted(p for p in Path(work_dir).glob('*') if re.fullmatch(r'\d{8}_\d{6}', p.name))


def _newest_test(work_dir: str | Path) -> Path | None:
    """Metrics of the test after the newest training, None if it has not been tested."""
    for folder in reversed(_starts(work_dir)):
        file = folder / f'{folder.name}.json'
        if file.is_file():
            return file
        if any('lr' in record for record in _read_start(folder)):
            return None
    return None


def _read_start(folder: Path) -> list[Record]:
    file = folder / 'vis_data' / 'scalars.json'
    records: list[Record] = []
    if not file.is_file():
        return records
    iteration = 0
    for line in file.read_text().splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            # The last line of a run that was killed, or is writing just now, may be cut.
            break
        iteration = record.get('iter', iteration)
        records.append({k: v for k, v in record.items() if _is_number(v)} | {'iter': iteration})
    return records


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
