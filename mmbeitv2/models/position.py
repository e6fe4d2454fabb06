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

from mmbeitv2.errors import InputError

Grid = tuple[int, int]

# Names of the learned biases in a state dict: a layer's own, and the one that all layers share.
TABLE = 'relative_position_bias_table'
SHARED_TABLE = f'rel_pos_bias.{TABLE}'

# Rows of the table beside the patch-to-patch offsets: [CLS] to patch, patch to [CLS], [CLS] to
# [CLS].
NUM_CLS_OFFSETS = 3


def num_relative_positions(grid: Grid) -> int:
    """Rows of a relative position bias table for a grid of ``(rows, columns)`` patches."""
    return (2 * grid[0] - 1) * (2 * grid[1] - 1) + NUM_CLS_OFFSETS


def table_grid(table: Tensor) -> Grid:
    """Square grid ``(n, n)`` that a relative position bias table was learned for.

    Raises:
        ValueError: the number of rows belongs to no square grid.
    """
    side = (math.isqrt(table.shape[0] - NUM_CLS_OFFSETS) + 1) // 2
    if num_relative_positions((side, side)) != table.shape[0]:
        raise InputError(
            f'a relative position bias table of {table.shape[0]} rows belongs to no square grid, '
            'and the file does not note its grid; say the size of the images it was trained with '
            '(img_size=(height, width)), or give a table of (2n − 1)² + 3 rows'
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
def _resize_weights(source: int, target: int) -> np.ndarray:
    """Linear map of one axis: values at ``source`` offsets to values at ``target`` offsets."""
    x = _geometric_offsets(source, target)
    wanted = np.clip(np.arange(target) - target // 2, x[0], x[-1])
    degree = min(3, source - 1)
    return make_interp_spline(x, np.eye(source), k=degree)(wanted).astype(np.float32)


@torch.inference_mode(mode=False)  # the cached tensor must serve training too
def _resize_tensor(source: int, target: int, device: torch.device) -> Tensor:
    return torch.from_numpy(_resize_weights(source, target)).to(device)


_kept_resize_tensor = lru_cache(maxsize=64)(_resize_tensor)


def _resize_matrix(source: int, target: int, table: Tensor) -> Tensor:
    """The map of one axis where ``table`` is, kept on its device."""
    # Where tensors have no values, as in an export, this one has none either: it must not outlive
    # the trace, and serve the model that is run behind it.
    kept = type(table) in (Tensor, nn.Parameter)
    return (_kept_resize_tensor if kept else _resize_tensor)(source, target, table.device)


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
    by_row = _resize_matrix(source_size[0], target_size[0], table).to(table.dtype)
    by_column = _resize_matrix(source_size[1], target_size[1], table).to(table.dtype)
    resized = torch.einsum(
        'ar,rch,bc->abh', by_row, offsets.reshape(*source_size, heads), by_column
    )
    return torch.cat([resized.reshape(-1, heads), cls_rows])


def expand_relative_position_bias(table: Tensor, grid: Grid) -> Tensor:
    """Attention bias of every pair of tokens.

    A pair of patches differs by a number of rows and a number of columns, so the table is expanded
    along one axis after the other, in blocks; an index of all pairs, as the official buffer
    ``relative_position_index``, costs more to follow than the bias itself.

    Args:
        table: float ``(num_relative_positions(grid), heads)``.
        grid: ``(rows, columns)`` of patches.

    Returns:
        float ``(heads, 1 + N, 1 + N)`` for query and key, token 0 is [CLS], N = rows · columns in
        row-major order; to be added to the attention logits.
    """
    rows, columns = grid
    num_patches, heads = rows * columns, table.shape[1]
    offsets = table[:-NUM_CLS_OFFSETS].t().reshape(heads, 2 * rows - 1, 2 * columns - 1)
    cls_to_patch, patch_to_cls, cls_to_cls = table[-NUM_CLS_OFFSETS:].unsqueeze(-1).unbind(0)
    pairs = offsets.index_select(2, _pair_offsets(columns, table.device))
    pairs = pairs.index_select(1, _pair_offsets(rows, table.device))
    pairs = pairs.view(heads, rows, rows, columns, columns).transpose(2, 3)
    first_column = patch_to_cls.unsqueeze(-1).expand(-1, num_patches, -1)
    patch_rows = torch.cat([first_column, pairs.reshape(heads, num_patches, num_patches)], dim=2)
    cls_row = torch.cat([cls_to_cls, cls_to_patch.expand(-1, num_patches)], dim=1)
    return torch.cat([cls_row.unsqueeze(1), patch_rows], dim=1)


def _pair_offsets(length: int, device: torch.device) -> Tensor:
    """Place, among the ``2 · length − 1`` offsets of an axis, of each pair (query, key)."""
    places = torch.arange(length, device=device)
    return (places[:, None] - places + length - 1).flatten()


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
        table = resize_relative_position_bias(self.relative_position_bias_table, self.grid, grid)
        return expand_relative_position_bias(table, grid)


def resize_absolute_position(pos_embed: Tensor, source: Grid, target: Grid) -> Tensor:
    """Resize absolute position embeddings ``(1, 1 + N, C)`` bicubically; [CLS] is kept."""
    # Sides that an export leaves free are not compared, which would fix them: at the learned size
    # bicubic weights are 0 and 1, and nothing changes.
    if not any(isinstance(side, torch.SymInt) for side in target) and source == target:
        return pos_embed
    cls_token, patches = pos_embed[:, :1], pos_embed[:, 1:]
    patches = patches.reshape(1, *source, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, size=target, mode='bicubic', align_corners=False)
    return torch.cat([cls_token, patches.flatten(2).transpose(1, 2)], dim=1)
