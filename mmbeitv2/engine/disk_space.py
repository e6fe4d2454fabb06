"""Whether a run's folder has room for what the run will write."""

from collections.abc import Iterator
from pathlib import Path

from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import Tensor, nn

from mmbeitv2.checkpoints.atomic import free_bytes
from mmbeitv2.errors import UnreadableFileError


def check_space(folder: str | Path, runner: Runner) -> None:
    """Refuse to train where not even one checkpoint fits.

    Args:
        folder: of the checkpoints.
        runner: with model and optimiser built.

    Raises:
        OSError: names the folder, the bytes that a checkpoint needs and those that are free.
    """
    needed, free = checkpoint_bytes(runner), free_bytes(folder)
    if needed > free:
        raise UnreadableFileError(
            f'{folder} has {free:,} bytes free, but a checkpoint of this run needs about '
            f'{needed:,}: free some, or choose another folder with --work-dir'
        )


def checkpoint_bytes(runner: Runner) -> int:
    """Bytes of a checkpoint: weights, their moving average if any, and the optimiser's state."""
    copies = 1 + any(isinstance(hook, EMAHook) for hook in runner.hooks)
    return training_bytes(runner.model, runner.optim_wrapper, copies)


def training_bytes(
    model: nn.Module, wrapper: OptimWrapper | OptimWrapperDict, copies: int = 1
) -> int:
    """Bytes of so many copies of a model's weights, and of its optimiser's state."""
    weights = sum(_bytes(value) for value in model.state_dict().values())
    return copies * weights + sum(_optimiser_bytes(wrapper))


def _optimiser_bytes(wrapper: OptimWrapper | OptimWrapperDict) -> Iterator[int]:
    for part in wrapper.values() if hasattr(wrapper, 'values') else [wrapper]:
        for group in part.optimizer.param_groups:
            # Adam and its kin keep two moments of each weight, descent with momentum one.
            moments = 2 if 'betas' in group else int(bool(group.get('momentum')))
            yield moments * sum(_bytes(parameter) for parameter in group['params'])


def _bytes(value: Tensor | nn.Parameter) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0
