"""What the codes of a tokenizer mean: held-out patches grouped by code."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from mmbeitv2.errors import InputError
from mmbeitv2.models.tokenizer import VQKDTokenizer
from mmbeitv2.visualization.style import (
    DPI,
    INK,
    MUTED,
    new_figure,
    save_figure,
    show_picture,
    styled,
    to_pixels,
)

IMAGES_PER_BATCH = 64
LABEL_INCHES = 1.2
TILE = 62  # pixels of one patch with its surroundings in the mosaic
# Codes of sky or blurred ground are many and show nothing.
DULLEST_SHARE = 0.5

Box = tuple[float, float, float, float]


class Patch(NamedTuple):
    """Place of a patch: number of the image, row and column in its grid."""

    image: int
    row: int
    column: int


@dataclass
class CodedImages:
    """Images with the code of every patch.

    Args:
        images: of any size, all codes refer to the whole image.
        codes: int64 ``(B, rows, columns)``.
        similarity: float32 ``(B, rows, columns)``, cosine of a patch's vector and its code.
        codebook: float32 ``(K, D)``, unit vectors.
    """

    images: Sequence[Image.Image]
    codes: Tensor
    similarity: Tensor
    codebook: Tensor


@torch.no_grad()
def encode_images(tokenizer: VQKDTokenizer, images: Sequence[Image.Image]) -> CodedImages:
    """Tokenize photos at the tokenizer's own image size.

    Args:
        tokenizer: frozen.
        images: RGB, one or more.

    Returns:
        The images with their codes.

    Raises:
        ValueError: no image.
    """
    if not images:
        raise InputError('there are 0 images, at least one is needed: check the image folder.')
    codes, similarity = [], []
    for start in range(0, len(images), IMAGES_PER_BATCH):
        batch = to_pixels(images[start : start + IMAGES_PER_BATCH], tokenizer.encoder.img_size)
        z, grid = tokenizer.encode(batch / 127.5 - 1)
        cosine, code = (F.normalize(z, dim=-1) @ tokenizer.quantize.codebook.t()).max(dim=-1)
        codes.append(code.unflatten(1, grid))
        similarity.append(cosine.unflatten(1, grid))
    return CodedImages(images, torch.cat(codes), torch.cat(similarity), tokenizer.quantize.codebook)


def choose_codes(
    coded: CodedImages, num_codes: int, images_per_code: int, interest: Tensor | None = None
) -> list[int]:
    """Codes worth looking at: in many images, not of background, alike within, unlike between.

    Of the codes that occur in at least ``images_per_code`` images, those whose patches are the
    least interesting are left out; of the rest twice as many as wanted are kept, those whose
    patches differ least in their pixels. From these, each next code is the one that looks least
    like those chosen.

    Args:
        coded: images with codes.
        num_codes: how many to choose at most.
        images_per_code: images that a code must occur in; lowered to what the data offer if fewer
            than ``num_codes`` codes reach it.
        interest: float ``(B, rows, columns)``, such as the share of a patch that an object covers;
            the contrast of its pixels by default.

    Returns:
        Codes, the most frequent first.
    """
    total = coded.codebook.shape[0]
    in_images = torch.zeros(total, dtype=torch.long)
    for code in coded.codes:
        in_images[code.unique()] += 1
    enough = min(images_per_code, int(in_images.sort(descending=True).values[:num_codes][-1]))
    candidates = (in_images >= max(1, enough)).nonzero()[:, 0]
    looks = _thumbnails(coded)
    score = looks.std(dim=1) if interest is None else interest.flatten()
    dullness = -_mean_by_code(score[:, None], coded.codes, total)[candidates, 0]
    keep = max(num_codes, round(len(candidates) * (1 - DULLEST_SHARE)))
    candidates = candidates[dullness.argsort()[:keep]]
    means = _mean_by_code(looks, coded.codes, total)
    deviation = (looks - means[coded.codes.flatten()]).square().sum(dim=1, keepdim=True)
    scatter = _mean_by_code(deviation, coded.codes, total)[candidates, 0]
    candidates = candidates[scatter.argsort()[: 2 * num_codes]]
    distances = torch.cdist(means[candidates], means[candidates])
    chosen = [0]
    while len(chosen) < min(num_codes, len(candidates)):
        apart = distances[:, chosen].min(dim=1).values
        apart[chosen] = -1
        chosen.append(int(apart.argmax()))
    counts = torch.bincount(coded.codes.flatten(), minlength=total)
    return sorted(candidates[chosen].tolist(), key=lambda code: -int(counts[code]))


def explained_looks(coded: CodedImages) -> float:
    """Share (0 to 1) of the variance of patches' pixels that knowing their code explains.

    Over all patches and codes; 1 − (variance within codes) / (variance), of 4 × 4 pixel thumbnails.
    """
    looks = _thumbnails(coded)
    means = _mean_by_code(looks, coded.codes, coded.codebook.shape[0])
    within = (looks - means[coded.codes.flatten()]).square().sum()
    return float(1 - within / (looks - looks.mean(dim=0)).square().sum())


def group_by_code(
    coded: CodedImages, codes: Sequence[int], patches_per_code: int
) -> dict[int, list[Patch]]:
    """Patches of each code, the nearest to it first, at most one from an image.

    Args:
        coded: images with codes.
        codes: wanted.
        patches_per_code: at most so many of each.

    Returns:
        Patches by code, in the order of ``codes``.
    """
    groups: dict[int, list[Patch]] = {}
    for code in codes:
        places = (coded.codes == code).nonzero()
        order = coded.similarity[coded.codes == code].argsort(descending=True)
        groups[code], seen = [], set()
        for image, row, column in places[order].tolist():
            if len(groups[code]) == patches_per_code:
                break
            if image not in seen:
                seen.add(image)
                groups[code].append(Patch(image, row, column))
    return groups


def code_mosaic(
    coded: CodedImages,
    path: str | Path,
    num_codes: int = 16,
    patches_per_code: int = 12,
    interest: Tensor | None = None,
) -> dict[int, list[Patch]]:
    """Draw held-out patches grouped by code: a row is a code, a column an image.

    Args:
        coded: RGB photos that the tokenizer was not trained on, from :func:`encode_images`.
        path: of the PNG.
        num_codes: rows, chosen by :func:`choose_codes`.
        patches_per_code: patches in a row, each from another image.
        interest: as in :func:`choose_codes`.

    Returns:
        The patches of each row.
    """
    chosen = choose_codes(coded, num_codes, patches_per_code, interest)
    groups = group_by_code(coded, chosen, patches_per_code)
    counts = torch.bincount(coded.codes.flatten(), minlength=coded.codebook.shape[0])
    tiles = {
        code: [_tile(coded.images[p.image], p, coded.codes.shape[1:]) for p in patches]
        for code, patches in groups.items()
    }
    with styled():
        tile = TILE / DPI
        figure = new_figure(LABEL_INCHES + tile * patches_per_code, tile * len(groups))
        rows = figure.subplots(len(groups), 1, squeeze=False)[:, 0]
        figure.subplots_adjust(LABEL_INCHES / figure.get_figwidth(), 0, 1, 1, hspace=0)
        for axes, (code, row) in zip(rows, tiles.items()):
            strip = np.full((TILE, TILE * patches_per_code, 3), 255, np.uint8)
            for i, pixels in enumerate(row):
                strip[3:-3, i * TILE + 3 : (i + 1) * TILE - 3] = pixels
            show_picture(axes, strip)
            place = dict(transform=axes.transAxes, ha='right', clip_on=False)
            axes.text(-0.01, 0.52, f'code {code}', weight='bold', va='bottom', color=INK, **place)
            label = f'{int(counts[code])} patches'
            axes.text(-0.01, 0.46, label, fontsize=7.5, va='top', color=MUTED, **place)
        save_figure(figure, path)
    return groups


def cell_box(patch: Patch, grid: Sequence[int], size: tuple[int, int]) -> Box:
    """Left, top, right and bottom of a patch in an image of ``size`` (width, height), in pixels."""
    height, width = size[1] / grid[0], size[0] / grid[1]
    left, top = patch.column * width, patch.row * height
    return left, top, left + width, top + height


def _tile(image: Image.Image, patch: Patch, grid: Sequence[int]) -> np.ndarray:
    """A patch with half a patch around it, paler; at a border the window stays in the image."""
    left, top, right, bottom = cell_box(patch, grid, image.size)
    width, height = right - left, bottom - top
    x = min(max(left - width / 2, 0), image.width - 2 * width)
    y = min(max(top - height / 2, 0), image.height - 2 * height)
    inner = TILE - 6
    crop = image.resize(
        (inner, inner), Image.Resampling.BICUBIC, box=(x, y, x + 2 * width, y + 2 * height)
    )
    tile = Image.blend(crop, Image.new('RGB', crop.size, 'white'), 0.5)
    box = (
        round((left - x) * inner / (2 * width)),
        round((top - y) * inner / (2 * height)),
        round((right - x) * inner / (2 * width)),
        round((bottom - y) * inner / (2 * height)),
    )
    tile.paste(crop.crop(box), box[:2])
    ImageDraw.Draw(tile).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=INK)
    return np.asarray(tile)


def _thumbnails(coded: CodedImages) -> Tensor:
    """All patches at 4 × 4 pixels, float ``(B · rows · columns, 48)`` in 0 to 1."""
    rows, columns = coded.codes.shape[1:]
    pixels = to_pixels(coded.images, (rows * 4, columns * 4)) / 255
    return F.unfold(pixels, kernel_size=4, stride=4).transpose(1, 2).flatten(0, 1)


def _mean_by_code(values: Tensor, codes: Tensor, num_codes: int) -> Tensor:
    """Means ``(K, C)`` of values ``(number of patches, C)``; 0 for codes without a patch."""
    sums = torch.zeros(num_codes, values.shape[1]).index_add_(0, codes.flatten(), values)
    counts = torch.bincount(codes.flatten(), minlength=num_codes).clamp(min=1)
    return sums / counts[:, None]
