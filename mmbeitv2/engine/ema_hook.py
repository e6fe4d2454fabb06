"""A moving average of the weights that counts updates, not iterations."""

from typing import Any

from mmengine.hooks import EMAHook as MMEngineEMAHook
from mmengine.runner import Runner

from mmbeitv2.registry import HOOKS


@HOOKS.register_module()
class EMAHook(MMEngineEMAHook):
    """mmengine's ``EMAHook``, averaging where the optimiser has updated the weights.

    Where gradients are accumulated over n iterations, mmengine's hook averages the same weights n
    times, so that a momentum m acts as 1 − (1 − m)ⁿ and a schedule of the momentum runs n times as
    fast. Without accumulation the two are the same.

    Args:
        **kwargs: of mmengine's ``EMAHook``: ``momentum``, ``ema_type``, ``begin_iter``, …;
            ``interval`` and schedules of the momentum count updates, ``begin_iter`` iterations.
    """

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any] | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Average the weights if this iteration was the last of an update."""
        if runner.optim_wrapper.should_update():
            super().after_train_iter(runner, batch_idx, data_batch, outputs)
