"""Labelled photos of one's own, to judge a model by."""

import os
from collections.abc import Sequence
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from mmbeitv2.datasets.photo_folder import FOLDERS, find_photos, labels_of
from mmbeitv2.datasets.survey import Survey
from mmbeitv2.errors import InputError

FEWEST_OF_A_CLASS = 2


def labelled_photos(labels: str, survey: Survey) -> dict[str, list[Path]]:
    """Photos of each class.

    Args:
        labels: ``'folders'``, where the photos that are trained on lie in class folders; another
            folder, of class folders; or a CSV file, whose first column is a photo, relative to the
            folder of ``survey``, its last the class.
        survey: of the photos that are trained on.

    Raises:
        UserError: no such source, photos that are not there, or too few classes or photos of one.
    """
    if labels != FOLDERS and Path(labels).expanduser().is_dir():
        folder = Path(labels).expanduser()
        photos, source = find_photos(folder), FOLDERS
    else:
        names = [photo.name for photo in survey.photos]
        folder, source = _one_folder(survey.folder, names, labels), labels
        # A table may name what cannot be read, but nothing that is not there.
        photos = [folder / name for name in (*names, *survey.unreadable)]
    unread = {folder / name for name in survey.unreadable if folder == survey.folder}
    by_class: dict[str, list[Path]] = {}
    for path, name in zip(photos, labels_of(photos, folder, source)):
        if name is not None and path not in unread:
            by_class.setdefault(name, []).append(path)
    _check(by_class, labels)
    return by_class


def _one_folder(folder: Path | None, names: Sequence[str], labels: str) -> Path:
    if folder is None or any(os.path.isabs(name) for name in names):
        raise InputError(
            f'--labels {labels} needs photos that lie in one folder: for photos in tars, tables or '
            'several folders give another folder, of class folders'
        )
    return folder


def _check(by_class: dict[str, list[Path]], labels: str) -> None:
    if len(by_class) < 2:
        raise InputError(
            f'--labels {labels} names {len(by_class)} classes ({", ".join(by_class) or "none"}) '
            'of photos that can be read, needed: 2 or more'
        )
    few = {name: paths for name, paths in by_class.items() if len(paths) < FEWEST_OF_A_CLASS}
    if few:
        raise InputError(
            f'--labels {labels} has one photo of the class {min(few)!r}, needed: '
            f'{FEWEST_OF_A_CLASS} or more of each, to be labelled and asked about'
        )


def link_labelled(by_class: dict[str, list[Path]], folder: Path) -> None:
    """Make a folder for each class, with links to its photos.

    Args:
        by_class: of :func:`labelled_photos`.
        folder: that is made.
    """
    for name, paths in by_class.items():
        place = folder / name.replace(os.sep, '_')
        place.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(paths):
            link = place / f'{number:06d}_{path.name}'
            if not link.is_symlink():
                link.symlink_to(path.resolve())
