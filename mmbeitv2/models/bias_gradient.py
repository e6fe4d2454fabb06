"""Attention on GPUs with a learned bias whose gradient a kernel of our own sums over the batch."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbeitv2.torch_releases import HAS_OPERATORS

# Powers of two, which Triton multiplies, whose tiles fit the shared memory.
WIDTHS = (16, 32, 64, 128)

# A bias with rows of another multiple of its elements would be copied by every attention.
ALIGNMENT = 16

DTYPES = (torch.bfloat16, torch.float16)

_chosen = False


def has_bias_gradient(q: Tensor, bias: Tensor | None) -> bool:
    """Whether a gradient of this bias is wanted and :func:`learned_bias_attention` is to give it.

    Args:
        q: float ``(B, heads, M, D)``.
        bias: float ``(heads, T, T)``, or None.
    """
    if bias is None or not (q.is_cuda and bias.requires_grad and torch.is_grad_enabled()):
        return False
    return HAS_OPERATORS and q.dtype in DTYPES and q.shape[-1] in WIDTHS and _kernels_are_chosen()


def learned_bias_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, queries: Tensor | None = None
) -> Tensor:
    """softmax(q kᵀ / √D + bias) v, with a gradient of its own for the bias.

    A bias that learns costs attention twice: the backward kernel writes the gradient of every
    image, to be read again for the sum over the batch, and torch leaves out its fastest kernels.
    So attention gets the bias as a constant, whichever kernel torch takes for it, and
    :func:`bias_gradient` is added to the backward pass.

    Args:
        q: float ``(B, heads, M, D)``, D one of ``WIDTHS``.
        k: float ``(B, heads, T, D)``.
        v: float ``(B, heads, T, D)``.
        bias: float ``(heads, T, T)``; its gradient keeps its precision.
        queries: int64 ``(B, M)``, distinct tokens of each image that ``q`` belongs to; None for
            all, in order.

    Returns:
        float ``(B, heads, M, D)``; differentiable once in q, k, v and the bias.
    """
    num_tokens = k.shape[2]
    padded = F.pad(bias.detach().to(q.dtype), (0, -num_tokens % ALIGNMENT))
    constant = padded[..., :num_tokens]
    mask = constant.unsqueeze(0)
    if queries is not None:
        mask = padded[:, queries][..., :num_tokens].transpose(0, 1)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return _BiasGradient.apply(out, bias, q.detach(), k.detach(), v.detach(), constant, queries)


class _BiasGradient(torch.autograd.Function):
    """Identity on the output of attention, whose backward pass adds the gradient of the bias."""

    @staticmethod
    def forward(
        ctx: Any,
        out: Tensor,
        bias: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        constant: Tensor,
        queries: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(q, k, v, constant, out, queries)
        ctx.dtype = bias.dtype
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, constant, out, queries = ctx.saved_tensors
        grad_bias = bias_gradient(q, k, v, constant, out, grad_out, queries)
        return grad_out, grad_bias.to(ctx.dtype), None, None, None, None, None


def bias_gradient(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    out: Tensor,
    grad_out: Tensor,
    queries: Tensor | None,
) -> Tensor:
    """Σ over images of A ∘ (dA − Σ A ∘ dA), A the attention and dA = grad_out vᵀ.

    Each tile of the sum belongs to one program, which goes through its images and writes once:
    nothing of the size of a batch's attention is written, nothing is added by atomic operations,
    and a second call gives the same bits. An operator of its own, so that ``torch.compile`` keeps a
    layer whole.

    Args:
        q: bfloat16, float16 or float32 ``(B, heads, M, D)``, D one of ``WIDTHS``.
        k: float ``(B, heads, T, D)``; ``v`` likewise.
        v: see ``k``.
        bias: float ``(heads, T, T)`` as the forward pass added it.
        out: float ``(B, heads, M, D)``, the output of attention; ``grad_out`` likewise.
        grad_out: see ``out``.
        queries: as of :func:`learned_bias_attention`.

    Returns:
        float32 ``(heads, T, T)``. Source: softmax's gradient, as in ``biased_attention``.
    """
    # Triton is no requirement, and takes half a second to import.
    from mmbeitv2.models.bias_gradient_launch import sum_over_batch

    return sum_over_batch(q, k, v, bias, out, grad_out, queries)


def _empty_gradient(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    out: Tensor,
    grad_out: Tensor,
    queries: Tensor | None,
) -> Tensor:
    return torch.empty(bias.shape, dtype=torch.float32, device=q.device)


def _flops(q_shape: torch.Size, k_shape: torch.Size, *args: Any, **kwargs: Any) -> int:
    """The logits and the product with v."""
    return 2 * 2 * q_shape.numel() * k_shape[2]


if HAS_OPERATORS:
    from torch.utils.flop_counter import register_flop_formula

    bias_gradient = torch.library.custom_op('mmbeitv2::bias_gradient', mutates_args=())(
        bias_gradient
    )
    bias_gradient.register_fake(_empty_gradient)
    register_flop_formula(torch.ops.mmbeitv2.bias_gradient)(_flops)


def choose_kernels(chosen: bool) -> None:
    """Have layers that learn a bias on GPUs take the kernels, or torch's own gradient again.

    Nobody takes them unasked: whether they pay depends on the card, and
    :class:`mmbeitv2.engine.AttentionTrialHook` tries it. Layers that are compiled already keep what
    they have.
    """
    global _chosen
    _chosen = chosen


# The value that torch.compile finds is part of what it compiles.
@torch.compiler.assume_constant_result
def _kernels_are_chosen() -> bool:
    return _chosen
