"""Classes of photos, and of their pixels, by a fine-tuned checkpoint."""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor
from tqdm import tqdm

from mmbeitv2.apis.class_map import class_map
from mmbeitv2.apis.encoder import find_device
from mmbeitv2.datasets.photo_batches import check_unread, read_batches
from mmbeitv2.datasets.photo_list import PhotoList, list_photos
from mmbeitv2.datasets.photo_sources import Source
from mmbeitv2.engine.precision import choose_precision
from mmbeitv2.errors import InputError
from mmbeitv2.exchange.fine_tuned import FineTuned, load_fine_tuned


class Classified(NamedTuple):
    """Photos and the scores of their classes.

    Attributes:
        names: of the photos, relative to ``folder``.
        folder: where the photos lie; None where names are absolute, or addresses in files.
        classes: names of the K classes.
        scores: float32 ``(N, K)``, each row of sum 1.
        unread: name and reason of photos that could not be read.
        value_range: by which photos of float or 32-bit numbers were read.
    """

    names: list[str]
    folder: Path | None
    classes: list[str]
    scores: np.ndarray
    unread: list[tuple[str, str]]
    value_range: tuple[float, float] | None = None

    @property
    def paths(self) -> list[str]:
        """Where the photos lie."""
        return PhotoList(self.folder, self.names).paths

    def best(self, row: int, count: int) -> list[tuple[str, float]]:
        """The classes of the highest scores of a photo, and these."""
        order = np.argsort(-self.scores[row], kind='stable')[:count]
        return [(self.classes[i], float(self.scores[row, i])) for i in order]


class SegmentedPhoto(NamedTuple):
    """A photo and its class map, uint8 or int32 ``(H, W)`` of the photo's stored pixels."""

    name: str
    labels: np.ndarray


