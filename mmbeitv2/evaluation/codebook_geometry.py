"""Codes beside one another: the nearest of each, and all of them on a plane."""

import torch
from torch import Tensor

CHUNK = 1024


def nearest_codes(codebook: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The codes most alike to each code, without itself.

    Args:
        codebook: float ``(K, D)``, unit vectors.
        count: wanted of each; K − 1 where that is fewer.

    Returns:
        Codes int64 ``(K, count)``, the nearest first, and their cosines, float ``(K, count)``.
    """
    count = min(count, len(codebook) - 1)
    codes, cosines = [], []
    for start in range(0, len(codebook), CHUNK):
        cosine = codebook[start : start + CHUNK] @ codebook.t()
        own = torch.arange(len(cosine))
        cosine[own, own + start] = -torch.inf
        best = cosine.topk(count, dim=1)
        codes.append(best.indices)
        cosines.append(best.values)
    return torch.cat(codes), torch.cat(cosines)


def codebook_plane(codebook: Tensor, used: Tensor) -> tuple[Tensor, float]:
    """Codes on the plane in which those that are used differ most (principal components).

    Args:
        codebook: float ``(K, D)``.
        used: bool ``(K,)``; all codes count where fewer than three are.

    Returns:
        float ``(K, 2)``, and the share (0 to 1) of the used codes' variance that the plane shows.
    """
    chosen = codebook[used] if int(used.sum()) > 2 else codebook
    centred = chosen.double() - chosen.double().mean(0)
    _, spread, directions = torch.linalg.svd(centred, full_matrices=False)
    axes = directions[:2]
    # A component's sign is arbitrary: the largest entry is made positive, on every machine.
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    place = (codebook.double() - chosen.double().mean(0)) @ axes.t()
    shown = spread[:2].square().sum() / spread.square().sum().clamp(min=1e-12)
    return torch.nn.functional.pad(place, (0, 2 - place.shape[1])).float(), float(shown)
