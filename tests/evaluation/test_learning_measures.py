"""What a constant answer is worth, from few photos, and how surely a model is above it."""

import numpy as np
import pytest

from mmbeitv2.evaluation.learning_measures import (
    entropy_of_kind,
    pretraining_measures,
    rows_of_codes,
)

CODES, PATCHES, MASKED = 1000, 64, 24


@pytest.fixture(scope='module')
def draw():
    """Codes of photos, each of which has its favourites, and the entropy of all such photos."""
    random = np.random.default_rng(0)
    frequency = random.dirichlet(np.full(CODES, 0.5))

    def draw(photos):
        own = random.gamma(np.maximum(frequency * CODES * 0.1, 1e-9), size=(photos, CODES))
        own /= own.sum(1, keepdims=True)
        return np.array([random.choice(CODES, PATCHES, p=p) for p in own])

    return draw, float(-(frequency * np.log(frequency)).sum())


@pytest.mark.parametrize('photos', [32, 128])
def test_few_photos_do_not_flatter_the_constant_answer(draw, photos):
    found, counted = [], []
    for _ in range(5):
        rows = rows_of_codes(draw[0](photos), CODES)
        share = rows.sum(0)[rows.sum(0) > 0] / rows.sum()
        counted.append(-(share * np.log(share)).sum())
        found.append(entropy_of_kind(rows))
    assert np.mean(found) == pytest.approx(draw[1], abs=0.12)
    assert draw[1] - np.mean(counted) > 3 * abs(np.mean(found) - draw[1])


def test_entropy_of_one_photo_and_of_one_code():
    assert entropy_of_kind(np.array([[3.0, 1.0]])) == pytest.approx(0.5623, abs=1e-4)
    assert entropy_of_kind(np.array([[3.0, 0.0], [2.0, 0.0]])) == pytest.approx(0, abs=1e-9)


def seen(codes, loss):
    """A look at photos whose first patches are masked, where every guess is code 0."""
    masked = codes[:, :MASKED]
    return dict(
        codes=codes,
        masked_codes=masked,
        loss=loss,
        accuracy=(masked == 0).mean(1),
        copied=np.full(len(codes), 0.1),
        entropy=np.full(len(codes), 5.0),
        guesses=np.zeros_like(masked),
        probability=np.full(CODES, 1.0),
        attention=np.ones(len(codes)),
        cls=np.random.default_rng(1).normal(size=(len(codes), 8)).astype(np.float32),
        mean=np.random.default_rng(2).normal(size=(len(codes), 8)).astype(np.float32),
    )


def test_photos_that_are_hard_for_the_constant_answer_too_leave_less_to_chance(draw):
    codes, others = draw[0](40), draw[0](40)
    share = np.bincount(np.concatenate([codes, others]).ravel(), minlength=CODES) / 80 / PATCHES
    constant = -np.log(share[codes[:, :MASKED]]).mean(1)
    better = seen(codes, constant - 0.1)
    found = pretraining_measures(better, seen(others, constant), CODES)
    assert found.errors['over_constant'] == pytest.approx(0, abs=1e-9)
    assert found.errors['loss_held_out'] > 0.02
