"""Batch norm over the batches of all processes, on any device."""

from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mmbeitv2.errors import InputError
from mmbeitv2.registry import MODELS


class _SumOverRanks(torch.autograd.Function):
    """Sum over all ranks, whose losses are summed too: gradients are added up the same way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        all_reduce(gradient)
        return gradient


@MODELS.register_module()
class AnyDeviceSyncBN(_BatchNorm):
    """Batch norm with the mean and variance of all ranks' batches together.

    In training every rank normalises by, and keeps running averages of, the same statistics: those
    that one process with the joined batch has. ``nn.SyncBatchNorm``, which is faster where the
    norm is much of the work, does the same on GPUs but refuses CPUs. In eval mode, and in a run of
    one process, it is PyTorch's batch norm; parameters and buffers have its names.

    Args:
        num_features: channels C of an input ``(B, C)`` or ``(B, C, …)``.
        **kwargs: of PyTorch's batch norms: eps, momentum, affine, track_running_stats.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise InputError(f'the input has {x.dim()} dimensions, allowed: 2 or more.')

    def forward(self, x: Tensor) -> Tensor:
        """Normalise float ``(B, C, …)``; shape and dtype stay, statistics are float32 at least.

        All ranks must call it alike in training; their batches may differ in size.
        """
        if not self.training or get_world_size() == 1:
            return super().forward(x)
        self._check_input_dim(x)
        with torch.autocast(x.device.type, enabled=False):
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            return self._normalize(wide).to(x.dtype)

    def _normalize(self, x: Tensor) -> Tensor:
        dims = [dim for dim in range(x.dim()) if dim != 1]
        per_channel = [-1 if dim == 1 else 1 for dim in range(x.dim())]
        count = x.new_full((1,), x.numel() // x.shape[1])
        sums = _SumOverRanks.apply(torch.cat([x.sum(dims), count]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = x - mean.view(per_channel)
        # In a second sum: the difference of two large sums would lose the variance of features
        # whose mean is many standard deviations from 0.
        variance = _SumOverRanks.apply(centred.square().sum(dims)) / count
        if self.track_running_stats:
            self._update_running(mean.detach(), variance.detach() * count / (count - 1))
        x = centred * (variance + self.eps).rsqrt().view(per_channel)
        if self.affine:
            x = x * self.weight.view(per_channel) + self.bias.view(per_channel)
        return x

    @torch.no_grad()
    def _update_running(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        if self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        # Without a momentum PyTorch's batch norms keep the plain mean over all steps.
        share: float | Tensor
        if self.momentum is not None:
            share = self.momentum
        else:
            # As a number it would wait for the GPU; as a tensor it is of the type of what it mixes.
            share = self.num_batches_tracked.to(mean.dtype).reciprocal()
        for running, batch in (
            (self.running_mean, mean),
            (self.running_var, unbiased_variance),
        ):
            if running is not None:
                running.copy_(running.to(batch.dtype).lerp(batch, share))
