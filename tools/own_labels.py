"""Labelled photos of a folder or a table, as class folders."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from labelled_photos import find_photos

import mmbeitv2.launch.console  # noqa: F401  first: what the hosts print is left out
from mmbeitv2.errors import InputError, MissingFileError

FEWEST_OF_A_CLASS = 2


def link_labelled(source: Path, folder: Path) -> None:
    """Link labelled photos into a folder for each class.

    Args:
        source: folder with a folder for each class, or CSV whose lines are photo, relative to it,
            and class.
        folder: that is made.

    Raises:
        UserError: no such source, photos that are not there, or too few classes or photos of one.
    """
    pairs = list(_of_table(source) if source.suffix.lower() == '.csv' else _of_folder(source))
    by_class: dict[str, list[Path]] = {}
    for path, name in pairs:
        by_class.setdefault(name, []).append(path)
    if len(by_class) < 2:
        raise InputError(f'{source} names {len(by_class)} classes, needed: 2 or more')
    few = {name: paths for name, paths in by_class.items() if len(paths) < FEWEST_OF_A_CLASS}
    if few:
        raise InputError(
            f'{source} has {len(next(iter(few.values())))} photo of the class {min(few)!r}, '
            f'needed: {FEWEST_OF_A_CLASS} or more of each, to be labelled and asked about'
        )
    for name, paths in by_class.items():
        place = folder / name.replace(os.sep, '_')
        place.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(paths):
            link = place / f'{number:06d}_{path.name}'
            if not link.is_symlink():
                link.symlink_to(path.resolve())


def _of_folder(source: Path) -> Iterator[tuple[Path, str]]:
    photos = find_photos(source, None)
    yield from zip(photos.paths, photos.classes)


def _of_table(source: Path) -> Iterator[tuple[Path, str]]:
    if not source.is_file():
        raise MissingFileError(f'no table {source}: its lines are to be PHOTO,CLASS')
    with source.open(newline='', encoding='utf-8-sig') as file:
        rows = [row for row in csv.reader(file) if row]
    for number, row in enumerate(rows, 1):
        path = source.parent / row[0]
        if len(row) < 2 or not row[-1].strip():
            raise InputError(f'line {number} of {source} names no class: write PHOTO,CLASS')
        if not path.is_file():
            if number == 1:
                # A header.
                continue
            raise MissingFileError(f'line {number} of {source} names {row[0]}, which is not there')
        yield path, row[-1].strip()
