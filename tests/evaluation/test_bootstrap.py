"""Intervals of differences hold what they promise, and the figures are those of the metrics."""

import numpy as np
import pytest

from mmbeitv2.evaluation.bootstrap import Outcomes, paired_interval, score


def outcomes(right, asked=None):
    right = np.asarray(right, float)
    right = right[:, None] if right.ndim == 1 else right
    return Outcomes(right, np.ones_like(right) if asked is None else np.asarray(asked, float))


def test_score_is_the_mean_over_the_classes_that_occur():
    # The third class is asked about nowhere; the second gets 2 of 4 over both photos.
    found = score(outcomes([[3, 2, 0], [0, 0, 0]], [[3, 2, 0], [1, 2, 0]]))
    assert found == pytest.approx([(3 / 4 + 2 / 4) / 2])


def test_score_counts_a_photo_as_often_as_its_weight_says():
    assert score(outcomes([1, 0]), np.array([[3.0, 1.0], [0.0, 2.0]])) == pytest.approx([0.75, 0.0])


def paired_answers(generator, count, first, second, shared):
    """Answers to photos of which a share is equally hard for both."""
    common = generator.random(count)
    draws = [np.where(generator.random(count) < shared, common, generator.random(count))]
    draws.append(np.where(generator.random(count) < shared, common, generator.random(count)))
    return outcomes(draws[0] < first), outcomes(draws[1] < second)


@pytest.mark.parametrize('shared', [0.0, 0.9])
def test_intervals_cover_the_true_difference_in_95_of_100_cases(shared):
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        low, high = paired_interval(*paired_answers(generator, 150, 0.5, 0.35, shared), 400)
        covered += low <= 0.15 <= high
    assert covered / 300 == pytest.approx(0.95, abs=0.03)


def test_intervals_of_mean_ious_cover_the_true_difference():
    """Pixels of three classes, of which a method finds about a share in every photo."""
    generator = np.random.default_rng(0)

    def photos(share):
        return outcomes(np.minimum(asked, generator.normal(share, 0.2, asked.shape) * asked), asked)

    covered = 0
    for _ in range(300):
        asked = generator.integers(0, 2, (120, 3)) * generator.uniform(50, 500, (120, 3))
        low, high = paired_interval(photos(0.3), photos(0.25), 400)
        covered += low <= 0.05 <= high
    assert covered / 300 == pytest.approx(0.95, abs=0.03)


def test_answers_to_the_same_photos_are_told_apart_better_than_to_others():
    together = paired_interval(*paired_answers(np.random.default_rng(0), 400, 0.5, 0.45, 0.95))
    apart = paired_interval(*paired_answers(np.random.default_rng(0), 400, 0.5, 0.45, 0.0))
    assert together[1] - together[0] < 0.7 * (apart[1] - apart[0])


def test_identical_outcomes_have_no_width():
    same = outcomes(np.random.default_rng(0).random(50) < 0.4)
    assert paired_interval(same, same) == (0.0, 0.0)


def test_the_same_seed_gives_the_same_interval():
    pair = paired_answers(np.random.default_rng(0), 50, 0.5, 0.4, 0.5)
    assert paired_interval(*pair) == paired_interval(*pair)
    assert paired_interval(*pair, seed=1) != paired_interval(*pair)


@pytest.mark.parametrize(('ours', 'others'), [([], []), ([1, 0], [1])])
def test_other_photos_cannot_be_compared(ours, others):
    with pytest.raises(ValueError, match='the same for both'):
        paired_interval(outcomes(ours), outcomes(others))
