"""Photos side by side with a line above each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mmbeitv2.visualization.style import (
    evenly_spaced,
    new_figure,
    read_images,
    save_figure,
    show_picture,
    styled,
)

COLUMNS, MOST = 6, 36


def draw_photos(
    paths: Sequence[str | Path],
    titles: Sequence[str],
    picture: str | Path,
    value_range: Sequence[float] | None = None,
) -> Path:
    """Draw photos in a grid, 36 at most, chosen at equal distances.

    Args:
        paths: of the photos.
        titles: one for each.
        picture: PNG to write.
        value_range: black and white of float and 32-bit images, see ``LoadImage``.

    Returns:
        Its path.
    """
    shown = evenly_spaced(list(zip(paths, titles)), MOST)
    images = read_images([path for path, _ in shown], value_range)
    return draw_pictures(images, [title for _, title in shown], picture)


def draw_pictures(
    images: Sequence[Image.Image | np.ndarray],
    titles: Sequence[str],
    picture: str | Path,
    columns: int = COLUMNS,
) -> Path:
    """Draw all pictures in a grid.

    Args:
        images: RGB.
        titles: one for each.
        picture: PNG to write.
        columns: of the grid.

    Returns:
        Its path.
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    with styled():
        figure = new_figure(1.5 * columns, 1.7 * rows)
        grid = figure.subplots(rows, columns, squeeze=False)
        figure.subplots_adjust(0.01, 0.01, 0.99, 0.99 - 0.2 / (1.7 * rows), 0.05, 0.18)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, image, title in zip(grid.flat, images, titles):
            # A dollar sign would begin a formula.
            show_picture(axes, image, title.replace('$', r'\$'))
        return save_figure(figure, picture)
