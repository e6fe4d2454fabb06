"""Survey a tokenizer's codebook over one's own photos."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.device import get_device
from torch import Tensor
from tqdm import tqdm

from mmbeitv2.apis.photos import check_rgb, for_tokenizer, read_photos
from mmbeitv2.datasets.photo_folder import find_photos, labels_of, shown_name
from mmbeitv2.errors import InputError
from mmbeitv2.evaluation.code_census import UNLABELLED, CodeCensus
from mmbeitv2.evaluation.codebook_survey import CodebookSurvey
from mmbeitv2.evaluation.exemplar_photos import choose_photos
from mmbeitv2.models import VQKDTokenizer
from mmbeitv2.visualization.style import evenly_spaced

# Remembered of each code, of which as many as EXAMPLES are shown.
CANDIDATES, EXAMPLES = 32, 12
# A code is two bytes in the page.
MOST_CODES = 2**16


@torch.no_grad()
def survey_codebook(
    tokenizer: VQKDTokenizer,
    folder: str | Path,
    labels: str | None = None,
    shown: int = 1000,
    batch_size: int = 64,
    value_range: Sequence[float] | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> CodebookSurvey:
    """Find out what each code of a tokenizer stands for in the photos of a folder.

    All photos are coded once, batch by batch; memory does not grow with them, but for their paths.
    Then photos are chosen that hold examples of every code, see
    :func:`mmbeitv2.evaluation.exemplar_photos.choose_photos`. A code's examples are the patches
    nearest to it by cosine, at most one from a photo.

    Args:
        tokenizer: of :func:`mmbeitv2.apis.load_tokenizer`; it is moved to this machine's device.
        folder: with photos, or files of them, see
            :func:`mmbeitv2.datasets.photo_list.list_photos`. Their centre is coded, at the
            tokenizer's own image size.
        labels: ``'folders'`` or a CSV file, see
            :func:`mmbeitv2.datasets.photo_folder.labels_of`; None for no labels.
        shown: photos to show; more where codes are so many that the first examples need them.
        batch_size: photos coded at a time.
        value_range: black and white of photos of float or 32-bit numbers, see ``LoadImage``.
        image_column: of tables; None for their only column of image files.
        label_column: likewise, of ``'folders'``; None for the only one whose classes have names,
            or ``label``.

    Returns:
        What :func:`mmbeitv2.reports.atlas.write_atlas` makes a page of.

    Raises:
        FileNotFoundError: no such folder or table, or a table that names missing photos.
        ValueError: no photos, or a codebook of more than 65536 codes.
        OSError: a file that is no photo.
    """
    check_rgb(tokenizer.encoder, 'the tokenizer')
    _check(tokenizer, shown, batch_size)
    photos = find_photos(folder, image_column)
    named: list[str | None] = [None] * len(photos)
    if labels is not None:
        named = labels_of(photos, folder, labels, image_column, label_column)
    classes = sorted({label for label in named if label is not None})
    # The whole photo would be squeezed to a square; its centre keeps its proportions.
    side = min(tokenizer.encoder.img_size)
    tokenizer.to(get_device())
    batches_of = partial(_batches, side=side, size=batch_size, value_range=value_range)
    census = _counted(tokenizer, batches_of(photos, what='coding photos'), named, classes)
    chosen = _shown_photos(census, len(photos), shown)
    files = [photos[i] for i in chosen]
    again = batches_of(files, what='coding photos shown')
    grids = torch.cat([_encode(tokenizer, pixels)[0] for _, pixels in again])
    return CodebookSurvey(
        codebook=tokenizer.quantize.codebook.cpu(),
        census=census,
        grid=(grids.shape[1], grids.shape[2]),
        side=side,
        photos=files,
        names=[shown_name(path, folder) for path in files],
        labels=[named[i] for i in chosen],
        codes=grids,
        exemplars=_exemplars(census, chosen),
        classes=classes,
        value_range=value_range,
    )


def _check(tokenizer: VQKDTokenizer, shown: int, batch_size: int) -> None:
    num_codes = tokenizer.quantize.num_codes
    if num_codes > MOST_CODES:
        raise InputError(f'the tokenizer has {num_codes} codes, allowed are {MOST_CODES} at most.')
    for name, value in dict(shown=shown, batch_size=batch_size).items():
        if value < 1:
            raise InputError(f'{name} is {value}, allowed: 1 photo or more.')


def _shown_photos(census: CodeCensus, count: int, shown: int) -> list[int]:
    """Photos with the examples of every code, then others at equal distances."""
    chosen = choose_photos(census.best_photo, shown, EXAMPLES)
    rest = sorted(set(range(count)) - set(chosen))
    return [*chosen, *evenly_spaced(rest, max(0, shown - len(chosen)))]


def _counted(
    tokenizer: VQKDTokenizer,
    batches: Iterator[tuple[int, Tensor]],
    labels: Sequence[str | None],
    classes: Sequence[str],
) -> CodeCensus:
    """Census of the codes of all photos, and of the classes that they are found in."""
    numbers = {label: number for number, label in enumerate(classes)}
    numbered = torch.tensor([UNLABELLED if label is None else numbers[label] for label in labels])
    census = CodeCensus(tokenizer.quantize.num_codes, len(classes), CANDIDATES)
    for start, pixels in batches:
        codes, similarity = _encode(tokenizer, pixels)
        rows, columns = codes.shape[1:]
        colours = F.adaptive_avg_pool2d(pixels.float(), (rows, columns))
        census.add(codes, similarity, colours, numbered[start : start + len(pixels)])
    return census


def _batches(
    photos: Sequence[str],
    side: int,
    size: int,
    value_range: Sequence[float] | None,
    what: str,
) -> Iterator[tuple[int, Tensor]]:
    """Number of the first photo of each batch, and pixels uint8 ``(B, 3, side, side)``."""
    with tqdm(total=len(photos), desc=what, unit='photo', leave=False) as progress:
        for start in range(0, len(photos), size):
            pixels = read_photos(photos[start : start + size], side, value_range)
            yield start, pixels
            progress.update(len(pixels))


def _encode(tokenizer: VQKDTokenizer, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Codes and the cosine of a patch's vector and its code, ``(B, rows, columns)``, on the CPU."""
    z, grid = tokenizer.encode(for_tokenizer(pixels.to(tokenizer.encoder.cls_token.device)))
    similarity = F.normalize(z, dim=-1) @ tokenizer.quantize.codebook.t()
    best, code = similarity.max(dim=-1)
    return code.unflatten(1, grid).cpu(), best.unflatten(1, grid).cpu()


def _exemplars(census: CodeCensus, chosen: Sequence[int]) -> list[list[tuple[int, int]]]:
    place = {photo: number for number, photo in enumerate(chosen)}
    pairs = zip(census.best_photo.tolist(), census.best_cell.tolist())
    found = ([(place[photo], cell) for photo, cell in zip(*row) if photo in place] for row in pairs)
    return [row[:EXAMPLES] for row in found]
