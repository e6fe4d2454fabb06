"""How much a few labels are worth on frozen features: k-shot classification in closed form."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmbeitv2.errors import InputError

# Draws of the groups, one of which is to part all classes.
PARTING_TRIES = 100

# Classes of the query photos int64 (Q,), from support features (S, C), their classes (S,), and
# query features (Q, C).
Classifier = Callable[[Tensor, Tensor, Tensor], Tensor]


class Episode(NamedTuple):
    """Positions of labelled (support) and asked (query) photos of one draw, int64 each."""

    support: np.ndarray
    query: np.ndarray


class Accuracy(NamedTuple):
    """Accuracy of each draw, 0 to 1: the mean over the classes, so that all count alike."""

    draws: np.ndarray

    @property
    def mean(self) -> float:
        """Over the draws."""
        return float(self.draws.mean())

    @property
    def interval(self) -> float:
        """Half of the 95 % interval of the mean over other draws of the labelled photos.

        The photos asked about overlap from draw to draw: it is no interval over other photos.
        """
        return 1.96 * float(self.draws.std(ddof=1)) / len(self.draws) ** 0.5


def ridge_probe(support: Tensor, labels: Tensor, query: Tensor, penalty: float = 1.0) -> Tensor:
    """Least squares on one-hot labels with a penalty on the squared weights, in closed form.

    Big Transfer's few-shot evaluation (arXiv 1912.11370). Features are standardised by the support
    photos and divided by the square root of their number, so that one penalty serves any width.

    Args:
        support: floating ``(S, C)``.
        labels: int64 ``(S,)``, from 0.
        query: floating ``(Q, C)``.
        penalty: of the squared weights, above 0.

    Returns:
        Classes int64 ``(Q,)``.
    """
    support, query = support.double(), query.double()
    mean, scale = support.mean(0), support.std(0) + 1e-6
    support, query = ((x - mean) / (scale * x.shape[1] ** 0.5) for x in (support, query))
    targets = F.one_hot(labels).double()
    targets = targets - targets.mean(0)
    # Either form has the same weights; the smaller system of equations is that of the photos or of
    # the features, whichever are fewer.
    if len(support) < support.shape[1]:
        weights = support.T @ torch.linalg.solve(_penalised(support @ support.T, penalty), targets)
    else:
        weights = torch.linalg.solve(_penalised(support.T @ support, penalty), support.T @ targets)
    return (query @ weights).argmax(1)


def _penalised(products: Tensor, penalty: float) -> Tensor:
    return products + penalty * torch.eye(len(products), dtype=products.dtype)


def nearest_centroid(support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
    """The class whose mean feature is nearest by cosine, after the support's mean is taken away.

    SimpleShot's CL2N (arXiv 1911.04623), on prototypical networks' rule (arXiv 1703.05175).

    Args:
        support: floating ``(S, C)``.
        labels: int64 ``(S,)``, from 0, each number up to the highest at least once.
        query: floating ``(Q, C)``.

    Returns:
        Classes int64 ``(Q,)``.
    """
    mean = support.mean(0)
    support, query = (F.normalize(x - mean, dim=1) for x in (support, query))
    classes = F.one_hot(labels).to(support.dtype)
    return (query @ F.normalize(classes.T @ support, dim=1).T).argmax(1)


def draw_episodes(
    labels: Sequence[int] | Sequence[str],
    shots: int,
    draws: int = 40,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> Iterator[Episode]:
    """Draw labelled photos of every class; all others are asked about.

    The same arguments give the same draws, so that features can be compared in pairs.

    Args:
        labels: class of each photo, by number or name.
        shots: labelled photos of a class, 1 or more; a class with fewer gives all but one.
        draws: number of episodes.
        seed: of the draws.
        groups: what each photo shows, such as the individual. Half of a class's groups, drawn anew
            every time, then gives the labelled photos, and only photos of the others are asked
            about; with fewer of them than ``shots`` all are labelled. A group with photos of
            several classes is on one side for all of them, so that other classes may have more or
            less than half of theirs labelled.

    Raises:
        ValueError: no shots, a class that cannot be split, or groups of which no draw splits all
            classes.
    """
    numbers = np.asarray(labels)
    if shots < 1:
        raise InputError(f'shots is {shots}, allowed: 1 or more labelled photos of a class.')
    members = {label.item(): np.flatnonzero(numbers == label) for label in np.unique(numbers)}
    for label, photos in members.items():
        apart = len(photos if groups is None else {groups[i] for i in photos.tolist()})
        if apart < 2:
            what = 'photos' if groups is None else 'groups'
            raise InputError(
                f'class {label!r} has {apart} {what}, but needs 2 or more to be split '
                'into labelled and asked ones: add some, or leave the class out.'
            )
    for draw in range(draws):
        random = np.random.default_rng((seed, draw))
        if groups is None:
            parts = [_split(random.permutation(photos), shots) for photos in members.values()]
        else:
            parts = _split_by_groups(members, shots, groups, random)
        yield Episode(*(np.concatenate(side) for side in zip(*parts)))


def _split(members: np.ndarray, shots: int) -> Episode:
    count = min(shots, len(members) - 1)
    return Episode(members[:count], members[count:])


def _split_by_groups(
    members: Mapping[int | str, np.ndarray],
    shots: int,
    groups: Sequence[str],
    random: np.random.Generator,
) -> list[Episode]:
    for _ in range(PARTING_TRIES):
        drawn, orders = [], []
        for photos in members.values():
            drawn.append(random.permutation(photos))
            orders.append(random.permutation(sorted({groups[i] for i in photos})).tolist())
        labelled = _labelled_groups(orders)
        inside = [np.array([groups[i] in labelled for i in photos]) for photos in drawn]
        whole = [name for name, part in zip(members, inside) if part.all() or not part.any()]
        if not whole:
            return [Episode(p[part][:shots], p[~part]) for p, part in zip(drawn, inside)]
    raise InputError(
        f'the groups cannot be parted so that class {whole[0]!r} and all others have labelled and '
        'asked ones: add photos of other groups to it, or leave the class out.'
    )


def _labelled_groups(orders: Sequence[Sequence[str]]) -> set[str]:
    """The first half of each class's groups, as far as other classes have not settled them.

    Classes of few groups, which have the least choice, come first.
    """
    labelled: set[str] = set()
    settled: set[str] = set()
    for names in sorted(orders, key=len):
        missing = len(names) // 2 - len(labelled.intersection(names))
        labelled.update([name for name in names if name not in settled][: max(0, missing)])
        settled.update(names)
    return labelled


def few_shot_accuracy(
    features: Tensor,
    labels: Sequence[int],
    episodes: Sequence[Episode],
    classify: Classifier = ridge_probe,
) -> Accuracy:
    """Accuracy of a classifier that sees the labels of the support photos alone.

    Args:
        features: floating ``(N, C)``, fixed.
        labels: class of each photo, 0 or more.
        episodes: of :func:`draw_episodes`.
        classify: :func:`ridge_probe` or :func:`nearest_centroid`.
    """
    # Consecutive numbers, whichever classes take part.
    classes, places = np.unique(np.asarray(labels), return_inverse=True)
    numbers = torch.from_numpy(places)
    draws = []
    for support, query in episodes:
        found = classify(features[support], numbers[support], features[query])
        right, asked = (found == numbers[query]).double(), F.one_hot(numbers[query], len(classes))
        draws.append(((right @ asked.double()) / asked.sum(0)).mean().item())
    return Accuracy(np.array(draws))
