"""Files of many photos that stay open from one photo to the next."""

import os
from collections.abc import Callable
from typing import Generic, TypeVar

Opened = TypeVar('Opened')
MOST_OPEN = 64


class OpenFiles(Generic[Opened]):
    """Files by path, the latest used kept open; one that was replaced or written on is opened anew.

    By its path alone, an open file would give its photos under the names of the one that has come
    into its place.

    Args:
        open_file: opens the file at a path; what it returns closes once nobody holds it.
        part: of a path that is a folder, the file that tells whether it has changed.
    """

    def __init__(self, open_file: Callable[[str], Opened], part: str = '') -> None:
        self._open_file = open_file
        self._part = part
        self._kept: dict[str, tuple[tuple[int, ...], Opened]] = {}

    def __call__(self, path: str) -> Opened:
        """The file, open.

        Raises:
            OSError: there is none.
        """
        which = self._identity(path)
        kept = self._kept.pop(path, None)
        if kept is None or kept[0] != which:
            # LMDB refuses a path of which the old file is still open.
            del kept
            kept = which, self._open_file(path)
        self._kept[path] = kept
        if len(self._kept) > MOST_OPEN:
            del self._kept[next(iter(self._kept))]
        return kept[1]

    def close(self) -> None:
        """Hold none any more."""
        self._kept.clear()

    def _identity(self, path: str) -> tuple[int, ...]:
        found = os.stat(os.path.join(path, self._part) if os.path.isdir(path) else path)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
