"""Where the photos of a data set lie: folders, tars, LMDB files, Hugging Face datasets, several."""

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmbeitv2.errors import InputError, MissingFileError, NotInstalledError

from .listing import LeftOut, walk_images
from .lmdb_files import lmdb_photos
from .tables import SAVED, SAVED_SPLITS, Table
from .tars import tar_photos

KINDS = {'.tar': 'tar', '.parquet': 'table', '.lmdb': 'lmdb'}
MOST_COMPARED = 1000
PACKED = ('.tar.gz', '.tgz', '.tar.bz2', '.tar.xz', '.tar.zst')


@dataclass
class Place:
    """One folder, or files of one format, of a data set.

    Args:
        path: As it was given, ``data_prefix`` below ``data_root``.
        kind: ``'folder'``, ``'tar'``, ``'lmdb'`` or ``'table'``.
        files: Those that a pattern names, in order; the folder itself.
        columns: ``image_column`` and ``label_column`` of a table.
    """

    path: str
    kind: str
    files: list[str]
    columns: dict[str, Any] = field(default_factory=dict[str, Any])

    def table(self, with_label: bool = False) -> Table:
        """The headers of Parquet files or of a saved data set."""
        return Table(self.files, **self.columns, with_label=with_label)

    def photos(
        self, extensions: Sequence[str], with_label: bool, left_out: LeftOut
    ) -> Iterator[tuple[str, int | None]]:
        """Yield path, or address, and label of every photo, in a fixed order.

        Args:
            extensions: Of photos, in lower case, with their dot.
            with_label: Whether tars and tables give labels.
            left_out: Told of every file that is no photo.

        Raises:
            ValueError: Labels in a place that has none.
        """
        extensions = tuple(extensions)
        if self.kind == 'table':
            yield from self.table(with_label).photos()
        elif self.kind == 'tar':
            for file in self.files:
                yield from tar_photos(file, extensions, with_label, left_out)
        elif with_label:
            raise InputError(
                f"'{self.path}' has no labels: several folders and LMDB files serve for data "
                'without labels (with_label=False)'
            )
        elif self.kind == 'lmdb':
            for file in self.files:
                yield from ((path, None) for path in lmdb_photos(file, extensions, left_out))
        else:
            for name in sorted(walk_images(self.path, extensions, left_out)):
                yield os.path.join(self.path, name), None


def places_of(
    data_root: str | Sequence[str],
    data_prefix: str | Mapping[str, Any],
    columns: Mapping[str, Any] | None = None,
) -> list[Place]:
    """Find the places that a data set names.

    Args:
        data_root: Root, or several.
        data_prefix: Below each root: a folder, or files by a name, or a pattern with ``*``, ``?``
            or ``{000..099}``, that ends in ``.tar``, ``.lmdb`` or ``.parquet``; or a folder of
            ``save_to_disk``.
        columns: See ``Place``.

    Raises:
        FileNotFoundError: No such files.
        ValueError: One place twice, one in another, or files that cannot be read by themselves.
    """
    prefix = data_prefix.get('img_path', '') if isinstance(data_prefix, Mapping) else data_prefix
    roots = [data_root] if isinstance(data_root, str | os.PathLike) else list(data_root)
    if not roots or not all(isinstance(root, str | os.PathLike) for root in roots):
        raise InputError(
            f'data_root is {data_root!r}, but must be a folder, or a list of folders or files'
        )
    places = [
        _place(os.path.join(root, prefix) if prefix else str(root), dict(columns or {}))
        for root in roots
    ]
    _refuse_twice(places)
    return places


def kind_of(path: str) -> str:
    """``'tar'``, ``'lmdb'``, ``'table'`` or ``'folder'``, by the end of the name."""
    kind = KINDS.get(os.path.splitext(path.rstrip('/'))[1].lower(), 'folder')
    if kind in ('tar', 'table') and os.path.isdir(path):
        return 'folder'
    saved = any(os.path.isfile(os.path.join(path, name)) for name in (SAVED, SAVED_SPLITS))
    return 'table' if saved else kind


