"""Photos to train on, from folders, lists, tars, LMDB files and Hugging Face datasets, by name."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmbeitv2.errors import InputError, MissingFileError

from .list_file import names_in_list
from .listing import LeftOut, readable_extensions, walk_images
from .places import PACKED, Place, kind_of, places_of

Source = str | Path | Sequence[str | Path]


@dataclass
class PhotoSources:
    """Photos by name, in order.

    Args:
        folder: what names are relative to; None where none is relative.
        names: paths, or the addresses of photos in a file of many; ``listing.photo_path`` says
            where one lies.
        shown: the sources, for the reader.
        left_out: files that are no photos.
    """

    folder: Path | None
    names: list[str]
    shown: str
    left_out: LeftOut = field(default_factory=LeftOut)


def find_sources(source: Source, image_column: str | None = None) -> PhotoSources:
    """Find the photos of one or several sources.

    Args:
        source: a folder, whose photos are found at any depth; a text file with a photo a line; or
            files as ``places.places_of`` takes them, a name or a pattern that ends in ``.tar``,
            ``.lmdb`` or ``.parquet``, or a folder of ``save_to_disk``. Or several folders and such
            files.
        image_column: of tables; None for their only column of image files.

    Raises:
        FileNotFoundError: no such source.
        ValueError: a source without photos, or one that cannot be read by single photos.
        OSError: a damaged file.
        ImportError: the package of a format is missing.
    """
    sources = source_paths(source)
    check_sources(source)
    if len(sources) == 1:
        path = sources[0]
        if kind_of(path) == 'folder' and os.path.isdir(path):
            return _of_folder(Path(path))
        if kind_of(path) == 'folder' and os.path.isfile(path) and not path.endswith(PACKED):
            return PhotoSources(Path(path).parent, names_in_list(path), path)
    return _of_places(places_of(sources, '', dict(image_column=image_column)))


def load_tables(source: Source) -> None:
    """Let addresses of photos in Parquet files lead somewhere again.

    They lead into the cache of ``datasets``, which anybody may empty between two starts of a run.

    Args:
        source: as :func:`find_sources` took it.
    """
    for path in source_paths(source):
        if kind_of(path) == 'table':
            for place in places_of(path, ''):
                place.table().load()


def check_sources(source: Source) -> None:
    """Refuse what is no source, before anything is read.

    Raises:
        FileNotFoundError: no such folder or file.
        ValueError: a list beside other sources.
    """
    sources = source_paths(source)
    for path in sources:
        if kind_of(path) != 'folder' or path.endswith(PACKED) or os.path.isdir(path):
            continue
        if not os.path.exists(path):
            raise MissingFileError(
                f'{path} is no folder and no file: give a folder with photos, a list with a photo '
                'a line, or files that end in .tar, .lmdb or .parquet'
            )
        if len(sources) > 1:
            raise InputError(
                f'{path} is a list, beside {len(sources) - 1} other sources: give one list of all '
                'photos, or several folders and files that end in .tar, .lmdb or .parquet'
            )


def check_apart(out: str | Path, source: Source) -> None:
    """Refuse a folder of results within the photos: the next reader would take these for photos.

    Raises:
        ValueError: names both folders.
    """
    place = Path(out).expanduser().resolve()
    for path in map(Path, source_paths(source)):
        folder = path.resolve()
        if folder.is_dir() and kind_of(str(path)) == 'folder' and place.is_relative_to(folder):
            raise InputError(
                f'--out {out} lies in the folder of photos {path}, where its pictures would be '
                'taken for photos the next time: give a place outside of it'
            )


def source_paths(source: Source) -> list[str]:
    """Absolute paths of one or several sources."""
    given = [source] if isinstance(source, str | os.PathLike) else list(source)
    # Names that are written into lists hold wherever a run is started.
    return [os.path.abspath(os.path.expanduser(one)) for one in given]


def _of_folder(folder: Path) -> PhotoSources:
    left_out = LeftOut()
    names = list(walk_images(folder, readable_extensions(), left_out))
    if not names:
        raise _without_photos(str(folder), left_out)
    return PhotoSources(folder, names, str(folder), left_out)


def _of_places(places: Sequence[Place]) -> PhotoSources:
    names: list[str] = []
    left_out = LeftOut()
    for place in places:
        before = len(names)
        names += (name for name, _ in place.photos(readable_extensions(), False, left_out))
        if len(names) == before:
            raise _without_photos(place.path, left_out)
    more = f' and {len(places) - 1} more' if len(places) > 1 else ''
    return PhotoSources(None, names, f'{places[0].path}{more}', left_out)


def _without_photos(path: str, left_out: LeftOut) -> InputError:
    found = left_out if left_out.names else 'it is empty'
    return InputError(
        f'{path} has no photo; {found}. Give a source with files that Pillow reads, such as .jpg, '
        '.png, .webp or .tif'
    )
