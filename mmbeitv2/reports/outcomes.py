"""Intervals of the summary's gains, from what runs got right on each photo."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmbeitv2.errors import InputError
from mmbeitv2.evaluation.bootstrap import Outcomes, paired_interval
from mmbeitv2.visualization import runs


class Judged(NamedTuple):
    """A figure whose photos are known: the run's folder and the name of the metric."""

    stage: Path
    metric: str


def gain_interval(ours: Judged, others: Judged, phase: str) -> tuple[float, float] | None:
    """95 % interval of the difference of two figures over the photos that both were asked about.

    Args:
        ours: a figure of a run.
        others: that of the run, or of the guess, that it is compared with.
        phase: ``'val'`` or ``'test'``.

    Returns:
        Lower and upper end, in shares of 1; None where the runs have left no outcomes.

    Raises:
        ValueError: the runs were asked about different photos.
    """
    records = [runs.read_outcomes(figure.stage, phase) for figure in (ours, others)]
    known = [r is not None and f.metric in r['outcomes'] for r, f in zip(records, (ours, others))]
    if not all(known):
        return None
    if records[0]['photos'] != records[1]['photos']:
        raise InputError(
            f'{ours.stage} and {others.stage} were evaluated on different photos: remove both and '
            'run their stage again on the same data.'
        )
    sides = [
        Outcomes(*(np.array(record['outcomes'][figure.metric][side]) for side in Outcomes._fields))
        for record, figure in zip(records, (ours, others))
    ]
    return paired_interval(*sides)
