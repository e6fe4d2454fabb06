"""The photos of a look: the same ones every time, without augmentation, read once."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset, Compose
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmbeitv2.datasets.decoding import naming_unreadable_file, reason_of
from mmbeitv2.datasets.photo_folder import FOLDERS, find_photos, labels_of
from mmbeitv2.datasets.photo_list import list_photos
from mmbeitv2.datasets.places import kind_of
from mmbeitv2.datasets.sampling import HELD_OUT_SEED, SampleIndex, seeded
from mmbeitv2.errors import InputError, MissingFileError, UnreadableFileError
from mmbeitv2.evaluation.labelled import draw_labelled
from mmbeitv2.evaluation.looks import Known

SEED = 0
# Fewer classes or photos than these have no probe to speak of.
LEAST_CLASSES, LEAST_OF_A_CLASS = 2, 2


@dataclass
class Photos:
    """Photos that are looked at.

    Args:
        infos: what the data set's pipeline takes, one a photo.
        labels: class of each, from 0; None without.
        classes: names of the classes.
    """

    infos: list[dict[str, Any]]
    labels: np.ndarray | None = None
    classes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.infos)

    def name(self, number: int) -> str:
        """Path of a photo; its number where its data set holds the photos themselves."""
        return str(self.infos[number].get('img_path', number))

    def names(self) -> list[str]:
        """Paths of the photos."""
        return [self.name(number) for number in range(len(self))]

    def some(self, count: int) -> 'Photos':
        """So many of them, drawn at random, always the same ones; labels evenly."""
        if self.labels is None:
            return Photos([self.infos[place] for place in _draw(len(self), count)])
        chosen = _of_each_class(self.labels, count)
        return Photos([self.infos[i] for i in chosen], self.labels[chosen], self.classes)


def held_out_photos(source: str | Path | None, runner: Runner, most: int) -> Photos:
    """Held-out photos, drawn at random, always the same.

    Args:
        source: a folder, a list, a file of photos or a photo, see ``list_photos``; None for the
            data of the run's validation.
        runner: of the run.
        most: photos drawn.

    Raises:
        ValueError: neither ``source`` nor a validation.
    """
    if source is not None:
        return _drawn([dict(img_path=str(path)) for path in list_photos(source).paths], most)
    return dataset_photos(_validation(runner), most)


def dataset_photos(dataset: Dataset[Any], most: int) -> Photos:
    """Photos of a data set, drawn at random, always the same.

    Args:
        dataset: of mmengine's kind, which says what its pipeline takes.
        most: photos drawn.

    Raises:
        ValueError: a data set of another kind.
    """
    if not hasattr(dataset, 'get_data_info'):
        raise InputError(
            f'LearningHook cannot read the photos of {type(dataset).__name__} without its '
            "augmentation: use a data set of mmengine's kind, such as type='mmbeitv2.Photos'."
        )
    # Sized, as all of mmengine's are.
    places = _draw(len(dataset), most)  # type: ignore[arg-type]
    return Photos([dataset.get_data_info(int(place)) for place in places])


def labelled_photos(source: str | Path, most: int) -> Photos:
    """Labelled photos, as many of each class.

    Args:
        source: a folder with a folder of photos for each class; or a CSV file whose first column
            is a photo, relative to the file's folder, and whose last column is its label; or a tar
            or a table that has labels of its own.
        most: photos drawn.

    Raises:
        FileNotFoundError: no such folder or file, or a photo of the file that is not there.
        ValueError: photos without a label, one class, or no class with two photos.
    """
    source = Path(source)
    if kind_of(str(source)) == 'folder' and not source.exists():
        raise MissingFileError(
            f'no labels at {source}: give a folder with a folder of photos for each class, or a '
            'CSV file with lines PHOTO,LABEL'
        )
    table = kind_of(str(source)) == 'folder' and not source.is_dir()
    place = source.parent if table else source
    photos = find_photos(place)
    names = labels_of(photos, place, str(source) if table else FOLDERS)
    known = [(path, name) for path, name in zip(photos, names) if name is not None]
    counts = dict(zip(*np.unique([name for _, name in known], return_counts=True)))
    classes = sorted(str(name) for name in counts if counts[name] >= LEAST_OF_A_CLASS)
    if len(classes) < LEAST_CLASSES:
        raise InputError(
            f'the labels of {source} have {len(classes)} classes of {LEAST_OF_A_CLASS} photos or '
            f'more, allowed: {LEAST_CLASSES} or more; a probe has to tell them apart.'
        )
    known = [(path, name) for path, name in known if name in classes]
    labels = np.array([classes.index(name) for _, name in known])
    chosen = _of_each_class(labels, most)
    infos = [dict(img_path=str(known[i][0])) for i in chosen]
    return Photos(infos, labels[chosen], classes)


def _draw(count: int, most: int) -> np.ndarray:
    return np.sort(np.random.default_rng(SEED).permutation(count)[:most])


def _of_each_class(labels: np.ndarray, most: int) -> np.ndarray:
    """Positions of as many of each class; of two each at least."""
    count = max(LEAST_OF_A_CLASS, most // len(np.unique(labels)))
    return draw_labelled(labels.tolist(), count, SEED)


def _drawn(infos: list[dict[str, Any]], most: int) -> Photos:
    return Photos([infos[i] for i in _draw(len(infos), most)])


def _validation(runner: Runner) -> Dataset[Any]:
    if runner.val_loop is None:
        raise InputError(
            'LearningHook needs photos that are not trained on: set val_dataloader, whose pipeline '
            'reads them without augmentation, and its photos=FOLDER where they are others; or take '
            'the hook out (default_hooks.learning=None).'
        )
    return runner.val_loop.dataloader.dataset


def plain_pipeline(runner: Runner) -> Compose:
    """Pipeline of the run's validation, without augmentation.

    Raises:
        ValueError: no validation.
    """
    # Any, since what wraps a data set is of many types.
    dataset: Any = _validation(runner)
    while not isinstance(dataset, BaseDataset) and hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    return dataset.pipeline


def digest_of(parts: Iterable[bytes]) -> str:
    """Digest of some bytes, part by part."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:16]


