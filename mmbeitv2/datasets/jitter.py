"""Colour jitter of a crop, as if the whole photo had been jittered before it was cropped."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from torchvision.transforms import ColorJitter

from mmbeitv2.errors import InputError
from mmbeitv2.registry import TRANSFORMS

from .loading import planes_of

# Weights of red, green, blue and one: Pillow's grey (ITU-R 601-2), and black.
GREY = np.array([0.299, 0.587, 0.114, 0])
BLACK = np.zeros(4)
RGB = np.eye(3, 4)
# The photo's mean is that of a regular grid of its pixels, GRID or somewhat more in each direction.
GRID = 64
# Pillow, whose results are the recipe's, truncates where OpenCV rounds.
TRUNCATE = np.array([0, 0, 0, -0.498])


def mean_grey(pixels: np.ndarray) -> np.ndarray:
    """Mean grey level of uint8 RGB pixels (H, W, 3), a whole number, as weights of R, G, B and 1.

    Source: Pillow's ``ImageEnhance.Contrast``.
    """
    return np.array([0, 0, 0, round(float(GREY @ cv2.mean(pixels)))])


# What ColorJitter's brightness, contrast and saturation, in its numbering, blend pixels with.
OTHERS = (lambda pixels: BLACK, mean_grey, lambda pixels: GREY)


def blend(factor: float, other: np.ndarray) -> np.ndarray:
    """Matrix (3, 4) of ``cv2.transform`` that moves RGB pixels to or from a grey level of theirs.

    Args:
        factor: 0 gives the grey level, 1 the pixels; more moves away from the grey level.
        other: Weights (4,) of R, G, B and 1 that sum to the grey level.

    Source: Pillow's ``ImageEnhance``.
    """
    return factor * RGB + ((1 - factor) * other + TRUNCATE)


def grid_of(photo: np.ndarray) -> np.ndarray:
    """Some thousand pixels (h, w, 3), evenly spaced, of a uint8 RGB photo (H, W, 3)."""
    rows, columns = (max(1, side // GRID) for side in photo.shape[:2])
    return photo[rows // 2 :: rows, columns // 2 :: columns].copy()


@TRANSFORMS.register_module()
class JitterCrop(BaseTransform):
    """Vary brightness, contrast and saturation in random order, as ``ColorJitter`` does.

    Order and factors are drawn by ``torchvision.transforms.ColorJitter``. Contrast is taken about
    the grey mean of the whole photo, not of the crop. So the result is the crop of a jittered
    photo, for the cost of jittering the crop; they differ by rounding, and where the jitter
    saturates pixels that the resize mixes.

    Needs ``img`` and ``photo`` of ``LoadRandomCrop``. Sets ``img``, uint8 RGB tensor (3, H, W).

    Args:
        brightness: Factors are uniform in [1 − brightness, 1 + brightness]; or their range
            (smallest, largest). 0 leaves brightness alone.
        contrast: The same for contrast.
        saturation: The same for saturation.

    Raises:
        ValueError: If an argument is negative or no range.

    Source: official flag ``--color_jitter 0.4``, for all three.
    """

    def __init__(
        self,
        brightness: float | Sequence[float] = 0,
        contrast: float | Sequence[float] = 0,
        saturation: float | Sequence[float] = 0,
    ) -> None:
        ranges = ColorJitter(brightness, contrast, saturation)
        self.brightness = ranges.brightness
        self.contrast = ranges.contrast
        self.saturation = ranges.saturation

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Jitter ``results['img']``."""
        order, *factors, _ = ColorJitter.get_params(
            self.brightness, self.contrast, self.saturation, None
        )
        if results['img'].shape[0] != 3:
            raise InputError(
                f'JitterCrop got {results["img"].shape[0]} channels, but brightness, contrast and '
                'saturation are those of RGB: leave it out of the pipeline'
            )
        crop = results['img'].permute(1, 2, 0).numpy()
        grid = grid_of(results['photo'])
        for kind in order.tolist():
            # The fourth kind is hue, which the recipe leaves alone.
            if kind == len(factors) or factors[kind] is None:
                continue
            matrix = blend(factors[kind], OTHERS[kind](grid))
            crop, grid = cv2.transform(crop, matrix), cv2.transform(grid, matrix)
        results['img'] = planes_of(crop)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(brightness={self.brightness}, contrast={self.contrast}, '
            f'saturation={self.saturation})'
        )
