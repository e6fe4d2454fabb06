"""What stays float32 where a model runs under autocast."""

import torch
from torch import Tensor, nn


def in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer outside of autocast, to ``x`` in float32."""
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.float())
