"""The operations of RandAugment on uint8 RGB pixels (H, W, 3), as fast as OpenCV does them.

Each takes pixels and a magnitude and returns new pixels of the same shape. Whatever maps every
level of a channel by itself is one look-up in a table of the 256 levels. The arithmetic is mmcv's,
float32 where it is, since values are truncated.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cv2
import mmcv
import numpy as np

LEVELS = np.arange(256)
SOLARIZE_ADD_BELOW = 128


def look_up(pixels: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Replace every level by that of a table (256,), or (256, 3) with one for each channel."""
    table = np.clip(levels, 0, 255).astype(np.uint8)
    return cv2.LUT(pixels, table if table.ndim == 1 else table[None])


def auto_contrast(pixels: np.ndarray) -> np.ndarray:
    """Stretch every channel to the levels 0 to 255."""
    table = np.empty((256, 3))
    for channel, plane in enumerate(cv2.split(pixels)):
        low, high, *_ = cv2.minMaxLoc(plane)
        scale = 255 / (high - low) if low < high else 1
        table[:, channel] = LEVELS * scale + (-low * scale if low < high else 0)
    return look_up(pixels, table)


def equalize(pixels: np.ndarray) -> np.ndarray:
    """Make all levels of a channel about equally frequent."""
    table = np.empty((256, 3))
    for channel in range(3):
        counts = cv2.calcHist([pixels], [channel], None, [256], [0, 256]).ravel().astype(int)
        step = (counts.sum() - counts[counts > 0][-1]) // 255
        before = np.cumsum(counts) - counts
        table[:, channel] = (before + step // 2) // step if step else LEVELS
        # The first level becomes black, whatever the half step says.
        table[0, channel] = 0
    return look_up(pixels, table)


def invert(pixels: np.ndarray) -> np.ndarray:
    """The negative."""
    return cv2.bitwise_not(pixels)


def posterize(pixels: np.ndarray, bits: float) -> np.ndarray:
    """Keep the highest ``bits`` of a level, rounded up to a whole number."""
    dropped = 8 - int(np.ceil(bits))
    return look_up(pixels, LEVELS >> dropped << dropped)


def solarize(pixels: np.ndarray, threshold: float) -> np.ndarray:
    """Invert the levels from a threshold on."""
    return look_up(pixels, np.where(threshold > LEVELS, LEVELS, 255 - LEVELS))


def solarize_add(pixels: np.ndarray, added: float) -> np.ndarray:
    """Raise the darker half of the levels."""
    return look_up(pixels, np.where(LEVELS < SOLARIZE_ADD_BELOW, LEVELS + added, LEVELS))


def colour(pixels: np.ndarray, change: float) -> np.ndarray:
    """More (positive) or less saturation."""
    grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(pixels, 1 + change, grey, -change, 0)


def blend(change: float, level: int) -> np.ndarray:
    """Table (256,) that moves every level away from one level, or towards it."""
    levels, other = LEVELS.astype(np.float32), np.full(256, level, np.float32)
    return cv2.addWeighted(levels, 1 + change, other, -change, 0).ravel()


def contrast(pixels: np.ndarray, change: float) -> np.ndarray:
    """More or less contrast about the mean grey level."""
    mean = round(cv2.mean(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))[0])
    return look_up(pixels, blend(change, mean))


def brightness(pixels: np.ndarray, change: float) -> np.ndarray:
    """More or less light."""
    return look_up(pixels, blend(change, 0))


def sharpness(pixels: np.ndarray, change: float) -> np.ndarray:
    """Away from the smoothed pixels, or towards them."""
    return mmcv.adjust_sharpness(pixels, 1 + change)


def translate(
    pixels: np.ndarray,
    share: float,
    direction: str,
    border_value: Sequence[int],
    interpolation: str,
) -> np.ndarray:
    """Move by a share of the side."""
    side = pixels.shape[1] if direction == 'horizontal' else pixels.shape[0]
    return mmcv.imtranslate(pixels, share * side, direction, border_value, interpolation)


def operations(
    border_value: Sequence[int], interpolation: str
) -> list[tuple[Callable[..., Any], tuple[float, float] | None, bool]]:
    """timm's operations whose strength increases with the magnitude, in its order.

    Args:
        border_value: What comes in from outside, RGB in [0, 255].
        interpolation: mmcv's name of the interpolation of the geometric operations.

    Returns:
        list: Operation; its magnitude at the levels 0 and 10, None if it has none; whether half of
        its magnitudes are made negative.

    Source: timm's ``_RAND_INCREASING_TRANSFORMS``, mmpretrain's ``timm_increasing``.
    """
    edge: dict[str, Any] = dict(border_value=border_value, interpolation=interpolation)
    rows, columns = dict(edge, direction='vertical'), dict(edge, direction='horizontal')
    return [
        (auto_contrast, None, False),
        (equalize, None, False),
        (invert, None, False),
        (partial(mmcv.imrotate, **edge), (0, 30), True),
        (posterize, (4, 0), False),
        (solarize, (256, 0), False),
        (solarize_add, (0, 110), False),
        (colour, (0, 0.9), True),
        (contrast, (0, 0.9), True),
        (brightness, (0, 0.9), True),
        (sharpness, (0, 0.9), True),
        (partial(mmcv.imshear, **columns), (0, 0.3), True),
        (partial(mmcv.imshear, **rows), (0, 0.3), True),
        (partial(translate, **columns), (0, 0.45), True),
        (partial(translate, **rows), (0, 0.45), True),
    ]
