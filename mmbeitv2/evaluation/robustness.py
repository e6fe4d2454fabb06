"""Accuracy of an ImageNet classifier on data sets with some of its classes."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from mmpretrain.evaluation import Accuracy
from timm.data import ImageNetInfo
from torch import Tensor

from mmbeitv2.errors import InputError
from mmbeitv2.registry import METRICS


@METRICS.register_module()
class ImageNetSubsetAccuracy(Accuracy):
    """Accuracy of a 1000-way classifier whose scores are restricted to the classes of the data.

    The class folders of ImageNet-A and ImageNet-R are named by WordNet synsets, as ImageNet's are:
    they say which 200 of the 1000 scores compete. With all 1000 folders (ImageNet-Sketch) nothing
    is left out. Those of ImageNetV2 are named by the number of the class, ``0`` to ``999``; in the
    order of their names, which is that of the labels, ``10`` follows ``1``.

    Args:
        num_classes: number of class folders that the data set has when it is complete.
        **kwargs: of mmpretrain's ``Accuracy``, such as ``topk``.

    Raises:
        ValueError: when evaluation begins, if the folders are not ``num_classes`` of ImageNet's
            classes, or the classifier is not a 1000-way one.
    """

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes

    @cached_property
    def class_indices(self) -> Tensor:
        """Index among ImageNet's 1000 classes of every class of the data, int64."""
        folders = self.dataset_meta['classes']
        synsets = ImageNetInfo('imagenet-1k').label_names()
        # Not both in one data set.
        numbered = all(folder.isdecimal() for folder in folders)
        names = map(str, range(len(synsets))) if numbered else synsets
        index = {name: i for i, name in enumerate(names)}
        unknown = [folder for folder in folders if folder not in index]
        if unknown or len(folders) != self.num_classes:
            problem = f'; {unknown[0]!r} is not an ImageNet class' if unknown else ''
            raise InputError(
                f'the data set has {len(folders)} class folders, expected {self.num_classes} named '
                f'by WordNet synsets such as n01498041, or 0 to 999{problem}: set data_root of the '
                'dataset to the folder that holds the class folders, all of them.'
            )
        return torch.tensor([index[folder] for folder in folders])

    def process(self, data_batch: dict[str, Any], data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the scores that compete, and the labels."""
        restricted = []
        for sample in data_samples:
            scores = sample['pred_score']
            check_scores(scores)
            restricted.append(
                {**sample, 'pred_score': scores[self.class_indices.to(scores.device)]}
            )
        super().process(data_batch, restricted)


def check_scores(scores: Tensor) -> None:
    """Refuse the scores of a classifier of other classes than ImageNet's.

    Args:
        scores: float ``(K,)``.

    Raises:
        ValueError: K is not 1000.
    """
    if scores.numel() != 1000:
        raise InputError(
            f'the classifier has {scores.numel()} classes, but ImageNet’s 1000 are needed: test a '
            'checkpoint that was fine-tuned on ImageNet-1k.'
        )
