"""Look at a pretrained model through one's own photos: four figures."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.device import get_device
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from mmbeitv2.apis.inference import extract_features
from mmbeitv2.apis.photos import check_rgb, for_model, read_photos
from mmbeitv2.datasets import BlockMask, LoadCenterCrop
from mmbeitv2.datasets.photo_batches import check_unread, read_batches
from mmbeitv2.datasets.photo_list import list_photos
from mmbeitv2.errors import InputError, MissingFileError, UnreadableFileError
from mmbeitv2.models import BEiTV2
from mmbeitv2.models.attention_maps import check_layer, cls_attention
from mmbeitv2.models.position import Grid
from mmbeitv2.visualization.codes import encode_images
from mmbeitv2.visualization.features import (
    draw_attention,
    draw_features,
    draw_neighbours,
    nearest_photos,
)
from mmbeitv2.visualization.masking import mask_predictions
from mmbeitv2.visualization.style import evenly_spaced

BATCH = 64
# As in the paper, 75 of 196 patches, in blocks of 16 and more.
MASKED, BLOCK = 75 / 196, 16 / 75
# Whose patches stand for codes: enough to show the common ones.
REFERENCES = 256


class Shown(NamedTuple):
    """What :func:`show_model` has drawn.

    Attributes:
        figures: their paths.
        unread: name and reason of photos that could not be read and are left out.
        photos: how many there were.
    """

    figures: list[Path]
    unread: list[tuple[str, str]]
    photos: int


def show_model(
    model: BEiTV2,
    folder: str | Path,
    out: str | Path,
    count: int = 6,
    neighbours: int = 6,
    layer: int = -1,
    photo: str | Path | None = None,
    seed: int = 0,
    value_range: Sequence[float] | None = None,
    image_column: str | None = None,
    max_unreadable: float = 0.01,
) -> Shown:
    """Draw what a pretrained model makes of the photos of a folder.

    - ``features.png``: patch features as colours, of one principal component analysis.
    - ``attention.png``: what [CLS] takes from the patches, by head.
    - ``codes.png``: masked photos with the codes predicted; only with a tokenizer.
    - ``neighbours.png``: the photos of the folder most alike, by the cosine of [CLS].

    Args:
        model: result of :func:`mmbeitv2.apis.load_pretrained`; it is moved to this machine's
            device.
        folder: with photos, or files of them, see
            :func:`mmbeitv2.datasets.photo_list.list_photos`. Their centre is seen, at the model's
            own image size.
        out: folder of the figures; it is made.
        count: photos drawn, at equal distances in the folder.
        neighbours: of each photo.
        layer: whose attention is drawn, see :func:`mmbeitv2.models.attention_maps.cls_attention`.
        photo: of the folder, drawn alone instead of ``count`` ones.
        seed: of the masks.
        value_range: black and white of photos of float or 32-bit numbers, see ``LoadImage``.
        image_column: of tables; None for their only column of image files.
        max_unreadable: share of photos that may be unreadable; they are left out.

    Raises:
        FileNotFoundError: no such folder, or ``photo`` is not in it.
        ValueError: fewer than two photos, or an argument out of range.
        OSError: more photos cannot be read than are borne, or ``photo`` cannot.
    """
    check_unread((), (), max_unreadable)
    check_layer(model.backbone, layer)
    check_rgb(model.backbone, 'the model')
    if model.target_generator is not None:
        check_rgb(model.target_generator.encoder, 'its tokenizer')
    found = _some_photos(folder, count, neighbours, image_column)
    chosen = None if photo is None else found[_number_of(photo, found, folder)]
    model.to(get_device())
    load = LoadCenterCrop(model.backbone.img_size[0], value_range=value_range)
    photos, tokens, unread = _cls_tokens(model, found, load, max_unreadable)
    shown = _shown(photos, folder, count, chosen, unread)
    read = partial(read_photos, size=model.backbone.img_size[0], value_range=value_range)
    pixels = read([photos[i] for i in shown])
    images = [_image(one) for one in pixels]
    out = Path(out)
    figures, grid = _draw_patches(model, images, pixels, layer, out)
    if model.target_generator is not None:
        masks = _masks(len(images), grid, seed)
        others = evenly_spaced(sorted(set(range(len(photos))) - set(shown)), REFERENCES)
        figures.append(out / 'codes.png')
        _draw_codes(model, images, masks, read([photos[i] for i in others]), figures[-1])
    alike = _alike(tokens, photos, shown, neighbours, read)
    figures.append(draw_neighbours(images, alike, out / 'neighbours.png'))
    return Shown(figures, unread, len(found))


def _some_photos(
    folder: str | Path, count: int, neighbours: int, image_column: str | None
) -> list[str]:
    for name, value in dict(count=count, neighbours=neighbours).items():
        if value < 1:
            raise InputError(f'{name} is {value}, allowed: 1 or more, such as 6.')
    photos = list_photos(folder, image_column).paths
    _check_enough(photos, folder)
    return photos


def _check_enough(photos: Sequence[str], folder: str | Path, which: str = '') -> None:
    if len(photos) < 2:
        raise InputError(
            f"'{folder}' has {len(photos)} photo{which}, needed are 2 or more: neighbours and the "
            'patches that stand for codes come from other photos.'
        )


def _shown(
    photos: Sequence[str],
    folder: str | Path,
    count: int,
    chosen: str | None,
    unread: Sequence[tuple[str, str]],
) -> list[int]:
    """Numbers of the photos to draw; at most half, so that others remain to compare with."""
    _check_enough(photos, folder, ' that can be read')
    if chosen is None:
        return evenly_spaced(range(len(photos)), min(count, len(photos) // 2))
    if chosen in dict(unread):
        raise UnreadableFileError(
            f"'{chosen}' cannot be read: {dict(unread)[chosen]}. Name another photo"
        )
    return [photos.index(chosen)]


def _number_of(photo: str | Path, photos: Sequence[str], folder: str | Path) -> int:
    for number, path in enumerate(photos):
        if path == str(photo) or _same_file(path, photo):
            return number
    raise MissingFileError(f"'{photo}' is no photo of '{folder}': name one that lies in it.")


def _same_file(path: str, other: str | Path) -> bool:
    return '://' not in path and Path(other).exists() and Path(path).samefile(other)


def _image(pixels: Tensor) -> Image.Image:
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def _draw_patches(
    model: BEiTV2, images: Sequence[Image.Image], pixels: Tensor, layer: int, out: Path
) -> tuple[list[Path], Grid]:
    """Draw patch features and the attention of [CLS]; figures, and the grid of patches."""
    views = for_model(model, pixels)
    attention = cls_attention(model.backbone, views, layer).cpu()
    rows, columns = attention.shape[-2:]
    features = extract_features(model, views)['patch_tokens'].cpu().unflatten(1, (rows, columns))
    figures = [
        draw_features(images, features, out / 'features.png'),
        draw_attention(images, attention, out / 'attention.png'),
    ]
    return figures, (rows, columns)


def _draw_codes(
    model: BEiTV2, images: list[Image.Image], masks: Tensor, references: Tensor, path: Path
) -> None:
    """Masked images with the codes predicted, which patches of ``references`` stand for."""
    model.cpu()
    coded = encode_images(model.target_generator, [_image(one) for one in references])
    mask_predictions(model, images, masks, coded, path)
    model.to(get_device())


def _alike(
    tokens: Tensor,
    photos: Sequence[str],
    shown: Sequence[int],
    neighbours: int,
    read: Callable[[Sequence[str]], Tensor],
) -> list[list[tuple[Image.Image, float]]]:
    """The photos most like each one that is shown, and their cosines."""
    best, cosine = nearest_photos(tokens, shown, neighbours)
    return [
        list(zip(map(_image, read([photos[i] for i in row])), values))
        for row, values in zip(best.tolist(), cosine.tolist())
    ]


def _cls_tokens(
    model: BEiTV2, photos: Sequence[str], load: LoadCenterCrop, max_unreadable: float
) -> tuple[list[str], Tensor, list[tuple[str, str]]]:
    """Photos that can be read, their [CLS], float32 ``(N, C)`` on the CPU; the others, and why."""
    batches = [range(len(photos))[i : i + BATCH] for i in range(0, len(photos), BATCH)]
    progress = tqdm(batches, desc='photos to compare', unit='batch', leave=False)
    readable: list[str] = []
    tokens: list[Tensor] = []
    unread: list[tuple[int, str]] = []
    for batch in read_batches(photos, load, progress):
        unread += batch.unread
        check_unread(photos, unread, max_unreadable)
        if batch.items:
            readable += [photos[i] for i in batch.positions]
            views = for_model(model, torch.stack([item['img'] for item in batch.items]))
            tokens.append(extract_features(model, views)['cls_token'].cpu())
    return readable, torch.cat(tokens), [(photos[i], reason) for i, reason in unread]


def _masks(count: int, grid: Sequence[int], seed: int) -> Tensor:
    """Masks in the paper's proportions, bool ``(count, rows, columns)``."""
    masked = max(1, round(MASKED * grid[0] * grid[1]))
    block = min(max(1, round(BLOCK * masked)), (grid[0] - 1) * (grid[1] - 1))
    mask = BlockMask(tuple(grid), masked, block)
    with _seeded(seed):
        return torch.stack([mask.transform({})['mask'] for _ in range(count)])


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Python's random numbers from a seed, and afterwards as if none had been drawn."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
