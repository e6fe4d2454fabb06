"""Masks of semantic segmentation: do they fit their image and the classes?"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from mmbeitv2.errors import InputError
from mmbeitv2.registry import TRANSFORMS

IGNORED = 255


def mask_error(
    mask: np.ndarray, image_shape: Sequence[int], num_classes: int, reduce_zero_label: bool
) -> str | None:
    """What is wrong with a mask as it is in its file, or None.

    Args:
        mask: integers ``(H, W)``.
        image_shape: ``(height, width)`` of the image in pixels.
        num_classes: number of classes.
        reduce_zero_label: whether 0 stands for unlabelled and i + 1 for class i (ADE20K); otherwise
            i stands for class i. 255 is unlabelled in both.

    Returns:
        What is wrong and the cure, to follow the file's name.
    """
    if mask.ndim != 2:
        return (
            f'has shape {mask.shape}, expected one value a pixel, (H, W): save class numbers in '
            'mode L or P, not colours.'
        )
    if mask.shape != tuple(image_shape):
        return (
            f'has {mask.shape[0]}×{mask.shape[1]} pixels (H×W), its image '
            f'{image_shape[0]}×{image_shape[1]}: both must be equal; resize masks with nearest '
            'neighbour.'
        )
    highest = num_classes if reduce_zero_label else num_classes - 1
    wrong = np.unique(mask[(mask > highest) & (mask != IGNORED)])
    if wrong.size:
        listed = ', '.join(str(value) for value in wrong[:5]) + (', …' if wrong.size > 5 else '')
        return (
            f'has values {listed}; allowed for {num_classes} classes with reduce_zero_label='
            f'{reduce_zero_label} are 0 to {highest} and {IGNORED}: correct the mask, the number '
            'of classes or reduce_zero_label.'
        )
    return None


def check_pair(
    image: str | Path, mask: str | Path, num_classes: int, reduce_zero_label: bool
) -> tuple[str | None, np.ndarray]:
    """Read an image and its mask, and check them.

    Args:
        image: path of the image.
        mask: path of its mask.
        num_classes: number of classes.
        reduce_zero_label: see :func:`mask_error`.

    Returns:
        An error with the file's name, or None; and the number of pixels of every class, int64
        ``(num_classes,)``.
    """
    counts = np.zeros(num_classes, np.int64)
    for path in (image, mask):
        if not Path(path).is_file():
            return f'{path} does not exist: {image} and {mask} belong together.', counts
    try:
        with Image.open(image) as opened:
            opened.load()
            image_shape = (opened.height, opened.width)
        with Image.open(mask) as opened:
            values = np.asarray(opened)
    except (OSError, SyntaxError) as error:  # Pillow raises both for damaged files
        return f'{image} or {mask} cannot be read: {error}: restore the file.', counts
    error = mask_error(values, image_shape, num_classes, reduce_zero_label)
    if error is not None:
        return f'the mask {mask} {error}', counts
    first = int(reduce_zero_label)
    occurring = np.bincount(values.ravel(), minlength=first + num_classes)
    return None, occurring[first : first + num_classes]


@TRANSFORMS.register_module()
class CheckSegmentation(BaseTransform):
    """Stop at a mask that does not fit its image or the classes; place it after LoadAnnotations.

    A value beyond the classes would end a run on a GPU without naming the file, and evaluation
    would leave it out silently.

    Args:
        num_classes: number of classes.

    Raises:
        ValueError: with the mask's file, what is wrong, and the cure.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def transform(self, results: dict) -> dict:
        """Return ``results`` as they are; an image without a mask passes (inference)."""
        if 'gt_seg_map' not in results:
            return results
        mask, reduced = results['gt_seg_map'], results['reduce_zero_label']
        if reduced:  # back to the values of the file, which the message speaks of
            mask = np.where(mask == IGNORED, 0, mask + 1)
        error = mask_error(mask, results['ori_shape'], self.num_classes, reduced)
        if error is not None:
            raise InputError(f'the mask {results["seg_map_path"]} {error}')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_classes={self.num_classes})'
