"""Choice of the patches that pretraining hides.

Masks are tensors, since mmpretrain's ``PackInputs(algorithm_keys=['mask'])`` would hand a NumPy
array to the model as it is.
"""

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmbeitv2.checks import check_count, check_span, is_count
from mmbeitv2.errors import InputError
from mmbeitv2.registry import TRANSFORMS


def _checked_grid(grid_size: int | Sequence[int]) -> tuple[int, int]:
    grid = grid_size if isinstance(grid_size, Sequence) else (grid_size, grid_size)
    if len(grid) != 2 or not all(map(is_count, grid)):
        raise InputError(
            f'grid_size={grid_size!r} must be a positive integer or a pair (height, width) of '
            'positive integers, in patches: image size divided by patch size.'
        )
    return grid[0], grid[1]


def _check_num_masked(num_masked: int, grid: tuple[int, int]) -> None:
    cells = grid[0] * grid[1]
    if not (is_count(num_masked) and num_masked <= cells):
        raise InputError(
            f'num_masked={num_masked!r} must be an integer from 1 to {cells}, the number of '
            f'patches of the {grid[0]}x{grid[1]} grid. Lower num_masked (the paper masks 75 of '
            '14x14, about 40 %) or enlarge grid_size.'
        )


def _mask_random_patches(mask: np.ndarray, count: int) -> None:
    visible = np.flatnonzero(~mask)
    mask.flat[random.sample(visible.tolist(), count)] = True


@TRANSFORMS.register_module()
class RandomMask(BaseTransform):
    """Mask patches chosen uniformly without replacement, as MAE does.

    Adds ``mask``: bool tensor (H, W), True where masked, exactly ``num_masked`` times. Randomness
    comes from Python's ``random``.

    Args:
        grid_size: Side of the square patch grid, or (height, width), in patches.
        num_masked: Number of masked patches, 1 to height × width.

    Raises:
        ValueError: If ``grid_size`` or ``num_masked`` is out of range.
    """

    def __init__(self, grid_size: int | Sequence[int], num_masked: int) -> None:
        self.grid = _checked_grid(grid_size)
        _check_num_masked(num_masked, self.grid)
        self.num_masked = num_masked

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``mask`` to ``results``."""
        mask = np.zeros(self.grid, dtype=bool)
        _mask_random_patches(mask, self.num_masked)
        results['mask'] = torch.from_numpy(mask)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(grid_size={self.grid}, num_masked={self.num_masked})'


@TRANSFORMS.register_module()
class BlockMask(BaseTransform):
    """Mask rectangular blocks of patches until exactly ``num_masked`` are masked.

    A block's area is uniform between ``min_block`` and what remains to be masked (at most
    ``max_block``), its aspect ratio log-uniform, its position uniform over the whole grid with the
    last row and column. It is placed if it masks at least one new patch and not more than remain.
    When ``tries`` blocks in a row do not fit, single patches chosen at random fill up the count.

    Adds ``mask``: bool tensor (H, W), True where masked, exactly ``num_masked`` times. Randomness
    comes from Python's ``random``.

    Args:
        grid_size: Side of the square patch grid, or (height, width), in patches; at least 2 each.
        num_masked: Number of masked patches, 1 to height × width. Paper: 75 of 14×14.
        min_block: Smallest target area of a block in patches, 1 to ``num_masked``. A block is
            always narrower and lower than the grid, so (height − 1) × (width − 1) is a bound too.
        max_block: Largest target area in patches, at least ``min_block``; ``num_masked`` when None.
        aspect: Smallest and largest height-to-width ratio of a block, both positive.
        tries: Blocks proposed before the rest is filled with single patches, at least 1.

    Raises:
        ValueError: If an argument is out of range.

    Source: BEiT, Algorithm 1; official flags ``--num_mask_patches 75
    --min_mask_patches_per_block 16``.
    """

    def __init__(
        self,
        grid_size: int | Sequence[int],
        num_masked: int,
        min_block: int = 16,
        max_block: int | None = None,
        aspect: Sequence[float] = (0.3, 1 / 0.3),
        tries: int = 10,
    ) -> None:
        self.grid = _checked_grid(grid_size)
        _check_num_masked(num_masked, self.grid)
        self.num_masked = num_masked
        self.min_block = min_block
        self.max_block = num_masked if max_block is None else max_block
        self.aspect = aspect
        self.tries = tries
        self._check_blocks()
        self.aspect = tuple(aspect)
        self._log_aspect = [math.log(ratio) for ratio in self.aspect]

    def _check_blocks(self) -> None:
        height, width = self.grid
        if min(self.grid) < 2:
            raise InputError(
                f'grid_size={self.grid} must be at least 2x2 for blocks. Use mmbeitv2.RandomMask '
                'for a grid of one row or column.'
            )
        largest = min(self.num_masked, (height - 1) * (width - 1))
        if not (is_count(self.min_block) and self.min_block <= largest):
            raise InputError(
                f'min_block={self.min_block} must be from 1 to {largest}, the largest block that '
                f'num_masked={self.num_masked} and the {height}x{width} grid allow. Lower '
                'min_block.'
            )
        if not (is_count(self.max_block) and self.max_block >= self.min_block):
            raise InputError(
                f'max_block={self.max_block} must be at least min_block={self.min_block}. Raise '
                'max_block or leave it out.'
            )
        check_span(self, 'aspect', self.aspect, math.inf, '(0.3, 1 / 0.3)')
        check_count(self, 'tries', self.tries, 10)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``mask`` to ``results``."""
        mask = np.zeros(self.grid, dtype=bool)
        remaining = self.num_masked
        while remaining > 0:
            added = self._mask_block(mask, min(remaining, self.max_block))
            if added == 0:
                _mask_random_patches(mask, remaining)
                break
            remaining -= added
        results['mask'] = torch.from_numpy(mask)
        return results

    def _mask_block(self, mask: np.ndarray, most: int) -> int:
        height, width = mask.shape
        for _ in range(self.tries):
            # With fewer patches left than min_block the interval runs from `most` to min_block:
            # such a block still fits where it overlaps what is masked already.
            area = random.uniform(self.min_block, most)
            ratio = math.exp(random.uniform(*self._log_aspect))
            block_height = round(math.sqrt(area * ratio))
            block_width = round(math.sqrt(area / ratio))
            # Strictly smaller than the grid, as in the official statistics: a block of full
            # height or width would take away all context on one axis.
            if block_height >= height or block_width >= width:
                continue
            # Not randint, which is five times slower and takes a third of a mask's time.
            top = int(random.random() * (height - block_height + 1))
            left = int(random.random() * (width - block_width + 1))
            block = mask[top : top + block_height, left : left + block_width]
            added = block.size - int(np.count_nonzero(block))
            if 1 <= added <= most:
                block[...] = True
                return added
        return 0

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(grid_size={self.grid}, num_masked={self.num_masked}, '
            f'min_block={self.min_block}, max_block={self.max_block}, aspect={self.aspect}, '
            f'tries={self.tries})'
        )
