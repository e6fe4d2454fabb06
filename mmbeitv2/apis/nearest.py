"""Which photos are nearest to a photo by their features."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmbeitv2.errors import InputError


class Neighbour(NamedTuple):
    """A photo by name, and the cosine between its feature and the one asked about, −1 to 1."""

    name: str
    cosine: float


def nearest(
    feature: np.ndarray, features: np.ndarray, names: Sequence[str], count: int = 10
) -> list[Neighbour]:
    """The photos whose features have the largest cosine with one feature, from the largest on.

    Args:
        feature: floating ``(C,)``.
        features: floating ``(N, C)``, such as ``mean`` of :func:`mmbeitv2.apis.embed`'s file.
        names: of the N photos.
        count: of neighbours, 1 or more; all photos where there are fewer.

    Raises:
        ValueError: features of another width, or no neighbour asked for.
    """
    if feature.shape != features.shape[1:]:
        raise InputError(
            f'the feature has shape {feature.shape} but those of the photos {features.shape[1:]}: '
            'both must come from one checkpoint'
        )
    if count < 1:
        raise InputError(f'count is {count}, but must be 1 or more')
    cosines = _unit(features) @ _unit(feature)
    order = np.argsort(-cosines, kind='stable')[:count]
    return [Neighbour(names[i], float(cosines[i])) for i in order]


def _unit(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)
