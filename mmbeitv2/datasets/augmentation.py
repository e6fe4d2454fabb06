"""RandAugment and random erasing of a crop that stays uint8."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from mmcv.image.geometric import cv2_interp_codes
from mmcv.transforms import BaseTransform

from mmbeitv2.checks import (
    check_channels,
    check_choice,
    check_count,
    check_number,
    check_probability,
    check_span,
    refuse,
)
from mmbeitv2.registry import TRANSFORMS

from .loading import planes_of
from .operations import operations

TOTAL_LEVEL = 10
# timm's and mmpretrain's probability of an operation that was chosen.
APPLIED = 0.5
# Of 16 random bits each, which index a table of quantiles.
QUANTILES = 2**16
ATTEMPTS = 10


@TRANSFORMS.register_module()
class RandAugment(BaseTransform):
    """Apply some of timm's 15 increasing operations, each by a chance of one half.

    Draws what mmpretrain's ``RandAugment(policies='timm_increasing')`` draws, from NumPy's global
    generator in the same order, and returns the same pixels.

    Needs and sets ``img``, uint8 RGB tensor (3, H, W), contiguous afterwards.

    Args:
        num_policies: Operations chosen, with replacement.
        magnitude_level: Mean level of their magnitude, 0 to 10.
        magnitude_std: Standard deviation of the level, 0 or more; levels are cut to 0 to 10.
        pad_val: What geometric operations bring in from outside, RGB in [0, 255].
        interpolation: Interpolation of geometric operations, mmcv's names.

    Raises:
        ValueError: If ``magnitude_level`` is not in [0, 10], or ``magnitude_std`` is negative.

    Source: official flag ``--aa rand-m9-mstd0.5-inc1``.
    """

    def __init__(
        self,
        num_policies: int,
        magnitude_level: float,
        magnitude_std: float,
        pad_val: Sequence[int],
        interpolation: str = 'bicubic',
    ) -> None:
        check_count(self, 'num_policies', num_policies, 2)
        check_number(self, 'magnitude_level', magnitude_level, 9)
        if magnitude_level > TOTAL_LEVEL:
            allowed = f'in [0, {TOTAL_LEVEL}]; the recipe has 9'
            raise refuse(self, 'magnitude_level', magnitude_level, allowed)
        check_number(self, 'magnitude_std', magnitude_std, 0.5)
        check_channels(self, 'pad_val', pad_val, (124, 116, 104), most=255)
        check_choice(self, 'interpolation', interpolation, cv2_interp_codes)
        self.num_policies = num_policies
        self.magnitude_level = magnitude_level
        self.magnitude_std = magnitude_std
        self.pad_val = tuple(pad_val)
        self.interpolation = interpolation
        self.operations = operations(self.pad_val, interpolation)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Augment ``results['img']``."""
        pixels = np.ascontiguousarray(results['img'].permute(1, 2, 0).numpy())
        for choice in np.random.choice(len(self.operations), self.num_policies):
            if np.random.rand() <= APPLIED:
                pixels = self._apply(pixels, *self.operations[choice])
        results['img'] = planes_of(pixels)
        return results

    def _apply(
        self,
        pixels: np.ndarray,
        operation: Callable[..., np.ndarray],
        ends: tuple[float, float] | None,
        signed: bool,
    ) -> np.ndarray:
        if ends is None:
            return operation(pixels)
        level = self.magnitude_level
        # Without a deviation mmpretrain draws nothing.
        if self.magnitude_std > 0:
            level = np.clip(np.random.normal(level, self.magnitude_std), 0, TOTAL_LEVEL)
        magnitude = ends[0] + level / TOTAL_LEVEL * (ends[1] - ends[0])
        if signed and np.random.rand() < 0.5:
            magnitude = -magnitude
        return operation(pixels, magnitude)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(num_policies={self.num_policies}, '
            f'magnitude_level={self.magnitude_level}, magnitude_std={self.magnitude_std}, '
            f"pad_val={self.pad_val}, interpolation='{self.interpolation}')"
        )


