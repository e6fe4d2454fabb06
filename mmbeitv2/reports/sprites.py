"""Many small pictures in few: sheets of photos and of patches, as large as a page has room for."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mmbeitv2.datasets import LoadCenterCrop
from mmbeitv2.datasets.decoding import image_size
from mmbeitv2.evaluation.codebook_survey import CodebookSurvey
from mmbeitv2.visualization.codes import Patch, cell_box
from mmbeitv2.visualization.style import INK, evenly_spaced

PHOTO_SIDES = (320, 256, 224, 192, 160, 128, 96, 64)
PHOTO_COLUMNS, FACE_COLUMNS = 4, 16
QUALITY = 80
SAMPLE = 16
# Base64 writes three bytes as four.
BASE64 = 4 / 3
# Sides of faces, for so many used codes at most: larger ones are sharp on any screen.
FACE_SIDES = ((1024, 96), (10_000, 64), (10**9, 48))
# Room that is kept for faces, in bytes a pixel: more than twice what patches of photos took.
FACE_BYTES_A_PIXEL = 0.45


@dataclass
class Sprites:
    """Sheets of square pictures, JPEG, of ``columns`` in a row.

    Args:
        columns: pictures in a row, and rows in a full sheet.
        side: of a picture in pixels.
        sheets: files, in order.
    """

    columns: int
    side: int
    sheets: list[bytes] = field(default_factory=list)

    @property
    def bytes_in_page(self) -> int:
        """As data URIs."""
        return int(sum(len(sheet) for sheet in self.sheets) * BASE64)


def draw_sprites(survey: CodebookSurvey, budget: int) -> tuple[Sprites, Sprites]:
    """The photos that are shown, and the face of each used code: the patch nearest to it.

    A face has half a patch around it, paler. Every photo is read once.

    Args:
        survey: of a codebook.
        budget: bytes that both may take in the page.

    Returns:
        Sheets of photos and of faces; those of used codes, in their order.
    """
    used = survey.used.nonzero()[:, 0].tolist()
    face = next(side for most, side in FACE_SIDES if len(used) <= most)
    room = budget - len(used) * face**2 * FACE_BYTES_A_PIXEL * BASE64
    side = photo_side(survey, room)
    wanted: list[list[Any]] = [[] for _ in survey.photos]
    for number, code in enumerate(used):
        photo, cell = survey.exemplars[code][0]
        wanted[photo].append((number, cell))
    faces = np.zeros((len(used), face, face, 3), np.uint8)
    photos = _Sheet(PHOTO_COLUMNS, side)
    # As fine as a face can show, which has two patches in its width.
    large = max(side, survey.grid[0] * face // 2)
    for number, image in enumerate(_read(survey, survey.photos, large)):
        photos.add(image.resize((side, side), Image.Resampling.LANCZOS))
        for place, cell in wanted[number]:
            patch = Patch(number, *divmod(cell, survey.grid[1]))
            faces[place] = _face(image, patch, survey.grid, face)
    sheets = _Sheet(FACE_COLUMNS, face)
    for pixels in faces:
        sheets.add(Image.fromarray(pixels))
    return photos.finish(), sheets.finish()


def photo_side(survey: CodebookSurvey, budget: float) -> int:
    """The largest side of a photo at which all that are shown fit a budget.

    Sixteen of them are tried. No side beyond the files' own is worth its bytes.

    Args:
        survey: of a codebook.
        budget: bytes that the photos may take in the page.
    """
    paths = evenly_spaced(survey.photos, SAMPLE)
    sample = list(_read(survey, paths, PHOTO_SIDES[0]))
    own = max(min(image_size(path)) for path in paths)
    for side in PHOTO_SIDES:
        shrunk = (image.resize((side, side), Image.Resampling.LANCZOS) for image in sample)
        mean = sum(len(_jpeg(image)) for image in shrunk) / len(sample)
        if side < 1.4 * max(own, survey.side) and mean * len(survey.photos) * BASE64 <= budget:
            return side
    return PHOTO_SIDES[-1]


class _Sheet:
    def __init__(self, columns: int, side: int) -> None:
        self.sprites = Sprites(columns, side)
        self.waiting: list[Image.Image] = []

    def add(self, image: Image.Image) -> None:
        self.waiting.append(image)
        if len(self.waiting) == self.sprites.columns**2:
            self._write()

    def finish(self) -> Sprites:
        if self.waiting:
            self._write()
        return self.sprites

    def _write(self) -> None:
        columns, side = self.sprites.columns, self.sprites.side
        # A whole sheet even if it is not full, so that all have one layout.
        sheet = Image.new('RGB', (columns * side, columns * side), 'white')
        for number, image in enumerate(self.waiting):
            row, column = divmod(number, columns)
            sheet.paste(image, (column * side, row * side))
        self.sprites.sheets.append(_jpeg(sheet))
        self.waiting = []


def _read(survey: CodebookSurvey, paths: Sequence[str], side: int) -> Iterator[Image.Image]:
    load = LoadCenterCrop(side, value_range=survey.value_range)
    for path in paths:
        pixels = load.transform(dict(img_path=path))['img']
        yield Image.fromarray(pixels.permute(1, 2, 0).numpy())


def _face(image: Image.Image, patch: Patch, grid: Sequence[int], side: int) -> np.ndarray:
    left, top, right, bottom = cell_box(patch, grid, image.size)
    width, height = right - left, bottom - top
    # At a border the window stays in the photo, so that the patch lies beside its centre.
    x = min(max(left - width / 2, 0), max(0, image.width - 2 * width))
    y = min(max(top - height / 2, 0), max(0, image.height - 2 * height))
    box = (x, y, min(x + 2 * width, image.width), min(y + 2 * height, image.height))
    crop = image.resize((side, side), Image.Resampling.BICUBIC, box=box)
    scale = side / (box[2] - box[0]), side / (box[3] - box[1])
    ends = zip((left, top, right, bottom), (x, y, x, y), (*scale, *scale))
    x1, y1, x2, y2 = (round((value - origin) * factor) for value, origin, factor in ends)
    face = Image.blend(crop, Image.new('RGB', crop.size, 'white'), 0.4)
    face.paste(crop.crop((x1, y1, x2, y2)), (x1, y1))
    frame = (x1, y1, x2 - 1, y2 - 1)
    ImageDraw.Draw(face).rectangle(frame, outline=INK)
    return np.asarray(face)


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', quality=QUALITY, optimize=True)
    return buffer.getvalue()
