"""What photos there are, of which kinds, before anything is trained on them."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F

from mmbeitv2.datasets.center_crop import LoadCenterCrop
from mmbeitv2.datasets.decoding import check_value_range, open_image, reason_of
from mmbeitv2.datasets.listing import LeftOut, is_text, photo_path
from mmbeitv2.datasets.photo_sources import Source, find_sources
from mmbeitv2.errors import UserError

# Side of the centre that is compared, and rows of its differences of neighbouring cells.
SIDE, ROWS = 72, 8
CHUNK = 16
NO_LINE = (
    'its name holds a line break, or begins or ends with white space, which no line of a list can '
    'hold: rename it'
)
NO_TEXT = 'its name is no UTF-8 text, which a list needs: rename it'

Result = TypeVar('Result')


class Photo(NamedTuple):
    """A file that can be read.

    Attributes:
        name: as in :class:`mmbeitv2.datasets.photo_sources.PhotoSources`.
        short_side: in pixels.
        mode: Pillow's name of its channels, such as ``'RGB'``, ``'L'``.
        look: 64 bits that photos of the same look share.
    """

    name: str
    short_side: int
    mode: str
    look: int


@dataclass
class Survey:
    """What was found.

    Args:
        folder: what names are relative to; None where none is relative.
        photos: that can be read, in order of their names.
        unreadable: reason by name of the others.
        left_out: files that are no photos.
        shown: what was looked at, for the reader.
    """

    folder: Path | None
    photos: list[Photo]
    unreadable: dict[str, str] = field(default_factory=dict)
    left_out: LeftOut = field(default_factory=LeftOut)
    shown: str = 'the source'

    @property
    def short_side(self) -> int:
        """Median, in pixels."""
        return int(np.median([photo.short_side for photo in self.photos]))

    @property
    def different(self) -> int:
        """Number of photos of another look than any before them."""
        return len({photo.look for photo in self.photos})

    def __str__(self) -> str:
        sides = [photo.short_side for photo in self.photos]
        modes = Counter(photo.mode for photo in self.photos)
        kinds = ', '.join(f'{count:,} {mode}' for mode, count in modes.most_common())
        text = f'{len(self.photos):,} photos'
        if sides:
            text += f' ({kinds}), short side {min(sides)} to {max(sides)}, '
            text += f'half of them up to {self.short_side} pixels'
        if twins := len(self.photos) - self.different:
            text += f'; {twins:,} look like an earlier one'
        if self.unreadable:
            first, reason = next(iter(self.unreadable.items()))
            text += f'; {len(self.unreadable):,} cannot be read, such as {first} ({reason})'
        return text + (f'; {self.left_out}' if self.left_out.names else '')


def survey(
    source: Source,
    workers: int = 1,
    value_range: Sequence[float] | None = None,
    progress: Callable[[Iterator[Any], int], Iterator[Any]] = lambda found, total: found,
    image_column: str | None = None,
) -> Survey:
    """Read every photo once, as training does.

    Args:
        source: see :func:`mmbeitv2.datasets.photo_sources.find_sources`.
        workers: processes that read.
        value_range: black and white of float and 32-bit images, see ``LoadImage``.
        progress: wraps the iterator over the photos, of which it is told the number, such as a bar.
        image_column: of tables; None for their only column of image files.

    Raises:
        UserError: no such source, a damaged one, or one without photos.
    """
    # Otherwise every photo would be blamed.
    check_value_range(value_range)
    sources = find_sources(source, image_column)
    names = sources.names
    result = Survey(sources.folder, [], left_out=sources.left_out, shown=sources.shown)
    look = partial(_look_at, folder=sources.folder or Path(), value_range=value_range)
    for name, found in progress(in_processes(look, names, workers), len(names)):
        if isinstance(found, Photo):
            result.photos.append(found)
        else:
            result.unreadable[name] = found
    result.photos.sort()
    return result


def hold_out(photos: Sequence[Photo], count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Part photos into those to train on and about ``count`` held-out ones, in order of names.

    Photos of one look stay together: a copy of a training photo would measure memory.

    Args:
        photos: of a survey.
        count: of held-out photos, fewer than there are; more by the twins of the last one.
        seed: of the draw.
    """
    by_look: dict[int, list[str]] = {}
    for photo in photos:
        by_look.setdefault(photo.look, []).append(photo.name)
    looks = list(by_look)
    held_out: list[str] = []
    for number in np.random.default_rng(seed).permutation(len(looks)):
        if len(held_out) >= count:
            break
        held_out += by_look[looks[number]]
    kept = set(held_out)
    return [photo.name for photo in photos if photo.name not in kept], sorted(held_out)


def in_processes(
    look: Callable[[str], Result], names: Sequence[str], workers: int
) -> Iterator[Result]:
    """What a function makes of each photo, in order, by several processes.

    Args:
        look: a function that can be sent to another process, of a name.
        names: of the photos.
        workers: processes; 1 for this one.
    """
    if workers == 1:
        yield from map(look, names)
        return
    with ProcessPoolExecutor(workers) as pool:
        # In parts, since the pool would take all names at once, and end only after them.
        part = CHUNK * workers * 16
        for begin in range(0, len(names), part):
            yield from pool.map(look, names[begin : begin + part], chunksize=CHUNK)


def _look_at(
    name: str, folder: Path, value_range: Sequence[float] | None
) -> tuple[str, Photo | str]:
    """Name of a file and what it is, or why it cannot be read."""
    if [name] != name.strip().splitlines():
        return name, NO_LINE
    if not is_text(name):
        return name, NO_TEXT
    path = photo_path(folder, name)
    try:
        with warnings.catch_warnings():
            # Of files that are large or odd, but readable.
            warnings.simplefilter('ignore')
            image, _ = open_image(path)
            centre = LoadCenterCrop(SIDE, value_range=value_range).transform(dict(img_path=path))
    except UserError as error:
        return name, reason_of(error)
    return name, Photo(name, min(image.size), image.mode, look_of(centre['img']))


def look_of(pixels: torch.Tensor) -> int:
    """Difference hash: of each of 8 × 9 cells but the last in a row, whether the next is brighter.

    Copies of another size or compression have the same bits, but for rare ones at the edge of it.

    Args:
        pixels: uint8 ``(3, H, W)``.
    """
    cells = F.adaptive_avg_pool2d(pixels.float().mean(0)[None], (ROWS, ROWS + 1))[0]
    # A plain surface must not hang on rounding.
    brighter = (cells[:, 1:] - cells[:, :-1] > 0.5).flatten().numpy()
    return int.from_bytes(np.packbits(brighter).tobytes(), 'big')