@TRANSFORMS.register_module()
class RandomErasing(BaseTransform):
    """Fill a random rectangle with normal noise, drawn for every pixel and channel.

    Rectangles have the distribution of timm's ``RandomErasing``, with which the official release
    was trained: drawn anew, ten times at most, until both sides are shorter than the image's, and
    placed anywhere. mmpretrain's cuts long sides and never reaches the last row and column. The
    noise is mmpretrain's, truncated and cut to [0, 255], up to 2⁻¹⁶: 16 random bits choose a
    quantile, which takes a tenth of the time.

    Needs and changes ``img``, uint8 RGB tensor (3, H, W).

    Args:
        erase_prob: Probability of a rectangle.
        min_area_ratio: Smallest share of the crop in it.
        max_area_ratio: Largest share.
        fill_color: Mean of the noise, RGB in [0, 255].
        fill_std: Its standard deviation, RGB. Mean and deviation of the normalisation make the
            noise standard normal afterwards, but for the levels that 8 bits lack.
        aspect_range: Smallest and largest height-to-width ratio, uniform in its logarithm.

    Raises:
        ValueError: If an argument is not what it says.

    Source: official flags ``--reprob 0.25 --remode pixel``.
    """

    def __init__(
        self,
        erase_prob: float,
        min_area_ratio: float,
        max_area_ratio: float,
        fill_color: Sequence[float],
        fill_std: Sequence[float],
        aspect_range: Sequence[float] = (3 / 10, 10 / 3),
    ) -> None:
        check_probability(self, 'erase_prob', erase_prob)
        check_span(self, 'area ratios', (min_area_ratio, max_area_ratio), 1, '0.02 to 0.33')
        check_span(self, 'aspect_range', aspect_range, math.inf, '(3/10, 10/3)')
        check_channels(self, 'fill_color', fill_color, (124, 116, 104), most=255)
        check_channels(self, 'fill_std', fill_std, (58, 57, 57))
        self.erase_prob = erase_prob
        self.area_range = (min_area_ratio, max_area_ratio)
        self.aspect_range = tuple(aspect_range)
        self.fill_color = tuple(fill_color)
        self.fill_std = tuple(fill_std)
        normal = torch.special.ndtri(
            (torch.arange(QUANTILES, dtype=torch.float64) + 0.5) / QUANTILES
        )
        self.noise = np.stack(
            [
                np.clip(mean + std * normal.numpy(), 0, 255).astype(np.uint8)
                for mean, std in zip(fill_color, fill_std, strict=True)
            ]
        )

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Perhaps erase a rectangle of ``results['img']``."""
        if np.random.rand() > self.erase_prob:
            return results
        planes = results['img'].numpy()
        rectangle = self._rectangle(*planes.shape[1:])
        if rectangle is None:
            return results
        top, left, height, width = rectangle
        for plane, quantiles in zip(planes, self.noise, strict=True):
            bits = np.frombuffer(np.random.bytes(2 * height * width), np.uint16)
            plane[top : top + height, left : left + width] = quantiles[bits].reshape(height, width)
        return results

    def _rectangle(self, rows: int, columns: int) -> tuple[int, int, int, int] | None:
        """Draw top, left, height and width in an image of so many rows and columns, if one fits."""
        for _ in range(ATTEMPTS):
            area = rows * columns * np.random.uniform(*self.area_range)
            aspect = np.exp(np.random.uniform(*np.log(self.aspect_range)))
            height, width = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
            if height < rows and width < columns:
                top = np.random.randint(rows - height + 1)
                return top, np.random.randint(columns - width + 1), height, width
        return None

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(erase_prob={self.erase_prob}, area_range={self.area_range}, '
            f'aspect_range={self.aspect_range}, fill_color={self.fill_color}, '
            f'fill_std={self.fill_std})'
        )
