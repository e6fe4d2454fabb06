"""Which photos a user means, for tools that use a model on photos; checked before any work."""

import os
from pathlib import Path
from typing import NamedTuple

from mmbeitv2.errors import InputError, MissingFileError

from .list_file import names_in_list
from .listing import LeftOut, photo_path, readable_extensions, walk_images
from .photo_sources import Source, find_sources
from .places import PACKED, kind_of


class PhotoList(NamedTuple):
    """Photos by name.

    Attributes:
        folder: what names are relative to; None where they are absolute, or addresses of photos in
            files.
        names: of the photos, in order.
        left_out: files that are no photos, in a line; empty where there are none.
    """

    folder: Path | None
    names: list[str]
    left_out: str = ''

    @property
    def paths(self) -> list[str]:
        """Where the photos lie."""
        return [photo_path(self.folder or '', name) for name in self.names]


def list_photos(source: Source, image_column: str | None = None) -> PhotoList:
    """Photos of a folder at any depth, of a list file, in tars, tables or LMDB, or a single one.

    Args:
        source: a folder, whose files with an image's extension are photos, as for the data sets; a
            file with such an extension, or the address of a photo in a file; a text file that names
            a photo a line; files of photos, or several sources, as
            :func:`mmbeitv2.datasets.photo_sources.find_sources` takes them.
        image_column: of tables; None for their only column of image files.

    Raises:
        FileNotFoundError: no such folder or file, or a photo of the list that is not there.
        ValueError: no photo.
        OSError: the source cannot be read.
        ImportError: the package of a format is missing.
    """
    if isinstance(source, str) and '://' in source:
        return PhotoList(None, [source])
    if not isinstance(source, str | os.PathLike):
        return _of_sources(source, image_column)
    path = Path(source).expanduser()
    if kind_of(str(path)) != 'folder' or str(path).lower().endswith(PACKED):
        return _of_sources(path, image_column)
    if path.is_dir():
        return _of_folder(path)
    if not path.exists():
        raise MissingFileError(
            f'no photos at {path}: give a folder, a photo, a text file with a photo a line, or '
            'files that end in .tar, .lmdb or .parquet'
        )
    if path.suffix.lower() in readable_extensions():
        return PhotoList(path.parent, [path.name])
    return PhotoList(path.parent, names_in_list(path))


def _of_sources(source: Source, image_column: str | None) -> PhotoList:
    found = find_sources(source, image_column)
    return PhotoList(found.folder, found.names, str(found.left_out) if found.left_out.names else '')


def _of_folder(folder: Path) -> PhotoList:
    left_out = LeftOut()
    names = sorted(walk_images(folder, readable_extensions(), left_out))
    said = str(left_out) if left_out.names else ''
    if not names:
        raise InputError(
            f"'{folder}' has no photo; {said or 'it is empty'}: give a folder with files that "
            'Pillow reads, such as .jpg or .png'
        )
    return PhotoList(folder, names, said)
