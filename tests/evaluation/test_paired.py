"""Verdicts over seeds: intervals and numbers of pairs as textbooks and other programs have them."""

import numpy as np
import pytest
from scipy import stats

from mmbeitv2.evaluation.paired import (
    NOT_SHOWN,
    OTHER_WAY,
    SHOWN,
    paired_difference,
    pairs_needed,
    power_of_pairs,
    verdict,
)


def test_interval_is_that_of_the_paired_t_test():
    random = np.random.default_rng(0)
    values, others = random.normal(1, 1, 8), random.normal(0, 1, 8)
    found = paired_difference(values, others)
    expected = stats.ttest_rel(values, others).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(np.mean(values - others))
    assert found.pairs == 8
    # A tuple as any other: `count` is not hidden by a field.
    assert found.count(8) == 1


def test_what_both_of_a_pair_share_does_not_widen_the_interval():
    shared = np.array([0.0, 5.0, 10.0])
    found = paired_difference(shared + [1.0, 1.1, 0.9], shared)
    assert found.high - found.low < 1


@pytest.mark.parametrize(
    ('differences', 'expected'),
    [
        ([1.0, 1.2, 0.9], SHOWN),
        ([-1.0, -1.2, -0.9], OTHER_WAY),
        ([1.0, -1.2, 0.9], NOT_SHOWN),
        ([0.0, 0.0, 0.0], NOT_SHOWN),
        ([0.5, 0.5, 0.5], SHOWN),
    ],
)
def test_verdict_is_what_the_whole_interval_says(differences, expected):
    assert verdict(paired_difference(differences, [0.0] * 3)) == expected


@pytest.mark.parametrize(('effect', 'pairs'), [(0.5, 34), (0.8, 15), (1.0, 10)])
def test_number_of_pairs_is_that_of_published_tables(effect, pairs):
    # Two-sided paired t-test at 5 % with power 80 %, as G*Power gives them.
    assert pairs_needed(1.0, effect, most=1000) == pairs
    assert power_of_pairs(pairs - 1, 1.0, effect) < 0.8 <= power_of_pairs(pairs, 1.0, effect)


def test_power_is_how_often_simulated_experiments_find_the_difference():
    random = np.random.default_rng(0)
    samples = random.normal(0.02, 0.02, (4000, 7))
    found = (stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05).mean()
    assert power_of_pairs(7, 0.02, 0.02) == pytest.approx(found, abs=0.03)


@pytest.mark.parametrize('deviation', [0.0, 1e-17, 1e-9, 1e-4])
def test_power_is_a_share_however_certain(deviation):
    assert power_of_pairs(3, deviation, 0.02) == 1


def test_number_of_pairs_stays_within_what_can_be_had():
    assert pairs_needed(0.0, 0.02, most=12) == 2
    assert pairs_needed(1e-6, 0.02, most=12) == 2
    assert pairs_needed(1e-17, 0.02, most=12) == 2
    assert pairs_needed(0.5, 0.02, most=12) == 12


@pytest.mark.parametrize(('values', 'others'), [([1.0], [0.5]), ([1.0, 2.0], [1.0]), ([], [])])
def test_what_is_no_pairs_is_refused(values, others):
    with pytest.raises(ValueError, match='no pairs to compare'):
        paired_difference(values, others)
