"""The parts of an embedding: which are there, and how the others are made."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from mmbeitv2.apis.embedding_parts import PHOTOS, EmbeddingParts
from mmbeitv2.apis.encoder import PhotoEncoder
from mmbeitv2.datasets import LoadCenterCrop
from mmbeitv2.datasets.photo_batches import check_unread, read_batches
from mmbeitv2.datasets.photo_list import PhotoList
from mmbeitv2.datasets.photo_stamps import agree, stamp

# Of patch features a half is stored: they are large, and its rounding is theirs under autocast.
DTYPES = dict(cls=np.float32, mean=np.float32, patches=np.float16, codes=np.int32)


def complete_parts(
    parts: EmbeddingParts,
    encoder: PhotoEncoder,
    photos: PhotoList,
    names: Sequence[str],
    how: tuple[int, int],
    max_unreadable: float,
    progress: bool,
) -> int:
    """Make the parts that are not there yet.

    Args:
        parts: of the run.
        encoder: of the features.
        photos: all of them.
        names: of the features.
        how: photos a step, and processes that read photos.
        max_unreadable: see :func:`mmbeitv2.datasets.photo_batches.check_unread`.
        progress: show a bar with the rate.

    Returns:
        How many photos are in the parts that were there.
    """
    stamps = stamps_of(photos)
    load = encoder.loading()
    done = [n for n, seen in enumerate(stamps) if _is_done(parts, n, seen, photos, load)]
    resumed = sum(len(parts.positions(n)) + len(parts.unread(n)) for n in done)
    unread = [bad for number in done for bad in parts.unread(number)]
    left = sorted({*range(len(stamps))} - {*done})
    with tqdm(
        total=len(photos.names),
        initial=resumed,
        unit=' photos',
        disable=not progress,
        # A file or a pipe keeps every line that a terminal would overwrite.
        mininterval=1 if sys.stderr.isatty() else 30,
    ) as bar:
        for number, part in _parts(encoder, photos, names, left, how, bar):
            unread += part[2]
            check_unread(photos.names, unread, max_unreadable)
            parts.add(number, *part, stamps[number])
    return resumed


def stamps_of(photos: PhotoList) -> list[str]:
    """Stamp of the photos of each part, as their files are now."""
    paths = photos.paths
    return [stamp(paths[start : start + PHOTOS]) for start in range(0, len(paths), PHOTOS)]


def _is_done(
    parts: EmbeddingParts, number: int, seen: str, photos: PhotoList, load: LoadCenterCrop
) -> bool:
    """Whether a part is there and of the photos as they are now, the unreadable ones too."""
    if not agree(parts.stamp(number), seen):
        return False
    unread = [index for index, _ in parts.unread(number)]
    batches = read_batches(photos.paths, load, [unread]) if unread else ()
    return not any(batch.positions for batch in batches)


def _parts(
    encoder: PhotoEncoder,
    photos: PhotoList,
    names: Sequence[str],
    numbers: Sequence[int],
    how: tuple[int, int],
    bar: tqdm,
) -> Iterator[tuple[int, tuple[list[int], dict[str, np.ndarray], list[tuple[int, str]]]]]:
    """Number and content of each part, in order."""
    batch_size, workers = how
    count = len(photos.names)
    ends = [min(count, (number + 1) * PHOTOS) for number in numbers]
    # Batches end where parts do, so that a resumed run computes the same ones.
    batches = [
        range(start, min(end, start + batch_size))
        for number, end in zip(numbers, ends)
        for start in range(number * PHOTOS, end, batch_size)
    ]
    read = iter(read_batches(photos.paths, encoder.loading(), batches, workers))
    for number, end in zip(numbers, ends):
        positions: list[int] = []
        unread: list[tuple[int, str]] = []
        features: dict[str, list[Any]] = {name: [] for name in names}
        for _ in range(number * PHOTOS, end, batch_size):
            batch = next(read)
            positions += batch.positions
            unread += batch.unread
            if batch.items:
                pixels = torch.stack([item['img'] for item in batch.items])
                made = encoder.from_pixels(pixels)
                for name in names:
                    features[name].append(made[name].numpy().astype(DTYPES[name]))
            bar.update(len(batch.positions) + len(batch.unread))
        arrays = {name: np.concatenate(f) for name, f in features.items() if f}
        yield number, (positions, arrays, unread)