class Segmenter:
    """Segments photos one after the other; after that ``unread`` names those that it could not.

    Photos in ``done`` are passed over, as by a run that goes on, and count among all of which
    ``max_unreadable`` is the share.

    Args:
        checkpoint: see :func:`mmbeitv2.exchange.fine_tuned.load_fine_tuned`.
        photos: see :func:`mmbeitv2.datasets.photo_list.list_photos`.
        config: of the run; the checkpoint's or the catalogue's unless given.
        value_range: see :func:`classify`.
        image_column: see :func:`classify`.
        **options: of :func:`classify`, from ``batch_size`` on.

    Raises:
        UserError: what the user can mend.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        photos: Source,
        config: Config | None = None,
        value_range: Sequence[float] | None = None,
        image_column: str | None = None,
        **options: Any,
    ) -> None:
        self.photos = list_photos(photos, image_column)
        self.options = options
        self.fine_tuned = load_fine_tuned(
            checkpoint, 'segmentation', config, value_range=value_range
        )
        self.unread: list[tuple[str, str]] = []
        self.done: Collection[str] = ()

    def __iter__(self) -> Iterator[SegmentedPhoto]:
        kind = np.uint8 if len(self.fine_tuned.classes) <= 256 else np.int32
        left = [i for i, name in enumerate(self.photos.names) if name not in self.done]
        found = self.fine_tuned, self.photos, self.unread, _class_maps
        maps = _predict(*found, at_once=1, left=left, **self.options)
        for name, labels in maps:
            yield SegmentedPhoto(name, labels.cpu().numpy().astype(kind))


def classify(
    checkpoint: str | Path,
    photos: Source,
    config: Config | None = None,
    classes: Sequence[str] | None = None,
    batch_size: int = 32,
    workers: int = 0,
    device: str | None = None,
    precision: str = 'auto',
    max_unreadable: float = 0.01,
    value_range: Sequence[float] | None = None,
    image_column: str | None = None,
    progress: bool = False,
) -> Classified:
    """Scores of all classes for each photo, read and normalised as in the run's test.

    Args:
        checkpoint: see :func:`mmbeitv2.exchange.fine_tuned.load_fine_tuned`.
        photos: see :func:`mmbeitv2.datasets.photo_list.list_photos`.
        config: of the run; the checkpoint's or the catalogue's unless given.
        classes: their names; those in the checkpoint unless given.
        batch_size: photos a step.
        workers: processes that read photos.
        device: such as ``'cuda'``; the CPU unless given.
        precision: of the matrix products.
        max_unreadable: share of photos that may be unreadable; they are left out and named.
        value_range: black and white of photos of float or 32-bit numbers; those of the config's
            test unless given.
        image_column: of tables; None for their only column of image files.
        progress: show a bar with the rate.

    Raises:
        UserError: what the user can mend; before any photo is read where it can be seen.
    """
    found = list_photos(photos, image_column)
    fine_tuned = load_fine_tuned(checkpoint, 'classifier', config, classes, value_range)
    unread: list[tuple[str, str]] = []
    options: dict[str, Any] = dict(
        batch_size=batch_size,
        workers=workers,
        device=device,
        precision=precision,
        max_unreadable=max_unreadable,
        progress=progress,
    )
    predicted = list(_predict(fine_tuned, found, unread, _of_equal_sizes, **options))
    scores = [sample.pred_score.float().cpu().numpy() for _, sample in predicted]
    names = [name for name, _ in predicted]
    table = np.stack(scores) if scores else np.zeros((0, len(fine_tuned.classes)), np.float32)
    return Classified(
        names, found.folder, fine_tuned.classes, table, unread, fine_tuned.value_range
    )


def _predict(
    fine_tuned: FineTuned,
    photos: PhotoList,
    unread: list[tuple[str, str]],
    predict: Callable[[Any, Sequence[dict[str, Any]]], Sequence[Any]],
    at_once: int | None = None,
    left: Sequence[int] | None = None,
    batch_size: int = 32,
    workers: int = 0,
    device: str | None = None,
    precision: str = 'auto',
    max_unreadable: float = 0.01,
    progress: bool = False,
) -> Iterator[tuple[str, Any]]:
    """Name and prediction of each photo that can be read; the others are added to ``unread``.

    ``predict`` makes the predictions of ``at_once`` photos of those that are read together. Only
    the photos at the positions ``left`` are read, all unless given.
    """
    if batch_size < 1 or workers < 0:
        raise InputError(
            f'batch_size is {batch_size} and workers {workers}, but must be 1 and 0 or more'
        )
    check_unread((), (), max_unreadable)
    place = find_device(device)
    autocast = choose_precision(precision, place.type)
    model = fine_tuned.model.to(place)
    count = len(photos.names)
    left = range(count) if left is None else left
    batches = [left[i : i + batch_size] for i in range(0, len(left), batch_size)]
    bad: list[tuple[int, str]] = []
    begun = count - len(left)
    with tqdm(total=count, initial=begun, unit=' photos', disable=not progress) as bar:
        for batch in read_batches(photos.paths, fine_tuned.pipeline, batches, workers):
            bad += batch.unread
            unread += [(photos.names[i], reason) for i, reason in batch.unread]
            check_unread(photos.names, bad, max_unreadable)
            bar.update(len(batch.unread))
            for start in range(0, len(batch.items), at_once or batch_size):
                part = slice(start, start + (at_once or batch_size))
                with torch.no_grad(), autocast.autocast(place.type):
                    predictions = predict(model, batch.items[part])
                for position, prediction in zip(batch.positions[part], predictions):
                    yield photos.names[position], prediction
                    bar.update()


def _class_maps(model: Any, items: Sequence[dict[str, Any]]) -> list[Tensor]:
    return [class_map(model, item) for item in items]


def _of_equal_sizes(model: Any, items: Sequence[dict[str, Any]]) -> list[Any]:
    """Predictions in order; photos of one size are computed together."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, item in enumerate(items):
        groups.setdefault(tuple(item['inputs'].shape), []).append(i)
    found: dict[int, Any] = {}
    for members in groups.values():
        samples = model.test_step(
            dict(
                inputs=[items[i]['inputs'] for i in members],
                data_samples=[items[i]['data_samples'] for i in members],
            )
        )
        found.update(zip(members, samples))
    return [found[i] for i in range(len(items))]
