"""Checks of what Transformers are built with and given: a fault is one line that names its cure."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmbeitv2.checks import (
    check_choice,
    check_count,
    check_flag,
    check_number,
    check_probability,
    check_side,
    refuse,
)
from mmbeitv2.errors import InputError

FINAL_NORMS = ('norm', 'fc_norm', None)


def check_layers(
    owner: object,
    embed_dim: int,
    num_heads: int,
    depth: int,
    mlp_ratio: float,
    init_values: float | None,
    norm_eps: float,
    init_std: float,
    recompute: bool,
) -> None:
    """Check what all Transformers' layers are made of; see :class:`VisionTransformer`.

    Args:
        owner: the model.
        embed_dim: its argument of this name, like the others.
        num_heads: likewise.
        depth: likewise.
        mlp_ratio: likewise.
        init_values: likewise.
        norm_eps: likewise.
        init_std: likewise.
        recompute: likewise.

    Raises:
        ValueError: the first that is of another type or out of range.
    """
    check_count(owner, 'embed_dim', embed_dim, 768)
    check_count(owner, 'num_heads', num_heads, 12)
    check_count(owner, 'depth', depth, 12)
    check_number(owner, 'mlp_ratio', mlp_ratio, 4, above=0)
    if int(embed_dim * mlp_ratio) < 1:
        raise refuse(owner, 'mlp_ratio', mlp_ratio, f'at least 1 / {embed_dim}, such as 4')
    check_number(owner, 'init_values', init_values, 0.1, optional=True)
    check_number(owner, 'norm_eps', norm_eps, 1e-6, above=0)
    check_number(owner, 'init_std', init_std, 0.02, above=0)
    check_flag(owner, 'recompute', recompute)
    if embed_dim % num_heads:
        raise InputError(
            f'embed_dim {embed_dim} must be a multiple of num_heads {num_heads}: take width / 64.'
        )


def check_picture(
    owner: object,
    img_size: int | tuple[int, int],
    patch_size: int,
    in_chans: int,
    drop_path_rate: float,
    init_cut: float | None,
    final_norm: str | None,
) -> None:
    """Check the other arguments of :class:`VisionTransformer`.

    Args:
        owner: the model.
        img_size: its argument of this name, like the others.
        patch_size: likewise.
        in_chans: likewise.
        drop_path_rate: likewise.
        init_cut: likewise.
        final_norm: likewise.

    Raises:
        ValueError: the first that is of another type or out of range.
    """
    check_side(owner, 'img_size', img_size)
    check_count(owner, 'patch_size', patch_size, 16)
    check_count(owner, 'in_chans', in_chans, 3)
    check_probability(owner, 'drop_path_rate', drop_path_rate)
    check_number(owner, 'init_cut', init_cut, 1, above=0, optional=True)
    check_choice(owner, 'final_norm', final_norm, FINAL_NORMS)
    height, width = img_size if isinstance(img_size, Sequence) else (img_size, img_size)
    if height % patch_size or width % patch_size:
        raise InputError(
            f'img_size {(height, width)} must be a multiple of patch_size {patch_size}: choose '
            f'for instance {(height // patch_size + 1) * patch_size}.'
        )


def check_flags(owner: object, **flags: bool) -> None:
    """Refuse what is neither True nor False.

    Args:
        owner: the model.
        **flags: its arguments by name.

    Raises:
        ValueError: the first that is not.
    """
    for name, value in flags.items():
        check_flag(owner, name, value)


def check_images(owner: object, images: Tensor, channels: int) -> None:
    """Refuse what is no batch of images, as far as shape and type tell: no value is read.

    Args:
        owner: the model.
        images: what it was given.
        channels: that it takes.

    Raises:
        ValueError: with the shape and type, and those allowed.
    """
    if torch.jit.is_tracing():  # which would record the comparisons
        return
    wanted = f'float (B, {channels}, H, W) with H and W of at least 1'
    if not isinstance(images, Tensor):
        raise InputError(
            f'{type(owner).__name__}: images are of type {type(images).__name__}, but must be a '
            f'tensor, {wanted}'
        )
    fits = images.ndim == 4 and images.shape[1] == channels and 0 not in images.shape[2:]
    if not (fits and images.is_floating_point()):
        raise InputError(
            f'{type(owner).__name__}: images are {str(images.dtype).removeprefix("torch.")} '
            f'{tuple(images.shape)}, but must be {wanted}: add the batch dimension with '
            'images[None], and normalise whole numbers'
        )
