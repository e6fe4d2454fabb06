"""Class maps of any number of classes as pictures; needs no matplotlib."""

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image

from mmbeitv2.errors import InputError

# Successive hues by the golden ratio differ, however many there are.
GOLDEN_RATIO = 0.618034


def colours_of(num_classes: int, palette: Sequence[Sequence[int]] | None = None) -> np.ndarray:
    """RGB of each class, uint8 ``(K, 3)``: the data set's palette, else hues that differ.

    Args:
        num_classes: K.
        palette: a colour a class, or None.

    Raises:
        ValueError: the palette has another number of colours.
    """
    if palette is None:
        hues = (np.arange(num_classes) * GOLDEN_RATIO) % 1
        levels = (0.95, 0.7, 0.85)
        colours = [colorsys.hsv_to_rgb(h, 0.75, levels[i % 3]) for i, h in enumerate(hues)]
        return (255 * np.array(colours).reshape(-1, 3)).round().astype(np.uint8)
    if len(palette) != num_classes:
        raise InputError(
            f'the palette has {len(palette)} colours, but there are {num_classes} classes: give '
            'one for each'
        )
    return np.array(palette, np.uint8)


def as_palette_image(labels: np.ndarray, colours: np.ndarray) -> Image.Image:
    """Image whose pixels are the classes' numbers, shown in their colours.

    Beyond 256 classes it has 16 bits and no colours, which PNG's palettes end at.

    Args:
        labels: integers ``(H, W)``.
        colours: uint8 ``(K, 3)``.
    """
    if len(colours) > 256:
        return Image.fromarray(labels.astype(np.uint16))
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(colours.tobytes())
    return image


def lay_over(
    pixels: np.ndarray, labels: np.ndarray, colours: np.ndarray, share: float = 0.5
) -> np.ndarray:
    """Colours of the classes over a photo, uint8 ``(H, W, 3)``.

    Args:
        pixels: uint8 RGB ``(H, W, 3)``.
        labels: classes ``(H, W)``.
        colours: uint8 ``(K, 3)``.
        share: of the colours, 0 to 1.

    Raises:
        ValueError: labels of another size.
    """
    if labels.shape != pixels.shape[:2]:
        raise InputError(
            f'labels have shape {labels.shape} but the photo {pixels.shape[:2]}: both must be '
            'equal; resize the labels with nearest neighbour.'
        )
    mixed = (1 - share) * pixels.astype(np.float32) + share * colours[labels]
    return mixed.round().astype(np.uint8)