def _place(path: str, columns: dict[str, Any]) -> Place:
    path = os.path.expanduser(path)
    if path.lower().endswith(PACKED):
        raise InputError(
            f"'{path}' is compressed, so that no photo can be read without all before it: unpack "
            'it to a .tar (`gunzip`, `unxz`, …); photos are compressed already'
        )
    kind = kind_of(path)
    if kind == 'folder':
        return Place(path, kind, [path], columns)
    files = _files(path)
    if marked := [file for file in files if '#' in file or '://' in file]:
        raise InputError(
            f"'{marked[0]}' has '#' or '://' in its path, which part the addresses of photos in a "
            'file: rename it, or link it (`ln -s`) to another name'
        )
    return Place(path, kind, files, columns)


def _files(pattern: str) -> list[str]:
    if os.path.exists(pattern):
        return [pattern]
    names = [pattern]
    if '{' in pattern:
        try:
            from braceexpand import braceexpand
        except ImportError as error:
            raise NotInstalledError(
                f"'{pattern}' with braces needs WebDataset's package: "
                '`pip install "mmbeitv2[webdataset]"`, or write the pattern with *'
            ) from error
        names = list(braceexpand(pattern))
    files = []
    for name in names:
        found = [name] if os.path.exists(name) else sorted(glob.glob(name))
        if not found:
            raise MissingFileError(
                f"'{name}' does not exist, or no file fits it (looked from {os.getcwd()}): correct "
                'the path (data_root and data_prefix of a dataset)'
            )
        files += found
    return files


def _refuse_twice(places: Sequence[Place]) -> None:
    """Refuse photos that would be seen twice: one place again, or a folder in another."""
    seen: dict[str, str] = {}
    for place in places:
        own = [os.path.realpath(file) for file in place.files]
        if len(set(own)) < len(own):
            raise InputError(
                f"'{place.path}' names a file twice, by a pattern or a link, so that its photos "
                'would be seen twice: leave out one'
            )
        for file in place.files:
            real = os.path.realpath(file)
            for other, shown in seen.items():
                if real == other or _inside(real, other) or _inside(other, real):
                    raise InputError(
                        f"data_root names '{shown}' and '{file}', which are the same or lie in one "
                        'another, so that photos would be seen twice: leave out one'
                    )
        # Files of one pattern lie in one folder, which is none of the data set's.
        seen.update({os.path.realpath(file): file for file in place.files})


def _inside(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def equal_names(folders: Sequence[str], paths: Sequence[str]) -> str | None:
    """Say how many photos of one folder have the name of one of another, and how many are copies.

    Args:
        folders: Of the data set.
        paths: Of their photos.

    Returns:
        str | None: One line; None where all names differ.
    """
    first: dict[str, Any] = {}
    equal: list[Any] = []
    copies = 0
    for path in paths:
        folder = next((f for f in folders if _inside(path, f)), None)
        if folder is None:
            continue
        name = path[len(folder) :].lstrip(os.sep)
        other = first.setdefault(name, path)
        if other != path:
            # Bytes are compared where that is fast: two whole copies of a data set take long.
            copies += len(equal) < MOST_COMPARED and _same_bytes(other, path)
            equal.append(name)
    if not equal:
        return None
    compared = min(len(equal), MOST_COMPARED)
    return (
        f'{len(equal)} photos have the name of one in another of the {len(folders)} folders, such '
        f'as {equal[0]}; {copies} of the first {compared} are copies of it, which an epoch sees '
        'twice'
    )


def _same_bytes(one: str, other: str) -> bool:
    if os.path.getsize(one) != os.path.getsize(other):
        return False
    with open(one, 'rb') as first, open(other, 'rb') as second:
        return first.read() == second.read()
