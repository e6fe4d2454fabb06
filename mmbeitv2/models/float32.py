"""What stays float32 where a model runs under autocast."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def in_float32(
    layer: Callable[[Tensor], Tensor], x: Tensor, weights_of: nn.Module | None = None
) -> Tensor:
    """Apply a layer outside of autocast, to ``x`` in the precision of the weights, float32.

    A model whose weights somebody has converted, such as by ``model.half()``, runs in their
    precision throughout.

    Args:
        layer: applied.
        x: float, any shape.
        weights_of: whose parameters ``layer`` uses; ``layer`` itself, a module, unless given.
    """
    module: Any = layer if weights_of is None else weights_of
    # Quantized weights are integers.
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.to(dtype))
