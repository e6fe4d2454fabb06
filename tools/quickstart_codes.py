"""What the quick start's codes mean, as figures of its report."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from PIL import Image
from torch import Tensor

from mmbeitv2.apis import load_tokenizer
from mmbeitv2.errors import InputError
from mmbeitv2.evaluation.code_meaning import colour_codes, told_by_code
from mmbeitv2.registry import TRANSFORMS, class_name
from mmbeitv2.reports.quickstart import SEGMENT_FOLDERS
from mmbeitv2.reports.summary import Measurement
from mmbeitv2.visualization import codes, runs, segmentation, style


def annotations(photos: Sequence[Path]) -> list[np.ndarray]:
    """Labels of photos in ADE20K's layout, uint8: 0 background, 255 unlabelled."""
    files = [
        p.parents[2] / 'annotations' / p.parent.name / p.with_suffix('.png').name for p in photos
    ]
    # Files have 0 for unlabelled, which wraps around to 255.
    return [np.asarray(Image.open(file), np.uint8) - np.uint8(1) for file in files]


def segmentation_photos(data_root: Path, data: str) -> list[Path]:
    """Photos whose objects are labelled by pixel."""
    return sorted((data_root / 'ade/images' / SEGMENT_FOLDERS[data]).glob('*.jpg'))


def object_share(photos: Sequence[Path], grid: tuple[int, int]) -> Tensor:
    """Share of every patch that objects cover, float ``(B, rows, columns)`` in 0 to 1."""
    return 1 - class_shares(photos, grid)[:, 0]


def class_shares(photos: Sequence[Path], grid: tuple[int, int]) -> Tensor:
    """Share of every patch that each class covers, float ``(B, classes, rows, columns)``.

    Unlabelled pixels count as background.
    """
    labels = torch.from_numpy(np.stack(annotations(photos))).long()
    labels[labels == segmentation.IGNORED] = 0
    return F.adaptive_avg_pool2d(F.one_hot(labels).movedim(-1, 1).float(), grid)


def code_figures(work_dir: Path, data_root: Path) -> Iterator[Measurement]:
    """Figures of the tokenizer's codes, on both validation sets; none before it has been trained.

    Args:
        work_dir: of the quick start.
        data_root: folder of the demo photos.
    """
    checkpoint = runs.newest_checkpoint(work_dir / 'vqkd')
    if checkpoint is None:
        return
    tokenizer = load_tokenizer(str(checkpoint))
    for data in SEGMENT_FOLDERS:
        photos = segmentation_photos(data_root, data)
        coded = codes.encode_images(tokenizer, style.read_images(photos))
        yield from meaning_figures(coded, class_shares(photos, coded.codes.shape[1:]), data)


def meaning_figures(coded: codes.CodedImages, shares: Tensor, data: str) -> Iterator[Measurement]:
    """What a code tells of its patch, beside clusters of mean colours.

    Args:
        coded: photos with their codes.
        shares: of :func:`class_shares`.
        data: name of the photos, for the summary.
    """
    grid, num_codes = coded.codes.shape[1:], len(coded.codebook)
    pixels = style.to_pixels(coded.images, tuple(16 * side for side in grid))
    colours = F.adaptive_avg_pool2d(pixels, grid).permute(0, 2, 3, 1).flatten(0, 2)
    found, classes = coded.codes.flatten(), shares.argmax(1).flatten()
    yield Measurement(
        'Tokenizer, class of a patch told by its code',
        data,
        {'vqkd': told_by_code(found, classes)},
        baseline=told_by_code(colour_codes(colours, num_codes), classes),
        note=f'share of the uncertainty that a code removes; guess: {num_codes} clusters of mean '
        'colours, which tell the few cut-outs and backgrounds apart',
    )
    yield Measurement(
        'Tokenizer, colour of a patch told by its code',
        data,
        {'vqkd': told_by_code(found, colour_codes(colours, shares.shape[1]))},
        note='the same, of as many clusters of mean colours as there are classes',
    )


def masks_like(config: Path, count: int) -> Tensor:
    """Masks as a run's validation draws them, bool ``(count, rows, columns)``."""
    transform = mask_transform(Config.fromfile(config))
    random.seed(0)
    return torch.stack([transform({})['mask'] for _ in range(count)])


def mask_transform(config: Config) -> BaseTransform:
    """The mask of the validation pipeline, wherever it is nested.

    Raises:
        ValueError: the pipeline makes no mask.
    """
    pending = list(config.val_dataloader.dataset.pipeline)
    while pending:
        step = pending.pop()
        if class_name(step['type']).endswith('Mask'):
            return TRANSFORMS.build(step)
        pending += step.get('transforms', [])
    raise InputError(f'the validation pipeline of {config.filename} has no mask transform.')
