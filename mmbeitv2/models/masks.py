"""The masks of a batch, and the patches that they hide."""

import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from mmbeitv2.errors import InputError
from mmbeitv2.models.position import Grid


def masked_positions(
    data_samples: list[DataSample], device: torch.device | str = 'cpu', grid: Grid | None = None
) -> tuple[Tensor, Tensor]:
    """Stack the masks of a batch and list the masked patches.

    Args:
        data_samples: with ``mask``, bool ``(rows, columns)``. Masks on the CPU, where the data
            preprocessors leave them, are listed without waiting for the device.
        device: where the results are wanted.
        grid: ``(rows, columns)`` that the masks are to have; None for any, the same of all.

    Returns:
        bool ``(B, N)`` and int64 ``(B, M)``, in row-major order.

    Raises:
        ValueError: masks of another grid, images with different numbers of masked patches, or
            without any.
    """
    masks = [torch.as_tensor(sample.mask) for sample in data_samples]
    wanted = tuple(masks[0].shape) if grid is None else grid
    for mask in masks:
        if tuple(mask.shape) != wanted:
            raise InputError(
                f'a mask has the grid {tuple(mask.shape)} but the images {wanted} patches: set the '
                f'grid of the mask generator to {wanted}.'
            )
    mask = torch.stack(masks).flatten(1).bool()
    counts = mask.sum(dim=1)
    if (counts != counts[0]).any():
        raise InputError(
            f'every image of a batch must have the same number of masked patches, got '
            f'{sorted(set(counts.tolist()))}: use BlockMask or RandomMask, which mask exactly '
            'num_masked.'
        )
    if counts[0] == 0:
        raise InputError(
            'no patch is masked, so nothing is predicted: set num_masked to 1 or more.'
        )
    positions = mask.nonzero()[:, 1].view(mask.shape[0], -1)
    return mask.to(device, non_blocking=True), positions.to(device, non_blocking=True)
