"""What frozen features of patches know of what lies where: linear segmentation in closed form.

The linear head of DINOv2's evaluation (arXiv 2304.07193, section 7.4: one linear layer on frozen
patch tokens, whose scores are resized to the photo), here solved by ridge regression, as the probes
of :mod:`mmbeitv2.evaluation.few_shot` are: nothing is trained, so nothing depends on a seed, a rate
or a number of steps.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbeitv2.errors import InputError
from mmbeitv2.evaluation.outcomes import IGNORED


class DenseProbe(NamedTuple):
    """A linear layer on the features of a patch.

    Args:
        weights: float64 ``(C, K)``.
        bias: float64 ``(K,)``.
    """

    weights: Tensor
    bias: Tensor

    def class_map(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Class of every pixel, int64 ``(N, H, W)``: scores are resized bilinearly.

        Args:
            features: floating ``(N, C, h, w)``.
            size: height and width in pixels.
        """
        tokens = features.movedim(1, -1).to(self.weights)
        scores = (tokens @ self.weights + self.bias).movedim(-1, 1)
        return F.interpolate(scores, size=size, mode='bilinear', align_corners=False).argmax(1)


def class_shares(labels: Tensor, grid: tuple[int, int], num_classes: int) -> Tensor:
    """Share of every patch that each class covers, float64 ``(N, K, h, w)``.

    Args:
        labels: int64 ``(N, H, W)``, class of each pixel, 255 for none: such pixels count for no
            class, so that the shares of a patch sum up to less than 1.
        grid: patches in height and width.
        num_classes: K.
    """
    known = labels != IGNORED
    planes = F.one_hot(labels.where(known, 0), num_classes) * known[..., None]
    return F.adaptive_avg_pool2d(planes.movedim(-1, 1).double(), grid)


def fit_dense_probe(features: Tensor, shares: Tensor, penalty: float = 1.0) -> DenseProbe:
    """Least squares on the classes' shares, with a penalty on the squared weights.

    Every class weighs as much as every other, whatever it covers: otherwise the background of a
    scene, most of its patches, is the best answer for each patch of which little is known. Features
    are standardised and divided by the square root of their number, as for ``ridge_probe``.

    Args:
        features: floating ``(N, C, h, w)``, fixed.
        shares: of :func:`class_shares`.
        penalty: of the squared weights, above 0.

    Raises:
        ValueError: no labelled pixel.
    """
    tokens = features.movedim(1, -1).flatten(0, 2).double()
    targets = shares.movedim(1, -1).flatten(0, 2).double()
    covered = targets.sum(0)
    if covered.sum() == 0:
        raise InputError(
            f'no pixel of the {len(features)} labelled photos has a class: all are {IGNORED}.'
        )
    # A patch stands for the classes that it shows, each by its share over that of all patches.
    per_class = torch.where(covered > 0, 1 / covered.clamp_min(1e-12), 0)
    weight = (targets * per_class).sum(1) * len(tokens) / (covered > 0).sum()
    center, scale = tokens.mean(0), tokens.std(0) + 1e-6
    tokens = (tokens - center) / (scale * tokens.shape[1] ** 0.5)
    mean, answer = (_weighted_mean(values, weight) for values in (tokens, targets))
    tokens, targets = tokens - mean, targets - answer
    products = tokens.T @ (weight[:, None] * tokens)
    products += penalty * torch.eye(len(products), dtype=products.dtype)
    weights = torch.linalg.solve(products, tokens.T @ (weight[:, None] * targets))
    # The same layer on the features as they are.
    plain = weights / (scale * features.shape[1] ** 0.5)[:, None]
    return DenseProbe(plain, answer - mean @ weights - center @ plain)


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    return (weight @ values) / weight.sum()
