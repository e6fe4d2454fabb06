"""Log how many images a run trains on per second."""

from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner

from mmbeitv2.registry import HOOKS


@HOOKS.register_module()
class ImagesPerSecondHook(Hook):
    """Log ``images_per_second``, the rate of all processes together, beside ``time``.

    Images and seconds are those of the last ``log_processor.window_size`` iterations, over which
    mmengine's logger averages ``time`` too. An iteration counts its images whether or not it
    updates the weights. Counts come from the batch in memory and times from ``IterTimerHook``, so
    nothing waits for the device.
    """

    def before_train(self, runner: Runner) -> None:
        """Start counting, also in a resumed run."""
        self.images = HistoryBuffer(max_length=runner.log_processor.window_size)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any],
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Update the rate; ``IterTimerHook``, of the same priority, has come before."""
        # One sample per image, where inputs may be a list of views.
        self.images.update(len(data_batch['data_samples']) * get_world_size())
        seconds = runner.message_hub.get_scalar('train/time')
        rate = self.images.mean() / seconds.mean(runner.log_processor.window_size)
        runner.message_hub.update_scalar('train/images_per_second', rate)
