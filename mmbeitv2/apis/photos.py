"""Photos from files as the models take them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mmbeitv2.datasets import LoadCenterCrop
from mmbeitv2.datasets.data_preprocessor import IMAGENET_MEAN, IMAGENET_STD


def read_photos(
    paths: Iterable[str | Path], size: int, value_range: Sequence[float] | None = None
) -> Tensor:
    """Read the centre of each photo, as validation does: the short side is resized to ``size``.

    Args:
        paths: files that Pillow can read.
        size: side in pixels.
        value_range: black and white of float and 32-bit images, see ``LoadImage``.

    Returns:
        uint8 RGB ``(B, 3, size, size)``.

    Raises:
        OSError: a file that cannot be read, by its name.
    """
    load = LoadCenterCrop(size, value_range=value_range)
    return torch.stack([load.transform(dict(img_path=str(path)))['img'] for path in paths])


def for_backbone(
    pixels: Tensor,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Tensor:
    """Pixels uint8 ``(B, 3, H, W)`` normalised: what :func:`mmbeitv2.apis.extract_features` takes.

    Args:
        pixels: RGB.
        mean: of red, green and blue on the scale [0, 1]; ImageNet's by default.
        std: likewise.
    """
    return (pixels / 255 - _channels(mean, pixels)) / _channels(std, pixels)


def for_tokenizer(pixels: Tensor) -> Tensor:
    """Pixels uint8 ``(B, 3, H, W)`` in [−1, 1], which :func:`mmbeitv2.apis.tokenize` takes."""
    return pixels / 127.5 - 1


def _channels(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device)[:, None, None]
