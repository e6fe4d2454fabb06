"""What a backbone sees: its patch features as colours, where its heads look, a photo's like."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from mmbeitv2.errors import InputError
from mmbeitv2.visualization.style import (
    MUTED,
    new_figure,
    resize,
    save_figure,
    show_picture,
    styled,
)

SIDE = 176
# Few odd patches must not take the range of colours from all others.
CUT = 0.02
MOST_HEADS = 16


def feature_colours(features: Tensor) -> np.ndarray:
    """The three main directions of all patches' features as red, green and blue.

    One principal component analysis of all photos, so that a colour means the same in each.

    Args:
        features: float ``(B, rows, columns, C)``.

    Returns:
        uint8 ``(B, rows, columns, 3)``.

    Raises:
        ValueError: fewer than three patches or channels.
    """
    flat = features.flatten(0, 2).double()
    if min(flat.shape) < 3:
        raise InputError(
            f'the features have shape {tuple(features.shape)}: three patches and three channels '
            'are the fewest that have three main directions.'
        )
    centred = flat - flat.mean(0)
    # Of the covariance, C × C: memory does not grow with the patches.
    directions = torch.linalg.eigh(centred.mT @ centred).eigenvectors[:, -3:].flip(1)
    # A direction's sign is arbitrary: the largest entry is made positive, on every machine.
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    places = centred @ (directions * largest.sign())
    low, high = np.quantile(places.numpy(), (CUT, 1 - CUT), axis=0)
    scaled = (places.numpy() - low) / np.maximum(high - low, 1e-12)
    return (255 * scaled.clip(0, 1)).round().astype(np.uint8).reshape(*features.shape[:3], 3)


def draw_features(images: Sequence[Image.Image], features: Tensor, path: str | Path) -> Path:
    """Draw photos above their patch features as colours.

    Args:
        images: RGB, square.
        features: float ``(B, rows, columns, C)``.
        path: of the PNG.

    Returns:
        The path.
    """
    colours = feature_colours(features)
    with styled():
        figure = new_figure(1.5 * len(images), 3.42)
        grid = figure.subplots(2, len(images), squeeze=False)
        figure.subplots_adjust(0, 0.1, 1, 1, wspace=0.04, hspace=0.04)
        for column, image in enumerate(images):
            show_picture(grid[0, column], resize(image, (SIDE, SIDE)))
            # Not smoothed: a square is a patch.
            grid[1, column].imshow(colours[column], interpolation='nearest')
            grid[1, column].set_axis_off()
        _note(figure, 'The same colour: similar features, in all photos.')
        return save_figure(figure, path)


def draw_attention(images: Sequence[Image.Image], attention: Tensor, path: str | Path) -> Path:
    """Draw what each head takes from the patches for [CLS], over the photo.

    Every map is scaled by its own largest value; beside the heads is their mean.

    Args:
        images: RGB, square.
        attention: float ``(B, heads, rows, columns)``; the first sixteen heads are drawn.
        path: of the PNG.

    Returns:
        The path.
    """
    maps = torch.cat([attention.mean(1, keepdim=True), attention[:, :MOST_HEADS]], dim=1)
    titles = ['photo', 'mean', *(f'head {i + 1}' for i in range(maps.shape[1] - 1))]
    with styled():
        figure = new_figure(1.2 * len(titles), 1.2 * len(images) + 0.5)
        grid = figure.subplots(len(images), len(titles), squeeze=False)
        height = figure.get_figheight()
        figure.subplots_adjust(0, 0.22 / height, 1, 1 - 0.25 / height, wspace=0.04, hspace=0.04)
        for axes, title in zip(grid[0], titles):
            axes.set_title(title, loc='center', fontsize=9)
        for row, image, of_photo in zip(grid, images, maps):
            photo = resize(image, (SIDE, SIDE))
            show_picture(row[0], photo)
            for axes, one in zip(row[1:], of_photo):
                show_picture(axes, _heat(photo, one))
        _note(figure, 'Bright: what [CLS] looks at. Each map by its own scale.')
        return save_figure(figure, path)


def draw_neighbours(
    queries: Sequence[Image.Image],
    found: Sequence[Sequence[tuple[Image.Image, float]]],
    path: str | Path,
) -> Path:
    """Draw photos beside those most alike, with their cosine.

    Args:
        queries: RGB, square; a row each.
        found: for each query its neighbours, the nearest first, with their cosines; as many each.
        path: of the PNG.

    Returns:
        The path.
    """
    columns = 1 + len(found[0])
    with styled():
        figure = new_figure(1.3 * columns + 0.15, 1.5 * len(queries) + 0.3)
        height = figure.get_figheight()
        # A gap parts the photo asked about from its like.
        widths = [1, 0.12, *[1] * (columns - 1)]
        grid = figure.subplots(len(queries), columns + 1, squeeze=False, width_ratios=widths)
        figure.subplots_adjust(0, 0.02, 1, 1 - 0.3 / height, wspace=0.04, hspace=0.16)
        for row, query, neighbours in zip(grid, queries, found):
            show_picture(row[0], resize(query, (SIDE, SIDE)))
            row[1].set_axis_off()
            for axes, (image, cosine) in zip(row[2:], neighbours):
                show_picture(axes, resize(image, (SIDE, SIDE)))
                axes.set_title(f'{cosine:.2f}', loc='center', fontsize=8, color=MUTED, pad=2)
        grid[0, 0].set_title('photo', loc='center', fontsize=9)
        return save_figure(figure, path)


def nearest_photos(features: Tensor, queries: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
    """The photos most alike, by the cosine of their features.

    Args:
        features: float ``(N, C)``, one of each photo.
        queries: numbers of the photos asked about, Q of them.
        count: wanted of each; N − 1 where that is fewer.

    Returns:
        Photos int64 ``(Q, count)`` without the one asked about, and their cosines, float alike.
    """
    unit = F.normalize(features.float(), dim=-1)
    asked = torch.as_tensor(queries)
    cosine = unit[asked] @ unit.t()
    cosine[torch.arange(len(asked)), asked] = -torch.inf
    best = cosine.topk(min(count, len(features) - 1), dim=1)
    return best.indices, best.values


def _heat(photo: Image.Image, attention: Tensor) -> Image.Image:
    """Attention as colours over the photo, which stays visible where it is weak."""
    # Not smoothed: between two patches nothing was looked at.
    large = F.interpolate(attention[None, None], (SIDE, SIDE))[0, 0].numpy()
    strength = (large / max(large.max(), 1e-12))[..., None]
    colour = 255 * colormaps['inferno'](strength[..., 0])[..., :3]
    pale = 0.35 * np.asarray(photo, np.float32).mean(-1, keepdims=True)
    mixed = pale * (1 - strength) + colour * (0.25 + 0.75 * strength)
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def _note(figure: Figure, text: str) -> None:
    figure.text(0.5, 0.01, text, ha='center', va='bottom', fontsize=8.5, color=MUTED)
