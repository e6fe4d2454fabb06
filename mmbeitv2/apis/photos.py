"""Photos from files as the models take them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmbeitv2.datasets import LoadCenterCrop
from mmbeitv2.datasets.data_preprocessor import IMAGENET_MEAN, IMAGENET_STD
from mmbeitv2.errors import InputError
from mmbeitv2.models import BEiTV2
from mmbeitv2.models.vit import VisionTransformer

RGB = 3


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


def check_rgb(vit: VisionTransformer, what: str | Path) -> None:
    """Refuse a model of other channels than photos have here, before any is read.

    Args:
        vit: that is to see them.
        what: it is of, for the message.

    Raises:
        ValueError: it sees other channels.
    """
    if vit.in_chans != RGB:
        raise InputError(
            f'{what} sees {vit.in_chans} channels, but photos are read as RGB here: read yours and '
            'give them to extract_features or tokenize of mmbeitv2.apis (docs/own_data.md)'
        )


def for_backbone(
    pixels: Tensor,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Tensor:
    """Pixels uint8 ``(B, 3, H, W)`` normalised by a mean and a standard deviation of one's choice.

    :func:`for_model` takes those of a model's own training.

    Args:
        pixels: RGB.
        mean: of red, green and blue on the scale [0, 1]; ImageNet's by default.
        std: likewise.
    """
    return (pixels / 255 - _channels(mean, pixels)) / _channels(std, pixels)


def for_model(model: BEiTV2, pixels: Tensor) -> Tensor:
    """Pixels as a pretraining model was trained to see them, on its device.

    Args:
        model: result of :func:`mmbeitv2.apis.load_pretrained`, whose data preprocessor normalises.
        pixels: uint8 RGB ``(B, 3, H, W)``, as :func:`read_photos` gives them.

    Returns:
        float32 ``(B, 3, H, W)``, which :func:`mmbeitv2.apis.extract_features` takes.
    """
    preprocessor: Any = model.data_preprocessor
    views: list[Tensor] = preprocessor.views(pixels.to(model.backbone.cls_token.device))
    return views[0]


def for_tokenizer(pixels: Tensor) -> Tensor:
    """Pixels uint8 ``(B, 3, H, W)`` in [−1, 1], which :func:`mmbeitv2.apis.tokenize` takes."""
    return pixels / 127.5 - 1


def _channels(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device)[:, None, None]
