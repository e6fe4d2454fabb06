"""What codes know: of classes beside colours, and how far a copy of the neighbour gets."""

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from mmbeitv2.models.quantizer import perplexity


def told_by_code(codes: Tensor, labels: Tensor) -> float:
    """Share of the uncertainty about a patch's label that its code removes, beyond chance.

    I(code; label) / H(label), Theil's uncertainty coefficient, less what the same codes in another
    order get: few patches for each code look as if they told something.

    Args:
        codes: int64 ``(N,)``, 0 or more.
        labels: int64 ``(N,)``, 0 or more, such as the class that covers the patch.

    Returns:
        About 0 for codes that know nothing of the labels, 1 for codes that determine them; 0 where
        there is one label only.
    """
    uncertainty = _entropy(labels)
    if uncertainty == 0:
        return 0.0
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(0))
    known, chance = (_mutual_information(c, labels) for c in (codes, codes[order]))
    return (known - chance) / uncertainty


def colour_codes(colours: Tensor, num_codes: int) -> Tensor:
    """Codes that know colours alone: clusters by k-means.

    Args:
        colours: floating ``(N, 3)``, mean colour of each patch.
        num_codes: K, 1 to N.

    Returns:
        int64 ``(N,)``.
    """
    # SciPy before 1.15 knows no `rng`; later ones still know `seed`.
    seed = np.random.default_rng(0)
    points = colours.double().numpy()
    _, nearest = kmeans2(points, num_codes, minit='++', seed=seed, missing='warn')
    return torch.from_numpy(nearest).long()


def copied_right(codes: Tensor, mask: Tensor) -> Tensor:
    """How right the code of the nearest visible patch is for each masked one of a photo.

    Beyond the mean of it a model knows more than that things are larger than patches.

    Args:
        codes: int64 ``(h, w)``.
        mask: bool ``(h, w)``, True for masked.

    Returns:
        floating ``(M,)``, 0 to 1, in row-major order: of several nearest patches each counts its
        share. All 0 where no patch is visible.
    """
    places = torch.cartesian_prod(*(torch.arange(side) for side in codes.shape)).float()
    code, masked = codes.flatten(), mask.flatten()
    if masked.all():
        return torch.zeros(len(code))
    to_visible = torch.cdist(places[masked], places[~masked])
    nearest = to_visible == to_visible.amin(1, keepdim=True)
    same = code[masked][:, None] == code[~masked]
    return (same & nearest).sum(1) / nearest.sum(1)


def _entropy(values: Tensor) -> float:
    return perplexity(values.bincount().double()).log().item()


def _mutual_information(codes: Tensor, labels: Tensor) -> float:
    both = codes * (int(labels.max()) + 1) + labels
    return _entropy(codes) + _entropy(labels) - _entropy(both)
