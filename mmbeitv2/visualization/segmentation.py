"""Segmentation overlays: truth, pretrained and randomly initialised model side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.patches import Patch as Swatch
from PIL import Image

from mmbeitv2.errors import InputError
from mmbeitv2.visualization.style import (
    CLASS_COLOURS,
    MUTED,
    new_figure,
    save_figure,
    show_picture,
    styled,
)

IGNORED = 255


def overlay(image: Image.Image, labels: np.ndarray, share: float = 0.7) -> Image.Image:
    """Lay class colours over a photo; background (0) stays pale and ignored pixels are white.

    Args:
        image: RGB.
        labels: uint8 ``(H, W)`` of the image's size: class, or 255 where unlabelled.
        share: of the colour, 0 to 1.

    Returns:
        RGB of the same size.

    Raises:
        ValueError: labels of another size, or of a class without a colour.
    """
    if labels.shape != (image.height, image.width):
        raise InputError(
            f'labels have shape {labels.shape} but the image {(image.height, image.width)}: both '
            'must be equal; resize the labels with nearest neighbour.'
        )
    classes = labels[labels != IGNORED]
    if classes.size and classes.max() >= len(CLASS_COLOURS):
        raise InputError(
            f'a label is {classes.max()}, allowed: 0 to {len(CLASS_COLOURS) - 1} and {IGNORED}.'
        )
    table = np.full((256, 3), 255, np.uint8)
    table[: len(CLASS_COLOURS)] = [_rgb(colour) for colour in CLASS_COLOURS]
    pixels = np.asarray(image, np.float32)
    grey = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)
    faded = 0.45 * grey + 0.55 * 255
    background = ((labels == 0) | (labels == IGNORED))[..., None]
    coloured = (1 - share) * pixels + share * table[labels]
    return Image.fromarray(np.where(background, faded, coloured).round().astype(np.uint8))


def segmentation_overlays(
    images: Sequence[Image.Image],
    columns: Mapping[str, Sequence[np.ndarray]],
    class_names: Sequence[str],
    path: str | Path,
) -> Path:
    """Draw photos with labels laid over them, one row a photo.

    Args:
        images: RGB.
        columns: labels uint8 ``(H, W)`` of all images by title, such as truth and predictions.
        class_names: background first.
        path: of the PNG.

    Returns:
        The path.
    """
    per_row = 1 + len(columns)
    groups = 2 if len(images) > 3 else 1
    rows = -(-len(images) // groups)
    with styled():
        figure = new_figure(1.2 * per_row * groups, 1.2 * rows + 0.85)
        height = figure.get_figheight()
        edges = dict(left=0, right=1, bottom=0.5 / height, top=1 - 0.3 / height)
        blocks = figure.add_gridspec(1, groups, wspace=0.05, **edges)
        grids = [
            blocks[g].subgridspec(rows, per_row, wspace=0.04, hspace=0.04) for g in range(groups)
        ]
        for i, image in enumerate(images):
            row = i % rows
            cells = [figure.add_subplot(grids[i // rows][row, c]) for c in range(per_row)]
            if row == 0:
                for axes, title in zip(cells, ('photo', *columns)):
                    axes.set_title(title, loc='center', fontsize=8.5)
            pictures = [image, *(overlay(image, labels[i]) for labels in columns.values())]
            for axes, picture in zip(cells, pictures):
                show_picture(axes, picture)
        swatches = [
            Swatch(color=colour, label=name)
            for name, colour in list(zip(class_names, CLASS_COLOURS))[1:]
        ]
        figure.legend(
            handles=swatches,
            loc='lower center',
            ncols=len(swatches),
            fontsize=8.5,
            labelcolor=MUTED,
            handlelength=1.0,
            columnspacing=1.2,
        )
        return save_figure(figure, path)


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
