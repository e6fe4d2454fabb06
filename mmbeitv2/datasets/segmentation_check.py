"""What is wrong with a pair of image and mask, and with the masks of a data set together."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmbeitv2.errors import UserError

from .decoding import naming_unreadable_file, open_image, to_rgb
from .segmentation import IGNORED, mask_error, read_mask

EXIF_ORIENTATION = 0x0112


class CheckedPair(NamedTuple):
    """What was found in an image and its mask."""

    error: str | None
    pixels: np.ndarray  # of every class, int64
    orientation: int = 1  # EXIF's; 1 is upright


def check_pair(
    image: str | Path,
    mask: str | Path,
    num_classes: int,
    reduce_zero_label: bool,
    turned: bool = False,
    whole: bool = True,
    value_range: Sequence[float] | None = None,
) -> CheckedPair:
    """Read an image and its mask as training does, and check them.

    Args:
        image: path of the image.
        mask: path of its mask.
        num_classes: number of classes.
        reduce_zero_label: see ``mask_error``.
        turned: whether the pipeline turns images by their EXIF orientation, which no mask is.
        whole: whether the image is decoded, too, beside its header.
        value_range: of the pipeline, see ``decoding.to_rgb``.
    """
    counts = np.zeros(num_classes, np.int64)
    for path in (image, mask):
        if not Path(path).exists():
            error = f'{path} does not exist: {image} and {mask} belong together.'
            return CheckedPair(error, counts)
    try:
        opened, _ = open_image(image)
        with naming_unreadable_file(image), opened:
            shape = (opened.height, opened.width)
            orientation = opened.getexif().get(EXIF_ORIENTATION, 1)
            if whole:
                to_rgb(opened, image, value_range)
        values = read_mask(mask)
    except UserError as error:
        return CheckedPair(str(error), counts)
    problem = mask_error(values, shape, num_classes, reduce_zero_label)
    if problem is not None:
        return CheckedPair(f'the mask {mask} {problem}', counts, orientation)
    if turned and orientation != 1:
        problem = (
            f'{image} has the EXIF orientation {orientation}, by which LoadImageFromFile turns the '
            'image and not its mask: read both with mmbeitv2.LoadSegmentationImage and '
            'mmbeitv2.LoadSegmentationMask, or save the image upright.'
        )
        return CheckedPair(problem, counts, orientation)
    first = int(reduce_zero_label)
    occurring = np.bincount(values.ravel(), minlength=first + num_classes)
    counts = occurring[first : first + num_classes].astype(np.int64)
    if num_classes > IGNORED - first:
        counts[IGNORED - first :] = 0
    return CheckedPair(None, counts, orientation)


def unlabelled_error(masks: Sequence[str | Path], pairs: Sequence[CheckedPair]) -> str | None:
    """Name the masks in which every pixel is unlabelled, None without one."""
    empty = [
        mask
        for mask, pair in zip(masks, pairs, strict=True)
        if pair.error is None and not pair.pixels.any()
    ]
    if not empty:
        return None
    return (
        f'{len(empty)} of {len(masks)} masks have no labelled pixel, such as {empty[0]}: nothing '
        f'can be learned or measured there. Correct their values ({IGNORED} is unlabelled, with '
        'reduce_zero_label=True so is 0), or remove image and mask.'
    )


def absent_error(
    names: Sequence[str], pairs: Sequence[CheckedPair], folder: str | Path
) -> str | None:
    """Name the classes that no mask has a pixel of, None without one."""
    pixels = np.sum([pair.pixels for pair in pairs], axis=0)
    absent = [f'{label} ({names[label]})' for label in np.flatnonzero(pixels == 0).tolist()]
    if not absent:
        return None
    return (
        f'the masks in {folder} have no pixel of class {", ".join(absent)}, so that it cannot be '
        'learned and its IoU is no number: correct the masks (255 is unlabelled, not a class), or '
        'leave the class out of metainfo.classes and num_classes.'
    )
