"""Few labels of a training set: which photos get them, and what a probe learns from them."""

import numpy as np
import pytest
import torch

from mmbeitv2.evaluation.few_shot import nearest_centroid, ridge_probe
from mmbeitv2.evaluation.labelled import draw_labelled, probe_accuracy

# Three classes of 20 photos in turn; those of a class show five things, four photos each.
LABELS = [i % 3 for i in range(60)]
GROUPS = [f'{i % 3}/{i // 3 % 5}' for i in range(60)]


def things(drawn):
    return [GROUPS[i] for i in drawn]


@pytest.mark.parametrize('groups', [None, GROUPS])
@pytest.mark.parametrize('count', [1, 4, 16])
def test_every_class_has_as_many_labelled_photos(count, groups):
    drawn = draw_labelled(LABELS, count, groups=groups)
    assert np.bincount(np.array(LABELS)[drawn]).tolist() == [count] * 3
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize('groups', [None, GROUPS])
def test_fewer_labels_are_some_of_more_labels(groups):
    one, four, sixteen = (set(draw_labelled(LABELS, k, 3, groups)) for k in (1, 4, 16))
    assert one < four < sixteen


@pytest.mark.parametrize('seed', range(5))
def test_labelled_photos_show_different_things_while_a_class_has_them(seed):
    assert len(set(things(draw_labelled(LABELS, 5, seed, GROUPS)))) == 15
    # Then each of the five has given one photo before any gives its second.
    counts = np.unique(things(draw_labelled(LABELS, 7, seed, GROUPS)), return_counts=True)[1]
    assert sorted(counts) == [1] * 9 + [2] * 6


def test_without_groups_photos_may_show_the_same_thing():
    assert any(len(set(things(draw_labelled(LABELS, 5, seed)))) < 15 for seed in range(5))


def test_a_seed_draws_the_same_photos_and_another_seed_others():
    first, again, other = (draw_labelled(LABELS, 4, seed, GROUPS) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_a_small_class_gives_all_it_has():
    assert draw_labelled([0, 0, 0, 1, 0], 3).tolist().count(3) == 1


def test_no_labels_are_refused():
    with pytest.raises(ValueError, match='count is 0, allowed: 1 or more'):
        draw_labelled(LABELS, 0)


def points(noise):
    """Training and asked photos around a centre for each class, and their classes."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 8, generator=generator)
    shape = (60, 8)
    training, asked = (
        centres[LABELS] + noise * torch.randn(shape, generator=generator) for _ in range(2)
    )
    return (training, LABELS), (asked, LABELS)


@pytest.mark.parametrize('classify', [ridge_probe, nearest_centroid])
def test_probe_tells_separate_classes_apart_and_no_mixed_ones(classify):
    draws = [draw_labelled(LABELS, 4, seed) for seed in range(20)]
    assert probe_accuracy(*points(0.05), draws, classify).mean == 1
    mixed = probe_accuracy(*points(100.0), draws, classify)
    assert abs(mixed.mean - 1 / 3) < 0.1
    assert mixed.draws.shape == (20,)
    assert mixed.interval == pytest.approx(1.96 * mixed.draws.std(ddof=1) / 20**0.5)


def test_asked_classes_may_be_some_of_the_training_classes():
    training, (asked, _) = points(0.05)
    rows = [i for i, label in enumerate(LABELS) if label > 0]
    few = asked[rows], [LABELS[i] for i in rows]
    assert probe_accuracy(training, few, [np.arange(60)]).mean == 1


def test_a_single_draw_has_an_interval_over_the_asked_photos():
    asked = torch.zeros(400, 1), [0] * 200 + [1] * 200

    def right_for(answers):
        return lambda support, labels, query: torch.tensor(answers)

    # 150 of 200 and 100 of 200 are right.
    answers = [0] * 150 + [1] * 50 + [1] * 100 + [0] * 100
    training = torch.zeros(2, 1), [0, 1]
    accuracy = probe_accuracy(training, asked, [np.arange(2)], right_for(answers))
    assert accuracy.mean == pytest.approx(0.625)
    deviation = ((0.75 * 0.25 + 0.5 * 0.5) / 200) ** 0.5 / 2
    assert accuracy.interval == pytest.approx(1.96 * deviation, rel=0.08)
