"""What a vision Transformer's checkpoint notes beside its weights: its grid of patches and heads.

No tensor shows them: 9 × 16 patches are as many as 12 × 12, 7 × 28 as many as 14 × 14, and a
projection of 64 numbers is that of two heads or of four.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmbeitv2.checkpoints.loading import check_part
from mmbeitv2.checkpoints.naming import with_prefix
from mmbeitv2.checkpoints.soundness import EXTRA_STATE
from mmbeitv2.errors import InputError
from mmbeitv2.models.position import (
    SHARED_TABLE,
    TABLE,
    Grid,
    num_relative_positions,
    resize_absolute_position,
    resize_relative_position_bias,
    table_grid,
)

# What fine-tuning starts anew, and no file of pretraining has.
FRESH = ('fc_norm.',)
# What learned positions are called in a state dict, and the arguments that make a model have them.
POSITION_OPTIONS = {
    'pos_embed': 'use_abs_pos_emb=True',
    TABLE: 'use_shared_rel_pos_bias=True or use_rel_pos_bias=True',
}

HOW_TO_SAY = (
    'say the size of the images it was trained with: img_size=(height, width) of load_tokenizer, '
    'load_pretrained and init_cfg, --img-size of tools/convert_checkpoint.py'
)


class Layout(NamedTuple):
    """Grid of patches that positions are learned for, and heads of the attention, 0 if unknown."""

    rows: int
    columns: int
    num_heads: int

    @property
    def grid(self) -> Grid:
        return self.rows, self.columns


def stored_layout(state: Mapping[str, Tensor]) -> Layout | None:
    """What the tensors of a vision Transformer note of it; None for older and others' files.

    Raises:
        ValueError: no three positive numbers.
    """
    noted = state.get(EXTRA_STATE)
    if noted is None:
        return None
    values = noted.tolist() if noted.ndim == 1 and not noted.is_floating_point() else []
    if len(values) != len(Layout._fields) or min(values[:2]) < 1 or values[2] < 0:
        raise InputError(
            f'the checkpoint’s note of grid and heads is {noted.tolist()}, allowed: three integers '
            '(rows, columns, heads)'
        )
    return Layout(*values)


def learned_grid(state: Mapping[str, Tensor]) -> Grid | None:
    """Grid of patches that the positions of a vision Transformer's tensors are learned for.

    It is what the file notes. Files of other projects note nothing and are square by rule.

    Args:
        state: tensors by official name.

    Returns:
        ``(rows, columns)``; None without positions and a note.

    Raises:
        ValueError: nothing is noted and the positions belong to no square grid, or to another than
            the noted one.
    """
    layout = stored_layout(state)
    tables = {name: value for name, value in state.items() if name.endswith(TABLE)}
    embedding = state.get('pos_embed')
    if layout is not None:
        counts = {
            name: (t.shape[0], num_relative_positions(layout.grid)) for name, t in tables.items()
        }
        if embedding is not None:
            counts['pos_embed'] = (embedding.shape[1], 1 + layout.rows * layout.columns)
        for name, (found, wanted) in counts.items():
            if found != wanted:
                raise InputError(
                    f'the checkpoint is for {layout.rows} × {layout.columns} patches, for which '
                    f'{name} must have {wanted} rows, but it has {found}'
                )
        return layout.grid
    if tables:
        return table_grid(next(iter(tables.values())))
    if embedding is None:
        return None
    side = math.isqrt(embedding.shape[1] - 1)
    if side**2 != embedding.shape[1] - 1:
        raise InputError(
            f'pos_embed is for {embedding.shape[1] - 1} patches, which are no square, and the file '
            f'does not note their grid: {HOW_TO_SAY}'
        )
    return side, side


class FitsCheckpoints(nn.Module):
    """Notes grid and heads in the state dict; fits a checkpoint's positions to this model's.

    The class that takes it has ``grid`` and ``num_heads``.
    """

    grid: Grid
    num_heads: int

    def get_extra_state(self) -> Tensor:
        """Note rows, columns and heads: int64 ``(3,)``."""
        return torch.tensor([*self.grid, self.num_heads], device='cpu')

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse the weights of a model with other heads, or with positions of another grid."""
        layout = stored_layout({EXTRA_STATE: state})
        check_heads(layout, self.num_heads)
        learned = any(n.split('.')[-1] in (TABLE, 'pos_embed') for n, _ in self.named_parameters())
        if learned and layout is not None and layout.grid != self.grid:
            raise InputError(
                f'the checkpoint has positions for {layout.rows} × {layout.columns} patches, this '
                f'model for {self.grid[0]} × {self.grid[1]}: set img_size to the checkpoint’s, or '
                'load it by init_cfg, which resizes them'
            )

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        # Until now the models around this one have said which names have no place in them.
        check_part(self, with_prefix(state_dict, prefix), unexpected_keys, FRESH)
        # Files of before the note was taken hold all the weights.
        state_dict.setdefault(f'{prefix}{EXTRA_STATE}', self.get_extra_state())
        super()._load_from_state_dict(
            *(state_dict, prefix, local_metadata, strict),
            *(missing_keys, unexpected_keys, error_msgs),
        )

    def expand_shared_bias(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Copy a checkpoint's shared relative position bias to layers with a bias of their own.

        Args:
            state: tensors by official name.

        Returns:
            The tensors, with a table per layer instead of the shared one where this model has them.

        Raises:
            ValueError: the tensors hold positions of a kind that this model does not have.
        """
        state, own = dict(state), self.state_dict()
        for kind, option in POSITION_OPTIONS.items():
            if _has(state, kind) and not _has(own, kind):
                raise InputError(
                    f'the checkpoint holds {kind}, which this model would drop: set {option}.'
                )
        tables = [name for name in own if name.endswith(f'attn.{TABLE}')]
        if tables and SHARED_TABLE in state and SHARED_TABLE not in own:
            shared = state.pop(SHARED_TABLE)
            state.update({name: shared.clone() for name in tables if name not in state})
        return state

    def resize_positions(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Resize a checkpoint's positions that were learned for another grid.

        Args:
            state: tensors by official name; see :func:`learned_grid` for their grid.

        Returns:
            The same tensors, bias tables and position embeddings resized where they differ.

        Raises:
            ValueError: the grid is not known, or the checkpoint has another number of heads.
        """
        state = dict(state)
        check_heads(stored_layout(state), self.num_heads)
        source = learned_grid(state) or self.grid
        for name, wanted in self.state_dict().items():
            value = state.get(name)
            if value is None or source == self.grid:
                continue
            if name.endswith(TABLE) and value.shape[1] == wanted.shape[1]:
                state[name] = resize_relative_position_bias(value, source, self.grid)
            elif name == 'pos_embed' and value.shape[2] == wanted.shape[2]:
                state[name] = resize_absolute_position(value, source, self.grid)
        return state | {EXTRA_STATE: self.get_extra_state()}


def check_heads(layout: Layout | None, num_heads: int | None) -> None:
    """Refuse another number of heads than a checkpoint notes.

    Raises:
        ValueError: names both.
    """
    noted = 0 if layout is None else layout.num_heads
    if noted and num_heads and noted != num_heads:
        raise InputError(
            f'the checkpoint was trained with {noted} heads, but num_heads is {num_heads}: set '
            f'num_heads={noted}'
        )


def _has(state: dict[str, Tensor], kind: str) -> bool:
    return any(name.split('.')[-1] == kind for name in state)
