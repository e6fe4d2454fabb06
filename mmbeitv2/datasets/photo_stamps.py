"""Whether photos are those that were read before, without reading them again."""

import hashlib
import os
from collections.abc import Iterable

# Beginning of the addresses of photos in local files; what follows ``#`` is the place in one.
IN_FILES = ('tar://', 'arrow://', 'lmdb://')
NOT_THERE = (-1, -1)


def stamp(paths: Iterable[str]) -> str:
    """Checksum of size and time of change of the files that photos lie in.

    Photos with equal stamps have not been replaced, restored or edited in between, unless a program
    has put back the size and the time. Of photos in tars, tables and LMDB files it is the whole
    file's; addresses elsewhere count by their text.

    Args:
        paths: of the photos, or their addresses; in an order that counts.

    Returns:
        64 hexadecimal digits.
    """
    known: dict[str, tuple[int, int]] = {}
    digest = hashlib.sha256()
    for path in paths:
        file = _file_of(path)
        if file not in known:
            known[file] = _seen(file)
        digest.update(os.fsencode(f'{known[file]} '))
    return digest.hexdigest()


def _file_of(path: str) -> str:
    for scheme in IN_FILES:
        if path.startswith(scheme):
            return path.removeprefix(scheme).partition('#')[0]
    return path


def _seen(file: str) -> tuple[int, int]:
    # LMDB makes a file in its folder for whoever reads it.
    data = os.path.join(file, 'data.mdb')
    try:
        found = os.stat(data if os.path.isdir(file) else file)
    except (OSError, ValueError):
        return NOT_THERE
    return found.st_size, found.st_mtime_ns
