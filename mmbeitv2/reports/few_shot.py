"""Figures of classification with a few labels, from what ``tools/few_shot.py`` wrote."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmbeitv2.reports.summary import Measurement
from mmbeitv2.visualization.few_shot import FewShotPanel

# As tools/few_shot.py names them.
CLS, RANDOM_CLS = 'pretrained, [CLS]', 'random weights, [CLS]'
COLOURS, TEACHER = 'mean colours, 4 × 4', 'teacher'
CODES = 'codes, mean of their vectors'
# Its questions, as the report puts them to the demo's photos.
QUESTIONS = {
    'other photos': 'other photos of these cut-outs',
    'photos of other things': 'photos of other cut-outs',
}
SHOTS = '5'

# By name of the seed: question → number of classes, and features → shots → accuracy of each draw.
Results = dict[str, dict[str, Any]]


def read(seeds: Sequence[Path], split: str) -> Results:
    """Results of the seeds that have been evaluated.

    Args:
        seeds: their folders.
        split: name of the photos' folder.
    """
    files = {seed.name: seed / 'few_shot' / f'{split}.json' for seed in seeds}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()}


def measurements(results: Results, data: str) -> Iterator[Measurement]:
    """A figure for each question, of [CLS] and five labels a class.

    Args:
        results: of :func:`read`.
        data: name of the photos, for the summary.
    """
    for question, wording in QUESTIONS.items():
        asked = _asked(results, question)
        ours, random = _draws(asked, CLS), _draws(asked, RANDOM_CLS)
        # The same labelled photos for both, hence the interval of the difference.
        gaps = [ours[name] - random[name] for name in ours]
        interval = mean_interval(gaps[0]) if gaps else None
        others = {'mean colours': _draws(asked, COLOURS), 'the teacher': _draws(asked, TEACHER)}
        shown = [f'{name} {100 * _mean(draws):.1f} %' for name, draws in others.items() if draws]
        yield Measurement(
            f'{SHOTS} labels a class, {wording}',
            data,
            {name: float(draws.mean()) for name, draws in ours.items()},
            {name: float(draws.mean()) for name, draws in random.items()},
            baseline=1 / min((found['classes'] for found in asked.values()), default=8),
            note='; '.join(['ridge regression on frozen [CLS]', *shown]),
            interval=interval,
        )


def panels(results: Mapping[str, Results]) -> list[FewShotPanel]:
    """Axes of the figure, the first seed's: a row for each data, a column for each question.

    Args:
        results: of :func:`read`, by name of the photos.
    """
    found = []
    for data, by_seed in results.items():
        for question, wording in QUESTIONS.items():
            for asked in list(_asked(by_seed, question).values())[:1]:
                title = f'{data.split(",")[0].capitalize()}, {wording}'
                found.append(FewShotPanel(title, asked['features'], 1 / asked['classes']))
    return found


def _asked(results: Results, question: str) -> dict[str, dict[str, Any]]:
    return {name: found[question] for name, found in results.items() if question in found}


def _draws(asked: Mapping[str, dict[str, Any]], features: str) -> dict[str, np.ndarray]:
    return {
        name: np.array(found['features'][features][SHOTS])
        for name, found in asked.items()
        if SHOTS in found['features'].get(features, {})
    }


def mean_interval(gaps: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean over other draws of the labelled photos.

    Args:
        gaps: difference of two accuracies for each draw, ``(draws,)``.
    """
    half = 1.96 * gaps.std(ddof=1) / len(gaps) ** 0.5
    return float(gaps.mean() - half), float(gaps.mean() + half)


def _mean(draws: Mapping[str, np.ndarray]) -> float:
    return float(np.mean([values.mean() for values in draws.values()]))
