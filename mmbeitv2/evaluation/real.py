"""Accuracy of an ImageNet classifier on the reassessed labels of the validation photos, ReaL."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric
from timm.data import RealLabelsImagenet

from mmbeitv2.errors import InputError, MissingFileError
from mmbeitv2.evaluation.robustness import check_scores
from mmbeitv2.registry import METRICS

# Of ImageNet's validation, whose order is that of the labels.
PHOTO = re.compile(r'ILSVRC2012_val_(\d{8})')
NUM_PHOTOS, NUM_CLASSES = 50_000, 1000


@METRICS.register_module()
class ImageNetReaLAccuracy(BaseMetric):
    """Share of photos of which one of the best k classes is among the labels that people gave.

    Photos to which nobody gave a label do not count (Beyer et al. 2020). Labels belong to photos
    by the number in their names, wherever they lie and in whatever order they come.

    Args:
        labels: ``real.json`` of the authors: for each photo in the order of its number a list of
            classes; timm's copy of it unless given.
        topk: the ks, of 1 to 1000.
        **kwargs: of mmengine's ``BaseMetric``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: other labels; when evaluation runs, a photo of another name, a classifier of
            other classes, or no photo with a label.
    """

    default_prefix = 'accuracy'

    def __init__(
        self, labels: str | None = None, topk: Sequence[int] = (1, 5), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.topk = tuple(topk)
        if not self.topk or not all(isinstance(k, int) and 0 < k <= NUM_CLASSES for k in self.topk):
            raise InputError(f'topk is {topk!r}, allowed: whole numbers from 1 to {NUM_CLASSES}')
        self.labels = _of_timm() if labels is None else _of_file(labels)

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Note of every photo with labels whether the best k classes have one."""
        for sample in data_samples:
            wanted = self._labels_of(sample['img_path'])
            scores = sample['pred_score']
            check_scores(scores)
            best = scores.topk(max(self.topk)).indices.tolist()
            # Of photos without labels too: processes that fill up the last batch are cut by number.
            hits = [not wanted.isdisjoint(best[:k]) for k in self.topk] if wanted else None
            self.results.append(hits)

    def compute_metrics(self, results: list[list[bool] | None]) -> dict[str, float]:
        """``top<k>`` in percent."""
        counted = [hits for hits in results if hits is not None]
        if not counted:
            raise InputError(
                f'none of the {len(results)} photos has a label of ReaL: set data_root of the test '
                'data set to ImageNet, whose folder val has 46,837 that do'
            )
        shares = [100 * sum(hits) / len(counted) for hits in zip(*counted)]
        return {f'top{k}': share for k, share in zip(self.topk, shares)}

    def _labels_of(self, photo: str) -> frozenset[int]:
        found = PHOTO.search(Path(photo).name)
        number = int(found[1]) if found else 0
        if not 0 < number <= len(self.labels):
            raise InputError(
                f'{photo} is not one of the {len(self.labels)} photos that have labels, which are '
                'called ILSVRC2012_val_00000001.JPEG and so on: set data_root of the test data set '
                'to ImageNet with its own names'
            )
        return self.labels[number - 1]


def _of_timm() -> list[frozenset[int]]:
    # It counts the files it is given, and no more.
    kept = RealLabelsImagenet(range(NUM_PHOTOS)).real_labels
    return [frozenset(labels) for labels in kept.values()]


def _of_file(path: str) -> list[frozenset[int]]:
    file = Path(path).expanduser()
    if not file.is_file():
        raise MissingFileError(
            f'no labels at {path}: give the real.json of the authors, or leave labels out for '
            "timm's copy"
        )
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:
        raise InputError(f'{path} is no JSON file ({error}): download it again') from error
    if not isinstance(content, list) or not all(map(_is_labels, content)):
        raise InputError(
            f'{path} holds no labels of ReaL, allowed: a list with a list of classes, 0 to '
            f'{NUM_CLASSES - 1}, for each photo in the order of its number'
        )
    return [frozenset(labels) for labels in content]


def _is_labels(labels: object) -> bool:
    return isinstance(labels, list) and all(
        type(label) is int and 0 <= label < NUM_CLASSES for label in labels
    )
