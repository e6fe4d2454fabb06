"""Reading of photos as the official BEiT v2 pipeline does."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine import fileio
from PIL import Image

from mmbeitv2.errors import UnreadableFileError
from mmbeitv2.registry import TRANSFORMS


@contextmanager
def naming_unreadable_file(path: str) -> Iterator[None]:
    """Turn any error of the ``with`` statement's body, which reads ``path``, into an OSError.

    Raises:
        OSError: With the file, the reason and the cure.
    """
    # Storage backends and decoders raise dozens of types, few of which name the file.
    try:
        yield
    except Exception as error:
        raise UnreadableFileError(
            f"Image '{path}' cannot be read: {type(error).__name__}: {error}. Restore the "
            'file or remove it from the data set; if all files fail, check data_root and '
            'data_prefix of the dataset in the config.'
        ) from error


def planes_of(pixels: np.ndarray) -> torch.Tensor:
    """Copy uint8 pixels (H, W, 3) into a contiguous tensor (3, H, W).

    Batches are stacked ten times faster of such tensors than of views.
    """
    planes = np.empty((3, *pixels.shape[:2]), np.uint8)
    # OpenCV would gather a view of a larger picture pixel by pixel.
    cv2.split(np.ascontiguousarray(pixels), list(planes))
    return torch.from_numpy(planes)


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Read an image file into an RGB ``PIL.Image``.

    Every colour mode becomes RGB by ``Image.convert('RGB')``: palettes are looked up, grey is
    repeated, CMYK is converted, alpha is dropped. The EXIF orientation is left alone. This is what
    ``torchvision.datasets.folder.default_loader`` does, the official release's loader.

    Adds ``img`` (fully decoded, uint8, H×W×3), ``ori_shape`` and ``img_shape``, both (H, W) in
    pixels.

    Args:
        backend_args: Arguments of ``mmengine.fileio.get`` that choose a storage backend; the
            backend is inferred from the path when None.

    Raises:
        OSError: If the file of ``results['img_path']`` is missing, truncated or no image. Nothing
            is skipped silently, since a data set that shrinks unnoticed changes the experiment.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Add the image of ``results['img_path']`` and its shape to ``results``."""
        path = results['img_path']
        with naming_unreadable_file(path):
            content = fileio.get(path, backend_args=self.backend_args)
            with Image.open(io.BytesIO(content)) as image:
                rgb = image.convert('RGB')
        results['img'] = rgb
        results['ori_shape'] = results['img_shape'] = (rgb.height, rgb.width)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'
