"""Load trained models from their checkpoint alone, and use them."""

import torch
from torch import Tensor

from mmbeitv2.checkpoints.translation import open_checkpoint
from mmbeitv2.errors import InputError
from mmbeitv2.exchange.building import build_pretrained, build_tokenizer
from mmbeitv2.models import BEiTV2, VQKDTokenizer


def load_tokenizer(
    checkpoint: str,
    num_heads: int | None = None,
    trust: bool = False,
    img_size: int | tuple[int, int] | None = None,
) -> VQKDTokenizer:
    """Tokenizer of a checkpoint, frozen, on the CPU.

    Args:
        checkpoint: path or URL of a file of VQ-KD (this project's, the official release's or
            mmpretrain's) or of pretraining (this project's or mmpretrain's, which hold their
            tokenizer).
        num_heads: heads of the encoder, where the file does not note them; width / 64 unless given.
        trust: open a file that holds Python objects beside weights, which can run any code.
        img_size: side in pixels, or ``(height, width)``, that it was trained with, where the file
            does not note it, as this project's do; square unless given.

    Returns:
        The tokenizer; sizes are read off the tensors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no tokenizer in it, or code beside the weights.
    """
    return build_tokenizer(open_checkpoint(checkpoint, trust, img_size=img_size), num_heads)


def load_pretrained(
    checkpoint: str,
    num_heads: int | None = None,
    tokenizer: str | None = None,
    trust: bool = False,
    img_size: int | tuple[int, int] | None = None,
) -> BEiTV2:
    """Pretraining model of a checkpoint, in eval mode, on the CPU.

    Args:
        checkpoint: path or URL of a file of pretraining: this project's, the official release's or
            mmpretrain's.
        num_heads: heads of the tokenizer's encoder, where the file does not note them; width / 64
            unless given.
        tokenizer: file for :func:`load_tokenizer`; instead of the one in ``checkpoint``, or where
            that has none (the official release's). Without any the model extracts features and
            predicts codes, but computes no loss.
        trust: open files that hold Python objects beside weights, which can run any code.
        img_size: of ``checkpoint``, see :func:`load_tokenizer`.

    Returns:
        The model; sizes are read off the tensors. The layer whose patches are aggregated is shown
        by this project's files alone; for others it is three before the last, as in the paper.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a checkpoint, or code beside the weights.
    """
    opened = open_checkpoint(checkpoint, trust, img_size=img_size)
    model = build_pretrained(opened, num_heads, with_tokenizer=tokenizer is None)
    if tokenizer is not None:
        model.set_tokenizer(load_tokenizer(tokenizer, num_heads, trust))
    return model


def tokenize(tokenizer: VQKDTokenizer, images: Tensor) -> Tensor:
    """Codes int64 ``(B, H / P, W / P)`` of float RGB images in [−1, 1], ``(B, 3, H, W)``.

    Raises:
        ValueError: values outside [−1, 1], or another shape.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(
            f'images have shape {tuple(images.shape)}, expected (B, 3, H, W): add the batch '
            'dimension with images[None].'
        )
    low, high = images.aminmax()
    if not (low >= -1 and high <= 1):  # also where they are not numbers
        raise InputError(
            f'images reach from {low:.3g} to {high:.3g}, allowed: RGB in [−1, 1]; uint8 images '
            'become that by images / 127.5 − 1.'
        )
    return tokenizer.tokenize(images.to(tokenizer.quantize.codebook.device))


@torch.no_grad()
def extract_features(model: BEiTV2, images: Tensor) -> dict[str, Tensor]:
    """Features of unmasked images.

    Args:
        model: result of :func:`load_pretrained`.
        images: float ``(B, 3, H, W)``, RGB normalised by the ImageNet mean and standard deviation.

    Returns:
        ``cls_token`` float32 ``(B, C)`` and ``patch_tokens`` float32 ``(B, N, C)``, after the final
        norm.
    """
    backbone = model.backbone
    x, grid = backbone.embed(images)
    x = backbone.norm(backbone.layers(x, grid, backbone.shared_bias(grid)))
    return dict(cls_token=x[:, 0], patch_tokens=x[:, 1:])
