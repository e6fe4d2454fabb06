"""Where the codes of a photo lie: its patches coloured by code."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mmbeitv2.visualization.codes import CodedImages
from mmbeitv2.visualization.style import (
    evenly_spaced,
    new_figure,
    resize,
    save_figure,
    show_picture,
    styled,
)


def code_maps(coded: CodedImages, path: str | Path, count: int = 8) -> Path:
    """Draw photos above their patches coloured by code; similar codes have similar colours.

    Args:
        coded: RGB photos with codes; equally spaced ones are shown.
        path: of the PNG.
        count: photos shown.

    Returns:
        The path.
    """
    shown = evenly_spaced(range(len(coded.images)), count)
    colours = code_colours(coded.codebook)
    with styled():
        figure = new_figure(1.28 * len(shown), 2.6)
        grid = figure.subplots(2, len(shown), squeeze=False)
        figure.subplots_adjust(0, 0, 1, 1, wspace=0.05, hspace=0.05)
        for column, index in enumerate(shown):
            photo = resize(coded.images[index], (160, 160))
            show_picture(grid[0, column], photo)
            show_picture(grid[1, column], paint_codes(photo, coded.codes[index], colours))
        return save_figure(figure, path)


def code_colours(codebook: Tensor) -> np.ndarray:
    """RGB of every code, float ``(K, 3)`` in 0 to 1, alike for codes of similar direction.

    The three main directions of the codebook, each spread evenly over the range of its channel.
    """
    centred = codebook.float() - codebook.float().mean(dim=0)
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:3]
    ranks = (centred @ directions.t()).argsort(dim=0).argsort(dim=0).float()
    return (0.08 + 0.87 * ranks / max(1, len(codebook) - 1)).numpy()


def paint_codes(
    image: Image.Image, codes: Tensor, colours: np.ndarray, share: float = 0.72
) -> Image.Image:
    """Lay the colour of each patch's code over the photo.

    Args:
        image: RGB.
        codes: int64 ``(rows, columns)``.
        colours: of :func:`code_colours`.
        share: of the colour, 0 to 1; the photo has the rest.

    Returns:
        RGB of the photo's size.
    """
    cells = Image.fromarray((255 * colours[codes.numpy()]).round().astype(np.uint8))
    return Image.blend(image, cells.resize(image.size, Image.Resampling.NEAREST), share)
