"""What chance in the choice of the photos does to the difference of two figures."""

from typing import NamedTuple

import numpy as np

from mmbeitv2.errors import InputError

RESAMPLES = 2000


class Outcomes(NamedTuple):
    """What each photo adds to a figure: so much is right of so much that was asked.

    Accuracy has one class and one question a photo; masked codes one class and a question for every
    masked patch; mIoU has for every class the pixels of intersection and of union.

    Args:
        right: floating ``(N, C)``, 0 or more.
        asked: floating ``(N, C)``, ``right`` or more.
    """

    right: np.ndarray
    asked: np.ndarray


def score(outcomes: Outcomes, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean over the classes that occur of what is right in all of what was asked.

    Args:
        outcomes: of N photos.
        weights: ``(R, N)``, how often each photo counts in each of R figures; once by default.

    Returns:
        floating ``(R,)``, 0 to 1; a single figure has shape ``(1,)``.
    """
    if weights is None:
        weights = np.ones((1, len(outcomes.right)))
    right, asked = (weights @ values for values in outcomes)
    occurs = asked > 0
    shares = np.divide(right, asked, out=np.zeros_like(right), where=occurs)
    return shares.sum(1) / np.maximum(occurs.sum(1), 1)


def paired_interval(
    ours: Outcomes,
    others: Outcomes,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of the difference of two figures of the same photos.

    The bootstrap (Efron, Ann. Statist. 7, 1979): N photos are drawn from the N, with replacement,
    the same for both figures. A photo that both find hard or easy thus counts for neither, which
    two intervals side by side would miss. It says what other photos of the kind would change, not
    what another training would.

    Args:
        ours: outcomes of N photos.
        others: outcomes of the same photos, in the same order.
        resamples: number of draws, 1 or more.
        level: share of the differences that the interval holds, 0 to 1.
        seed: of the draws.

    Returns:
        Lower and upper end.

    Raises:
        ValueError: no photos, or not as many for both.
    """
    count = len(ours.right)
    if count == 0 or count != len(others.right):
        raise InputError(
            f'{count} and {len(others.right)} photos have outcomes, allowed: the same for both, '
            'one or more; evaluate both on the same photos.'
        )
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(count, np.full(count, 1 / count), resamples).astype(float)
    differences = score(ours, weights) - score(others, weights)
    tail = (1 - level) / 2
    low, high = np.quantile(differences, (tail, 1 - tail))
    return float(low), float(high)
