"""Linear layers that keep, for the backward pass, what their input was computed from."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbeitv2.models.shortcuts import can_bypass, can_differentiate, differentiable_once


def can_recompute(owner: nn.Module, *layers: nn.Module) -> bool:
    """Whether ``owner`` is trained, and its ``layers`` may be used without being called.

    ``torch.compile`` decides itself what to keep.
    """
    return torch.is_grad_enabled() and can_differentiate(owner) and can_bypass(*layers)


def linear_of_norm(x: Tensor, norm: nn.LayerNorm, weight: Tensor, bias: Tensor) -> Tensor:
    """``F.linear(norm(x), weight, bias)`` that does not keep ``norm(x)``."""

    def normalize(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        # The backward pass calls this outside of autocast, where CUDA's norm takes one precision.
        return F.layer_norm(x.to(gain.dtype), norm.normalized_shape, gain, shift, norm.eps)

    return _LinearOf.apply(normalize, weight, bias, x, norm.weight, norm.bias)


def linear_of_gelu(x: Tensor, weight: Tensor, bias: Tensor, approximate: str = 'none') -> Tensor:
    """``F.linear(F.gelu(x, approximate), weight, bias)`` that does not keep the activation."""
    return _LinearOf.apply(partial(F.gelu, approximate=approximate), weight, bias, x)


class _LinearOf(torch.autograd.Function):
    """Linear layer on a cheap function of tensors, which is computed again in the backward pass.

    A norm or an activation is as large as what it is computed from, which is kept anyway; both
    together are a third of what a Transformer layer keeps, and a hundredth of its operations.
    """

    @staticmethod
    def forward(
        ctx: Any,
        function: Callable[..., Tensor],
        weight: Tensor,
        bias: Tensor,
        *inputs: Tensor,
    ) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(weight, *inputs)
        return F.linear(function(*inputs), weight, bias)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        weight, *inputs = ctx.saved_tensors
        with torch.enable_grad():
            inputs = [tensor.detach().requires_grad_() for tensor in inputs]
            activation = ctx.function(*inputs)
        rows = grad_out.reshape(-1, grad_out.shape[-1])
        grad_weight = grad_bias = None
        if ctx.needs_input_grad[1]:
            # Under autocast the forward pass multiplied in the precision that grad_out has.
            factor = activation.detach().to(grad_out.dtype).reshape(-1, activation.shape[-1])
            grad_weight = (rows.t() @ factor).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            grad_bias = rows.sum(dim=0).to(weight.dtype)
        grad_activation = (grad_out @ weight.to(grad_out.dtype)).to(activation.dtype)
        grads = torch.autograd.grad(activation, inputs, grad_activation)
        return None, grad_weight, grad_bias, *grads
