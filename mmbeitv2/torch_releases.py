"""What torch 2.1 to 2.3, for which OpenMMLab's own releases were built, lack or name otherwise."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

# Operators of one's own, weights-only reading with a list, fused AdamW on CPUs, layers compiled as
# one graph: tried with torch 2.4, and not to be had with 2.1.
HAS_OPERATORS = hasattr(torch.library, 'custom_op')
HAS_SAFE_GLOBALS = hasattr(torch.serialization, 'add_safe_globals')
HAS_FUSED_ON_CPU = HAS_OPERATORS
COMPILES_LAYERS = HAS_OPERATORS

# Since torch 2.3 with the device as its first argument.
GradScaler = getattr(torch.amp, 'GradScaler', torch.cuda.amp.GradScaler)

if hasattr(torch.compiler, 'is_compiling'):
    is_compiling = torch.compiler.is_compiling
else:
    from torch._utils import is_compiling  # noqa: F401  the same, before it was public


def autocast_dtype(device: str) -> torch.dtype | None:
    """What autocast casts the factors of products to, on a kind of device; None where it is off.

    Args:
        device: ``'cuda'``, ``'cpu'``, …; autocast knows nothing of some, such as ``'meta'``.
    """
    if hasattr(torch.amp, 'is_autocast_available'):
        on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        return torch.get_autocast_dtype(device) if on else None
    if device == 'cpu':
        return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
    on = device == 'cuda' and torch.is_autocast_enabled()
    return torch.get_autocast_gpu_dtype() if on else None


def attention_in_parts() -> AbstractContextManager[Any]:
    """Context in which ``scaled_dot_product_attention`` is its products and softmax, unfused."""
    if find_spec('torch.nn.attention') is None:
        return torch.backends.cuda.sdp_kernel(
            enable_flash=False, enable_math=True, enable_mem_efficient=False
        )
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH)


def aminmax(values: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest and the largest of a tensor's values, NaN where any is.

    Args:
        values: float, any shape but an empty one; torch 2.1 does not compare float16 on CPUs.
    """
    if values.dtype is torch.float16 and values.is_cpu and not HAS_OPERATORS:
        low, high = values.float().aminmax()
        return low.half(), high.half()
    low, high = values.aminmax()
    return low, high


def grad_scaler(device: str, **options: Any) -> 'torch.amp.GradScaler':
    """The scale of the loss in float16 on a kind of device.

    Args:
        device: ``'cuda'`` or ``'cpu'``.
        **options: of ``torch.amp.GradScaler``.
    """
    where = (device,) if hasattr(torch.amp, 'GradScaler') else ()
    return GradScaler(*where, **options)


@contextmanager
def only_safe_globals(classes: Sequence[type]) -> Iterator[None]:
    """Let weights-only reading accept ``classes`` and nothing else, for the time being.

    torch's own context manager of this kind came after 2.4. What others have allowed is left out:
    it is theirs to answer for. Before 2.4 no class can be allowed at all.

    Args:
        classes: that a file may hold beside tensors.
    """
    if not HAS_SAFE_GLOBALS:
        yield
        return
    serialization = torch.serialization
    before = serialization.get_safe_globals()
    serialization.clear_safe_globals()
    serialization.add_safe_globals(list(classes))
    try:
        yield
    finally:
        serialization.clear_safe_globals()
        serialization.add_safe_globals(before)


def layers_as_written() -> AbstractContextManager[Any]:
    """Context in which compiled layers run uncompiled, so that no other shape is compiled for.

    Before torch 2.6, which cannot, they are compiled for what runs here too: slower, and the same.
    """
    if not hasattr(torch.compiler, 'set_stance'):
        return nullcontext()
    return torch.compiler.set_stance('force_eager')
