"""Survey a tokenizer's codebook over one's own photos."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.device import get_device
from torch import Tensor
from tqdm import tqdm

from mmbeitv2.apis.photos import check_rgb, for_tokenizer
from mmbeitv2.datasets import LoadCenterCrop
from mmbeitv2.datasets.photo_batches import PhotoBatch, check_unread, read_batches
from mmbeitv2.datasets.photo_folder import labels_of, shown_name
from mmbeitv2.datasets.photo_list import list_photos
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
    max_unreadable: float = 0.01,
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
        max_unreadable: share of photos that may be unreadable; they are left out and named.

    Returns:
        What :func:`mmbeitv2.reports.atlas.write_atlas` makes a page of.

    Raises:
        FileNotFoundError: no such folder or table, or a table that names missing photos.
        ValueError: no photos, or a codebook of more than 65536 codes.
        OSError: see :func:`mmbeitv2.datasets.photo_batches.check_unread`.
    """
    check_rgb(tokenizer.encoder, 'the tokenizer')
    _check(tokenizer, shown, batch_size)
    check_unread((), (), max_unreadable)
    photos = list_photos(folder, image_column).paths
    named: list[str | None] = [None] * len(photos)
    if labels is not None:
        named = labels_of(photos, folder, labels, image_column, label_column)
    # The whole photo would be squeezed to a square; its centre keeps its proportions.
    side = min(tokenizer.encoder.img_size)
    tokenizer.to(get_device())
    load = LoadCenterCrop(side, value_range=value_range)
    unread: list[tuple[int, str]] = []
    batches = _batches(photos, load, batch_size, unread, max_unreadable)
    census, read = _counted(tokenizer, batches, named)
    chosen = _shown_photos(census, len(read), shown)
    files = [photos[read[i]] for i in chosen]
    grids = _codes_of(tokenizer, files, load, batch_size)
    return CodebookSurvey(
        codebook=tokenizer.quantize.codebook.cpu(),
        census=census,
        grid=(grids.shape[1], grids.shape[2]),
        side=side,
        photos=files,
        names=[shown_name(path, folder) for path in files],
        labels=[named[read[i]] for i in chosen],
        codes=grids,
        exemplars=_exemplars(census, chosen),
        classes=_classes(named),
        value_range=value_range,
        unread=[(shown_name(photos[i], folder), reason) for i, reason in unread],
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


def _classes(labels: Sequence[str | None]) -> list[str]:
    return sorted({label for label in labels if label is not None})


def _counted(
    tokenizer: VQKDTokenizer, batches: Iterable[PhotoBatch], labels: Sequence[str | None]
) -> tuple[CodeCensus, list[int]]:
    """Census of the codes of all photos and of the classes that they are found in; which it saw."""
    numbers = {label: number for number, label in enumerate(_classes(labels))}
    numbered = torch.tensor([UNLABELLED if label is None else numbers[label] for label in labels])
    census = CodeCensus(tokenizer.quantize.num_codes, len(numbers), CANDIDATES)
    read: list[int] = []
    for batch in batches:
        pixels = torch.stack([item['img'] for item in batch.items])
        codes, similarity = _encode(tokenizer, pixels)
        rows, columns = codes.shape[1:]
        colours = F.adaptive_avg_pool2d(pixels.float(), (rows, columns))
        census.add(codes, similarity, colours, numbered[batch.positions])
        read += batch.positions
    return census, read


def _batches(
    photos: Sequence[str],
    load: LoadCenterCrop,
    size: int,
    unread: list[tuple[int, str]],
    max_unreadable: float,
) -> Iterator[PhotoBatch]:
    """Photos that can be read; ``unread`` is told of the others, which may not be too many."""
    starts = range(0, len(photos), size)
    positions = [range(len(photos))[start : start + size] for start in starts]
    with tqdm(total=len(photos), desc='coding photos', unit='photo', leave=False) as progress:
        for batch in read_batches(photos, load, positions):
            unread += batch.unread
            check_unread(photos, unread, max_unreadable)
            if batch.items:
                yield batch
            progress.update(len(batch.positions) + len(batch.unread))


def _codes_of(
    tokenizer: VQKDTokenizer, files: Sequence[str], load: LoadCenterCrop, size: int
) -> Tensor:
    """Codes of the photos shown, int64 ``(photos, rows, columns)``."""
    starts = tqdm(range(0, len(files), size), 'coding photos shown', unit='batch', leave=False)
    batches = ([load(dict(img_path=f))['img'] for f in files[s : s + size]] for s in starts)
    return torch.cat([_encode(tokenizer, torch.stack(batch))[0] for batch in batches])


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
