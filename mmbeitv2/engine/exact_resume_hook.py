"""A resumed run goes on exactly where it was: position, order of the data, schedules, gradients."""

from typing import Any

from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import BaseOptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader

from mmbeitv2.datasets.sampling import EpochSampler
from mmbeitv2.engine.resumed_position import Position, RunShape, resumed_position
from mmbeitv2.engine.resumed_schedule import Fresh, follow_config, fresh_values
from mmbeitv2.errors import InputError
from mmbeitv2.registry import HOOKS

# Of a checkpoint's meta, and of the checkpoint.
RECORD, GRADIENTS = 'mmbeitv2_run', 'gradients'


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Save what a resumed run needs beside weights and optimiser, and go on from it.

    In runs that count epochs, a checkpoint saved within one is gone on from behind the images that
    have been seen; if the total batch has changed, so is the number of iterations. The order of the
    data is that of the run that saved, also if it had drawn its seed. Schedules follow the config:
    see :mod:`mmbeitv2.engine.resumed_schedule`. Gradients that wait for further iterations of an
    update are kept.

    Raises:
        ValueError: the run cannot go on exactly: see :func:`resumed_position`.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._fresh: dict[str, Fresh] | None = None
        self._position: Position | InputError | None = None
        self._gradients: dict[str, Tensor] | None = None
        self._samples: int | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Add this run's shape and seed of order, and gradients of an unfinished update."""
        shape = _shape(runner)
        seed = getattr(_sampler(runner.train_dataloader), 'seed', None)
        checkpoint['meta'][RECORD] = dict(
            processes=shape.processes,
            batch_size=shape.batch_size,
            epoch_length=shape.epoch_length,
            samples=len(runner.train_dataloader.dataset),
            sampler_seed=None if seed is None else int(seed),
        )
        if 'optimizer' in checkpoint and update_is_unfinished(runner):
            checkpoint[GRADIENTS] = {
                name: _whole(parameter.grad).cpu()
                for name, parameter in _plain(runner.model).named_parameters()
                if parameter.grad is not None
            }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Remember the config's values, and rewrite the position for this run's iterations.

        A checkpoint whose weights alone are wanted comes here too. What is found matters only if
        the run then has iterations behind it.
        """
        meta = checkpoint.get('meta') or {}
        if not isinstance(runner.optim_wrapper, BaseOptimWrapper) or 'iter' not in meta:
            return
        self._fresh = fresh_values(runner)
        self._gradients = checkpoint.pop(GRADIENTS, None)
        record: dict[str, Any] = meta.get(RECORD) or {}
        seed, sampler = record.get('sampler_seed'), _sampler(runner.train_dataloader)
        if seed is not None and hasattr(sampler, 'seed'):
            sampler.seed = seed
        self._samples = record.get('samples')
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            return
        saved = RunShape(*(record[name] for name in RunShape._fields)) if record else None
        try:
            self._position = resumed_position(meta, saved, _shape(runner))
        except InputError as error:
            self._position = error
            return
        meta['epoch'], meta['iter'] = self._position.epoch, self._position.iteration

    def before_train(self, runner: Runner) -> None:
        """Let schedules and data begin at the position, if the run has been resumed."""
        if self._fresh is None or runner.iter == 0:
            return
        counts_epochs = isinstance(runner.train_loop, EpochBasedTrainLoop)
        length = _shape(runner).epoch_length if counts_epochs else None
        if isinstance(self._position, InputError):
            raise self._position
        for difference in follow_config(runner, self._fresh, runner.iter, length):
            runner.logger.warning(
                f'the config differs from the run that saved the checkpoint, at iteration '
                f'{runner.iter}: {difference}. The config is followed.'
            )
        if self._position is not None and self._position.into_epoch:
            self._skip(runner, self._position)
        self._restore_gradients(runner)
        self._fresh = self._position = self._gradients = None

    def _skip(self, runner: Runner, position: Position) -> None:
        sampler, samples = _sampler(runner.train_dataloader), len(runner.train_dataloader.dataset)
        if self._samples not in (None, samples):
            raise InputError(
                f'the checkpoint was saved within epoch {position.epoch + 1} of {self._samples} '
                f'images, but there are {samples} now, in another order: resume with those images, '
                'or from the end of an epoch'
            )
        if not isinstance(sampler, EpochSampler):
            raise InputError(
                f'the checkpoint was saved within epoch {position.epoch + 1}, which '
                f'{type(sampler).__name__} can only repeat from its beginning: resume from the end '
                "of an epoch, or use train_dataloader.sampler.type='mmbeitv2.EpochSampler'"
            )
        sampler.start_at(position.epoch, position.into_epoch * _shape(runner).batch_size)
        runner.logger.info(
            f'going on in epoch {position.epoch + 1} behind its iteration {position.into_epoch}'
        )

    def _restore_gradients(self, runner: Runner) -> None:
        if not update_is_unfinished(runner):
            return
        if not self._gradients:
            runner.logger.warning(
                'the run goes on within an update, whose first gradients the checkpoint lacks: '
                'this update sees fewer images'
            )
            return
        for name, parameter in _plain(runner.model).named_parameters():
            if name in self._gradients:
                parameter.grad = _placed(self._gradients[name], parameter)


def update_is_unfinished(runner: Runner) -> bool:
    """Whether gradients of past iterations wait for those of the next ones."""
    wrapper = runner.optim_wrapper
    parts = wrapper.values() if hasattr(wrapper, 'values') else [wrapper]
    return not all(part.should_update() for part in parts)


def average_unfinished(runner: Runner) -> None:
    """Give all processes the mean of their gradients, where an update is unfinished; all must call.

    Each process has added up gradients of its own images. Only one process saves, and the next
    iteration that synchronises them gives the same mean.
    """
    if get_world_size() > 1 and update_is_unfinished(runner):
        for parameter in runner.model.parameters():
            if parameter.grad is not None and not hasattr(parameter.grad, 'full_tensor'):
                all_reduce(parameter.grad, 'mean')


def _whole(gradient: Tensor) -> Tensor:
    """All of a gradient that may be spread over the processes, which then all must call."""
    return gradient.full_tensor() if hasattr(gradient, 'full_tensor') else gradient


def _placed(gradient: Tensor, parameter: Any) -> Tensor:
    # A parameter's type does not show that it may be sharded.
    gradient = gradient.to(parameter.device, parameter.dtype)
    if not hasattr(parameter, 'full_tensor'):
        return gradient
    # Of later releases of torch than the rest of this file.
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(gradient, parameter.device_mesh, parameter.placements)


def _plain(model: nn.Module) -> nn.Module:
    return model.get_submodule('module') if is_model_wrapper(model) else model


def _sampler(loader: DataLoader[Any]) -> Any:
    batches = loader.batch_sampler
    return batches.sampler if isinstance(batches, BatchSampler) else loader.sampler


def _shape(runner: Runner) -> RunShape:
    loader = runner.train_dataloader
    return RunShape(
        get_world_size(),
        getattr(loader.batch_sampler, 'batch_size', None) or loader.batch_size or 1,
        runner.max_iters // runner.max_epochs,
    )
