"""Class maps drawn over the images that they were predicted for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from mmbeitv2.datasets.decoding import read_rgb
from mmbeitv2.registry import HOOKS


@HOOKS.register_module()
class SegmentationPictureHook(Hook):
    """mmsegmentation's ``SegVisualizationHook`` that reads images as the pipelines do.

    That one turns them by their EXIF orientation, so that the predicted map does not lie on them,
    and cuts deep images off at 8 bits.

    Args:
        draw: whether anything is drawn.
        interval: of how many iterations of validation the first image is drawn; all of a test are.
        value_range: of the pipeline's loading transform.
        backend_args: of ``mmengine.fileio.get``, which choose a storage backend.
    """

    def __init__(
        self,
        draw: bool = False,
        interval: int = 50,
        value_range: Sequence[float] | None = None,
        backend_args: dict[str, Any] | None = None,
    ) -> None:
        self.draw = draw
        self.interval = interval
        self.value_range = value_range
        self.backend_args = backend_args
        self._drawn = 0

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any] | None = None,
        outputs: Sequence[BaseDataElement] = (),
    ) -> None:
        """Draw the first image of one in ``interval`` batches."""
        step = runner.iter + batch_idx
        if self.draw and step % self.interval == 0:
            self._draw(runner, outputs[0], 'val', step)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any] | None = None,
        outputs: Sequence[BaseDataElement] = (),
    ) -> None:
        """Draw every image."""
        for sample in outputs if self.draw else ():
            self._drawn += 1
            self._draw(runner, sample, 'test', self._drawn)

    def _draw(self, runner: Runner, sample: BaseDataElement, mode: str, step: int) -> None:
        image = np.asarray(read_rgb(sample.img_path, self.backend_args, self.value_range))
        name = f'{mode}_{Path(sample.img_path).name}'
        runner.visualizer.add_datasample(name, image, data_sample=sample, step=step)
