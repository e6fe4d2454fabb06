"""Figures of a pretrained demo model that need no training: closed forms on frozen features."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import numpy as np
import torch
from torch import Tensor

from mmbeitv2.apis import extract_features, for_model, load_pretrained, read_photos
from mmbeitv2.errors import InputError
from mmbeitv2.evaluation.few_shot import Episode, draw_episodes, few_shot_accuracy
from mmbeitv2.models import BEiTV2
from mmbeitv2.visualization.runs import last_value, read_scalars

BATCH = 128
SHOTS, DRAWS = 5, 40
MASKED_CODES = ('acc_mim', 'acc_cls', 'acc_majority')


def figures_of(folder: Path, checkpoint: str, data: Path) -> dict[str, float]:
    """All figures of a pretraining, 0 to 1.

    Args:
        folder: work directory of the run, with its validation.
        checkpoint: its last.
        data: demo photos, with the table of what they show.
    """
    model = load_pretrained(checkpoint).eval()
    records = read_scalars(folder)
    codes = {name: last_value(records, f'masked_codes/{name}') for name in MASKED_CODES}
    known = {name: value for name, value in codes.items() if value is not None}
    return known | ridge_figures(model, data) | five_label_figures(model, data)


def ridge_figures(model: BEiTV2, data: Path) -> dict[str, float]:
    """Ridge regression on the labels of the training photos, asked about those of ``val``."""
    train, val = (photos_of(data / 'imagenet' / split) for split in ('train', 'val'))
    features, labels = features_of(model, train + val), labels_of(train + val)
    split = Episode(np.arange(len(train)), np.arange(len(train), len(train) + len(val)))
    return {
        f'ridge_{name}': few_shot_accuracy(values, labels, [split]).mean
        for name, values in features.items()
    }


def five_label_figures(model: BEiTV2, data: Path) -> dict[str, float]:
    """Unseen objects by five labelled photos a class, asked about other photos and other things.

    Raises:
        ValueError: fewer than two classes show more than one thing.
    """
    photos = photos_of(data / 'imagenet/val_unseen')
    features, labels = features_of(model, photos), labels_of(photos)
    groups = groups_of(photos, data)
    things = defaultdict(set)
    for label, group in zip(labels, groups):
        things[label].add(group)
    kept = [i for i, label in enumerate(labels) if len(things[label]) > 1]
    if len({labels[i] for i in kept}) < 2:
        raise InputError(
            f'{data}: fewer than 2 classes of unseen objects show more than one thing; compose '
            'more photos with `python tools/make_demo_data.py`.'
        )
    everything = list(range(len(labels)))
    figures = {}
    for question, chosen, shown in (('', everything, None), ('_other_things', kept, groups)):
        asked = [labels[i] for i in chosen]
        parts = None if shown is None else [shown[i] for i in chosen]
        episodes = list(draw_episodes(asked, SHOTS, DRAWS, groups=parts))
        for name, values in features.items():
            accuracy = few_shot_accuracy(values[chosen], asked, episodes)
            figures[f'five_labels{question}_{name}'] = accuracy.mean
    return figures


def photos_of(folder: Path) -> list[Path]:
    """Photos of the class folders below ``folder``, in a fixed order.

    Raises:
        ValueError: there is none.
    """
    photos = sorted(folder.glob('*/*.jpg'))
    if not photos:
        raise InputError(
            f'{folder} has no photos: compose them with `bash tools/quickstart.sh data`.'
        )
    return photos


def labels_of(photos: Sequence[Path]) -> list[int]:
    """Numbers of the photos' folders, in alphabetical order."""
    names = sorted({photo.parent.name for photo in photos})
    return [names.index(photo.parent.name) for photo in photos]


def groups_of(photos: Sequence[Path], data: Path) -> list[str]:
    """The cut-outs that photos show, from the table that was written with them."""
    with (data / 'sources.csv').open(newline='') as file:
        shown = {row[0]: row[-1] for row in csv.reader(file)}
    return [shown[photo.relative_to(data).as_posix()] for photo in photos]


@torch.no_grad()
def features_of(model: BEiTV2, photos: Sequence[Path]) -> dict[str, Tensor]:
    """Frozen features by name, float32 ``(N, C)``."""
    size, found = model.backbone.img_size[0], defaultdict(list)
    for start in range(0, len(photos), BATCH):
        pixels = read_photos(photos[start : start + BATCH], size)
        features = extract_features(model, for_model(model, pixels))
        found['cls'].append(features['cls_token'])
        found['avg'].append(features['patch_tokens'].mean(1))
    return {name: torch.cat(values) for name, values in found.items()}
