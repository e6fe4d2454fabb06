"""Losses go into the log without a wait in every iteration."""

from typing import Any

from mmengine.hooks import Hook, LoggerHook, RuntimeInfoHook
from mmengine.runner import Runner

from mmbeitv2.engine.deferred_scalars import DeferredGradNorm, DeferredScalars
from mmbeitv2.registry import HOOKS


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """Keep what the model returns on the device until it is logged, saved or compared.

    mmengine's hook, whose place ``default_hooks.runtime_info`` this one takes, reads every loss and
    accuracy in every iteration. This one reads them where a ``LoggerHook`` is about to, at the end
    of an epoch, and before a validation or a checkpoint; the message hub then has the value of
    every iteration, as before. So has the gradients' norm of a :class:`DeferredGradNorm`.

    A hook that needs ``train/loss`` in every iteration takes it from its argument ``outputs``, or
    puts mmengine's hook back: ``default_hooks = dict(runtime_info=dict(type='RuntimeInfoHook'))``.
    """

    scalars: DeferredScalars | None = None

    def before_train(self, runner: Runner) -> None:
        """Start with nothing kept, also in a resumed run."""
        super().before_train(runner)
        if self.scalars is None:
            self.scalars = DeferredScalars(runner.message_hub)
            runner.register_hook(_WriteBeforeLog(self.scalars))
        wrapper = runner.optim_wrapper
        for part in wrapper.values() if hasattr(wrapper, 'values') else [wrapper]:
            if isinstance(part, DeferredGradNorm):
                part.deferred_scalars = self.scalars

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any] | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Keep ``outputs``."""
        if self.scalars is not None:
            self.scalars.add({f'train/{name}': value for name, value in (outputs or {}).items()})

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """The history that is saved ends with this iteration."""
        if self.scalars is not None and 'message_hub' in checkpoint:
            self.scalars.write()
            checkpoint['message_hub'] = runner.message_hub.state_dict()

    def before_val(self, runner: Runner) -> None:
        """Write what is kept."""
        if self.scalars is not None:
            self.scalars.write()
        super().before_val(runner)

    def after_train(self, runner: Runner) -> None:
        """Write what is kept."""
        if self.scalars is not None:
            self.scalars.write()
        super().after_train(runner)


class _WriteBeforeLog(Hook):
    """Write what is kept if this iteration is logged.

    After the timers: the wait for the device, which is behind by up to a step, would be counted to
    the one iteration before it, and a mean of ten would be too long by a tenth of that.

    Args:
        scalars: what is kept.
    """

    # Between NORMAL, IterTimerHook's, and BELOW_NORMAL, LoggerHook's.
    priority = 55

    def __init__(self, scalars: DeferredScalars) -> None:
        self.scalars = scalars

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any] | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Write at the interval of any ``LoggerHook`` and at the end of an epoch."""
        intervals = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        if self.end_of_epoch(runner.train_dataloader, batch_idx) or any(
            self.every_n_inner_iters(batch_idx, interval) for interval in intervals
        ):
            self.scalars.write()
