"""Paired comparisons: does one way win over the seeds, and how many seeds does that take?"""

import bisect
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from mmbeitv2.errors import InputError

SHOWN, NOT_SHOWN, OTHER_WAY = 'shown', 'not shown at this size', 'the other way'
# Of a two-sided test, and how often it is to find a difference that is there: both are the usual.
LEVEL, POWER = 0.05, 0.8


class Difference(NamedTuple):
    """Mean of paired differences, the ends of its interval, and the number of pairs."""

    mean: float
    low: float
    high: float
    pairs: int


def paired_difference(
    values: Sequence[float], others: Sequence[float], level: float = LEVEL
) -> Difference:
    """Mean of ``values − others`` with the interval of the paired t-test.

    Pairs share what varies from run to run and is not compared, such as seed and order of the data.

    Args:
        values: one for each pair, 2 or more.
        others: of the same pairs, in the same order.
        level: share of intervals that miss the true mean, in (0, 1).

    Raises:
        ValueError: fewer than 2 pairs, or not as many values as others.
    """
    if len(values) != len(others) or len(values) < 2:
        raise InputError(
            f'{len(values)} and {len(others)} values are no pairs to compare: give the same number '
            'of both, 2 or more.'
        )
    differences = np.subtract(values, others)
    mean = float(differences.mean())
    error = deviation_of(differences) / len(differences) ** 0.5
    half = float(stats.t.ppf(1 - level / 2, len(differences) - 1)) * error
    return Difference(mean, mean - half, mean + half, len(differences))


def deviation_of(differences: Sequence[float] | np.ndarray) -> float:
    """Standard deviation (n − 1) of 2 or more differences."""
    return float(np.std(differences, ddof=1))


def verdict(difference: Difference) -> str:
    """What an interval says of the claim that the first way is better.

    Returns:
        ``SHOWN`` where it lies above 0, ``OTHER_WAY`` where it lies below, else ``NOT_SHOWN``:
        which is no proof that there is no difference.
    """
    if difference.low > 0:
        return SHOWN
    return OTHER_WAY if difference.high < 0 else NOT_SHOWN


def power_of_pairs(count: int, deviation: float, difference: float, level: float = LEVEL) -> float:
    """How often the two-sided paired t-test finds a true difference, and its sign.

    Args:
        count: pairs, 2 or more.
        deviation: standard deviation of the paired differences, 0 or more.
        difference: the true mean, above 0.
        level: of the test.

    Returns:
        0 to 1, from the noncentral t distribution.
    """
    if deviation == 0:
        return 1.0
    # Equal differences spread by rounding, and SciPy knows no distribution that far out.
    freedom, shift = count - 1, min(difference / deviation * count**0.5, 1e6)
    critical = stats.t.ppf(1 - level / 2, freedom)
    return float(stats.nct.sf(critical, freedom, shift))


def pairs_needed(
    deviation: float,
    difference: float,
    most: int,
    power: float = POWER,
    level: float = LEVEL,
) -> int:
    """The smallest number of pairs with which the test has the power to find a difference.

    Args:
        deviation: standard deviation of the paired differences, 0 or more.
        difference: the smallest mean that matters, above 0.
        most: pairs that can be had, 2 or more.
        power: 0 to 1.
        level: of the two-sided test.

    Returns:
        2 to ``most``; ``most`` too where even that many do not reach the power.
    """
    counts = range(2, most)
    found = bisect.bisect_left(
        counts, power, key=lambda n: power_of_pairs(n, deviation, difference, level)
    )
    return 2 + found
