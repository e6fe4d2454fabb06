"""Attention with a learned relative position bias that is never held for all heads at once."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from mmbeitv2.models.position import Grid, expand_relative_position_bias


def relative_position_attention(
    q: Tensor, k: Tensor, v: Tensor, table: Tensor, grid: Grid
) -> Tensor:
    """softmax(q kᵀ / √D + bias) v, the bias expanded from its table head by head.

    ``scaled_dot_product_attention`` fuses a bias that learns on GPUs only. Elsewhere it keeps the
    bias and the attention of all pairs of tokens for the backward pass, at 512 × 512 pixels 100 MB
    a layer and image; this keeps neither. Both are made again, one head at a time, which fits a
    processor's cache and so is faster as well.

    Args:
        q: float ``(B, heads, 1 + N, D)``; ``k`` and ``v`` likewise.
        k: see ``q``.
        v: see ``q``.
        table: float ``(num_relative_positions(grid), heads)``.
        grid: ``(rows, columns)`` of the N patches.

    Returns:
        float ``(B, heads, 1 + N, D)``; differentiable once in all four.
    """
    return _RelativePositionAttention.apply(q, k, v, table, grid)


class _RelativePositionAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, q: Tensor, k: Tensor, v: Tensor, table: Tensor, grid: Grid
    ) -> Tensor:
        # Tokens outermost, so that heads are joined afterwards without a copy.
        out = q.new_empty(q.shape[0], q.shape[2], q.shape[1], q.shape[3]).transpose(1, 2)
        for head in range(q.shape[1]):
            one = slice(head, head + 1)
            bias = expand_relative_position_bias(table[:, one], grid).to(q.dtype)
            out[:, one] = F.scaled_dot_product_attention(
                q[:, one], k[:, one], v[:, one], attn_mask=bias.unsqueeze(0)
            )
        ctx.save_for_backward(q, k, v, table, out)
        ctx.grid = grid
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, table, out = ctx.saved_tensors
        grads = [torch.empty_like(tensor) for tensor in (q, k, v, table)]
        for head in range(q.shape[1]):
            # In the table's precision: its gradient sums over all pairs of tokens.
            tensors = (tensor[:, head].to(table.dtype) for tensor in (q, k, v, out, grad_out))
            found = _head_gradients(*tensors, table[:, head], ctx.grid)
            for grad, value in zip(grads, found):
                grad[:, head] = value
        return *grads, None


def _head_gradients(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, grad_out: Tensor, table: Tensor, grid: Grid
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients in q, k, v ``(B, T, D)`` and the table ``(offsets,)`` of one head."""
    scale = q.shape[-1] ** -0.5
    with torch.enable_grad():
        table = table.detach().requires_grad_()
        bias = expand_relative_position_bias(table.unsqueeze(1), grid)
    attention = torch.baddbmm(bias.detach(), q, k.mT, alpha=scale).softmax(dim=-1)
    grad_v = attention.mT @ grad_out
    # Softmax: dS = A ∘ (dA − Σ A ∘ dA), and that sum over the keys equals out · grad_out.
    weighted = (out * grad_out).sum(dim=-1, keepdim=True)
    grad_logits = torch.baddbmm(weighted, grad_out, v.mT, beta=-1).mul_(attention)
    (grad_table,) = torch.autograd.grad(bias, table, grad_logits.sum(dim=0, keepdim=True))
    return grad_logits @ k * scale, grad_logits.mT @ q * scale, grad_v, grad_table
