"""Labelled photos of one's own, to judge a model by."""

import io
import os
import shutil
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from labelled_photos import no_photo_of
from PIL import Image

from mmbeitv2.datasets.decoding import read_bytes
from mmbeitv2.datasets.listing import photo_path, readable_extensions
from mmbeitv2.datasets.photo_folder import FOLDERS, check_class_folders, labels_of
from mmbeitv2.datasets.source_labels import source_labels
from mmbeitv2.datasets.survey import Survey
from mmbeitv2.errors import InputError, UnreadableFileError
from mmbeitv2.evaluation.labelled import draw_labelled
from mmbeitv2.launch.plan_rules import check_readable

FEWEST_OF_A_CLASS = 2
# Photos within files are copied to be judged by: so many, or as many of each class as are labelled
# and some to ask about.
MOST_COPIED, MOST_OF_A_CLASS = 2000, 40
# Of the name of a folder; file systems take 255.
MOST_BYTES = 200


class Labelled(NamedTuple):
    """Photos to judge by.

    Attributes:
        by_class: paths, or addresses within files, of the photos of each class.
        shown: where the labels come from, for the reader.
    """

    by_class: dict[str, list[str]]
    shown: str


def labels_to_judge_by(
    args: Namespace, survey: Survey, look_at: Callable[[Path], Survey]
) -> Labelled | str:
    """Labels that were given, or those that the photos bring with them.

    Args:
        args: ``photos``, ``labels``, ``image_column`` and ``label_column``.
        survey: of the photos.
        look_at: surveys other photos in the same way.

    Returns:
        The photos; or why there are none, in words.

    Raises:
        UserError: labels that were given and cannot be used.
    """
    given, column = args.labels, args.label_column
    own = given in (None, FOLDERS)
    # A number may be anything, unless somebody says that it is a label.
    asked = given is not None or column is not None
    found = source_labels(args.photos, args.image_column, column, asked) if own else None
    if found is None:
        if column is not None and own:
            raise InputError(f'--label-column {column} needs photos in tables, which these are not')
        if given is not None:
            return Labelled(labelled_photos(given, survey, look_at), given)
        return _hint(survey)
    photos = {photo.name for photo in survey.photos}
    by_class: dict[str, list[str]] = {}
    for address, name in found.classes.items():
        by_class.setdefault(name, []).extend({address} & photos)
    if asked:
        _check(by_class, given or f'of --label-column {column}')
    kept = {name: v for name, v in by_class.items() if len(v) >= FEWEST_OF_A_CLASS}
    if len(kept) < 2:
        return f'none: of {found.shown} {len(kept)} classes have {FEWEST_OF_A_CLASS} photos'
    return Labelled(_some(kept), f'{found.shown} of the photos')


def _hint(survey: Survey) -> str:
    folders = {photo.name.partition(os.sep)[0] for photo in survey.photos if os.sep in photo.name}
    loose = survey.folder is None or any(os.sep not in photo.name for photo in survey.photos)
    if loose or len(folders) < 2:
        return 'none: --labels gives some to judge by'
    return f'none: --labels alone takes the {len(folders)} folders of the photos as classes'


def _some(by_class: dict[str, list[str]]) -> dict[str, list[str]]:
    names = list(by_class)
    photos = [(number, path) for number, name in enumerate(names) for path in by_class[name]]
    count = max(MOST_OF_A_CLASS, MOST_COPIED // len(names))
    some: dict[str, list[str]] = {name: [] for name in names}
    for place in draw_labelled([number for number, _ in photos], count):
        number, path = photos[place]
        some[names[number]].append(path)
    return some


def labelled_photos(
    labels: str, survey: Survey, look_at: Callable[[Path], Survey]
) -> dict[str, list[str]]:
    """Photos of each class.

    Args:
        labels: ``'folders'``, where the photos that are trained on lie in class folders; another
            folder, of class folders; or a CSV file, whose first column is a photo, relative to the
            folder of ``survey``, its last the class.
        survey: of the photos that are trained on.
        look_at: surveys those of another folder: a run of hours is not to end at one of them.

    Raises:
        UserError: no such source, photos that are not there, class folders without photos, too many
            photos that cannot be read, or too few classes or photos of one.
    """
    if labels != FOLDERS and Path(labels).expanduser().is_dir():
        folder = Path(labels).expanduser()
        survey, source = look_at(folder), FOLDERS
        print(f'{labels}: {survey}', flush=True)
        check_readable(survey)
    else:
        names = [photo.name for photo in survey.photos]
        folder, source = _one_folder(survey.folder, names, labels), labels
    # A table may name what cannot be read, but nothing that is not there.
    names = [*(photo.name for photo in survey.photos), *survey.unreadable]
    photos = [photo_path(folder, name) for name in names]
    unread = {photo_path(folder, name) for name in survey.unreadable}
    by_class: dict[str, list[str]] = {}
    for path, name in zip(photos, labels_of(photos, folder, source)):
        if name is not None:
            by_class.setdefault(name, []).extend({path} - unread)
    # A list of photos may leave folders out, and a data set on disk has others.
    if source == FOLDERS and survey.shown == str(survey.folder):
        check_class_folders(folder, by_class)
    _check(by_class, labels)
    return by_class


def _one_folder(folder: Path | None, names: Sequence[str], labels: str) -> Path:
    if folder is None or any(os.path.isabs(name) for name in names):
        raise InputError(
            f'--labels {labels} needs photos that lie in one folder: for photos in several '
            'folders, or in files that bring no labels, give another folder, of class folders'
        )
    return folder


def _check(by_class: dict[str, list[str]], labels: str) -> None:
    if lost := [name for name, paths in by_class.items() if not paths]:
        raise UnreadableFileError(no_photo_of(min(lost)))
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


def put_labelled(by_class: dict[str, list[str]], folder: Path) -> None:
    """Make a folder for each class: links to its photos, and copies of those within files.

    Args:
        by_class: of :class:`Labelled`.
        folder: that is made, in the place of an earlier one.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for name, paths in zip(_folder_names(by_class), by_class.values()):
        place = folder / name
        place.mkdir(parents=True)
        for number, path in enumerate(paths):
            if '://' in path:
                content = read_bytes(path)
                (place / f'{number:06d}{_suffix(content)}').write_bytes(content)
            else:
                (place / f'{number:06d}{Path(path).suffix}').symlink_to(Path(path).resolve())


def _folder_names(classes: Iterable[str]) -> Iterator[str]:
    """A name for the folder of each class, which may be called what no folder can be, or is seen.

    Class folders that begin with a dot are hidden; the file system may take large letters for
    small ones.
    """
    taken: set[str] = set()
    for number, name in enumerate(classes):
        text = name.replace(os.sep, '_').replace('\0', '_').lstrip('.')
        text = text.encode(errors='replace')[:MOST_BYTES].decode(errors='ignore')
        while not text or text.casefold() in taken:
            text = f'{text}_{number}'
        taken.add(text.casefold())
        yield text


def _suffix(content: bytes) -> str:
    """An extension by which a photo is found again; a row of a table need not have a name."""
    with Image.open(io.BytesIO(content)) as image:
        suffix = f'.{str(image.format).lower()}'
    return suffix if suffix in readable_extensions() else '.png'
