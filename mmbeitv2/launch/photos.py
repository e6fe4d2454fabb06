"""Checks of photo data before anything is built: folders, lists, labels, enough for a batch."""

import logging
from collections.abc import Iterator, Mapping, MutableMapping
from itertools import islice
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from mmbeitv2.datasets.labels import check_labels, named
from mmbeitv2.datasets.listing import (
    LeftOut,
    check_repeated,
    class_folders,
    listed_lines,
    listed_samples,
    readable_extensions,
    walk_images,
)
from mmbeitv2.datasets.places import PACKED, Place, kind_of, places_of
from mmbeitv2.datasets.tars import check_tar
from mmbeitv2.errors import InputError
from mmbeitv2.registry import type_name

OWN = 'mmbeitv2.Photos'
PEERS = ('CustomDataset', 'ImageNet', 'ImageNet21k')
# Enough to see that a kind of file is left out; millions would take minutes.
MOST_LOOKED_AT = 20_000
# Of mmpretrain's data sets.
PEER_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif')


class PhotoFolder:
    """Where a data set of photos looks, read off its config.

    Args:
        dataset: Config of ``Photos``, or of one of mmpretrain's ``PEERS``.
        dataloader: Its name in the config.
    """

    def __init__(self, dataset: MutableMapping[str, Any], dataloader: str) -> None:
        self.config = dataset
        self.dataloader = dataloader
        self.own = dataset['type'] == OWN
        root, split = dataset.get('data_root') or '', dataset.get('split') or ''
        self.places = _places(dataset) if self.own else []
        if not isinstance(root, str):
            root = root[0]
        prefix = dataset.get('data_prefix') or split
        if isinstance(prefix, Mapping):
            prefix = prefix.get('img_path') or ''
        self.folder = Path(root, prefix).expanduser()
        self.with_label = dataset.get('with_label', True) and split != 'test'
        self.list: Path | None = None
        if dataset.get('ann_file'):
            self.list = Path(root, dataset['ann_file']).expanduser()
        elif split and Path(root, 'meta', f'{split}.txt').is_file():
            self.list = Path(root, 'meta', f'{split}.txt')
        default = readable_extensions() if self.own else PEER_EXTENSIONS
        self.extensions = tuple(e.lower() for e in dataset.get('extensions') or default)

    @property
    def labelled_by_folders(self) -> bool:
        """Whether class folders give the labels."""
        return self.with_label and self.list is None and not self.places

    @property
    def labelled_by_names(self) -> bool:
        """Whether classes have names here: those of class folders, or of a table's label column."""
        return self.labelled_by_folders or self._table_classes() is not None

    def _table_classes(self) -> tuple[str, ...] | None:
        tables = (place.table(True) for place in self.places if place.kind == 'table')
        names = (table.class_names() for table in tables) if self.with_label else iter(())
        return next((found for found in names if found), None)

    def images(self) -> Iterator[str]:
        """The images, one after the other."""
        if self.list is not None:
            return (text for _, text in listed_lines(self.list))
        if self.places:
            return (path for place in self.places for path in self.images_of(place))
        return walk_images(self.folder, self.extensions)

    def images_of(self, place: Place) -> Iterator[str]:
        if place.kind == 'table':
            # From the header: the rows themselves are read when the data set is built.
            return (f'{place.path}#{row}' for row in range(place.table(self.with_label).rows))
        return (path for path, _ in place.photos(self.extensions, self.with_label, LeftOut()))

    def classes(self) -> list[str]:
        """Names of the class folders, or of a table's classes.

        Raises:
            ValueError: There are none; or hidden ones, which mmpretrain numbers too.
        """
        if (named_by_table := self._table_classes()) is not None:
            return list(named_by_table)
        names = class_folders(self.folder)
        if not names:
            raise InputError(
                f'{self.dataloader}: {str(self.folder)!r} has no class folders, but its dataset is '
                'to give labels. Put the images of each class into a folder of their own, or give '
                'an ann_file with lines `FILE LABEL`. Images without labels serve for pretraining '
                'only (with_label=False)'
            )
        hidden = [p.name for p in self.folder.iterdir() if p.is_dir() and p.name.startswith('.')]
        if hidden and not self.own:
            raise InputError(
                f'{self.dataloader}: {self.config["type"]} takes the hidden folders '
                f'{named(hidden)} of {str(self.folder)!r} for classes, which shifts all labels: '
                f'remove them, or read the folder with type={OWN!r}, which passes them over'
            )
        return names

    def empty_classes(self, names: list[str]) -> list[str]:
        """Class folders without any image."""
        return [
            n for n in names if next(walk_images(self.folder / n, self.extensions), None) is None
        ]


