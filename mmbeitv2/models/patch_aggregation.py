"""Patch aggregation (section 2.3): a bottleneck that teaches [CLS] the whole image."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmbeitv2.checks import check_count, check_flag, check_probability, is_count
from mmbeitv2.errors import InputError
from mmbeitv2.models.arguments import check_layers
from mmbeitv2.models.layers import INIT_STD, Block, init_layer_
from mmbeitv2.models.position import Grid
from mmbeitv2.registry import MODELS


@MODELS.register_module()
class PatchAggregationNeck(BaseModule):
    """A shallow Transformer over [CLS] of the last layer and the patches of layer ``layer``.

    What the last layers know of the image reaches its output only through [CLS].

    Args:
        embed_dim: width C of a token.
        num_heads: heads of the attention.
        layer: l, number of the backbone layer (1-based count of layers run) whose patches enter.
        depth: number of layers here.
        mlp_ratio: hidden width of the MLP over ``embed_dim``.
        init_values: start of the layer scale; None for no layer scale.
        drop_path: probability of dropping a branch, one for every layer or one for each; the
            official run continues the backbone's line of probabilities from layer l on.
        shared_norm: use the backbone's final norm for the output; otherwise learn one here.
        norm_eps: epsilon of the norms.
        init_std: spread of the initial weights; the backbone's.
        recompute: as the backbone's.

    Raises:
        ValueError: an argument of another type or out of range.
    """

    def __init__(
        self,
        embed_dim: int = 768,
        num_heads: int = 12,
        layer: int = 9,
        depth: int = 2,
        mlp_ratio: float = 4.0,
        init_values: float | None = 0.1,
        drop_path: float | Sequence[float] = 0.0,
        shared_norm: bool = True,
        norm_eps: float = 1e-6,
        init_std: float = INIT_STD,
        recompute: bool = True,
    ) -> None:
        super().__init__()
        if not is_count(depth):
            raise InputError(
                f'depth is {depth!r}, allowed: 1 or more; for pretraining without patch '
                'aggregation set neck=None.'
            )
        check_layers(
            *(self, embed_dim, num_heads, depth, mlp_ratio),
            *(init_values, norm_eps, init_std, recompute),
        )
        check_count(self, 'layer', layer, 9)
        check_flag(self, 'shared_norm', shared_norm)
        rates: list[Any] = [drop_path] * depth
        if isinstance(drop_path, Sequence) and not isinstance(drop_path, str):
            rates = list(drop_path)
        for rate in rates:
            check_probability(self, 'drop_path', rate)
        if len(rates) != depth:
            raise InputError(
                f'drop_path has {len(rates)} values but the neck {depth} layers: give one for '
                'each, or one number.'
            )
        self.layer = layer
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.init_std = init_std
        self.cls_pt_layers = nn.ModuleList(
            Block(
                *(embed_dim, num_heads, mlp_ratio, init_values, rate),
                norm_eps=norm_eps,
                recompute=recompute,
            )
            for rate in rates
        )
        self.cls_pt_norm = None if shared_norm else nn.LayerNorm(embed_dim, eps=norm_eps)

    def init_weights(self) -> None:
        """Initialise like layers l + 1, l + 2, … of the backbone."""
        blocks: Iterable[Any] = self.cls_pt_layers
        for i, block in enumerate(blocks):
            block.init_weights(self.layer + i + 1, self.init_std)
        if self.cls_pt_norm is not None:
            init_layer_(self.cls_pt_norm)
        self._is_init = True

    def get_extra_state(self) -> Tensor:
        """Put l into the state dict: no other tensor of a checkpoint shows it."""
        return torch.tensor(self.layer)

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse the weights of a model with another l."""
        if int(state) != self.layer:
            raise InputError(
                f'the checkpoint aggregates patches of layer {int(state)} but this neck those of '
                f'layer {self.layer}: set layer={int(state)}.'
            )

    def forward(
        self,
        cls_token: Tensor,
        patches: Tensor,
        grid: Grid,
        shared_bias: Tensor | None,
        queries: Tensor,
    ) -> Tensor:
        """Predict the masked patches again, from the image's summary and shallow patches.

        Args:
            cls_token: float ``(B, 1, C)``, of the backbone's last layer, before its norm.
            patches: float ``(B, N, C)``, of layer l.
            grid: grid of patches.
            shared_bias: the backbone's shared attention bias, or None.
            queries: int64 ``(B, M)``, masked tokens (token 0 is [CLS]).

        Returns:
            float ``(B, M, C)`` before the final norm.
        """
        # Not normalised: these layers go on from the backbone's, each with norms of its own.
        x = torch.cat([cls_token, patches], dim=1)
        for block in self.cls_pt_layers[:-1]:
            x = block(x, grid, shared_bias)
        return self.cls_pt_layers[-1](x, grid, shared_bias, queries)
