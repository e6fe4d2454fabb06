"""Linear layers that keep, for the backward pass, what their input was computed from."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx


def can_recompute(*layers: nn.Module | None) -> bool:
    """Whether gradients are recorded and the layers are what torch has under their names.

    Layers that others have put in their place (adapters, quantized ones) are to be called, and so
    are all of them without gradients, where hooks look at what they give. ``torch.compile`` decides
    itself what to keep, and would have to stop at a function with a backward pass of its own.
    """
    if torch.compiler.is_compiling():
        return False
    known = (nn.Linear, nn.LayerNorm, type(None))
    return torch.is_grad_enabled() and all(type(layer) in known for layer in layers)


def linear_of_norm(x: Tensor, norm: nn.LayerNorm, weight: Tensor, bias: Tensor) -> Tensor:
    """``F.linear(norm(x), weight, bias)`` that does not keep ``norm(x)``."""

    def normalize(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        # The backward pass calls this outside of autocast, where CUDA's norm takes one precision.
        return F.layer_norm(x.to(gain.dtype), norm.normalized_shape, gain, shift, norm.eps)

    return _LinearOf.apply(normalize, weight, bias, x, norm.weight, norm.bias)


def linear_of_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``F.linear(F.gelu(x), weight, bias)`` that does not keep ``F.gelu(x)``."""
    return _LinearOf.apply(F.gelu, weight, bias, x)


class _LinearOf(torch.autograd.Function):
    """Linear layer on a cheap function of tensors, which is computed again in the backward pass.

    A norm or an activation is as large as what it is computed from, which is kept anyway; both
    together are a third of what a Transformer layer keeps, and a hundredth of its operations.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        function: Callable[..., Tensor],
        weight: Tensor,
        bias: Tensor,
        *inputs: Tensor,
    ) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(weight, *inputs)
        return F.linear(function(*inputs), weight, bias)

    @staticmethod
    def backward(ctx: FunctionCtx, grad_out: Tensor) -> tuple[Tensor | None, ...]:
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
