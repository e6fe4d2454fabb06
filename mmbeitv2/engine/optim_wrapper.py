"""Mixed precision of training, chosen by one setting."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmbeitv2.engine.deferred_scalars import DeferredGradNorm
from mmbeitv2.engine.precision import Precision, choose_precision
from mmbeitv2.errors import InputError
from mmbeitv2.registry import OPTIM_WRAPPERS
from mmbeitv2.torch_releases import grad_scaler

LOSS_SCALER = 'loss_scaler'


@OPTIM_WRAPPERS.register_module()
class MixedPrecisionOptimWrapper(DeferredGradNorm, OptimWrapper):
    """Run the forward pass of training under autocast to what the device multiplies best.

    Weights, gradients and optimiser state stay float32. In float16 the loss is scaled, gradients
    are unscaled before they are clipped, and a step whose gradients overflow is left out.
    mmengine's ``AmpOptimWrapper`` does so too, but refuses CPUs, and does not know which precision
    a device has.

    Args:
        precision: ``'auto'``, ``'bfloat16'``, ``'float16'`` or ``'float32'``: see
            :func:`mmbeitv2.engine.precision.choose_precision`.
        loss_scale: of float16: ``'dynamic'``, a fixed factor, or arguments of
            ``torch.amp.GradScaler``.
        **kwargs: of mmengine's ``OptimWrapper``.

    Raises:
        ValueError: a precision that the device lacks.
    """

    def __init__(
        self,
        precision: str = 'auto',
        loss_scale: str | float | dict[str, Any] = 'dynamic',
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.precision = choose_precision(precision)
        self.loss_scaler, self._fixed_scale = _scaler(loss_scale, self.precision)
        print_log(f'training precision: {self.precision}', logger='current')

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Context of the forward pass of ``model``, on the device of its first parameter."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), self.precision.autocast(device):
            yield

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Add the gradients of ``loss``, a float32 scalar, times the loss's scale."""
        super().backward(self.loss_scaler.scale(loss), **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Unscale and clip gradients, and update the weights unless gradients overflowed."""
        if self.clip_grad_kwargs:
            self.loss_scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update(self._fixed_scale)

    def state_dict(self) -> dict[str, Any]:
        """State of the optimiser, and of the scale of the loss where there is one."""
        state = super().state_dict()
        if self.loss_scaler.is_enabled():
            state[LOSS_SCALER] = self.loss_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of a run in any precision; without a scale in it, ours starts anew."""
        scale = state_dict.pop(LOSS_SCALER, None)
        if scale and self.loss_scaler.is_enabled():
            self.loss_scaler.load_state_dict(scale)
        super().load_state_dict(state_dict)


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(MixedPrecisionOptimWrapper):
    """``MixedPrecisionOptimWrapper(precision='bfloat16')``, by the name of earlier configs."""

    def __init__(self, precision: str = 'bfloat16', **kwargs: Any) -> None:
        if precision != 'bfloat16':
            raise InputError(
                f'precision is {precision!r}, but BFloat16OptimWrapper has bfloat16 alone: set its '
                "type to 'mmbeitv2.MixedPrecisionOptimWrapper'."
            )
        super().__init__(precision=precision, **kwargs)


def _scaler(
    loss_scale: str | float | dict[str, Any], precision: Precision
) -> tuple['torch.amp.GradScaler', float | None]:
    """The loss's scaler, which does nothing but in float16, and its factor if that is fixed."""
    options: dict[str, Any] = {'enabled': precision.dtype == torch.float16}
    fixed = None
    if isinstance(loss_scale, dict):
        options = loss_scale | options
    elif _is_factor(loss_scale):
        options['init_scale'] = fixed = float(loss_scale)
    elif loss_scale != 'dynamic':
        raise _bad_scale(loss_scale)
    try:
        return grad_scaler(precision.device, **options), fixed
    except TypeError as error:
        raise _bad_scale(loss_scale) from error


def _is_factor(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _bad_scale(loss_scale: object) -> InputError:
    return InputError(
        f"loss_scale is {loss_scale!r}, allowed: 'dynamic', a finite number above 0, or arguments "
        'of torch.amp.GradScaler.'
    )
