"""Checks of photo data before anything is built: folders, lists, labels, enough for a batch."""

import logging
from itertools import islice
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from mmbeitv2.datasets.labels import check_labels, named
from mmbeitv2.datasets.listing import (
    LeftOut,
    check_repeated,
    listed_samples,
    readable_extensions,
    walk_images,
)
from mmbeitv2.datasets.tars import check_tar
from mmbeitv2.errors import InputError
from mmbeitv2.launch.photo_folders import OWN, PhotoFolder, photo_folder
from mmbeitv2.registry import class_name

# Enough to see that a kind of file is left out; millions would take minutes.
MOST_LOOKED_AT = 20_000
IMAGENET = 1000


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
    if not given and class_name(photos.config['type']) == 'ImageNet' and len(names) != IMAGENET:
        raise InputError(
            f'{photos.dataloader}: {str(photos.folder)!r} has {len(names)} class folders, but '
            f'ImageNet has {IMAGENET:,}, each with a folder: restore the others; for classes of '
            f'your own set type={OWN!r} and num_classes={len(names)} of head and '
            'data_preprocessor, as configs/own_data/finetune_own-data.py does'
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
