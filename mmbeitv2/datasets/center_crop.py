"""Reading of the centre of a photo, as a classifier is tested on it."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from torch.nn.functional import interpolate

from mmbeitv2.checks import check_count, check_interpolation, check_side
from mmbeitv2.errors import InputError
from mmbeitv2.registry import TRANSFORMS

from .channels import RGB, read_channels
from .decoding import check_value_range, decode, naming_unreadable_file, open_image
from .loading import planes_of
from .random_crop import reduce_decoding

# Beyond this ratio of sides only the middle of a photo is resized: all of a strip of 1 × 5000
# pixels would take a gigabyte, for a centre that does not depend on its ends.
MOST_ELONGATED = 16


@TRANSFORMS.register_module()
class LoadCenterCrop(BaseTransform):
    """Read an image file, resize it to a short side with anti-aliasing and cut out its centre.

    A JPEG whose short side is at least four times ``short_side``, or twice, is decoded at a
    quarter, or half, of its size, which its format offers. Colour modes and the EXIF orientation
    are treated as by ``LoadImage``. torch resizes uint8 as Pillow does up to rounding, in a fifth
    of the time.

    An image that is in memory already, which is what mmpretrain's inferencers give (``img`` instead
    of ``img_path``: uint8 BGR array (H, W, 3), mmcv's order), is resized and cut as it is.

    Adds ``img``, uint8 RGB tensor (3, size, size) in [0, 255]; ``ori_shape`` and ``img_shape``,
    (H, W) in pixels.

    Args:
        size: Side of the centre in pixels.
        short_side: Short side of the resized photo in pixels, ``size`` or more; the long side is
            rounded down. ``size`` when None.
        interpolation: ``'bicubic'`` or ``'bilinear'``.
        backend_args: Arguments of ``mmengine.fileio.get`` that choose a storage backend; the
            backend is inferred from the path when None.
        value_range: As in ``LoadImage``.
        channels: Of the files. With 3, every file becomes RGB; with another number, it must hold so
            many, see ``channels.read_channels``.

    Raises:
        ValueError: If ``short_side`` is smaller than ``size``, or an argument not what it says.
        OSError: If the file of ``results['img_path']`` is missing, truncated or no image.

    Source: official evaluation: resize to 256, bicubic, centre of 224; at 384 the whole short side.
    """

    def __init__(
        self,
        size: int,
        short_side: int | None = None,
        interpolation: str = 'bicubic',
        backend_args: dict[str, Any] | None = None,
        value_range: Sequence[float] | None = None,
        channels: int = 3,
    ) -> None:
        check_side(self, 'size', size)
        if short_side is not None:
            check_side(self, 'short_side', short_side)
        check_interpolation(self, interpolation)
        self.size = size
        self.short_side = size if short_side is None else short_side
        if self.short_side < size:
            raise InputError(
                f'LoadCenterCrop: short_side is {short_side}, but must be at least the size of the '
                f'centre, {size}: raise short_side or lower size'
            )
        self.interpolation = interpolation
        self.backend_args = backend_args
        self.value_range = check_value_range(value_range)
        check_count(self, 'channels', channels, 3)
        self.channels = channels

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the centre of ``results['img_path']`` and shapes to ``results``."""
        if 'img_path' in results:
            photo, shape, reduction = self._read(results['img_path'])
        else:
            photo = cv2.cvtColor(results['img'], cv2.COLOR_BGR2RGB)
            shape, reduction = photo.shape[:2], 1
        results['ori_shape'] = shape
        if max(shape) > MOST_ELONGATED * min(shape):
            photo = _middle(photo)
            shape = tuple(side * reduction for side in photo.shape[:2])
        height, width = self._resized(shape)
        # As in LoadRandomCrop, the batch of one needs an ordinary stride to be resized fast.
        writable = np.require(photo, requirements='W').reshape(1, *photo.shape)
        pixels = torch.from_numpy(writable).permute(0, 3, 1, 2)
        # Of the file's size, not the reduced photo's, which is rounded up. Their product with it is
        # rounded down, hence the last factor.
        scale = [
            to * reduction / side * (1 + 1e-9)
            for to, side in zip((height, width), shape, strict=True)
        ]
        (resized,) = interpolate(
            pixels, scale_factor=scale, mode=self.interpolation, antialias=True
        )
        top, left = (round((side - self.size) / 2) for side in (height, width))
        centre = resized[:, top : top + self.size, left : left + self.size]
        results['img'] = planes_of(centre.permute(1, 2, 0).numpy())
        results['img_shape'] = (self.size, self.size)
        return results

    def _read(self, path: str) -> tuple[np.ndarray, tuple[int, int], int]:
        """Photo (H, W, 3), the (height, width) of the file, and how much smaller the photo is."""
        if self.channels != RGB:
            photo = read_channels(path, self.channels, self.backend_args, self.value_range)
            return photo, photo.shape[:2], 1
        image, content = open_image(path, self.backend_args)
        width, height = image.size
        reduction = reduce_decoding(image, (height, width), self._resized((height, width)))
        with naming_unreadable_file(path):
            photo = decode(image, content, reduction, path, self.value_range)
        return photo, (height, width), reduction

    def _resized(self, shape: tuple[int, int]) -> tuple[int, int]:
        """(height, width) to which a photo of (height, width) is resized."""
        height, width = (self.short_side * side // min(shape) for side in shape)
        return height, width

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, short_side={self.short_side}, '
            f"interpolation='{self.interpolation}', backend_args={self.backend_args}, "
            f'value_range={self.value_range}, channels={self.channels})'
        )


def _middle(photo: np.ndarray) -> np.ndarray:
    """The middle of a long photo (H, W, 3), whose sides have the ratio ``MOST_ELONGATED``."""
    longest = MOST_ELONGATED * min(photo.shape[:2])
    top, left = (max(0, side - longest) // 2 for side in photo.shape[:2])
    return photo[top : top + longest, left : left + longest]
