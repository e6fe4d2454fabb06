"""Mixed precision in bfloat16, on accelerators and on CPUs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmbeitv2.engine.deferred_scalars import DeferredGradNorm
from mmbeitv2.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(DeferredGradNorm, OptimWrapper):
    """Run the forward pass of training under autocast to bfloat16.

    bfloat16 has the range of float32, so losses need no scaling, and weights and optimiser state
    stay float32. mmengine's ``AmpOptimWrapper`` does the same on accelerators but refuses CPUs,
    many of which have instructions for bfloat16 matrices.

    Args:
        **kwargs: of mmengine's ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Context of the forward pass of ``model``, on the device of its first parameter."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield
