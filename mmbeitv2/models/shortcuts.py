"""When a model may compute what its layers give without calling them."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from mmbeitv2.errors import InputError
from mmbeitv2.torch_releases import is_compiling

# Whose whole effect on a tensor is known from their parameters. Subclasses are not: adapters,
# quantized and parametrized layers are some.
LAYERS = (nn.Linear, nn.LayerNorm, nn.GELU)

try:
    from torch.utils.module_tracker import ModuleTracker
except ImportError:  # before torch 2.4 FlopCounterMode has no hook for all modules
    _TRACKERS: tuple[type, ...] = ()
else:
    _TRACKERS = (ModuleTracker,)

# Since torch 2.7; before, an export looks like a compilation and keeps the shortcuts.
_ask_exporting = getattr(torch.compiler, 'is_exporting', bool)


def can_bypass(*layers: nn.Module, kinds: tuple[type[nn.Module], ...] = LAYERS) -> bool:
    """Whether nobody can tell that the layers are not called, only their parameters are used.

    That is so where each is exactly of one of the ``kinds`` and calls its class's ``forward``, no
    hook of any sort waits for it (pruning, Grad-CAM, old-style weight norm, profilers), and no
    tracer writes the calls down.

    Args:
        layers: what is not to be called.
        kinds: classes known to the caller.
    """
    return not is_traced() and all(
        type(layer) in kinds and not _is_watched(layer) and not _lacks_parameters(layer)
        for layer in layers
    )


def can_differentiate(owner: nn.Module, compiled: bool = False) -> bool:
    """Whether a function with a backward pass of its own may take the place of torch's operators.

    Only in training, for which such functions save memory: evaluated models are those that others
    trace, explain, quantize, and differentiate twice.

    Args:
        owner: the module that would use the function.
        compiled: ``torch.compile`` need not stop at the function.
    """
    return owner.training and (compiled or not is_compiling()) and not is_traced()


def is_traced() -> bool:
    """Whether ``torch.jit``, ``torch.export`` or ``torch.func`` follows the operators.

    Each of them would stop at, or lose, a backward pass that Python has written.
    """
    if is_compiling():
        return _is_exporting()
    return torch.jit.is_tracing() or torch._C._are_functorch_transforms_active()


# Asked by Python when a layer is compiled: torch 2.7 to 2.13, asked within what they compile,
# call every compilation an export.
@torch.compiler.assume_constant_result
def _is_exporting() -> bool:
    return _ask_exporting()


def differentiable_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Have a backward pass refuse to be differentiated.

    Torch's ``once_differentiable`` lets ``torch.autograd.grad`` go around the refusal, and then the
    second derivative lacks what went through the function.

    Raises:
        ValueError: when the backward pass runs with ``create_graph=True``.
    """

    @wraps(backward)
    def checked(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise InputError(
                'create_graph=True asks for second derivatives, which a model in training mode '
                'does not have: call model.eval() first.'
            )
        return backward(ctx, *grads)

    return checked


def _is_watched(layer: nn.Module) -> bool:
    hooks = (
        layer._forward_pre_hooks,
        layer._forward_hooks,
        layer._backward_pre_hooks,
        layer._backward_hooks,
    )
    # Not vars(layer), at which the compiler of torch 2.4 would cut the layer.
    if any(hooks) or 'forward' in layer.__dict__:
        return True
    # Not for torch.compile, which calls such hooks itself or not at all.
    return not is_compiling() and _all_are_watched()


def _all_are_watched() -> bool:
    """Whether somebody has registered a hook for all modules at once."""
    hooks = (
        torch_module._global_forward_pre_hooks,
        torch_module._global_forward_hooks,
        torch_module._global_backward_pre_hooks,
        torch_module._global_backward_hooks,
    )
    # FlopCounterMode's only notes where an operator belongs, and is to count what runs without it.
    return any(
        not isinstance(getattr(hook, '__self__', None), _TRACKERS)
        for registered in hooks
        for hook in registered.values()
    )


def _lacks_parameters(layer: nn.Module) -> bool:
    return type(layer) is nn.LayerNorm and layer.bias is None
