"""Figures of segmentation on frozen features, from what ``tools/dense_probe.py`` wrote."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmbeitv2.evaluation.bootstrap import Outcomes, paired_interval, score
from mmbeitv2.reports.summary import Measurement

# As the tool names them.
PRETRAINED, RANDOM = 'pretrained', 'random weights'
COLOURS, TEACHER = 'colours of the patch, 4 × 4', 'teacher'
NAME = 'Linear segmentation on frozen patches, mIoU'

# By name of the seed: outcomes by features.
Results = dict[str, dict[str, Outcomes]]


def read(seeds: Sequence[Path], split: str) -> Results:
    """Results of the seeds that have been evaluated.

    Args:
        seeds: their folders.
        split: name of the photos' folder.
    """
    files = {seed.name: seed / 'dense_probe' / f'{split}.json' for seed in seeds}
    return {name: _outcomes(json.loads(f.read_text())) for name, f in files.items() if f.is_file()}


def _outcomes(record: Mapping[str, Any]) -> dict[str, Outcomes]:
    return {
        name: Outcomes(*(np.array(found[side]) for side in Outcomes._fields))
        for name, found in record['outcomes'].items()
    }


def measurement(results: Results, data: str, baseline: float | None) -> Measurement:
    """The figure beside random weights, with the interval over the photos.

    Args:
        results: of :func:`read`.
        data: name of the photos, for the summary.
        baseline: mIoU of background everywhere.
    """
    interval = None
    others = []
    for found in list(results.values())[:1]:
        interval = paired_interval(found[PRETRAINED], found[RANDOM])
        named = {'the colours of the patch': COLOURS, 'the teacher': TEACHER}
        others = [
            f'{name} {100 * _share(found[key]):.1f} %'
            for name, key in named.items()
            if key in found
        ]
    return Measurement(
        NAME,
        data,
        {seed: _share(found[PRETRAINED]) for seed, found in results.items()},
        {seed: _share(found[RANDOM]) for seed, found in results.items()},
        baseline=baseline,
        note='; '.join(['labels of the other half of the photos', *others]),
        interval=interval,
    )


def _share(outcomes: Outcomes) -> float:
    return float(score(outcomes)[0])
