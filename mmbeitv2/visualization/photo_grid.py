"""Photos side by side with a line under each."""

from collections.abc import Sequence
from pathlib import Path

from mmbeitv2.visualization.style import (
    evenly_spaced,
    new_figure,
    read_images,
    save_figure,
    show_picture,
    styled,
)

COLUMNS, MOST = 6, 36


def draw_photos(paths: Sequence[Path], titles: Sequence[str], picture: str | Path) -> Path:
    """Draw photos in a grid, 36 at most, chosen at equal distances.

    Args:
        paths: of the photos.
        titles: one for each.
        picture: PNG to write.

    Returns:
        Its path.
    """
    shown = evenly_spaced(list(zip(paths, titles)), MOST)
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    with styled():
        figure = new_figure(1.5 * columns, 1.7 * rows)
        grid = figure.subplots(rows, columns, squeeze=False)
        figure.subplots_adjust(0.01, 0.01, 0.99, 0.99 - 0.2 / (1.7 * rows), 0.05, 0.18)
        for axes in grid.flat:
            axes.set_axis_off()
        images = read_images([path for path, _ in shown])
        for axes, image, (_, title) in zip(grid.flat, images, shown):
            # A dollar sign would begin a formula.
            show_picture(axes, image, title.replace('$', r'\$'))
        return save_figure(figure, picture)
