"""Files that are whole or not there: written beside their place, flushed, then renamed."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from mmbeitv2.errors import ExistingFileError, UnreadableFileError, UserError

# The name by which `backend_args` of mmengine's hooks and runners choose :class:`AtomicBackend`.
ATOMIC_BACKEND = 'mmbeitv2_atomic'
PARTIAL_SUFFIX = '.partial'
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomically(path: str | Path, content: bytes) -> None:
    """Put ``content`` into a file that a crash at any moment leaves as it was, or replaced.

    Args:
        path: the file; its folder is made if need be.
        content: all of it.

    Raises:
        OSError: it cannot be written; names file, size and free space. What was there stays.
    """
    with partial_file(path) as partial:
        try:
            with open(partial, 'xb') as file:
                file.write(content)
        except OSError as error:
            raise UnreadableFileError(_unwritten(Path(path), len(content), error)) from error


@contextmanager
def partial_file(path: str | Path) -> Iterator[Path]:
    """Give the name of a file beside ``path`` to write; then flush it and rename it to ``path``.

    Raises:
        OSError: it cannot be renamed or flushed, or its folder not be made; names file and size.
    """
    path = Path(path)
    partial = path.with_name(f'.{path.name}.{secrets.token_hex(8)}{PARTIAL_SUFFIX}')
    size = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with open(partial, 'rb+') as file:
            size = file.seek(0, os.SEEK_END)
            os.fsync(file.fileno())
        os.replace(partial, path)
        _flush_folder(path.parent)
    except UserError:
        raise
    except OSError as error:
        raise UnreadableFileError(_unwritten(path, size, error)) from error
    finally:
        _remove_if_there(partial)


def remove_partial_files(folder: str | Path, name: str | None = None) -> None:
    """Remove what runs that were killed while they wrote have left in a folder.

    Args:
        folder: where they wrote.
        name: of the file that they wrote; all unless given.
    """
    names = '' if name is None else f'{escape(name)}.'
    for partial in Path(folder).glob(f'.{names}*{PARTIAL_SUFFIX}'):
        _remove_if_there(partial)


def free_bytes(path: str | Path) -> int:
    """Free space for this user where ``path`` is or will be."""
    path = Path(path).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def check_writable(path: str | Path, folder: bool = False) -> None:
    """Refuse a place that cannot be written, before what belongs there is computed; makes nothing.

    Args:
        path: of a file that may be there already, or of a folder.
        folder: which of the two.

    Raises:
        OSError: it lies below a file, is read-only, or has a name that is too long; or it is a
            folder where a file is to be, and the other way round.
    """
    place = Path(path).absolute()
    try:
        if place.exists() and place.is_dir() != folder:
            raise ExistingFileError(
                f'{path} is a folder: give the name of a file'
                if place.is_dir()
                else f'{path} is a file: give the name of a folder'
            )
        while not place.exists():
            place = place.parent
        below = place != Path(path).absolute()
    except UserError:
        raise
    except OSError as error:
        raise UnreadableFileError(f'{path} cannot be written: {error.strerror}') from error
    if below and not place.is_dir():
        raise UnreadableFileError(f'{path} cannot be written: {place} is a file, not a folder')
    if not os.access(place, os.W_OK):
        raise UnreadableFileError(
            f'{path} cannot be written: {place} is read-only for this user; give another place'
        )


class AtomicBackend(LocalBackend):
    """mmengine's backend of local files that writes them atomically, and may remove them later."""

    def __init__(self) -> None:
        self._removals: dict[str, int] | None = None

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file: see :func:`write_atomically`."""
        write_atomically(filepath, obj)

    def remove(self, filepath: str | Path) -> None:
        """Remove a file, at the end of ``removals_last`` if within it."""
        if self._removals is None:
            super().remove(filepath)
        else:
            self._removals[str(filepath)] = os.stat(filepath).st_ino

    @contextmanager
    def removals_last(self) -> Iterator[None]:
        """Remove files only once all within has succeeded, and none that was written anew."""
        self._removals = {}
        try:
            yield
            removals = self._removals
        finally:
            self._removals = None
        for path, number in removals.items():
            if Path(path).is_file() and os.stat(path).st_ino == number:
                super().remove(path)


register_backend(ATOMIC_BACKEND, AtomicBackend, force=True)


def _flush_folder(folder: Path) -> None:
    """Make the new name outlast a power failure, where the system can flush folders."""
    if not hasattr(os, 'O_DIRECTORY'):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _unwritten(path: Path, size: int, error: OSError) -> str:
    said = f'cannot write {path}, {size:,} bytes: {error.strerror or error}'
    if error.errno in NO_SPACE:
        said += (
            f', {free_bytes(path):,} bytes are free. Free some, or choose another folder; what was '
            'there is untouched, a training goes on from its last checkpoint with --resume'
        )
    return said


def _remove_if_there(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        # A folder that is gone or read-only has nothing to clean up.
        return
