"""Leave in the run's folder what was right on each photo, so that two runs can be paired."""

import json
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any

from mmengine.dist import collect_results
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader

from mmbeitv2.checkpoints.atomic import write_atomically
from mmbeitv2.evaluation.outcomes import PhotoOutcome, gather, outcome_of
from mmbeitv2.registry import HOOKS


@HOOKS.register_module()
class PhotoOutcomesHook(Hook):
    """Write ``outcomes_val.json`` and ``outcomes_test.json`` beside the log of this start.

    Each holds the ``photos`` of the newest validation or test and, by metric, what was ``right`` of
    what was ``asked`` on each: see :class:`~mmbeitv2.evaluation.bootstrap.Outcomes`. The mean of a
    metric hides which photos it is made of, and two means cannot be paired.
    """

    def __init__(self) -> None:
        self._kept: list[PhotoOutcome] = []

    def before_val_epoch(self, runner: Runner) -> None:
        """Begin anew."""
        self._kept = []

    def before_test_epoch(self, runner: Runner) -> None:
        """Begin anew."""
        self._kept = []

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any] | None = None,
        outputs: Sequence[BaseDataElement] = (),
    ) -> None:
        """Keep the outcomes of a batch."""
        self._keep(runner.val_dataloader, outputs)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any] | None = None,
        outputs: Sequence[BaseDataElement] = (),
    ) -> None:
        """Keep the outcomes of a batch."""
        self._keep(runner.test_dataloader, outputs)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write those of a validation."""
        self._write(Path(runner.log_dir, 'outcomes_val.json'), runner.val_dataloader.dataset)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write those of a test."""
        self._write(Path(runner.log_dir, 'outcomes_test.json'), runner.test_dataloader.dataset)

    def _keep(self, loader: DataLoader[Any], outputs: Sequence[BaseDataElement]) -> None:
        classes = getattr(loader.dataset, 'metainfo', {}).get('classes') or ()
        self._kept += [outcome_of(sample.to_dict(), len(classes)) for sample in outputs]

    def _write(self, path: Path, dataset: Sized) -> None:
        # Without those that fill up the last batch of a distributed run, as metrics collect them.
        photos = collect_results(self._kept, len(dataset))
        if photos is None:
            return
        outcomes = {
            name: {side: values.tolist() for side, values in found._asdict().items()}
            for name, found in gather(photos).items()
        }
        record = dict(photos=[photo.photo for photo in photos], outcomes=outcomes)
        write_atomically(path, json.dumps(record).encode())
