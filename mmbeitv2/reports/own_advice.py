"""What to change where pretraining on one's own photos has gained little."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmbeitv2.reports.few_shot import (
    CLS,
    CODES,
    COLOURS,
    RANDOM_CLS,
    TEACHER,
    mean_interval,
)
from mmbeitv2.reports.summary import GAIN, LOSS, Measurement

# Points of accuracy by which a teacher that knows such photos is above their mean colours: on the
# demo's photos it is thirty above them, on grey photos of solar cells two.
LEAST_OF_TEACHER = 5.0
# Points that may be lost from the teacher to its codes, and from these to the features.
MOST_LOST = 2.0


def in_short(answers: Mapping[str, Any]) -> str:
    """What pretraining has gained with most labels, in a sentence.

    Args:
        answers: of ``tools/few_shot.py``.
    """
    shots, means = _with_most_labels(answers)
    low, high = _gain_with_most_labels(answers)
    word = 'gains nothing beyond chance' if low <= 0 <= high else 'gains' if low > 0 else 'loses'
    points = f'{means[CLS] - means[RANDOM_CLS]:+.1f} points, {low:+.1f} to {high:+.1f}'
    return (
        f'With {_labels(shots)} a class pretraining {word}: {means[CLS]:.1f} % of other photos are '
        f'told from its [CLS], {means[RANDOM_CLS]:.1f} % from random weights '
        f'({points}).'.replace('-', '−')
    )


def beside_others(answers: Mapping[str, Any]) -> str:
    """The pretrained features beside all others, with most labels.

    Args:
        answers: of ``tools/few_shot.py``.
    """
    shots, means = _with_most_labels(answers)
    named = {CLS: 'pretrained', RANDOM_CLS: 'random weights', COLOURS: 'mean colours'}
    named |= {CODES: 'its codes', TEACHER: 'the teacher itself'}
    known = {word: means[name] for name, word in named.items() if name in means}
    found = ', '.join(f'{word} {mean:.1f} %' for word, mean in known.items())
    return f'Beside others, with {_labels(shots)} a class, from [CLS]: {found}.'


def what_to_change(
    rows: Sequence[Measurement],
    answers: Mapping[str, Any],
    right: float | None,
    copying: float | None,
) -> str:
    """Where knowledge is lost on the way from the teacher to the features, as far as the run shows.

    Args:
        rows: of the report.
        answers: of ``tools/few_shot.py``.
        right: share of hidden codes that are told.
        copying: share that copying the nearest visible patch's would tell.

    Returns:
        Empty where more figures are above those of random weights than below them, and the one that
        :func:`in_short` tells of is above them too.
    """
    found = [row.verdict for row in rows if not row.over_guess]
    if found.count(GAIN) > found.count(LOSS) and _gain_with_most_labels(answers)[0] > 0:
        return ''
    reasons = []
    shots, means = _with_most_labels(answers)
    of_codes = means.get(CODES)
    if TEACHER in means and means[TEACHER] - means[COLOURS] < LEAST_OF_TEACHER:
        reasons.append(
            f'the teacher itself is only {means[TEACHER] - means[COLOURS]:+.1f} points from mean '
            'colours: take one that knows such photos (--teacher), or larger images '
            '(--image-size) if what tells the classes is small'
        )
    elif TEACHER in means and of_codes is not None and means[TEACHER] - of_codes > MOST_LOST:
        reasons.append(
            f'with {_labels(shots)} a class the codes know {of_codes:.1f} %, the teacher '
            f'{means[TEACHER]:.1f} %: the tokenizer loses it. Give it more steps (--hours), more '
            'codes (--codes), or larger images (--image-size), of which each code stands for a '
            'smaller part'
        )
    if of_codes is not None and of_codes - means[CLS] > MOST_LOST:
        reasons.append(
            f'with {_labels(shots)} a class the features know {means[CLS]:.1f} %, the codes '
            f'{of_codes:.1f} %: give pretraining more steps (--hours)'
        )
    elif right is not None and copying is not None and right < copying:
        reasons.append(
            f'of the hidden codes {100 * right:.1f} % are told, by copying a visible neighbour’s '
            f'{100 * copying:.1f} %: give pretraining more steps (--hours)'
        )
    if not reasons:
        reasons.append(
            'nothing here says why: more photos would help, or weights of others to go on from '
            '(--from)'
        )
    return f'What to change: {"; ".join(reasons)}.'


def _with_most_labels(answers: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    draws = answers['features']
    shots = max(draws[CLS], key=int)
    return shots, {name: 100 * float(np.mean(by[shots])) for name, by in draws.items()}


def _gain_with_most_labels(answers: Mapping[str, Any]) -> tuple[float, float]:
    """95 % interval of the points of accuracy that [CLS] is above that of random weights."""
    shots, _ = _with_most_labels(answers)
    ours, random = (np.array(answers['features'][name][shots]) for name in (CLS, RANDOM_CLS))
    low, high = mean_interval(ours - random)
    return 100 * low, 100 * high


def _labels(shots: str) -> str:
    return f'{shots} label{"s" * (shots != "1")}'
