"""Log which part of the time a run waits for its data."""

import logging
from typing import Any

from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmbeitv2.registry import HOOKS

# Fewer say nothing about a run, and this often an epoch is judged before its end.
FEWEST_ITERATIONS = 10
JUDGED_EVERY = 100


@HOOKS.register_module()
class DataWaitHook(Hook):
    """Log ``data_wait``, the share of the time spent waiting for data, and warn of much of it.

    It is ``IterTimerHook``'s ``data_time`` over its ``time``, over the last
    ``log_processor.window_size`` iterations, of this process: 0 when each batch is there in time,
    1 when all time is waiting. The warning, at most once an epoch, is about the whole epoch so far,
    without its first iteration, in which the workers start.

    Args:
        warn_above: Share from which on the log warns, 0 to 1.
    """

    def __init__(self, warn_above: float = 0.1) -> None:
        self.warn_above = warn_above

    def before_train_epoch(self, runner: Runner) -> None:
        """Start counting, and allow a warning again."""
        self.iterations = 0
        self.warned = False

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any] | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Update the share; ``IterTimerHook``, of the same priority, has come before."""
        self.iterations += 1
        window = runner.log_processor.window_size
        runner.message_hub.update_scalar('train/data_wait', self._share(runner, window))
        if self.iterations % JUDGED_EVERY == 0:
            self._warn(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Judge the whole epoch."""
        self._warn(runner)

    def _share(self, runner: Runner, iterations: int) -> float:
        waited, spent = (
            runner.message_hub.get_scalar(f'train/{name}').mean(iterations)
            for name in ('data_time', 'time')
        )
        return float(waited / spent)

    def _warn(self, runner: Runner) -> None:
        judged = self.iterations - 1
        if self.warned or judged < FEWEST_ITERATIONS:
            return
        share = self._share(runner, judged)
        if share > self.warn_above:
            self.warned = True
            runner.logger.log(
                logging.WARNING,
                f'{share:.0%} of the time of the last {judged} iterations was waiting for data: '
                f'{_cure(runner.train_dataloader.num_workers)}',
            )


def _cure(workers: int) -> str:
    smaller = 'smaller photos (tools/prepare_images.py) and a faster disk'
    if workers == 0:
        return f'they are read in the training process; set num_workers to 1 or more, use {smaller}'
    if get_device() == 'cpu':
        # More of them would take from the training what they gain.
        return (
            f'the {workers} workers share the cores with the training, so what helps is {smaller}'
        )
    return f'{workers} workers are too few or too slow; raise num_workers, use {smaller}'
