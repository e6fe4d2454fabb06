"""Whether photos are those that were read before, without reading them again."""

import hashlib
import os
import re
from collections.abc import Iterable
from typing import NamedTuple

# Beginning of the addresses of photos in local files; what follows ``#`` is the place in one.
IN_FILES = ('tar://', 'arrow://', 'lmdb://')
# Folders named by what the files below were made of: written anew, those hold the same again.
BY_CONTENT = 'mmbeitv2-made-of-'
_BY_CONTENT = re.compile(rf'^arrow://[^#]*[/\\]{BY_CONTENT}[0-9a-f]{{32}}[/\\]')
DIGITS = 64


class Seen(NamedTuple):
    """What tells a file from another that comes into its place.

    Attributes:
        size: in bytes.
        time: of the last change of its content, in nanoseconds; programs may put it back.
        touched: when it was last changed, renamed, linked or given other rights, in nanoseconds;
            programs cannot choose it.
        inode: its number on the disk, which it keeps when folders above it are renamed; copies have
            another, and so has every file on some network drives that are mounted again.
    """

    size: int
    time: int
    touched: int
    inode: int


NOT_THERE = Seen(-1, -1, -1, -1)


def stamp(paths: Iterable[str]) -> str:
    """Checksums of the files that photos lie in: of sizes and times, and of what else tells them.

    Photos with equal stamps have not been replaced, restored, edited or swapped in between. Of
    photos in tars, tables and LMDB files it is the whole file's; addresses elsewhere count by their
    text.

    Args:
        paths: of the photos, or their addresses; in an order that counts.

    Returns:
        128 hexadecimal digits; the first half is the whole stamp of earlier versions.
    """
    known: dict[str, Seen] = {}
    changes, places = hashlib.sha256(), hashlib.sha256()
    for path in paths:
        file = _file_of(path)
        if file not in known:
            known[file] = _seen_in(path, file)
        changes.update(os.fsencode(f'{known[file][:2]} '))
        places.update(os.fsencode(f'{known[file][2:]} '))
    return changes.hexdigest() + places.hexdigest()


def agree(noted: str | None, found: str) -> bool:
    """Whether a stamp that was noted, perhaps by an earlier version, fits the one of now.

    Args:
        noted: result of :func:`stamp`; None fits nothing.
        found: likewise, of the same paths.
    """
    return noted is not None and len(noted) in (DIGITS, 2 * DIGITS) and found.startswith(noted)


def same_changes(noted: str, found: str) -> bool:
    """Whether sizes and times agree, so that files that differ were swapped, copied or touched."""
    return noted[:DIGITS] == found[:DIGITS]


def look_at(file: str | os.PathLike[str]) -> Seen:
    """What a file is like now; ``NOT_THERE`` if it cannot be asked."""
    # LMDB makes a file in its folder for whoever reads it.
    data = os.path.join(file, 'data.mdb')
    try:
        found = os.stat(data if os.path.isdir(file) else file)
    except (OSError, ValueError):
        return NOT_THERE
    return Seen(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _file_of(path: str) -> str:
    for scheme in IN_FILES:
        if path.startswith(scheme):
            return path.removeprefix(scheme).partition('#')[0]
    return path


def _seen_in(path: str, file: str) -> Seen:
    if _BY_CONTENT.match(path) and os.path.isfile(file):
        return Seen(0, 0, 0, 0)
    return look_at(file)
