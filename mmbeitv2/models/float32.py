"""What stays float32 where a model runs under autocast."""

from collections.abc import Callable

import torch
from torch import Tensor


def in_float32(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a layer outside of autocast, to ``x`` in float32."""
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.float())
