"""One look for all pictures: palette, fonts, how figures become files and photos tensors."""

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from mmbeitv2.datasets.decoding import read_rgb

INK = '#1f2933'
MUTED = '#6b7785'
HAIRLINE = '#dfe3e8'
OURS = '#2563eb'
RANDOM = '#e8890c'
SECOND = '#0d9488'
RIGHT = '#15a34a'
NEAR = '#f2b705'
WRONG = '#dc2626'
# Of background and eight classes; hues and lightness differ.
CLASS_COLOURS = (
    '#9aa5b1',
    '#2563eb',
    '#12b5cb',
    '#e11d8f',
    '#f2b705',
    '#7c3aed',
    '#dc2626',
    '#15a34a',
    '#1f2933',
)

DPI = 130
MAX_BYTES = 480_000
# The keys are Any, since matplotlib's types list the name of every setting.
RC: dict[Any, Any] = {
    'font.family': 'DejaVu Sans',
    'font.size': 9,
    'text.color': INK,
    'axes.edgecolor': HAIRLINE,
    'axes.labelcolor': MUTED,
    'axes.titlecolor': INK,
    'axes.titlesize': 10,
    'axes.titleweight': 'bold',
    'axes.titlelocation': 'left',
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'grid.color': HAIRLINE,
    'grid.linewidth': 0.7,
    'xtick.color': MUTED,
    'ytick.color': MUTED,
    'legend.frameon': False,
    'lines.linewidth': 1.8,
}


def styled() -> AbstractContextManager[Any]:
    """Context in which figures get the common look; matplotlib's own settings return after it."""
    return rc_context(RC)


def new_figure(width: float, height: float) -> Figure:
    """Figure of ``width`` × ``height`` inches, drawn without a display and freed with its name."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor='white')
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a PNG of at most 480 kB.

    A larger one loses low bits of its colours, which nobody sees in a photo, then size.

    Args:
        figure: to draw.
        path: of the PNG; folders are made.

    Returns:
        The path.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI, facecolor='white')
    picture = Image.open(buffer).convert('RGB')
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)
    scale, step = 1.0, 4
    while path.stat().st_size > MAX_BYTES:
        size = [round(side * scale) for side in picture.size]
        pixels = np.asarray(picture.resize(size, Image.Resampling.LANCZOS), np.float32)
        coarse = (pixels / step).round() * step
        Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).save(path, optimize=True)
        if step < 8:
            step *= 2
        else:
            scale *= 0.93
    return path


def show_picture(axes: Axes, pixels: np.ndarray | Image.Image, title: str = '') -> None:
    """Fill ``axes`` with an image, no ticks nor frame."""
    axes.imshow(pixels, interpolation='lanczos')
    axes.set_axis_off()
    if title:
        axes.set_title(title, loc='center', fontsize=9)


def read_images(
    paths: Sequence[str | Path], value_range: Sequence[float] | None = None
) -> list[Image.Image]:
    """Read RGB photos, as training does.

    Args:
        paths: of the photos.
        value_range: black and white of float and 32-bit images, see ``LoadImage``.

    Raises:
        FileNotFoundError: names the first missing file.
    """
    return [read_rgb(path, value_range=value_range) for path in paths]


def evenly_spaced(items: Sequence[Any], count: int) -> list[Any]:
    """``count`` items at equal distances (all of them if there are fewer): a choice nobody made."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Bicubic with anti-aliasing, to ``(height, width)``, as the validation pipelines do."""
    return image.resize((size[1], size[0]), Image.Resampling.BICUBIC)


def to_pixels(images: Sequence[Image.Image], size: tuple[int, int]) -> Tensor:
    """Pixels 0 to 255, float32 ``(B, 3, height, width)``."""
    stack = np.stack([np.asarray(resize(image, size)) for image in images])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).float()
