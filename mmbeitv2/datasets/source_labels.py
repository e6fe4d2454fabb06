"""Labels that photos bring with them: ``.cls`` members of tars, label columns of tables."""

from collections.abc import Iterator
from typing import NamedTuple

from mmbeitv2.errors import InputError

from .listing import LeftOut, readable_extensions
from .photo_sources import Source, source_paths
from .places import PACKED, Place, kind_of, places_of
from .tables import Table
from .tars import tar_photos

LABEL = 'label'


class SourceLabels(NamedTuple):
    """Labels of photos.

    Attributes:
        classes: name of the class by the photo's address, of those that have one.
        shown: where they come from, for the reader.
    """

    classes: dict[str, str]
    shown: str


def source_labels(
    source: Source,
    image_column: str | None = None,
    label_column: str | None = None,
    numbers: bool = True,
) -> SourceLabels | None:
    """Read the labels that tars and tables have of their photos.

    Args:
        source: see :func:`mmbeitv2.datasets.photo_sources.find_sources`.
        image_column: of tables; None for their only column of image files.
        label_column: of tables; None for the only one whose classes have names, or ``label``.
        numbers: whether a column of numbers without names, which may be anything, is taken too.

    Returns:
        None where the source has no labels.

    Raises:
        ValueError: no such column; classes that have names in one file, and numbers in another.
        OSError: a damaged file.
    """
    kinds: dict[str, str] = {}
    classes: dict[str, str] = {}
    columns = dict(image_column=image_column, label_column=label_column)
    for path in source_paths(source):
        if kind_of(path) not in ('tar', 'table') or path.lower().endswith(PACKED):
            continue
        for place in places_of(path, '', columns):
            kind, found = _of_tar(place) if place.kind == 'tar' else _of_table(place, numbers)
            classes |= found
            if found:
                kinds.setdefault(kind, place.path)
    if len(kinds) > 1:
        raise InputError(
            'classes have other kinds of names in '
            + ' than in '.join(f'{path} ({kind})' for kind, path in kinds.items())
            + ': give labels as another folder, of class folders (--labels FOLDER)'
        )
    return SourceLabels(classes, next(iter(kinds))) if kinds else None


def _of_tar(place: Place) -> tuple[str, dict[str, str]]:
    photos = (
        photo
        for file in place.files
        for photo in tar_photos(file, readable_extensions(), True, LeftOut(), all_labelled=False)
    )
    return 'the .cls members', dict(_named(photos, None))


def _of_table(place: Place, numbers: bool) -> tuple[str, dict[str, str]]:
    table = place.table()
    column = place.columns['label_column'] or _label_column(table, numbers)
    if column is None:
        return '', {}
    table = Table(place.files, place.columns['image_column'], column, with_label=True)
    return f'the column {column!r}', dict(_named(table.photos(), table.class_names()))


def _label_column(table: Table, numbers: bool) -> str | None:
    named = list(table.named_labels())
    if LABEL in named or (numbers and not named and LABEL in table.schema.names):
        return LABEL
    return named[0] if len(named) == 1 else None


def _named(
    photos: Iterator[tuple[str, int | None]], names: tuple[str, ...] | None
) -> Iterator[tuple[str, str]]:
    """Address and class of each photo that has one; datasets writes −1 where there is none."""
    for address, label in photos:
        if label is None or label < 0:
            continue
        if names is not None and label >= len(names):
            raise InputError(
                f'{address!r} has the label {label}, but there are {len(names)} classes: correct '
                'it, or give other labels (--labels)'
            )
        yield address, str(label) if names is None else names[label]
