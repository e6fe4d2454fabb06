"""A linear classifier and its cross-entropy, without logits that exist whole."""

from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbeitv2.models.shortcuts import differentiable_once
from mmbeitv2.torch_releases import autocast_dtype

# Rows of logits held at a time. On a GPU, 2048 rows of 8192 logits fill its multiprocessors in each
# of the three products, and their half-precision copy (32 MiB) stays in the second-level cache of
# an H100; in float16 their sum of normalised tokens, √C each at most, stays in range. On a CPU few
# rows would read the weights, and write their gradient, too often.
ROWS_CPU, ROWS_GPU = 1024, 2048


def linear_cross_entropy(
    tokens: Tensor, weight: Tensor, bias: Tensor | None, codes: Tensor
) -> tuple[Tensor, Tensor]:
    """Eq. 3: ``F.cross_entropy(F.linear(tokens, weight, bias).float(), codes)``, and the accuracy.

    Logits are computed by rows and, while they are in the cache, the gradients of tokens, weight
    and bias, which alone are kept for the backward pass. Products are in the precision that
    ``F.linear`` would have (autocast's), softmax and sums over rows in float32. The gradient of the
    logits is rounded to half precision *before* the division by the number of tokens, which would
    push most of it out of float16's range; a loss scale is multiplied in float32.

    ``torch.nn.functional.linear_cross_entropy`` of recent releases gives no accuracy, rounds the
    loss and the sums over chunks to half precision, and divides first.

    Args:
        tokens: float ``(…, C)``.
        weight: float ``(K, C)``.
        bias: float ``(K,)`` or None.
        codes: int64 ``(…)`` in 0 … K − 1.

    Returns:
        Scalars: loss ≥ 0, float32 (float64 of float64), and accuracy, 0 to 1, float32.
    """
    # Autocast leaves float64 alone.
    dtype = None if tokens.dtype == torch.float64 else autocast_dtype(tokens.device.type)
    needed = tuple(
        torch.is_grad_enabled() and t is not None and t.requires_grad
        for t in (tokens, weight, bias)
    )
    return _LinearCrossEntropy.apply(
        tokens.flatten(0, -2), weight, bias, codes.flatten(), dtype, needed
    )


class _LinearCrossEntropy(torch.autograd.Function):
    """Computes the gradients of the sum over tokens in the forward pass; scales them backward."""

    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        codes: Tensor,
        dtype: torch.dtype | None,
        needed: tuple[bool, bool, bool],
    ) -> tuple[Tensor, Tensor]:
        # Autocast's casts are made here, once for all chunks.
        with nullcontext() if dtype is None else torch.autocast(tokens.device.type, enabled=False):
            x, w = (t.to(dtype or t.dtype) for t in (tokens, weight))
            b = None if bias is None else bias.to(dtype or bias.dtype)
            losses, hits, *grads = _by_chunks(x, w, b, codes, needed)
        ctx.save_for_backward(*grads)
        ctx.dtypes = [None if t is None else t.dtype for t in (tokens, weight, bias)]
        ctx.count = len(codes)
        loss, accuracy = losses.mean(), hits.float().mean()
        ctx.mark_non_differentiable(accuracy)
        return loss, accuracy

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        # The mean over no token is no number, but moves no weight.
        scale = grad_loss / max(ctx.count, 1)
        grads = (
            # In the scale's precision: a factor of no dimension would take the tensor's.
            None if grad is None else (grad.to(scale.dtype) * scale).to(dtype)
            for grad, dtype in zip(ctx.saved_tensors, ctx.dtypes)
        )
        return *grads, None, None, None


def _by_chunks(
    tokens: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    codes: Tensor,
    needed: tuple[bool, bool, bool],
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Loss of every token, whether its code was predicted, and the gradients of the loss's sum.

    Numbers of one token each are worked on after the loop: on a GPU every operator of a chunk costs
    its launch.
    """
    exact = torch.float64 if tokens.dtype == torch.float64 else torch.float32
    codes = codes[:, None]
    largest, own = tokens.new_empty(2, *codes.shape)
    probability = tokens.new_empty(codes.shape, dtype=exact)
    predicted = torch.empty_like(codes)
    grad_tokens = torch.empty_like(tokens) if needed[0] else None
    grad_weight = torch.zeros_like(weight, dtype=exact) if needed[1] else None
    grad_bias = None
    if bias is not None and needed[2]:
        grad_bias = torch.zeros_like(bias, dtype=exact)
    rows = ROWS_CPU if tokens.is_cpu else ROWS_GPU
    for start in range(0, len(tokens), rows):
        chunk = slice(start, start + rows)
        x, target, best = tokens[chunk], codes[chunk], predicted[chunk]
        logits = F.linear(x, weight, bias)
        torch.max(logits, 1, keepdim=True, out=(largest[chunk], best))
        torch.gather(logits, 1, target, out=own[chunk])
        softmax = F.softmax(logits, dim=1, dtype=exact)
        torch.gather(softmax, 1, best, out=probability[chunk])
        if not any(needed):
            continue
        # p − 1 before the rounding to half precision, which takes a p near 1 for 1.
        softmax.scatter_(1, target, softmax.gather(1, target) - 1)
        gradient = softmax.to(logits.dtype)
        if grad_tokens is not None:
            torch.mm(gradient, weight, out=grad_tokens[chunk])
        if grad_weight is not None:
            _add_product_(grad_weight, gradient.t(), x)
        if grad_bias is not None:
            grad_bias += gradient.sum(0, dtype=exact)
    # log Σ exp x is x − log p of any x; of the largest, whose p ≥ 1 / K, it keeps its digits.
    losses = (largest.to(exact) - own.to(exact)) - probability.log()
    return losses, predicted == codes, grad_tokens, grad_weight, grad_bias


def _add_product_(total: Tensor, a: Tensor, b: Tensor) -> None:
    """``total += a @ b``, where ``total`` may have a higher precision."""
    if a.dtype == total.dtype:
        torch.addmm(total, a, b, out=total)
    else:
        total += a @ b
