"""Reading of a random crop of a photo, with no more work than the crop needs."""

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from PIL import Image
from torch.nn.functional import interpolate

from mmbeitv2.checks import (
    check_count,
    check_interpolation,
    check_probability,
    check_side,
    check_span,
)
from mmbeitv2.registry import TRANSFORMS

from .channels import RGB, read_channels
from .decoding import check_value_range, decode, naming_unreadable_file, open_image

# A reduced crop is at least this many times as large as the result, so that the anti-aliased
# resize, not the decoder, decides what remains of its detail.
OVERSAMPLING = 2
ATTEMPTS = 10


def draw_box(
    shape: Sequence[int], scale: Sequence[float], ratio: Sequence[float]
) -> tuple[int, int, int, int]:
    """Draw a random crop: a uniform share of the photo's area, a log-uniform ratio of its sides.

    Its distribution is that of ``torchvision.transforms.RandomResizedCrop``: ten attempts to fit
    it into the photo, then the largest centre of an allowed ratio. The numbers are NumPy's, since
    the six tensor operations of torchvision's take a tenth of the pipeline's time.

    Args:
        shape: (height, width) of the photo.
        scale: Smallest and largest share of its area.
        ratio: Smallest and largest width-to-height ratio.

    Returns:
        tuple: Top, left, height, width in pixels.
    """
    rows, columns = shape
    smallest, largest = (math.log(value) for value in ratio)
    for _ in range(ATTEMPTS):
        area = rows * columns * np.random.uniform(scale[0], scale[1])
        aspect = math.exp(np.random.uniform(smallest, largest))
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= columns and 0 < height <= rows:
            top = np.random.randint(rows - height + 1)
            return top, np.random.randint(columns - width + 1), height, width
    aspect = min(max(columns / rows, ratio[0]), ratio[1])
    width, height = min(columns, round(rows * aspect)), min(rows, round(columns / aspect))
    return (rows - height) // 2, (columns - width) // 2, height, width


def reduce_decoding(image: Image.Image, crop: Sequence[int], size: Sequence[int]) -> int:
    """Have a JPEG decoded at 1/2, 1/4 or 1/8 of its size if a crop remains large enough.

    Args:
        image: Opened file that is not decoded yet; of other formats than JPEG it is left alone.
        crop: (height, width) of the crop in pixels of the file.
        size: (height, width) that the crop will be resized to, in pixels.

    Returns:
        int: The denominator, 1 where the file is decoded at its size.
    """
    width, height = image.size
    # Of the whole photo, when the crop is just large enough.
    needed = [
        -(-OVERSAMPLING * side * whole // part)
        for side, whole, part in zip(size, (height, width), crop, strict=True)
    ]
    image.draft(None, (needed[1], needed[0]))
    return round(width / image.width)


@TRANSFORMS.register_module()
class LoadRandomCrop(BaseTransform):
    """Read a random crop of an image file, perhaps flipped, resized with anti-aliasing.

    The crop is drawn by ``draw_box`` from the size in the file's header. A JPEG whose crop is much
    larger than ``size`` is decoded at 1/2, 1/4 or 1/8 of its size, which its format offers, such
    that at least twice ``size`` remains; the crop's edges then lie on whole pixels of the reduced
    photo. Colour modes and the EXIF orientation are treated as
    by ``LoadImage``. torch resizes uint8 as Pillow does up to rounding, in a quarter of the time.

    Adds ``img``, uint8 RGB tensor (3, height, width) in [0, 255]; ``photo``, the whole photo as it
    was decoded, uint8 RGB array (H, W, 3); ``ori_shape`` and ``img_shape``, (H, W) in pixels.

    Args:
        size: Side, or (height, width), of the result in pixels.
        scale: Smallest and largest share of the photo's area in the crop.
        ratio: Smallest and largest width-to-height ratio of the crop.
        interpolation: ``'bicubic'`` or ``'bilinear'``.
        flip_prob: Probability that the crop is mirrored left to right, which costs nothing here.
        backend_args: Arguments of ``mmengine.fileio.get`` that choose a storage backend; the
            backend is inferred from the path when None.
        value_range: As in ``LoadImage``.
        channels: Of the files. With 3, every file becomes RGB; with another number, it must hold so
            many, see ``channels.read_channels``.

    Raises:
        ValueError: If an argument is not what it says.
        OSError: If the file of ``results['img_path']`` is missing, truncated or no image.

    Source: paper and official release: bicubic; scale (0.2, 1) in pretraining, (0.08, 1) in
    tokenizer training.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float],
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = 'bicubic',
        flip_prob: float = 0,
        backend_args: dict[str, Any] | None = None,
        value_range: Sequence[float] | None = None,
        channels: int = 3,
    ) -> None:
        check_side(self, 'size', size)
        check_span(self, 'scale', scale, 1, '(0.2, 1)')
        check_span(self, 'ratio', ratio, math.inf, '(3/4, 4/3)')
        check_interpolation(self, interpolation)
        check_probability(self, 'flip_prob', flip_prob)
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.scale = tuple(scale)
        self.ratio = tuple(ratio)
        self.interpolation = interpolation
        self.flip_prob = flip_prob
        self.backend_args = backend_args
        self.value_range = check_value_range(value_range)
        check_count(self, 'channels', channels, 3)
        self.channels = channels

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add crop, photo and shapes of ``results['img_path']`` to ``results``."""
        path = results['img_path']
        if self.channels == RGB:
            image, content = open_image(path, self.backend_args)
            width, height = image.size
        else:
            photo = read_channels(path, self.channels, self.backend_args, self.value_range)
            height, width = photo.shape[:2]
        box = draw_box((height, width), self.scale, self.ratio)
        flip = self.flip_prob > 0 and np.random.rand() < self.flip_prob
        reduction = 1
        if self.channels == RGB:
            reduction = reduce_decoding(image, box[2:], self.size)
            with naming_unreadable_file(path):
                photo = decode(image, content, reduction, path, self.value_range)
        top, left, bottom, right = (
            round(edge / reduction) for edge in (*box[:2], box[0] + box[2], box[1] + box[3])
        )
        part = photo[top:bottom, left:right]
        pixels = _mirrored(part) if flip else part.copy()
        # With another stride of the batch, which NumPy's pixels[None] has, interpolate would not
        # see that the channels come last, and neither resize nor jitter would be fast.
        crop = torch.from_numpy(pixels.reshape(1, *pixels.shape)).permute(0, 3, 1, 2)
        (results['img'],) = interpolate(crop, self.size, mode=self.interpolation, antialias=True)
        results['photo'] = photo
        results['ori_shape'] = height, width
        results['img_shape'] = self.size
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, scale={self.scale}, ratio={self.ratio}, '
            f"interpolation='{self.interpolation}', flip_prob={self.flip_prob}, "
            f'backend_args={self.backend_args}, value_range={self.value_range}, '
            f'channels={self.channels})'
        )


def _mirrored(photo: np.ndarray) -> np.ndarray:
    """Left to right, in new memory; OpenCV is faster and knows 128 channels at most."""
    if photo.shape[2] > RGB:
        return photo[:, ::-1].copy()
    return cv2.flip(photo, 1).reshape(photo.shape)
