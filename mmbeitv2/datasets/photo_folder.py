"""A folder of photos as pictures of it need it: its files, and a label for those that have one."""

import csv
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from mmbeitv2.errors import InputError, MissingFileError

from .decoding import naming_unreadable_file
from .labels import named
from .listing import readable_extensions
from .photo_list import list_photos

FOLDERS = 'folders'


def find_photos(folder: str | Path) -> list[Path]:
    """Every photo below a folder, in order of its path, each with a header that Pillow knows.

    Headers are read before anything is computed, so that a file that is no image is found at once;
    one that is cut off shows it when it is decoded.

    Args:
        folder: with photos, or with folders of them.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no photo in it.
        OSError: a file that is no image, by its name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(f"no folder '{folder}': give the one that holds the photos.")
    photos = list_photos(folder).paths
    for path in photos:
        with naming_unreadable_file(path), Image.open(path):
            pass
    return photos


def labels_of(photos: Sequence[Path], folder: str | Path, source: str) -> list[str | None]:
    """The label of each photo, None for those without.

    Args:
        photos: result of :func:`find_photos`.
        folder: where they lie.
        source: ``'folders'``, where the first folder below ``folder`` names the class, or a CSV
            file: its first column is a photo, relative to ``folder``, its last column the label.

    Raises:
        FileNotFoundError: no such table, or photos in it that are not there.
        ValueError: photos in no class folder, or a row without a label.
    """
    parts = [path.relative_to(folder).parts for path in photos]
    if source != FOLDERS:
        table = _read_table(Path(source), folder, {'/'.join(p) for p in parts})
        return [table.get('/'.join(p)) for p in parts]
    if loose := [p[0] for p in parts if len(p) == 1]:
        raise InputError(
            f"'{folder}' has {len(loose)} photos in no class folder ({named(loose)}): move them "
            'into one, or give the labels as a table, --labels FILE.csv.'
        )
    return [p[0] for p in parts]


def _read_table(table: Path, folder: str | Path, known: set[str]) -> dict[str, str]:
    if not table.is_file():
        raise MissingFileError(
            f"no table '{table}': its first column is to be a photo, its last the label; or give "
            '--labels alone for class folders.'
        )
    with table.open(newline='', encoding='utf-8-sig') as file:
        rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
    labels, missing = {}, []
    for number, row in rows:
        name = Path(row[0]).as_posix()
        if number == 1 and Path(name).suffix.lower() not in readable_extensions():
            continue  # A header names the column, and no photo.
        if len(row) < 2 or not row[-1].strip():
            raise InputError(f"line {number} of '{table}' has no label: write PHOTO,LABEL.")
        if name not in known:
            missing.append(name)
        labels[name] = row[-1].strip()
    if missing:
        raise MissingFileError(
            f"'{table}' labels {len(missing)} of its {len(labels)} photos that are not in "
            f"'{folder}': {named(missing)}. Write paths relative to it, or remove these rows."
        )
    if not labels:
        raise InputError(f"'{table}' labels no photo: write a line PHOTO,LABEL for each.")
    return labels
