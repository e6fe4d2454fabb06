"""Photos of class folders, and what a table says that each of them shows."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from torch import Tensor

from mmbeitv2.datasets.label_table import table_rows
from mmbeitv2.datasets.listing import LeftOut, photo_path, readable_extensions, walk_images
from mmbeitv2.datasets.photo_folder import FOLDERS, check_class_folders, labels_of
from mmbeitv2.datasets.places import kind_of
from mmbeitv2.datasets.source_labels import source_labels
from mmbeitv2.errors import InputError, MissingFileError, UnreadableFileError
from mmbeitv2.evaluation.labelled import draw_labelled


class Photos(NamedTuple):
    """Files with their classes and, if known, what they show."""

    paths: list[str]
    classes: list[str]
    groups: list[str] | None

    def some(self, positions: Sequence[int]) -> 'Photos':
        """Those at these positions."""
        columns = ([column[i] for i in positions] for column in (self.paths, self.classes))
        return Photos(*columns, self.groups and [self.groups[i] for i in positions])


def find_photos(
    folder: Path,
    groups: Path | None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Photos:
    """Photos of the class folders below ``folder``, or of tars and tables that have labels.

    The first folder on the way to a photo names its class.

    Args:
        folder: or file.
        groups: table that says what photos show.
        image_column: of tables; None for their only column of image files.
        label_column: likewise; None for the only one whose classes have names, or ``label``.

    Raises:
        UserError: no such folder or file, photos in no class folder, class folders without photos,
            fewer than two classes, or a photo that ``groups`` lacks.
    """
    if kind_of(str(folder)) != 'folder':
        return _in_files(folder, groups, image_column, label_column)
    if not folder.is_dir():
        raise MissingFileError(f'no folder {folder}: it is to hold a folder of photos per class.')
    left_out = LeftOut()
    names = sorted(walk_images(folder, readable_extensions(), left_out))
    if left_out.names:
        print(f'{folder}: {left_out}')
    paths = [photo_path(folder, name) for name in names]
    classes = labels_of(paths, folder, FOLDERS)
    check_class_folders(folder, set(classes))
    if len(set(classes)) < 2:
        raise InputError(
            f'{folder} has photos of {len(set(classes))} classes, needed are 2 or more: one folder '
            'for each, with files that Pillow reads.'
        )
    return Photos(paths, classes, None if groups is None else shown_by(paths, groups))


def _in_files(files: Path, groups: Path | None, *columns: str | None) -> Photos:
    if groups is not None:
        raise InputError(f'--groups {groups} names photos of a folder, which {files} is not.')
    found = source_labels(files, *columns)
    if found is None or len(set(found.classes.values())) < 2:
        raise InputError(
            f'{files} has no labels of 2 classes or more: give tars with .cls members, a table '
            'with a column of labels, or a folder of photos per class.'
        )
    return Photos(list(found.classes), list(found.classes.values()), None)


def shown_by(paths: Sequence[str], table: Path) -> list[str]:
    """What each photo shows: the last column of ``table``, whose first is relative to it.

    Raises:
        UserError: no such table, one that contradicts itself, a row that names nothing, or a photo
            that it lacks.
    """
    shown: dict[Path, str] = {}
    rows = table_rows(table, 'its first column is to be a photo, its last what that shows')
    for number, row in rows:
        if len(row) < 2:
            raise InputError(f'line {number} of {table} has one column: write PHOTO,WHAT IT SHOWS.')
        path, thing = (table.parent / row[0]).resolve(), row[-1].strip()
        if not thing:
            raise InputError(
                f'line {number} of {table} does not say what {row[0]!r} shows: write PHOTO,WHAT IT '
                'SHOWS.'
            )
        if shown.setdefault(path, thing) != thing:
            raise InputError(
                f'line {number} of {table} says that {row[0]!r} shows {thing!r}, an earlier one '
                f'{shown[path]!r}: keep one of the two.'
            )
    missing = [path for path in paths if Path(path).resolve() not in shown]
    if missing:
        raise InputError(f'{table} does not say what {missing[0]} shows: add a row for it.')
    return [shown[Path(path).resolve()] for path in paths]


def check_classes(photos: Photos) -> None:
    """Refuse a class that cannot be labelled and asked about, before any photo is read.

    Raises:
        UserError: a class of one photo.
    """
    name, count = min(Counter(photos.classes).items(), key=lambda counted: counted[1])
    if count < 2:
        raise InputError(
            f'the class {name!r} has {count} photo, but needs 2 or more to be labelled and asked '
            'about: add some, or leave the class out.'
        )


def check_read(photos: Photos, read: Photos) -> None:
    """Refuse to go on without a class that was asked for: its photos would be told wrong.

    Args:
        photos: all of them.
        read: those that could be read.

    Raises:
        UserError: a class of which no photo could be read.
    """
    if lost := set(photos.classes) - set(read.classes):
        raise UnreadableFileError(no_photo_of(min(lost)))


def no_photo_of(name: str) -> str:
    """What is said of a class that is lost."""
    return f'no photo of the class {name!r} can be read: restore them, or leave the class out'


def print_copies(paths: Sequence[str], seen: Tensor, labelled: int = 0) -> None:
    """Say which photos are copies, if any: one of a labelled photo is recognised, not classified.

    Args:
        paths: of the photos.
        seen: something that two photos have in common only if they are copies, ``(N, C)``.
        labelled: so many, the first ones, are labelled, all others asked about; 0 where any photo
            may be either.
    """
    first: dict[bytes, int] = {}
    copies = []
    for place, row in enumerate(seen.numpy()):
        earlier = first.setdefault(row.tobytes(), place)
        if earlier != place and (labelled == 0 or earlier < labelled <= place):
            copies.append((paths[place], paths[earlier]))
    if copies:
        what = 'a labelled one' if labelled else 'another one'
        print(
            f'{len(copies)} of {len(paths) - labelled} photos that are asked about are copies of '
            f'{what}, such as {copies[0][0]} of {copies[0][1]}: they are recognised, which says '
            'nothing of their class'
        )


def some_of_each(photos: Photos, count: int) -> Photos:
    """``count`` photos, as many of each class.

    They are drawn, of different things first: photos at equal distances may show a few things again
    and again.

    Raises:
        UserError: fewer photos than classes.
    """
    names = sorted(set(photos.classes))
    if count < len(names):
        raise InputError(
            f'{count} training photos are asked for, allowed: {len(names)}, one for each class, or '
            'more.'
        )
    labels = [names.index(name) for name in photos.classes]
    return photos.some(draw_labelled(labels, count // len(names), groups=photos.groups))
