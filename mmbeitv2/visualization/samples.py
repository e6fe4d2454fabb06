"""Samples as a run's pipeline makes them: crop, hidden patches, class or mask, as a picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from mmbeitv2.errors import InputError
from mmbeitv2.visualization.class_maps import colours_of, lay_over

IGNORED = 255
# A hidden patch: grey, with some of the photo left to see what is hidden.
HIDDEN, SHARE = (128, 128, 128), 0.8


def draw_sample(
    inputs: Tensor,
    sample: Any,
    bgr: bool = False,
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
) -> tuple[np.ndarray, str]:
    """Picture of one sample, and what is known of it in a line.

    Args:
        inputs: uint8 ``(3, H, W)``, what a pipeline packs before the data preprocessor.
        sample: mmpretrain's or mmsegmentation's data sample: ``mask`` hides patches,
            ``gt_sem_seg`` colours pixels, ``gt_label`` names the class.
        bgr: whether the channels are in that order.
        classes: names, None for numbers.
        palette: of segmentation.

    Returns:
        uint8 RGB ``(H, W, 3)``, and the class or the share of hidden patches or of labelled pixels.

    Raises:
        ValueError: the inputs are no uint8 pixels of three channels.
    """
    if inputs.ndim != 3 or inputs.shape[0] != 3 or inputs.dtype.is_floating_point:
        raise InputError(
            f'the pipeline gives {inputs.dtype} of shape {tuple(inputs.shape)}, expected uint8 '
            'pixels (3, H, W): normalise in the data preprocessor'
        )
    pixels = inputs.permute(1, 2, 0).numpy().astype(np.uint8)
    pixels = pixels[..., ::-1] if bgr else pixels
    said = []
    if 'gt_label' in sample:
        numbers = sample.gt_label.flatten().tolist()
        said.append(', '.join(classes[n] if classes else str(n) for n in numbers))
    if 'mask' in sample:
        mask = np.asarray(sample.mask, bool)
        pixels = hide(pixels, mask)
        said.append(f'{mask.sum()} of {mask.size} hidden')
    if 'gt_sem_seg' in sample:
        labels = sample.gt_sem_seg.data[0].numpy()
        labelled = labels != IGNORED
        known = len(classes) if classes else int(labels[labelled].max(initial=0)) + 1
        coloured = lay_over(pixels, np.where(labelled, labels, 0), colours_of(known, palette))
        pixels = np.where(labelled[..., None], coloured, pixels)
        said.append(f'{labelled.mean():.0%} labelled')
    return np.ascontiguousarray(pixels), ', '.join(said)


def hide(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Photo whose hidden patches are grey.

    Args:
        pixels: uint8 ``(H, W, 3)``.
        mask: bool ``(rows, columns)``, True where hidden.

    Raises:
        ValueError: a mask whose patches do not fill the photo.
    """
    (height, width), (rows, columns) = pixels.shape[:2], mask.shape
    if height % rows or width % columns:
        raise InputError(
            f'the mask has {rows} × {columns} patches, but the photo {height} × {width} pixels: '
            'set grid_size of the mask to image_size / patch_size'
        )
    large = mask.repeat(height // rows, 0).repeat(width // columns, 1)[..., None]
    grey = (1 - SHARE) * pixels + SHARE * np.array(HIDDEN)
    return np.where(large, grey.round(), pixels).astype(np.uint8)
