"""A convolution of patches that do not overlap, as one matrix product."""

import torch.nn.functional as F
from torch import Tensor, nn

from mmbeitv2.models.position import Grid
from mmbeitv2.models.shortcuts import can_bypass


def is_patch_projection(proj: nn.Module, patch_size: int) -> bool:
    """Whether ``proj`` is a plain convolution that sees each patch once, and nobody watches it.

    Args:
        proj: layer of the patch embedding; somebody may have put another into its place.
        patch_size: side of a patch in pixels.
    """
    if not (isinstance(proj, nn.Conv2d) and can_bypass(proj, kinds=(nn.Conv2d,))):
        return False
    side = (patch_size, patch_size)
    whole = (proj.kernel_size, proj.stride, proj.padding) == (side, side, (0, 0))
    return whole and proj.dilation == (1, 1) and proj.groups == 1


def project_patches(images: Tensor, proj: nn.Conv2d) -> tuple[Tensor, Grid]:
    """The convolution's sums as a product of the patches' pixels with its weights.

    Args:
        images: float ``(B, in_chans, H, W)``, whose sides are multiples of the patch size.
        proj: see :func:`is_patch_projection`.

    Returns:
        Tokens ``(B, N, C)`` in row-major order and their grid ``(rows, columns)``.
    """
    rows, columns = proj.kernel_size
    patches = images.unflatten(3, (-1, columns)).unflatten(2, (-1, rows))
    grid = patches.shape[2], patches.shape[4]
    pixels = patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    return F.linear(pixels, proj.weight.flatten(1), proj.bias), grid