def _places(dataset: Mapping[str, Any]) -> list[Place]:
    """The places of a data set that is more than one folder or list; none of others."""
    root, prefix = dataset.get('data_root') or '', dataset.get('data_prefix') or ''
    if dataset.get('ann_file'):
        return []
    if isinstance(root, str):
        name = prefix.get('img_path', '') if isinstance(prefix, Mapping) else prefix
        path = Path(root, name).expanduser()
        if kind_of(str(path)) == 'folder' and not str(path).endswith(PACKED):
            return []
    columns = {key: dataset.get(key) for key in ('image_column', 'label_column')}
    return places_of(root, prefix, columns)


def photo_folder(dataset: MutableMapping[str, Any], dataloader: str) -> PhotoFolder | None:
    """The photos of a data set on this machine; None for other data sets and remote ones."""
    kind = type_name(dataset['type'])
    paths = [dataset.get(key) or '' for key in ('data_root', 'data_prefix', 'ann_file')]
    paths += paths[0] if isinstance(paths[0], list | tuple) else []
    texts = [value for value in paths if isinstance(value, str)]
    if kind != OWN and kind.split('.')[-1] not in PEERS:
        return None
    if any('://' in text for text in texts):
        return None
    return PhotoFolder(dataset, dataloader)


def check_photos(photos: PhotoFolder, num_classes: int | None) -> None:
    """Check class folders, or the labels of a list.

    Args:
        photos: Of one data set.
        num_classes: Of the classifier, None where the config does not tell.

    Raises:
        ValueError: With the folder or line, what is allowed, and the cure.
    """
    if photos.list is not None:
        _check_list(photos, photos.list, num_classes)
        return
    if photos.places:
        _check_places(photos, num_classes)
        return
    if photos.with_label:
        _check_folders(photos, num_classes)
    if next(photos.images(), None) is None:
        raise InputError(
            f'{photos.dataloader}: {str(photos.folder)!r} has no image with an extension that its '
            f'dataset reads ({photos.config["type"]}): set data_root and data_prefix to the '
            'folder with the images'
        )
    if not photos.own:
        _name_left_out(photos)


def _check_places(photos: PhotoFolder, num_classes: int | None) -> None:
    """Refuse places without photos, unreadable files and labels of no class, by what is fast."""
    for place in photos.places:
        for tar in place.files if place.kind == 'tar' else ():
            check_tar(tar)
        if photos.with_label and place.kind == 'tar':
            found = place.photos(photos.extensions, True, LeftOut())
            check_labels(found, place.path, num_classes)
        if next(iter(photos.images_of(place)), None) is None:
            raise InputError(
                f'{photos.dataloader}: {place.path!r} has no image with an extension that Pillow '
                'reads: set data_root and data_prefix to the folders or files with the images'
            )


def _name_left_out(photos: PhotoFolder) -> None:
    """Log how many images mmpretrain's data set leaves out, which says nothing of them."""
    readable = readable_extensions()
    found = list(islice(walk_images(photos.folder, readable), MOST_LOOKED_AT))
    left_out = [name for name in found if not name.lower().endswith(photos.extensions)]
    if left_out:
        print_log(
            f'{photos.dataloader}: {photos.config["type"]} leaves out {len(left_out)} of '
            f'{len(found)} images in {str(photos.folder)!r} by their extension, such as '
            f'{left_out[0]}: set extensions, or type={OWN!r}, which reads all',
            logger='current',
            level=logging.WARNING,
        )


