"""Keep the page of a run's looks up to date."""

from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmbeitv2.evaluation.learning_record import FILE
from mmbeitv2.registry import HOOKS
from mmbeitv2.reports.learning_page import write_learning_page


@HOOKS.register_module()
class LearningPageHook(Hook):
    """Write ``learning.html`` into the run's folder after every look of ``LearningHook``.

    The page refreshes itself until the run has ended.
    """

    # Behind LearningHook, also where both are at the end of an epoch.
    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self._size = 0
        self._said = False

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Write the page of the look before training, or of those of a resumed run."""
        self._write(runner)

    @master_only
    def after_train_epoch(self, runner: Runner) -> None:
        """Write the page, if there was a look."""
        self._write(runner)

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Write the page once more, which then refreshes no longer."""
        if Path(runner.work_dir, FILE).is_file():
            self._page(runner, finished=True)

    def _write(self, runner: Runner) -> None:
        records = Path(runner.work_dir, FILE)
        size = records.stat().st_size if records.is_file() else 0
        if size and size != self._size:
            self._page(runner)
        self._size = size

    def _page(self, runner: Runner, finished: bool = False) -> None:
        """A page that cannot be written is said once, and ends no training."""
        try:
            write_learning_page(runner.work_dir, finished=finished)
        except OSError as error:
            if not self._said:
                runner.logger.warning(f'no page of the looks: {error}. Training goes on')
            self._said = True
