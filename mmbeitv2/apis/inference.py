"""Load trained models from their checkpoint alone, and use them."""

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from mmbeitv2.checkpoints.translation import open_checkpoint
from mmbeitv2.errors import InputError
from mmbeitv2.exchange.building import build_pretrained, build_tokenizer
from mmbeitv2.exchange.run_notes import RunNotes, read_run_notes
from mmbeitv2.models import BEiTV2, VQKDTokenizer
from mmbeitv2.models.token_features import token_features
from mmbeitv2.torch_releases import aminmax

MARGIN = 1e-2


def load_tokenizer(
    checkpoint: str,
    num_heads: int | None = None,
    trust: bool = False,
    img_size: int | tuple[int, int] | None = None,
    ema: bool = False,
) -> VQKDTokenizer:
    """Tokenizer of a checkpoint, frozen, on the CPU.

    Args:
        checkpoint: published name (``'vqkd-b16-clip'``), path or address of a file of VQ-KD (this
            project's, the official release's or mmpretrain's) or of pretraining (this project's or
            mmpretrain's, which hold their tokenizer).
        num_heads: heads of the encoder, where the file does not note them; width / 64 unless given.
        trust: open a file that holds Python objects beside weights, which can run any code.
        img_size: side in pixels, or ``(height, width)``, that it was trained with, where the file
            does not note it, as this project's do; square unless given.
        ema: take the moving average of the weights, where the file holds one beside them.

    Returns:
        The tokenizer; sizes are read off the tensors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no tokenizer in it, or code beside the weights.
    """
    opened = open_checkpoint(checkpoint, trust, img_size=img_size, wanted='tokenizer', ema=ema)
    return build_tokenizer(opened, num_heads)


def load_pretrained(
    checkpoint: str,
    num_heads: int | None = None,
    tokenizer: str | None = None,
    trust: bool = False,
    img_size: int | tuple[int, int] | None = None,
    ema: bool = False,
) -> BEiTV2:
    """Pretraining model of a checkpoint, in eval mode, on the CPU.

    Args:
        checkpoint: published name (``'beitv2-b16-1600e'``), path or address of a file of
            pretraining: this project's, the official release's or mmpretrain's.
        num_heads: heads of the tokenizer's encoder, where the file does not note them; width / 64
            unless given.
        tokenizer: file for :func:`load_tokenizer`; instead of the one in ``checkpoint``, or where
            that has none (the official release's). Without any the model extracts features and
            predicts codes, but computes no loss.
        trust: open files that hold Python objects beside weights, which can run any code.
        img_size: of ``checkpoint``, see :func:`load_tokenizer`.
        ema: of ``checkpoint``, see :func:`load_tokenizer`.

    Returns:
        The model; sizes are read off the tensors. The layer whose patches are aggregated is shown
        by this project's files alone; for others it is three before the last, as in the paper. Its
        ``data_preprocessor`` normalises as the run that wrote the file noted; by ImageNet's mean
        and standard deviation where nothing is noted.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a checkpoint, or code beside the weights; or one that sees BGR.
    """
    opened = open_checkpoint(checkpoint, trust, img_size=img_size, wanted='pretraining', ema=ema)
    # Nothing of a file with code is read twice.
    notes = RunNotes() if trust else read_run_notes(checkpoint)
    model = build_pretrained(
        opened,
        num_heads,
        with_tokenizer=tokenizer is None,
        normalization=notes.normalization_of_rgb if notes.mean else (),
    )
    if tokenizer is not None:
        model.set_tokenizer(load_tokenizer(tokenizer, num_heads, trust))
    return model


def tokenize(tokenizer: VQKDTokenizer, images: Tensor) -> Tensor:
    """Codes int64 ``(B, H / P, W / P)`` of float RGB images in [−1, 1], ``(B, 3, H, W)``.

    Images without any value below 0 get a warning: they may be in [0, 1].

    Raises:
        ValueError: values outside [−1, 1] or that are no numbers, another shape or type.
    """
    low, _ = _checked_range(
        images,
        (-1, 1),
        'RGB in [−1, 1]; uint8 images become that by images / 127.5 − 1',
        tokenizer.encoder.in_chans,
    )
    if low >= 0:
        warnings.warn(
            f'no value of the images is below 0 (smallest: {low:.3g}), where [−1, 1] is expected: '
            'images in [0, 1] become that by images * 2 − 1',
            stacklevel=2,
        )
    return tokenizer.tokenize(images.to(tokenizer.encoder.cls_token))


@torch.no_grad()
def extract_features(model: BEiTV2, images: Tensor) -> dict[str, Tensor]:
    """Features of unmasked images.

    Images without any value below 0 or above 1 get a warning: they may not be normalised.

    Args:
        model: result of :func:`load_pretrained`.
        images: float ``(B, 3, H, W)``, RGB normalised by the mean and standard deviation of the
            model's ``data_preprocessor``: what :func:`mmbeitv2.apis.for_model` makes of pixels.

    Returns:
        ``cls_token`` float32 ``(B, C)`` and ``patch_tokens`` float32 ``(B, N, C)``, after the final
        norm.

    Raises:
        ValueError: values that no such image has or that are no numbers, another shape or type.
    """
    channels = model.backbone.in_chans
    allowed, formula = _normalised(model)
    low, high = _checked_range(images, allowed, f'RGB in [0, 1] normalised: {formula}', channels)
    if low >= 0 and high <= 1 and allowed[0] < 0:
        warnings.warn(
            f'the images reach from {low:.3g} to {high:.3g}, as if they were not normalised: give '
            f'{formula}',
            stacklevel=2,
        )
    features = token_features(model.backbone, images.to(model.backbone.cls_token))
    return dict(cls_token=features['cls'], patch_tokens=features['patches'])


def _normalised(model: BEiTV2) -> tuple[tuple[float, float], str]:
    """What black and white become where they become most, and by which formula."""
    preprocessor: Any = model.data_preprocessor
    if model.backbone.in_chans != 3:
        # Numbers of other channels have no range of their own.
        return (-math.inf, math.inf), '(images − mean) / std'
    mean, std = preprocessor.mean.flatten(), preprocessor.std.flatten()
    shown = (tuple(round(value, 4) for value in values.tolist()) for values in (mean, std))
    low, high = (-mean / std).min().item(), ((1 - mean) / std).max().item()
    return (low, high), '(images − {}) / {}'.format(*shown)


def _checked_range(
    images: Tensor, allowed: tuple[float, float], what: str, channels: int
) -> tuple[float, float]:
    """The smallest and the largest value of images, which are checked.

    Args:
        images: whatever the caller was given.
        allowed: the range of values.
        what: is expected, for the message.
        channels: of the model.

    Raises:
        ValueError: no float tensor ``(B, channels, H, W)``, or values outside the range.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point():
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise InputError(f'images are of type {kind}, expected a float tensor: {what}.')
    if images.ndim != 4 or images.shape[1] != channels or not images.numel():
        raise InputError(
            f'images have shape {tuple(images.shape)}, expected (B, {channels}, H, W): add the '
            'batch dimension with images[None].'
        )
    low, high = (value.item() for value in aminmax(images))
    # The margin is rounding; the comparison fails also where they are not numbers.
    if not (low >= allowed[0] - MARGIN and high <= allowed[1] + MARGIN):
        raise InputError(f'images reach from {low:.3g} to {high:.3g}, allowed: {what}.')
    return low, high
