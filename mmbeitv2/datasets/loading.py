"""Reading of photos as the official BEiT v2 pipeline does."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmbeitv2.registry import TRANSFORMS

from .decoding import check_value_range, read_rgb


def planes_of(pixels: np.ndarray) -> torch.Tensor:
    """Copy uint8 pixels (H, W, C) into a contiguous tensor (C, H, W).

    Batches are stacked ten times faster of such tensors than of views.
    """
    if pixels.shape[2] == 1:
        # OpenCV drops the axis.
        return torch.from_numpy(pixels[..., 0].copy())[None]
    planes = np.empty((pixels.shape[2], *pixels.shape[:2]), np.uint8)
    # OpenCV would gather a view of a larger picture pixel by pixel.
    cv2.split(np.ascontiguousarray(pixels), list(planes))
    return torch.from_numpy(planes)


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Read an image file into an RGB ``PIL.Image``.

    Every colour mode becomes RGB by ``Image.convert('RGB')``: palettes are looked up, grey is
    repeated, CMYK is converted, alpha is dropped. The EXIF orientation is left alone. This is what
    ``torchvision.datasets.folder.default_loader`` does, the official release's loader. More than 8
    bits are scaled, where that loader cuts them off, see ``decoding.to_rgb``.

    Adds ``img`` (fully decoded, uint8, H×W×3), ``ori_shape`` and ``img_shape``, both (H, W) in
    pixels.

    Args:
        backend_args: Arguments of ``mmengine.fileio.get`` that choose a storage backend; the
            backend is inferred from the path when None.
        value_range: Values of black and white in float, 32-bit and 16-bit images of one channel;
            when None, 16 bits are [0, 65535] and the others are refused.

    Raises:
        ValueError: If an image's numbers need a ``value_range``.
        OSError: If the file of ``results['img_path']`` is missing, truncated or no image. Nothing
            is skipped silently, since a data set that shrinks unnoticed changes the experiment.
    """

    def __init__(
        self, backend_args: dict[str, Any] | None = None, value_range: Sequence[float] | None = None
    ) -> None:
        self.backend_args = backend_args
        self.value_range = check_value_range(value_range)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the image of ``results['img_path']`` and its shape to ``results``."""
        rgb = read_rgb(results['img_path'], self.backend_args, self.value_range)
        results['img'] = rgb
        results['ori_shape'] = results['img_shape'] = (rgb.height, rgb.width)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(backend_args={self.backend_args}, '
            f'value_range={self.value_range})'
        )
