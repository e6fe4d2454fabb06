"""Attention with a learned bias that keeps nothing of the size of all pairs of tokens."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbeitv2.models.position import Grid, expand_relative_position_bias
from mmbeitv2.models.shortcuts import differentiable_once


def biased_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """softmax(q kᵀ / √D + bias) v.

    ``scaled_dot_product_attention`` fuses a bias that learns on GPUs only. Elsewhere it keeps the
    attention of all pairs of tokens for the backward pass, at 512 × 512 pixels 50 MB a layer and
    image. Here it is made again, one head at a time, which fits a processor's cache and so is
    faster as well.

    Args:
        q: float ``(B, heads, T, D)``; ``k`` and ``v`` likewise.
        k: see ``q``.
        v: see ``q``.
        bias: float ``(heads, T, T)``.

    Returns:
        float ``(B, heads, T, D)``; differentiable once in all four.
    """
    return _BiasedAttention.apply(q, k, v, bias, None)


def relative_position_attention(
    q: Tensor, k: Tensor, v: Tensor, table: Tensor, grid: Grid
) -> Tensor:
    """As :func:`biased_attention`, the bias expanded from its table head by head, and not kept.

    Args:
        q: float ``(B, heads, 1 + N, D)``; ``k`` and ``v`` likewise.
        k: see ``q``.
        v: see ``q``.
        table: float ``(num_relative_positions(grid), heads)``.
        grid: ``(rows, columns)`` of the N patches.

    Returns:
        float ``(B, heads, 1 + N, D)``; differentiable once in all four.
    """
    return _BiasedAttention.apply(q, k, v, table, grid)


class _BiasedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, source: Tensor, grid: Grid | None
    ) -> Tensor:
        # Tokens outermost, so that heads are joined afterwards without a copy.
        out = q.new_empty(q.shape[0], q.shape[2], q.shape[1], q.shape[3]).transpose(1, 2)
        for head in range(q.shape[1]):
            one = slice(head, head + 1)
            # Detached, since no bias that learns is fused, not even where no gradient is recorded.
            bias = _bias_of_head(_part(source, head, grid).detach(), grid).to(q.dtype)
            out[:, one] = F.scaled_dot_product_attention(
                q[:, one], k[:, one], v[:, one], attn_mask=bias.unsqueeze(0)
            )
        ctx.save_for_backward(q, k, v, source, out)
        ctx.grid = grid
        return out

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, source, out = ctx.saved_tensors
        grads = [torch.empty_like(tensor) for tensor in (q, k, v)]
        grad_source = torch.empty_like(source)
        for head in range(q.shape[1]):
            # In the bias's precision: its gradient sums over images, the table's over pairs too.
            tensors = (tensor[:, head].to(source.dtype) for tensor in (q, k, v, out, grad_out))
            part = _part(source, head, ctx.grid)
            *found, grad_part = _head_gradients(*tensors, part=part, grid=ctx.grid)
            for grad, value in zip(grads, found):
                grad[:, head] = value
            _part(grad_source, head, ctx.grid).copy_(grad_part)
        return *grads, grad_source, None


def _part(source: Tensor, head: int, grid: Grid | None) -> Tensor:
    """One head's ``(1, T, T)`` of a bias, or ``(offsets, 1)`` of a table."""
    one = slice(head, head + 1)
    return source[one] if grid is None else source[:, one]


def _bias_of_head(part: Tensor, grid: Grid | None) -> Tensor:
    """Bias ``(1, T, T)`` of a head."""
    return part if grid is None else expand_relative_position_bias(part, grid)


def _head_gradients(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    grad_out: Tensor,
    *,
    part: Tensor,
    grid: Grid | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients in q, k, v ``(B, T, D)`` and in the bias or table of one head."""
    scale = q.shape[-1] ** -0.5
    with torch.enable_grad():
        part = part.detach().requires_grad_()
        bias = _bias_of_head(part, grid)
    attention = torch.baddbmm(bias.detach(), q, k.mT, alpha=scale).softmax(dim=-1)
    grad_v = attention.mT @ grad_out
    # Softmax: dS = A ∘ (dA − Σ A ∘ dA), and that sum over the keys equals out · grad_out.
    weighted = (out * grad_out).sum(dim=-1, keepdim=True)
    grad_logits = torch.baddbmm(weighted, grad_out, v.mT, beta=-1).mul_(attention)
    grad_part = grad_logits.sum(dim=0, keepdim=True)
    if grid is not None:
        (grad_part,) = torch.autograd.grad(bias, part, grad_part)
    return grad_logits @ k * scale, grad_logits.mT @ q * scale, grad_v, grad_part
