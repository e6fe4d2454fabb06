"""Images and masks of semantic segmentation: one reader, and do they fit one another?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmbeitv2.errors import InputError
from mmbeitv2.registry import TRANSFORMS

from .decoding import check_value_range, decode, naming_unreadable_file, open_image

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
            f'{image_shape[0]}×{image_shape[1]}: both must be equal, on the pixels as they are '
            'stored (an EXIF orientation turns neither); resize masks with nearest neighbour.'
        )
    highest = num_classes if reduce_zero_label else num_classes - 1
    if not np.issubdtype(mask.dtype, np.integer):
        return f'holds {mask.dtype} numbers, expected integers: save class numbers in mode L or P.'
    wrong = np.unique(mask[((mask > highest) & (mask != IGNORED)) | (mask < 0)])
    if wrong.size:
        listed = ', '.join(str(value) for value in wrong[:5]) + (', …' if wrong.size > 5 else '')
        return (
            f'has values {listed}; allowed for {num_classes} classes with reduce_zero_label='
            f'{reduce_zero_label} are 0 to {highest} and {IGNORED}: correct the mask, the number '
            'of classes or reduce_zero_label.'
        )
    return None


def read_mask(path: str | Path, backend_args: dict[str, Any] | None = None) -> np.ndarray:
    """Read a mask as its file has it, on the stored pixels, in as many bits as it has.

    Args:
        path: of the mask.
        backend_args: of ``mmengine.fileio.get``, which choose a storage backend.

    Returns:
        Integers ``(H, W)``, of a palette image its indices; or ``(H, W, C)`` of a colour image.

    Raises:
        OSError: the file cannot be read.
    """
    image, _ = open_image(path, backend_args)
    with naming_unreadable_file(path), image:
        values = np.asarray(image)
    return values.astype(np.uint8) if values.dtype == bool else values


# The latter are the names by which mmsegmentation's inferencers find and replace what loads. A
# config that writes one with `_scope_='mmbeitv2'` gets this reader, also within them.
@TRANSFORMS.register_module(
    name=('LoadSegmentationImage', 'LoadImageFromFile', 'InferencerLoader', 'LoadImageFromNDArray')
)
class LoadSegmentationImage(BaseTransform):
    """Read the image of a pair, with the package's one reader, on its stored pixels.

    An image that is in memory already (``img``: uint8 BGR array) stays as it is. Of the inferencers
    it takes a path or such an array alone.

    The EXIF orientation turns neither image nor mask, as everywhere in this package; mmcv's
    ``LoadImageFromFile`` turns the image alone. Deep images are scaled, see ``decoding.to_rgb``.

    Adds ``img``, uint8 BGR (mmsegmentation's order) ``(H, W, 3)``; ``ori_shape``, ``img_shape``.

    Args:
        value_range: values of black and white, see ``LoadImage``.
        backend_args: of ``mmengine.fileio.get``, which choose a storage backend.

    Raises:
        OSError: the file cannot be read.
        ValueError: its numbers need a ``value_range``.
    """

    def __init__(
        self, value_range: Sequence[float] | None = None, backend_args: dict[str, Any] | None = None
    ) -> None:
        self.value_range = check_value_range(value_range)
        self.backend_args = backend_args

    def transform(self, results: dict[str, Any] | str | np.ndarray) -> dict[str, Any]:
        """Add the image of ``results['img_path']`` and its shape."""
        if not isinstance(results, dict):
            key = 'img_path' if isinstance(results, str) else 'img'
            results = {key: results}
        if 'img_path' not in results:
            results['ori_shape'] = results['img_shape'] = results['img'].shape[:2]
            # What is packed with a prediction.
            results['img_path'] = None
            return results
        path = results['img_path']
        image, content = open_image(path, self.backend_args)
        with naming_unreadable_file(path):
            rgb = decode(image, content, 1, path, self.value_range)
        results['img'] = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        results['ori_shape'] = results['img_shape'] = rgb.shape[:2]
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(value_range={self.value_range}, '
            f'backend_args={self.backend_args})'
        )


@TRANSFORMS.register_module()
class LoadSegmentationMask(BaseTransform):
    """Read the mask of a pair on its stored pixels; an image without one passes (inference).

    What mmsegmentation's ``LoadAnnotations`` gives, but for values above 255, which that wraps to
    other classes without a word.

    Adds ``gt_seg_map``, uint8 ``(H, W)``: the class, 255 where unlabelled.

    Args:
        backend_args: of ``mmengine.fileio.get``, which choose a storage backend.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds colours, fractions, or values outside 0 to 255.
    """

    def __init__(self, backend_args: dict[str, Any] | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the mask of ``results['seg_map_path']``."""
        path = results.get('seg_map_path')
        if path is None:
            return results
        mask = read_mask(path, self.backend_args)
        error = mask_error(mask, mask.shape[:2], IGNORED, reduce_zero_label=False)
        if error is not None:
            raise InputError(f'the mask {path} {error}')
        mask = mask.astype(np.uint8)
        if results['reduce_zero_label']:
            mask = np.where(np.isin(mask, (0, IGNORED)), IGNORED, mask - 1).astype(np.uint8)
        if results.get('label_map') is not None:
            classes = np.arange(256, dtype=np.uint8)
            for old, new in results['label_map'].items():
                classes[old] = new
            mask = classes[mask]
        results['gt_seg_map'] = mask
        results['seg_fields'].append('gt_seg_map')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'


@TRANSFORMS.register_module()
class CheckSegmentation(BaseTransform):
    """Stop at a mask that does not fit its image or the classes; place it after the mask's.

    A value beyond the classes would end a run on a GPU without naming the file, and evaluation
    would leave it out silently.

    Args:
        num_classes: number of classes.

    Raises:
        ValueError: with the mask's file, what is wrong, and the cure.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
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
