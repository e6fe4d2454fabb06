"""How many directions features use: a measure of collapse that needs no labels."""

import torch
from torch import Tensor


def effective_rank(features: Tensor) -> float:
    """RankMe: the exponential of the entropy of the singular values of a matrix of features.

    1 where all features lie on one line, which tells nothing apart, and as many as there are
    features or dimensions, whichever are fewer, where all directions are used alike. Garrido et
    al., "RankMe" (arXiv 2210.02885), equation 1, whose σ are those of the features as they are;
    there it foretells which of several pretrainings has the better linear probe. It depends on
    the number of photos, so compare figures of the same photos.

    Args:
        features: floating ``(N, C)``, one a photo.

    Returns:
        1 to min(N, C); 1 too of features that are all 0.
    """
    return _spread(torch.linalg.svdvals(features.double()))


def centred_rank(features: Tensor) -> float:
    """RankMe after the mean feature is taken away: directions in which photos differ.

    What all photos share, such as a bias, is one large singular value that hides the others.

    Args:
        features: floating ``(N, C)``.

    Returns:
        1 to min(N, C); 1 too where all features are equal.
    """
    features = features.double()
    return effective_rank(features - features.mean(0))


def varied_share(features: Tensor) -> float:
    """Share of the features' squared length that is not their mean's, 0 to 1.

    0 where all photos have one feature.

    Args:
        features: floating ``(N, C)``.
    """
    features = features.double()
    whole = features.square().sum()
    if whole == 0:
        return 0.0
    return float((features - features.mean(0)).square().sum() / whole)


def _spread(values: Tensor) -> float:
    total = values.sum()
    if total == 0:
        return 1.0
    return float(torch.special.entr(values / total).sum().exp())
