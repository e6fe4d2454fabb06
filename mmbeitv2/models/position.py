"""Positions of patches: relative position bias (shared or per layer) and absolute embeddings.

Both are learned for one grid of patches and resized, at load or at run time, for any other.
"""

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from scipy.interpolate import make_interp_spline
from torch import Tensor, nn

Grid = tuple[int, int]

# Rows of the table beside the patch-to-patch offsets: [CLS] to patch, patch to [CLS], [CLS] to
# [CLS].
NUM_CLS_OFFSETS = 3


def num_relative_positions(grid: Grid) -> int:
    """Rows of a relative position bias table for a grid of ``(rows, columns)`` patches."""
    return (2 * grid[0] - 1) * (2 * grid[1] - 1) + NUM_CLS_OFFSETS


@lru_cache(maxsize=16)
@torch.inference_mode(mode=False)  # the cached tensor must serve training too
def relative_position_index(grid: Grid, device: torch.device | str = 'cpu') -> Tensor:
    """Row of the bias table for every pair (query token, key token).

    Args:
        grid: ``(rows, columns)`` of patches.
        device: where it is needed; kept there, since a copy in every layer would stall a GPU.

    Returns:
        int64 ``(1 + N, 1 + N)``, token 0 is [CLS], N = rows · columns in row-major order. Official
        buffer ``relative_position_index``.
    """
    rows, columns = grid
    row = torch.arange(rows, device=device).repeat_interleave(columns)
    column = torch.arange(columns, device=device).repeat(rows)
    row_offset = row[:, None] - row[None, :] + rows - 1
    column_offset = column[:, None] - column[None, :] + columns - 1
    size = rows * columns + 1
    index = torch.empty(size, size, dtype=torch.int64, device=device)
    index[1:, 1:] = row_offset * (2 * columns - 1) + column_offset
    first_cls_row = num_relative_positions(grid) - NUM_CLS_OFFSETS
    index[0, 1:] = first_cls_row
    index[1:, 0] = first_cls_row + 1
    index[0, 0] = first_cls_row + 2
    return index


def table_grid(table: Tensor) -> Grid:
    """Square grid ``(n, n)`` that a relative position bias table was learned for.

    Raises:
        ValueError: the number of rows belongs to no square grid.
    """
    side = (math.isqrt(table.shape[0] - NUM_CLS_OFFSETS) + 1) // 2
    if num_relative_positions((side, side)) != table.shape[0]:
        raise ValueError(
            f'a relative position bias table of {table.shape[0]} rows belongs to no square grid; '
            'allowed are (2n − 1)² + 3 rows.'
        )
    return side, side


def _geometric_offsets(source: int, target: int) -> np.ndarray:
    """Place ``source`` learned offsets on the axis of ``target`` offsets.

    The steps between neighbours grow geometrically from 1 at the centre, so that small offsets keep
    their values and large ones are stretched (BEiT's rule for segmentation). A smaller target needs
    no stretching: its offsets are a subset of the learned ones.
    """
    half_source, half_target = source // 2, target // 2
    ratio = 1.0
    if half_target > half_source:
        low, high = 1.01, 1.5
        while high - low > 1e-6:
            ratio = (low + high) / 2
            if (1 - ratio**half_source) / (1 - ratio) > half_target:
                high = ratio
            else:
                low = ratio
    distances = np.cumsum(ratio ** np.arange(half_source))
    return np.concatenate([-distances[::-1], [0.0], distances])


@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)  # the cached tensor must serve training too
def _resize_matrix(source: int, target: int, device: torch.device) -> Tensor:
    """Linear map of one axis: values at ``source`` offsets to values at ``target`` offsets."""
    x = _geometric_offsets(source, target)
    wanted = np.clip(np.arange(target) - target // 2, x[0], x[-1])
    degree = min(3, source - 1)
    matrix = make_interp_spline(x, np.eye(source), k=degree)(wanted)
    return torch.from_numpy(matrix).float().to(device)


def resize_relative_position_bias(table: Tensor, source: Grid, target: Grid) -> Tensor:
    """Resize a relative position bias table to another grid, geometrically and by cubic splines.

    Args:
        table: float ``(num_relative_positions(source), heads)``.
        source: ``(rows, columns)`` of patches that the table was learned for.
        target: ``(rows, columns)`` of patches wanted.

    Returns:
        float ``(num_relative_positions(target), heads)``; differentiable in ``table``. The three
        [CLS] rows are kept. Source: official ``semantic_segmentation`` loader.
    """
    if source == target:
        return table
    heads = table.shape[1]
    offsets, cls_rows = table[:-NUM_CLS_OFFSETS], table[-NUM_CLS_OFFSETS:]
    source_size = (2 * source[0] - 1, 2 * source[1] - 1)
    target_size = (2 * target[0] - 1, 2 * target[1] - 1)
    by_row = _resize_matrix(source_size[0], target_size[0], table.device).to(table.dtype)
    by_column = _resize_matrix(source_size[1], target_size[1], table.device).to(table.dtype)
    resized = torch.einsum(
        'ar,rch,bc->abh', by_row, offsets.reshape(*source_size, heads), by_column
    )
    return torch.cat([resized.reshape(-1, heads), cls_rows])


def relative_position_bias(table: Tensor, table_grid: Grid, grid: Grid) -> Tensor:
    """Attention bias of every head for an image of ``grid`` patches.

    Args:
        table: float ``(num_relative_positions(table_grid), heads)``.
        table_grid: grid that the table was learned for.
        grid: grid of the image at hand.

    Returns:
        float ``(heads, 1 + N, 1 + N)``, to be added to the attention logits.
    """
    table = resize_relative_position_bias(table, table_grid, grid)
    index = relative_position_index(grid, table.device)
    size = index.shape[0]
    return table[index.flatten()].view(size, size, -1).permute(2, 0, 1).contiguous()


class RelativePositionBias(nn.Module):
    """Relative position bias shared by all layers (official ``rel_pos_bias``).

    Args:
        grid: ``(rows, columns)`` of patches that the table is learned for.
        num_heads: heads of the attention.
    """

    def __init__(self, grid: Grid, num_heads: int) -> None:
        super().__init__()
        self.grid = grid
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros(num_relative_positions(grid), num_heads)
        )

    def forward(self, grid: Grid) -> Tensor:
        """Bias ``(heads, 1 + N, 1 + N)`` for an image of ``grid`` patches."""
        return relative_position_bias(self.relative_position_bias_table, self.grid, grid)


def resize_absolute_position(pos_embed: Tensor, source: Grid, target: Grid) -> Tensor:
    """Resize absolute position embeddings ``(1, 1 + N, C)`` bicubically; [CLS] is kept."""
    if source == target:
        return pos_embed
    cls_token, patches = pos_embed[:, :1], pos_embed[:, 1:]
    patches = patches.reshape(1, *source, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, size=target, mode='bicubic', align_corners=False)
    return torch.cat([cls_token, patches.flatten(2).transpose(1, 2)], dim=1)
