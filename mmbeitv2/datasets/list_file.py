"""Photos that a list file names, checked before any work."""

import os
from pathlib import Path

from mmbeitv2.errors import MissingFileError

from .listing import listed_samples, photo_path


def names_in_list(path: str | Path) -> list[str]:
    """Names of the photos of a list, in order: relative to its own folder, absolute, or addresses.

    Raises:
        FileNotFoundError: a photo that is not there; of photos in files, the file.
        ValueError: no photo.
        OSError: the list cannot be read.
    """
    folder = Path(path).parent
    names = [name for name, _ in listed_samples(path, with_label=False)]
    missing = [name for name in names if not os.path.exists(_file_of(photo_path(folder, name)))]
    if missing:
        raise MissingFileError(
            f'{len(missing)} of the {len(names)} photos that {path} names are not there, the first '
            f'is {missing[0]!r}: lines are paths relative to {folder.resolve()}, or the addresses '
            'of photos in files'
        )
    return names


def _file_of(path: str) -> str:
    """A photo's file, or the one that it lies in."""
    return path.partition('://')[2].partition('#')[0] if '://' in path else path
