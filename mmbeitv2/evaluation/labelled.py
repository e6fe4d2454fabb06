"""A training set of which few photos have labels: which ones, and what a probe learns from them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmbeitv2.errors import InputError
from mmbeitv2.evaluation.few_shot import Accuracy, Classifier, ridge_probe

RESAMPLED = 1000
ALL = 'all'


class ProbeAccuracy(NamedTuple):
    """Accuracy of a probe, 0 to 1: the mean over the asked classes, so that all count alike.

    Args:
        draws: of each draw of labelled photos, float64 ``(D,)``.
        interval: half of the mean's 95 % interval, over the draws; of a single draw, over the
            photos asked about.
    """

    draws: np.ndarray
    interval: float

    @property
    def mean(self) -> float:
        """Over the draws."""
        return float(self.draws.mean())


def draw_labelled(
    labels: Sequence[int], count: int, seed: int = 0, groups: Sequence[str] | None = None
) -> np.ndarray:
    """Draw which photos are labelled: as many of each class, of different things first.

    Draws of one seed are nested, those of a smaller ``count`` lie in those of a larger one, so that
    a curve over the number of labels adds photos and exchanges none. It is the class-balanced share
    of labels that SimCLR (arXiv 2002.05709) and BYOL (arXiv 2006.07733) fine-tune with, and the
    few labels a class of MSN's low-shot evaluation (arXiv 2204.07141).

    Args:
        labels: class of each photo, 0 or more.
        count: labelled photos of a class, 1 or more; a class with fewer gives all.
        seed: of the draw, 0 or more.
        groups: what each photo shows, such as the individual. Each thing of a class then gives one
            photo before any gives its second.

    Returns:
        Positions int64, in order.

    Raises:
        ValueError: no labelled photos asked for.
    """
    classes = np.asarray(labels)
    if count < 1:
        raise InputError(f'count is {count}, allowed: 1 or more labelled photos of a class.')
    drawn = []
    for number in np.unique(classes):
        random = np.random.default_rng((seed, int(number)))
        members = random.permutation(np.flatnonzero(classes == number))
        # The first photo of each thing, in their random order, then the second of each, and so on.
        turn = _earlier_photos_of_its_thing(members, groups)
        drawn.append(members[np.argsort(turn, kind='stable')][:count])
    return np.sort(np.concatenate(drawn))


def draws_of(
    labels: Sequence[int], shots: Sequence[int], draws: int, groups: Sequence[str] | None = None
) -> dict[int | str, list[np.ndarray]]:
    """Draws of every number of labelled photos a class, of the seeds from 0 on; ``'all'`` is one.

    Args:
        labels: class of each photo, 0 or more.
        shots: numbers of labelled photos of a class, 1 or more each.
        draws: for each of them, 1 or more.
        groups: what each photo shows, see :func:`draw_labelled`.

    Raises:
        ValueError: no draws, or no labelled photos.
    """
    if draws < 1:
        raise InputError(f'draws is {draws}, allowed: 1 or more of the labelled photos.')
    drawn: dict[int | str, list[np.ndarray]] = {
        k: [draw_labelled(labels, k, seed, groups) for seed in range(draws)] for k in shots
    }
    return {**drawn, ALL: [np.arange(len(labels))]}


def _earlier_photos_of_its_thing(members: np.ndarray, groups: Sequence[str] | None) -> list[int]:
    if groups is None:
        return [0] * len(members)
    seen: dict[str, int] = {}
    turns = []
    for member in members:
        turns.append(seen.get(groups[member], 0))
        seen[groups[member]] = turns[-1] + 1
    return turns


def probe_accuracy(
    training: tuple[Tensor, Sequence[int]],
    asked: tuple[Tensor, Sequence[int]],
    draws: Sequence[np.ndarray],
    classify: Classifier = ridge_probe,
) -> ProbeAccuracy:
    """Accuracy of a probe that learns from labelled training photos and is asked about others.

    Args:
        training: features floating ``(N, C)`` and classes ``(N,)``, which start at 0.
        asked: features floating ``(Q, C)`` and classes ``(Q,)``, some of those of training.
        draws: positions of the labelled training photos, one or more of :func:`draw_labelled`.
        classify: :func:`~mmbeitv2.evaluation.few_shot.ridge_probe` or ``nearest_centroid``.
    """
    features, labels = training[0], torch.as_tensor(training[1])
    photos, classes = asked[0], np.asarray(asked[1])
    right = [classify(features[drawn], labels[drawn], photos).numpy() == classes for drawn in draws]
    accuracies = np.array([_class_mean(answers, classes) for answers in right])
    if len(draws) > 1:
        return ProbeAccuracy(accuracies, Accuracy(accuracies).interval)
    return ProbeAccuracy(accuracies, _interval_over_photos(right[0], classes))


def _class_mean(right: np.ndarray, classes: np.ndarray) -> float:
    return float(np.mean([right[classes == number].mean() for number in np.unique(classes)]))


def _interval_over_photos(right: np.ndarray, classes: np.ndarray) -> float:
    """Half of the 95 % bootstrap interval; photos are drawn anew within each class."""
    random = np.random.default_rng(0)
    means = np.mean(
        [
            random.choice(right[classes == number], (RESAMPLED, (classes == number).sum())).mean(1)
            for number in np.unique(classes)
        ],
        axis=0,
    )
    low, high = np.quantile(means, (0.025, 0.975))
    return float(high - low) / 2
