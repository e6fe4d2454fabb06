"""At how many photos looks fit into their share of a run, by given times."""

import pytest

from mmbeitv2.evaluation.learning_cost import Times, photos_that_fit

LEAST, MOST, LOOKS, COST = 16, 256, 4, 0.05


def fit(training, photo=0.01, once=0.03, spent=0.0, **options):
    times = Times(photo, once, training)
    options = dict(looks=LOOKS, least=LEAST, most=MOST, cost=COST) | options
    return photos_that_fit(times, spent, **options)


def test_all_of_them_in_a_long_run():
    # 256 · (0.03 + 4 · 0.01) s of looks.
    assert fit(training=3600) == (MOST, pytest.approx(17.92 / 3617.92))


@pytest.mark.parametrize('training', [50, 100, 200, 339])
@pytest.mark.parametrize('spent', [0.0, 0.5])
def test_as_many_as_cost_the_share_of_a_short_run(training, spent):
    found = fit(training, spent=spent)
    assert LEAST < found.photos < MOST
    assert found.share <= COST
    # One more would cost more.
    more = spent + (found.photos + 1) * (0.03 + LOOKS * 0.01)
    assert more / (more + training) > COST


def test_no_fewer_than_give_a_verdict_and_what_they_cost():
    assert fit(training=5, spent=1.0) == (LEAST, pytest.approx(2.12 / 7.12))
    # Even where measuring alone took all that there is.
    assert fit(training=5, spent=9.0).photos == LEAST


def test_no_more_than_there_are():
    assert fit(training=5, most=7).photos == 7
    assert fit(training=3600, most=7).photos == 7


def test_more_looks_are_at_fewer_photos():
    assert fit(100, looks=2).photos > fit(100, looks=4).photos


def test_a_share_of_all_has_no_limit():
    assert fit(training=0.01, cost=1.0).photos == MOST
