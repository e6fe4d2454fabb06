"""Training checkpoints: when they are saved, and that they are read without running code."""

from time import monotonic

import numpy as np
import torch
from mmengine.dist import broadcast
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner

from mmbeitv2.errors import InputError
from mmbeitv2.registry import HOOKS

# Ranks must agree on what is due, which costs a message: not at every iteration.
ITERATIONS_BETWEEN_LOOKS = 100


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """mmengine's ``CheckpointHook`` that saves by the clock.

    The same interval in epochs is minutes on many GPUs and days on one. Here a checkpoint is saved
    at the end of the first epoch (or a hundred iterations, for a run that counts those) that ends
    ``minutes`` or more after the last one: what a crash can cost is that time and an epoch. The
    last epoch is always saved.

    Args:
        minutes: between two checkpoints, 0 or more; None to save by ``interval`` alone.
        **kwargs: of mmengine's ``CheckpointHook``. ``interval`` saves, besides, every so many
            epochs or iterations; by default none.

    Raises:
        ValueError: a negative number of minutes.
    """

    def __init__(self, minutes: float | None = 30, **kwargs) -> None:
        super().__init__(**kwargs)
        if minutes is not None and minutes < 0:
            raise InputError(f'minutes is {minutes}, allowed: 0 or more, None for no such limit.')
        self.minutes = minutes
        self._saved_at = monotonic()

    def before_train(self, runner: Runner) -> None:
        """Start the clock, which building the data sets may have kept waiting."""
        super().before_train(runner)
        self._saved_at = monotonic()

    def every_n_epochs(self, runner: Runner, n: int, start: int = 0) -> bool:
        """Whether the epoch that ends is one of every ``n``, or a checkpoint is due by the clock.

        It is what mmengine's hook asks before it saves; so is :meth:`every_n_train_iters`.
        """
        return self._due(super().every_n_epochs(runner, n, start))

    def every_n_train_iters(self, runner: Runner, n: int, start: int = 0) -> bool:
        """As :meth:`every_n_epochs`, for iterations."""
        regular = super().every_n_train_iters(runner, n, start)
        looks = super().every_n_train_iters(runner, ITERATIONS_BETWEEN_LOOKS)
        return self._due(regular) if looks else regular

    def _due(self, regular: bool) -> bool:
        if self.minutes is not None and not regular:
            # The first rank's clock decides: sharded weights are saved by all ranks together.
            elapsed = torch.tensor([monotonic() - self._saved_at], dtype=torch.float64)
            broadcast(elapsed)
            regular = elapsed.item() >= 60 * self.minutes
        if regular:
            self._saved_at = monotonic()
        return regular


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Store mmengine's log history as tensors instead of pickled Python objects.

    Checkpoints then open with ``torch.load(weights_only=True)``, here and in any other project,
    and resume as before.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Turn history buffers and NumPy values into tensors and numbers."""
        hub = checkpoint['message_hub']
        hub['log_scalars'] = {
            name: tuple(torch.as_tensor(np.asarray(values)) for values in history.data)
            for name, history in hub['log_scalars'].items()
        }
        hub['runtime_info'] = {
            name: value.tolist() if isinstance(value, np.ndarray | np.generic) else value
            for name, value in hub['runtime_info'].items()
        }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Turn the tensors back into history buffers."""
        hub = checkpoint.get('message_hub', {})
        for name, history in hub.get('log_scalars', {}).items():
            if isinstance(history, tuple):
                hub['log_scalars'][name] = HistoryBuffer(*(v.tolist() for v in history))
