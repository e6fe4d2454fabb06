"""Self-attention with a learned bias of relative positions, under the official release's names."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbeitv2.models.bias_gradient import has_bias_gradient, learned_bias_attention
from mmbeitv2.models.biased_attention import biased_attention, relative_position_attention
from mmbeitv2.models.position import (
    Grid,
    expand_relative_position_bias,
    num_relative_positions,
    resize_relative_position_bias,
)
from mmbeitv2.models.recomputation import can_recompute, linear_of_norm
from mmbeitv2.models.shortcuts import can_bypass, can_differentiate


def take_tokens(x: Tensor, positions: Tensor) -> Tensor:
    """Pick tokens ``(B, M, C)`` of ``x`` ``(B, T, C)`` at ``positions`` (int64 ``(B, M)``)."""
    return x.gather(1, positions.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


class Attention(nn.Module):
    """Multi-head self-attention with a bias on queries and values, none on keys.

    Args:
        dim: width of a token.
        num_heads: heads; ``dim`` must be a multiple.
        grid: where given, the layer learns a relative position bias of its own for this grid.
        recompute: do not keep the normalised input for the backward pass.
    """

    def __init__(
        self, dim: int, num_heads: int, grid: Grid | None = None, recompute: bool = True
    ) -> None:
        super().__init__()
        self.recompute = recompute
        self.num_heads = num_heads
        self.grid = grid
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        # None of the keys: it would add one number to all logits of a query, which softmax ignores.
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.proj = nn.Linear(dim, dim)
        if grid is not None:
            self.relative_position_bias_table = nn.Parameter(
                torch.zeros(num_relative_positions(grid), num_heads)
            )

    def forward(
        self,
        x: Tensor,
        grid: Grid,
        shared_bias: Tensor | None = None,
        queries: Tensor | None = None,
        norm: nn.Module | None = None,
    ) -> Tensor:
        """Attend from every token, or from the ``queries`` only, to every token.

        Args:
            x: float ``(B, T, C)``.
            grid: grid of patches of these tokens.
            shared_bias: float ``(heads, T, T)`` added to the logits.
            queries: int64 ``(B, M)``, distinct positions of each image whose output is wanted.
            norm: applied to ``x`` first.

        Returns:
            float ``(B, T, C)`` or ``(B, M, C)``.
        """
        batch, _, dim = x.shape
        q, k, v = (
            t.view(batch, -1, self.num_heads, dim // self.num_heads).transpose(1, 2)
            for t in self._project(x, queries, norm)
        )
        table = None
        if self.grid is not None:
            table = resize_relative_position_bias(
                self.relative_position_bias_table, self.grid, grid
            )
        learned = x.is_cpu and queries is None and torch.is_grad_enabled()
        learned = learned and can_differentiate(self)
        if learned and table is not None and shared_bias is None:
            x = relative_position_attention(q, k, v, table, grid)
        elif learned and table is None and shared_bias is not None:
            x = biased_attention(q, k, v, shared_bias)
        else:
            bias = _total_bias(table, grid, shared_bias)
            ours = can_differentiate(self, compiled=True) and has_bias_gradient(q, bias)
            if ours and bias is not None:
                x = learned_bias_attention(q, k, v, bias, queries)
            else:
                x = F.scaled_dot_product_attention(q, k, v, attn_mask=_mask(bias, q, queries))
        return self.proj(x.transpose(1, 2).reshape(batch, -1, dim))

    def _project(
        self, x: Tensor, queries: Tensor | None, norm: nn.Module | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries ``(B, T or M, C)``, keys and values ``(B, T, C)``; see :meth:`forward`."""
        no_bias = torch.zeros_like(self.v_bias)
        if not can_bypass(self.qkv) or self.qkv.bias is not None:
            qkv = self.qkv(x if norm is None else norm(x))
            q, k, v = qkv.chunk(3, dim=-1)
            q = q if queries is None else take_tokens(q, queries)
            return q + self.q_bias.to(q.dtype), k, v + self.v_bias.to(v.dtype)
        if queries is not None:
            x = x if norm is None else norm(x)
            q_weight, kv_weight = self.qkv.weight.split([x.shape[-1], 2 * x.shape[-1]])
            kv = F.linear(x, kv_weight, torch.cat([no_bias, self.v_bias]))
            q = F.linear(take_tokens(x, queries), q_weight, self.q_bias)
            return q, *kv.chunk(2, dim=-1)
        bias = torch.cat([self.q_bias, no_bias, self.v_bias])
        if norm is not None and self.recompute and can_recompute(self, norm):
            return linear_of_norm(x, norm, self.qkv.weight, bias).chunk(3, dim=-1)
        x = x if norm is None else norm(x)
        return F.linear(x, self.qkv.weight, bias).chunk(3, dim=-1)


def _total_bias(table: Tensor | None, grid: Grid, shared_bias: Tensor | None) -> Tensor | None:
    """Sum ``(heads, T, T)`` of a layer's own bias and the shared one, or None without any."""
    if table is None:
        return shared_bias
    own = expand_relative_position_bias(table, grid)
    return own if shared_bias is None else own + shared_bias


def _mask(bias: Tensor | None, q: Tensor, queries: Tensor | None) -> Tensor | None:
    """The bias as ``scaled_dot_product_attention`` adds it to the logits of ``q``."""
    if bias is None:
        return None
    bias = bias.to(q.dtype)
    return bias.unsqueeze(0) if queries is None else bias[:, queries].transpose(0, 1)
