"""Stop a run whose loss is no longer a number."""

import json
import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmbeitv2.checkpoints.atomic import write_atomically
from mmbeitv2.engine.deferred_scalars import HostCopy
from mmbeitv2.engine.going_on import how_to_go_on
from mmbeitv2.errors import NonFiniteError
from mmbeitv2.registry import HOOKS

# Iterations whose losses may be on their way. A host is rarely more than one ahead of its GPU.
MAX_PENDING = 8


@dataclass
class _Iteration:
    """What an error about an iteration says, its loss perhaps not yet on the host."""

    number: int
    loss: HostCopy
    terms: dict[str, Tensor]
    files: list[str]


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop training when the loss is infinite or not a number, and name the batch.

    On CUDA the loss is copied to the host behind the step's work and looked at when it is there, an
    iteration or two later, so that nothing waits; on other devices at once. All losses are looked
    at before a checkpoint is saved, before a validation and at the end of an epoch.

    Args:
        interval: iterations between losses that are looked at.

    Raises:
        FloatingPointError: with the iteration, the loss terms and the image files.
    """

    priority = 'VERY_HIGH'

    def __init__(self, interval: int = 1) -> None:
        self.interval = interval
        self._pending: deque[_Iteration] = deque()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any],
        outputs: dict[str, Any],
    ) -> None:
        """Send ``outputs['loss']`` to the host; check the losses that have arrived."""
        # The end of an epoch too: a checkpoint may be saved there, and epochs may be short.
        last = self.end_of_epoch(runner.train_dataloader, batch_idx)
        if last or self.every_n_train_iters(runner, self.interval):
            self._pending.append(
                _Iteration(
                    number=runner.iter + 1,
                    loss=HostCopy(outputs['loss']),
                    terms={name: value.detach() for name, value in outputs.items()},
                    files=[getattr(s, 'img_path', '?') for s in data_batch['data_samples']],
                )
            )
        self._check(runner, wait_for_all=last)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Save no weights that a loss which is no number has spoiled."""
        self._check(runner, wait_for_all=True)

    def before_val(self, runner: Runner) -> None:
        """Check every loss so far."""
        self._check(runner, wait_for_all=True)

    def after_train(self, runner: Runner) -> None:
        """Check every loss so far."""
        self._check(runner, wait_for_all=True)

    def _check(self, runner: Runner, wait_for_all: bool) -> None:
        while self._pending:
            first = self._pending[0]
            if not (wait_for_all or first.loss.arrived() or len(self._pending) > MAX_PENDING):
                return
            self._pending.popleft()
            if math.isfinite(first.loss.read()):
                continue
            raise NonFiniteError(_message(runner, first))


def _message(runner: Runner, iteration: _Iteration) -> str:
    """Write the batch down in the run's folder, and say what to do."""
    terms = {name: value.item() for name, value in iteration.terms.items()}
    record = Path(runner.work_dir, f'not_finite_{iteration.number}_rank{get_rank()}.json')
    # JSON knows no NaN.
    texts = {name: str(value) for name, value in terms.items()}
    content = dict(iteration=iteration.number, terms=texts, files=iteration.files)
    write_atomically(record, json.dumps(content, indent=1).encode())
    return (
        f'the loss is not finite at iteration {iteration.number}: {terms}. Images of the batch: '
        f'{iteration.files}, also in {record}. Lower the learning rate '
        '(--cfg-options optim_wrapper.optimizer.lr=...) or use bfloat16 instead of float16, and '
        f'{how_to_go_on(runner)}.'
    )