@dataclass
class Batch:
    """Photos read: what the data preprocessor takes, their positions, and what is known of them.

    Another photo in the place of one, of the same name, has another digest.
    """

    positions: list[int]
    data: dict[str, Any]
    digests: list[str]
    known: Known = field(default_factory=dict)


def read(
    photos: Photos, pipeline: Compose, positions: Sequence[int], batch_size: int
) -> tuple[list[Batch], dict[int, str]]:
    """Read some of the photos.

    Every photo has the mask of its position, so that those of two groups have the same masks.

    Args:
        photos: all of them.
        pipeline: of :func:`plain_pipeline`.
        positions: of those that are wanted.
        batch_size: photos of a batch.

    Returns:
        Batches, and the reason by position of photos that cannot be read.
    """
    batches: list[Batch] = []
    unread: dict[int, str] = {}
    for start in range(0, len(positions), batch_size):
        items: dict[int, Mapping[str, Any]] = {}
        for position in positions[start : start + batch_size]:
            index = SampleIndex(position, HELD_OUT_SEED, 0)
            info = {**photos.infos[position], 'sample_idx': index}
            try:
                # Loaders of other projects raise what they like, and know no SampleSeeded.
                with seeded(index), naming_unreadable_file(photos.name(position)):
                    items[position] = pipeline(info)
            except (UnreadableFileError, MissingFileError) as error:
                unread[position] = reason_of(error)
        if items:
            batches.append(_collated(items))
    return batches, unread


def _collated(items: Mapping[int, Mapping[str, Any]]) -> Batch:
    pixels = [torch.as_tensor(item['inputs']) for item in items.values()]
    samples = [item['data_samples'] for item in items.values()]
    digests = [digest_of([image.numpy().tobytes()]) for image in pixels]
    return Batch(list(items), dict(inputs=pixels, data_samples=samples), digests)
