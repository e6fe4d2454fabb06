"""Classification with a few labels: splits keep apart what they must, by known classifiers."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from mmbeitv2.evaluation.few_shot import (
    draw_episodes,
    few_shot_accuracy,
    nearest_centroid,
    ridge_probe,
)

LABELS = [0] * 12 + [1] * 12 + [2] * 12
GROUPS = [f'thing {i // 3}' for i in range(36)]


def features(classes=3, count=36, width=8, noise=0.1):
    """Points around a centre for each class."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, width, generator=generator)
    points = centres.repeat_interleave(count // classes, 0)
    return points + noise * torch.randn(count, width, generator=generator)


def test_labelled_photos_are_k_of_each_class_and_all_others_are_asked():
    for episode in draw_episodes(LABELS, shots=4, draws=3):
        assert np.bincount(np.array(LABELS)[episode.support]).tolist() == [4, 4, 4]
        assert sorted([*episode.support, *episode.query]) == list(range(36))


def test_labelled_and_asked_photos_show_different_things():
    for episode in draw_episodes(LABELS, shots=20, draws=5, groups=GROUPS):
        shown, asked = ({GROUPS[i] for i in side} for side in episode)
        assert not shown & asked
        assert {LABELS[i] for i in episode.support} == {LABELS[i] for i in episode.query}
        assert len(episode.support) == len(episode.query) == 18


def test_a_group_is_labelled_or_asked_about_in_all_classes():
    """Four places, each with photos of every class."""
    places = [f'place {i % 4}' for i in range(36)]
    for episode in draw_episodes(LABELS, shots=20, draws=40, groups=places):
        shown, asked = ({places[i] for i in side} for side in episode)
        assert not shown & asked
        assert len(shown) == len(asked) == 2


@pytest.mark.parametrize('seed', range(5))
def test_classes_of_few_groups_are_parted_beside_those_of_many(seed):
    things = ['a', 'b', 'c', 'd', 'e', 'f'] * 2 + ['a', 'b', 'a'] * 4 + ['b', 'c', 'c'] * 4
    for episode in draw_episodes(LABELS, shots=2, draws=20, seed=seed, groups=things):
        assert (
            {LABELS[i] for i in episode.support} == {LABELS[i] for i in episode.query} == {0, 1, 2}
        )
        assert not {things[i] for i in episode.support} & {things[i] for i in episode.query}


def test_groups_that_cannot_be_parted_are_one_line():
    """Of three things two are on one side, and one class has but these."""
    things = ['a', 'b'] * 6 + ['b', 'c'] * 6 + ['c', 'a'] * 6
    names = [('cat', 'dog', 'owl')[label] for label in LABELS]
    with pytest.raises(ValueError, match=r"so that class '(cat|dog|owl)' and all others") as caught:
        list(draw_episodes(names, 2, groups=things))
    assert '\n' not in str(caught.value)


def test_names_of_classes_draw_as_their_numbers_do():
    names = [('cat', 'dog', 'owl')[label] for label in LABELS]
    for groups in (None, GROUPS):
        pairs = zip(*(draw_episodes(y, 2, 3, groups=groups) for y in (LABELS, names)))
        for one, other in pairs:
            assert np.array_equal(one.support, other.support)
            assert np.array_equal(one.query, other.query)


def test_draws_differ_and_are_the_same_for_the_same_seed():
    first, again = (list(draw_episodes(LABELS, 2, 3)) for _ in range(2))
    for one, other in zip(first, again):
        assert np.array_equal(one.support, other.support)
    assert not np.array_equal(first[0].support, first[1].support)
    assert not np.array_equal(first[0].support, next(draw_episodes(LABELS, 2, 1, seed=1)).support)


@pytest.mark.parametrize(
    ('labels', 'shots', 'groups', 'message'),
    [
        (LABELS, 0, None, 'shots is 0, allowed: 1 or more'),
        ([0, 0, 1], 1, None, 'class 1 has 1 photos, but needs 2'),
        (LABELS, 1, ['one'] * 12 + GROUPS[12:], 'class 0 has 1 groups, but needs 2'),
    ],
)
def test_what_cannot_be_split_is_named(labels, shots, groups, message):
    with pytest.raises(ValueError, match=message):
        list(draw_episodes(labels, shots, groups=groups))


@pytest.mark.parametrize('width', [3, 40])
def test_ridge_probe_minimises_the_penalised_squares(width):
    points = features(width=width, noise=1.0)
    labels = torch.tensor(LABELS)
    support, query = slice(0, 36, 2), slice(1, 36, 2)
    found = ridge_probe(points[support], labels[support], points[query], penalty=0.7)
    mean, scale = points[support].mean(0), points[support].std(0)
    scaled = ((points - mean) / (scale * width**0.5)).double().numpy()
    # As ordinary least squares: rows for the penalty, a column for the bias that has none.
    penalties = np.hstack([0.7**0.5 * np.eye(width), np.zeros((width, 1))])
    rows, asked = (np.hstack([scaled[part], np.ones((18, 1))]) for part in (support, query))
    targets = np.vstack([np.eye(3)[labels[support]], np.zeros((width, 3))])
    weights = np.linalg.lstsq(np.vstack([rows, penalties]), targets, rcond=None)[0]
    assert found.tolist() == (asked @ weights).argmax(1).tolist()


def test_nearest_centroid_is_the_nearest_mean_direction():
    support = torch.tensor([[3.0, 0.1], [5.0, -0.1], [0.0, 2.0], [0.2, 4.0]])
    found = nearest_centroid(
        support, torch.tensor([0, 0, 1, 1]), torch.tensor([[9.0, 1.0], [0, 9]])
    )
    assert found.tolist() == [0, 1]


@pytest.mark.parametrize('classify', [ridge_probe, nearest_centroid])
def test_separate_classes_are_told_apart_and_noise_is_not(classify):
    episodes = list(draw_episodes(LABELS, 2, 10))
    assert few_shot_accuracy(features(), LABELS, episodes, classify).mean == 1
    noise = torch.randn(36, 8, generator=torch.Generator().manual_seed(1))
    accuracy = few_shot_accuracy(noise, LABELS, episodes, classify)
    assert abs(accuracy.mean - 1 / 3) < 0.1
    assert 0 < accuracy.interval < 0.1


def test_every_class_counts_alike():
    labels = [0] * 20 + [1] * 4
    episodes = list(draw_episodes(labels, 2, 1))

    def always_first(support, labels, query):
        return torch.zeros(len(query), dtype=torch.int64)

    assert few_shot_accuracy(torch.zeros(24, 2), labels, episodes, always_first).mean == 0.5


def test_numbers_of_classes_may_have_gaps():
    episodes = list(draw_episodes(LABELS, 2, 3))
    gaps = [2 * label + 5 for label in LABELS]
    expected, found = (few_shot_accuracy(features(), y, episodes) for y in (LABELS, gaps))
    assert_close(torch.from_numpy(found.draws), torch.from_numpy(expected.draws))
