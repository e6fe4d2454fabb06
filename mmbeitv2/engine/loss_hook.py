"""Stop a run whose loss is no longer a number."""

import math

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmbeitv2.registry import HOOKS


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop training when the loss is infinite or not a number, and name the batch.

    Args:
        interval: iterations between checks; each one waits for the device.

    Raises:
        FloatingPointError: with the iteration, the loss terms and the image files.
    """

    priority = 'VERY_HIGH'

    def __init__(self, interval: int = 1) -> None:
        self.interval = interval

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Check ``outputs['loss']``."""
        # The end of an epoch too: a checkpoint may be saved there, and epochs may be short.
        if not (
            self.every_n_train_iters(runner, self.interval)
            or self.end_of_epoch(runner.train_dataloader, batch_idx)
        ):
            return
        if math.isfinite(outputs['loss'].item()):
            return
        terms = {name: value.item() for name, value in outputs.items()}
        files = [getattr(sample, 'img_path', '?') for sample in data_batch['data_samples']]
        raise FloatingPointError(
            f'the loss is not finite at iteration {runner.iter + 1}: {terms}. Images of the batch: '
            f'{files}. Lower the learning rate, use bfloat16 instead of float16, or resume from '
            f'the last checkpoint in {runner.work_dir}.'
        )
