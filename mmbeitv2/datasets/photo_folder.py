"""Photos as pictures of them need them: where they lie, and a label for those that have one."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from mmbeitv2.errors import InputError, MissingFileError

from .decoding import image_size
from .label_table import table_rows
from .labels import named
from .listing import address_parts, class_folders
from .photo_list import list_photos
from .source_labels import SourceLabels, source_labels

FOLDERS = 'folders'


def find_photos(source: str | Path, image_column: str | None = None) -> list[str]:
    """Every photo of a source, in order, each with a header that Pillow knows.

    Headers are read before anything is computed, so that a file that is no image is found at once;
    one that is cut off shows it when it is decoded.

    Args:
        source: see :func:`mmbeitv2.datasets.photo_list.list_photos`.
        image_column: of tables; None for their only column of image files.

    Returns:
        Paths, or addresses of photos in files.

    Raises:
        FileNotFoundError: no such source.
        ValueError: no photo in it.
        OSError: a file that is no image, by its name.
    """
    photos = list_photos(source, image_column).paths
    for path in photos:
        image_size(path)
    return photos


def shown_name(path: str, source: str | Path) -> str:
    """Name of a photo for the reader: below its folder, or below the file that it lies in."""
    if '://' in path:
        file, within = address_parts(path)
        return f'{Path(file).name}/{within}'
    return Path(os.path.relpath(path, source if Path(source).is_dir() else '.')).as_posix()


def labels_of(
    photos: Sequence[str],
    photos_of: str | Path,
    source: str,
    image_column: str | None = None,
    label_column: str | None = None,
) -> list[str | None]:
    """The label of each photo, None for those without.

    Args:
        photos: result of :func:`find_photos`.
        photos_of: its argument.
        source: ``'folders'``, where the first folder below a folder names the class, or tars and
            tables have labels of their own; or a CSV file: its first column is a photo, relative to
            the folder, its last column the label.
        image_column: of tables; None for their only column of image files.
        label_column: likewise; None for the only one whose classes have names, or ``label``.

    Raises:
        FileNotFoundError: no such table, or photos in it that are not there.
        ValueError: photos in no class folder, or a row without a label; files without labels.
    """
    folder = Path(photos_of)
    if not folder.is_dir() or any('://' in path for path in photos):
        found = None
        if source == FOLDERS:
            found = source_labels(photos_of, image_column, label_column)
        return _labels_of_files(photos, photos_of, source, found)
    parts = [Path(path).relative_to(folder).parts for path in photos]
    if source != FOLDERS:
        table = _read_table(Path(source), folder, {'/'.join(p) for p in parts})
        return [table.get('/'.join(p)) for p in parts]
    if loose := [p[0] for p in parts if len(p) == 1]:
        raise InputError(
            f"'{folder}' has {len(loose)} photos in no class folder ({named(loose)}): move them "
            'into one or elsewhere, or give the labels as a table where a command takes one, '
            '--labels FILE.csv.'
        )
    return [p[0] for p in parts]


def check_class_folders(folder: str | Path, classes: Collection[str]) -> None:
    """Refuse a class folder without photos: its class would be left out without a word.

    Args:
        folder: of the class folders.
        classes: of the photos below it.

    Raises:
        ValueError: a folder that holds no photo.
    """
    if empty := [name for name in class_folders(folder) if name not in classes]:
        raise InputError(
            f"'{folder}' has {len(empty)} class folders without a photo ({named(empty)}): put "
            'photos into them, or move them elsewhere.'
        )


def _labels_of_files(
    photos: Sequence[str], files: str | Path, source: str, found: SourceLabels | None
) -> list[str | None]:
    if found is None:
        raise InputError(
            f"'{files}' is no folder, and has no labels of its own"
            + (f', and {source} names photos of a folder' if source != FOLDERS else '')
            + ': give photos in class folders, tars with .cls members, or a table with a column '
            'of labels.'
        )
    return [found.classes.get(path) for path in photos]


def _is_header(rows: Sequence[tuple[int, list[str]]]) -> bool:
    """Whether the first row names the columns, and is no photo whose name was mistyped."""
    if not rows:
        return False
    first, *others = [row for _, row in rows]
    path = Path(first[0])
    is_path = len(path.parts) > 1 or path.suffix != ''
    return not is_path and first[-1].strip() not in {row[-1].strip() for row in others}


def _read_table(table: Path, folder: str | Path, known: set[str]) -> dict[str, str]:
    what = (
        'its first column is to be a photo, its last the label; or give --labels alone for class '
        'folders'
    )
    rows = table_rows(table, what)
    labels: dict[str, str] = {}
    missing = []
    for number, row in rows[_is_header(rows) :]:
        name = Path(row[0]).as_posix()
        if len(row) < 2 or not row[-1].strip():
            raise InputError(f"line {number} of '{table}' has no label: write PHOTO,LABEL.")
        if name not in known:
            missing.append(name)
        label = row[-1].strip()
        if labels.setdefault(name, label) != label:
            raise InputError(
                f"line {number} of '{table}' labels {name!r} as {label!r}, an earlier one as "
                f'{labels[name]!r}: keep one of the two.'
            )
    if missing:
        raise MissingFileError(
            f"'{table}' labels {len(missing)} of its {len(labels)} photos that are not in "
            f"'{folder}': {named(missing)}. Write paths relative to it, or remove these rows."
        )
    if not labels:
        raise InputError(f"'{table}' labels no photo: write a line PHOTO,LABEL for each.")
    return labels
