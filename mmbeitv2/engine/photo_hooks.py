"""What a run keeps about its photos: those that were replaced, and the numbering of its classes."""

from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmbeitv2.datasets import Photos
from mmbeitv2.datasets.labels import named
from mmbeitv2.datasets.replacement import noted_files
from mmbeitv2.errors import InputError
from mmbeitv2.registry import HOOKS

LIST = 'unread_images.txt'


@HOOKS.register_module()
class ReplacedImagesHook(Hook):
    """List the images that ``Photos(on_error='replace')`` could not read in the run's folder.

    The file has a line for each, its path and the reason; all processes and workers add to it, and
    a resumed run goes on with it. The log has their number after every epoch that met a new one.
    """

    def __init__(self) -> None:
        self._logged = 0

    def before_train(self, runner: Runner) -> None:
        """Tell the data set of the list, before its workers start."""
        dataset = runner.train_dataloader.dataset
        if isinstance(dataset, Photos) and dataset.on_error == 'replace':
            dataset.list_file = Path(runner.work_dir, LIST)

    def after_train_epoch(self, runner: Runner) -> None:
        """Log how many images could not be read."""
        dataset = runner.train_dataloader.dataset
        if not isinstance(dataset, Photos) or dataset.list_file is None:
            return
        found = len(noted_files(dataset.list_file))
        if found > self._logged:
            runner.logger.warning(
                f'{found} of {len(dataset)} images cannot be read and are replaced by others; they '
                f'are listed in {dataset.list_file}'
            )
        self._logged = found


@HOOKS.register_module()
class SameClassesHook(Hook):
    """Refuse to go on with a run whose classes have been numbered otherwise since it was saved."""

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare the class names of a resumed run with those of its training data.

        Raises:
            ValueError: They differ; names what was added and removed.
        """
        if not runner.cfg.get('resume'):
            return
        metainfo = getattr(runner.train_dataloader.dataset, 'metainfo', {})
        saved = (checkpoint.get('meta', {}).get('dataset_meta') or {}).get('classes')
        found = metainfo.get('classes')
        if saved is None or found is None or tuple(saved) == tuple(found):
            return
        added, removed = set(found) - set(saved), set(saved) - set(found)
        changes = [
            f'{named(names)} {what}'
            for names, what in ((added, 'came'), (removed, 'went'))
            if names
        ] or ['their order changed']
        raise InputError(
            f'the run was saved with {len(saved)} classes and its training data have '
            f'{len(found)} now ({"; ".join(changes)}), so that labels mean other classes: restore '
            'the class folders, or start a new run'
        )
