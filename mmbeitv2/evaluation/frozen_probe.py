"""What frozen features of a few labelled photos know of their classes: which photos come out right.

Answers by photo, not accuracies, so that two looks at the same photos can be compared in pairs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbeitv2.evaluation.few_shot import ridge_probe

NEIGHBOURS, FOLDS = 5, 5


def neighbours_right(features: Tensor, labels: Tensor, count: int = NEIGHBOURS) -> Tensor:
    """Whether the most frequent class among the nearest other photos is a photo's own.

    The nearest neighbours of DINO's evaluation (arXiv 2104.14294), each photo left out in turn.
    Of classes that occur equally often, the one with the greater sum of cosines wins.

    Args:
        features: floating ``(N, C)``; their mean is taken away first.
        labels: int64 ``(N,)``, from 0.
        count: neighbours; all others where there are fewer.

    Returns:
        bool ``(N,)``.
    """
    x = F.normalize(features.double() - features.double().mean(0), dim=1)
    cosines = (x @ x.T).fill_diagonal_(-torch.inf)
    near, places = cosines.topk(min(count, len(x) - 1), dim=1)
    # A vote counts 1, and its cosine decides between equal counts: less than half a vote in all.
    votes = 1 + near / (2 * count + 2)
    classes = F.one_hot(labels[places]).double()
    return (classes * votes[..., None]).sum(1).argmax(1) == labels


def ridge_right(features: Tensor, labels: Tensor, folds: int = FOLDS) -> Tensor:
    """Whether a ridge probe of the other photos gives a photo its own class, by cross-validation.

    Args:
        features: floating ``(N, C)``.
        labels: int64 ``(N,)``, from 0.
        folds: parts, each asked about by a probe of the others; every class is spread over them.

    Returns:
        bool ``(N,)``.
    """
    fold = fold_of(labels, folds)
    right = torch.zeros(len(labels), dtype=torch.bool)
    for number in range(folds):
        asked = fold == number
        if asked.any() and not asked.all():
            found = ridge_probe(features[~asked], labels[~asked], features[asked])
            right[asked] = found == labels[asked]
    return right


def fold_of(labels: Tensor, folds: int) -> Tensor:
    """Part of each photo, int64 ``(N,)``: those of a class are dealt out in turn, in their order.

    Args:
        labels: int64 ``(N,)``, from 0.
        folds: number of parts.
    """
    earlier = F.one_hot(labels).cumsum(0).gather(1, labels[:, None])[:, 0] - 1
    return earlier % folds
