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
    known = [
        (record['photos'], record['outcomes'][figure.metric])
        for record, figure in zip(records, (ours, others))
        if record is not None and figure.metric in record['outcomes']
    ]
    if len(known) < 2:
        return None
    if known[0][0] != known[1][0]:
        raise InputError(
            f'{ours.stage} and {others.stage} were evaluated on different photos: remove both and '
            'run their stage again on the same data.'
        )
    first, second = (
        Outcomes(*(np.array(found[side]) for side in Outcomes._fields)) for _, found in known
    )
    return paired_interval(first, second)