def _check_list(photos: PhotoFolder, path: Path, num_classes: int | None) -> None:
    samples = listed_samples(path, photos.with_label, num_classes)
    if photos.own:
        check_repeated(list(samples), path)
        return
    for _ in samples:
        pass
    with open(path, encoding='utf-8') as file:
        faulty = next((i for i, line in enumerate(file, 1) if not line.strip(' \n\r\ufeff')), None)
        file.seek(0)
        marked = file.read(1) == '\ufeff'
    if faulty is not None or marked:
        problem = 'begins with a byte order mark' if marked else f'is blank on line {faulty}'
        raise InputError(
            f'{photos.dataloader}: the list {str(path)!r} {problem}, which '
            f'{photos.config["type"]} takes for a file: remove it, or set type={OWN!r}, which '
            'passes it over'
        )


def _check_folders(photos: PhotoFolder, num_classes: int | None) -> None:
    names = photos.classes()
    # Elsewhere an empty folder holds the place of a class.
    if photos.dataloader.startswith('train') and (empty := photos.empty_classes(names)):
        raise InputError(
            f'{photos.dataloader}: the class folder {str(photos.folder / empty[0])!r} is empty: it '
            f'has no image that can be read ({named(empty)}). Remove it, or restore its images'
        )
    given = photos.config.get('classes') or (photos.config.get('metainfo') or {}).get('classes')
    if isinstance(given, list | tuple) and not photos.own and len(given) != len(names):
        raise InputError(
            f'{photos.dataloader}: {str(photos.folder)!r} has {len(names)} class folders, but '
            f'{len(given)} classes are given: {photos.config["type"]} needs a folder for each'
        )
    if num_classes is not None and len(names) > num_classes:
        raise InputError(
            f'{photos.dataloader}: {str(photos.folder)!r} has {len(names)} class folders, but the '
            f'head {num_classes} classes: set model.head.num_classes={len(names)} and '
            f'data_preprocessor.num_classes={len(names)}'
        )


def check_enough_images(cfg: Config, processes: int) -> None:
    """Refuse a training set that gives no batch, which a sampler would only notice later.

    Args:
        cfg: The run's config.
        processes: Of the run, each of which loads ``batch_size`` images a step.

    Raises:
        ValueError: With images, batch, ``drop_last`` and the cure.
    """
    loader = cfg.get('train_dataloader') or {}
    dataset = loader.get('dataset') or {}
    infinite = str((loader.get('sampler') or {}).get('type')).endswith('InfiniteSampler')
    if 'type' not in dataset or infinite or not loader.get('drop_last', False):
        return
    photos = photo_folder(dataset, 'train_dataloader')
    if photos is None:
        return
    batch = loader.get('batch_size', 1)
    needed = processes * (batch - 1) + 1
    chosen = dataset.get('indices')
    if chosen is None:
        # No further: a folder of millions takes minutes to walk.
        found = sum(1 for _ in islice(photos.images(), needed))
    else:
        # Positions, or how many from the start (from the end if negative).
        found = abs(chosen) if isinstance(chosen, int) else len(chosen)
    # Each process gets a share, rounded up.
    if found < needed:
        each = -(-found // processes)
        raise InputError(
            f'train_dataloader: {found} images in {str(photos.list or photos.folder)!r}, but a '
            f'step takes {processes * batch} ({processes} × batch_size={batch}) and '
            'drop_last=True leaves incomplete batches out, so that an epoch has no step: give '
            f'`--cfg-options train_dataloader.batch_size={max(1, each)}`, '
            'train_dataloader.drop_last=False, or more images'
        )
