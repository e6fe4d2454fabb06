"""Training checkpoints hold finite weights, and are loaded whole or not at all."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from mmbeitv2.checkpoints.adopting import check_resumable, translated_state
from mmbeitv2.checkpoints.host_starts import check_host_starts
from mmbeitv2.checkpoints.soundness import EXTRA_STATE, amiss, check_numbers, first_difference
from mmbeitv2.engine.going_on import how_to_go_on
from mmbeitv2.errors import InputError, NonFiniteError
from mmbeitv2.registry import HOOKS
from mmbeitv2.torch_releases import aminmax


@HOOKS.register_module()
class SoundWeightsHook(Hook):
    """Save no weights that are not finite; load those of this model alone, and every one.

    Of the weights that are about to be written the largest and smallest of every tensor are taken,
    and waited for once. A step can spoil weights whose loss was still finite.

    What ``load_from`` and ``resume`` name must have the names and shapes of the model's tensors,
    where mmengine logs a difference and trains from random weights. ``load_from`` takes the same
    model of another project too, by whose names nothing would be loaded. To start from the weights
    of another model use ``init_cfg``.

    An ``init_cfg`` that mmengine itself reads, of a host's component or model, must have loaded
    something.

    Raises:
        FloatingPointError: weights to be saved are not finite; names the first such tensor and the
            last checkpoint.
        ValueError: weights to be loaded are not those of the model; names the first that differs.
    """

    # What is loaded is judged before other hooks take anything from it.
    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare what was read with the model, before it is loaded, by the model's names."""
        model = _plain(runner.model)
        source = getattr(checkpoint, 'source', 'the checkpoint')
        # Of mmengine, as EMAHook reads it: where it resumes, and not only loads.
        if runner._resume:
            check_resumable(checkpoint, source)
        else:
            state = translated_state(model, checkpoint, source)
            if state is not None:
                checkpoint.clear()
                checkpoint['state_dict'] = state
        check_whole(model, checkpoint, source)

    def before_train(self, runner: Runner) -> None:
        """See that what hosts' components were to start from has not been passed over."""
        # A run that is gone on with has replaced it.
        if not runner._resume:
            check_host_starts(
                runner.model.module if is_model_wrapper(runner.model) else runner.model
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Look at every weight that is to be written."""
        name = first_not_finite(checkpoint['state_dict'])
        if name is not None:
            found = amiss(name, checkpoint['state_dict'][name])
            raise NonFiniteError(_message(runner, found))


def _plain(model: Any) -> nn.Module:
    plain: nn.Module = model.module if is_model_wrapper(model) else model
    return plain


def check_whole(model: nn.Module, checkpoint: dict[str, Any], source: str) -> None:
    """Refuse a training checkpoint that is not this model's, or whose weights are no numbers.

    Args:
        model: not wrapped.
        checkpoint: as read from the file.
        source: names it in messages.

    Raises:
        ValueError: names the first tensor that differs.
    """
    content = checkpoint.get('state_dict', checkpoint)
    given = {n: value for n, value in _unwrapped(content).items() if isinstance(value, Tensor)}
    if not given:
        raise InputError(f'{source} holds no weights of a model')
    own = _unwrapped(model.state_dict())
    difference = first_difference(own, given)
    if difference is not None:
        raise InputError(
            f'{source} is of another architecture than {type(model).__name__}: {difference}. '
            'load_from and resume take the weights of the very same model: use the config that it '
            'was trained with, or init_cfg to start from the weights of another model.'
        )
    check_numbers(given, source, own)
    for name, module in _unwrapped(dict(model.named_modules())).items():
        noted = given.get(f'{name}.{EXTRA_STATE}')
        if noted is not None and f'{name}.{EXTRA_STATE}' in own:
            try:
                module.set_extra_state(noted)
            except InputError as error:
                raise InputError(f'{source}: {error}') from error


def _unwrapped(values: dict[str, Any]) -> dict[str, Any]:
    """Values by the names inside of wrappers, as of data parallelism or test-time augmentation."""
    return {name.removeprefix('module.'): value for name, value in values.items()}


def first_not_finite(state: dict[str, Tensor]) -> str | None:
    """Name of the first float tensor that is not finite; waits for each device once."""
    ends: dict[torch.device, list[Tensor]] = {}
    names: dict[torch.device, list[str]] = {}
    for name, value in state.items():
        if not isinstance(value, Tensor) or not value.is_floating_point() or not value.numel():
            continue
        value = value.detach()
        # Of sharded weights each process looks at its own.
        value = value.to_local() if hasattr(value, 'to_local') else value
        low, high = aminmax(value)
        ends.setdefault(value.device, []).append(high.isfinite() & low.isfinite())
        names.setdefault(value.device, []).append(name)
    for device, found in ends.items():
        for name, finite in zip(names[device], torch.stack(found).tolist()):
            if not finite:
                return name
    return None


def _message(runner: Runner, found: str) -> str:
    return (
        f'the weights are no longer finite at iteration {runner.iter + 1}: {found}; they are not '
        'saved. Lower the learning rate (--cfg-options optim_wrapper.optimizer.lr=...) or use '
        f'bfloat16 instead of float16, and {how_to_go_on(runner)}.'
    )
