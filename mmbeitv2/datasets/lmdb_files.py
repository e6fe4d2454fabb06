"""Photos inside LMDB files: which keys are photos, and how a value is read."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.fileio import BaseStorageBackend, register_backend

from mmbeitv2.errors import NotInstalledError, UnreadableFileError

from .listing import LeftOut, is_hidden
from .open_files import OpenFiles


def import_lmdb() -> Any:
    """The package ``lmdb``.

    Raises:
        ImportError: It is missing.
    """
    try:
        import lmdb
    except ImportError as error:
        raise NotInstalledError(
            'LMDB files need the package lmdb: `pip install "mmbeitv2[lmdb]"`'
        ) from error
    return lmdb


def lmdb_photos(path: str, extensions: Sequence[str], left_out: LeftOut) -> Iterator[str]:
    """Yield the addresses of the photos of an LMDB file, in the order of its keys.

    Args:
        path: Of the file, or of the folder with its ``data.mdb``. Values are image files as they
            are, keys their names.
        extensions: Of photos, in lower case, with their dot.
        left_out: Told of every key that is no photo's.

    Raises:
        OSError: It cannot be read as an LMDB file.
        ImportError: The package lmdb is missing.
    """
    with _environment(path).begin() as transaction:
        for key in transaction.cursor().iternext(values=False):
            name = os.fsdecode(bytes(key))
            if is_hidden(name):
                left_out.add(name, 'hidden')
            elif not name.lower().endswith(tuple(extensions)):
                left_out.add(name, 'of another extension')
            elif '://' in name:
                left_out.add(name, 'with :// in its name')
            else:
                yield f'lmdb://{path}#{name}'


def _environment(path: str) -> Any:
    # One file under two names must not be opened twice in a process.
    return _opened(os.path.realpath(path))


def _open(path: str) -> Any:
    lmdb = import_lmdb()
    cure = 'Write it with `python tools/pack_images.py FOLDER FILE.lmdb`'
    folder = os.path.isdir(path)
    try:
        environment = lmdb.open(path, subdir=folder, readonly=True, lock=False)
    except lmdb.Error as error:
        raise UnreadableFileError(
            f"'{path}' cannot be read as an LMDB file: {error}. {cure}"
        ) from error
    size = os.path.getsize(os.path.join(path, 'data.mdb') if folder else path)
    needed = (environment.info()['last_pgno'] + 1) * environment.stat()['psize']
    if size < needed:
        environment.close()
        # Reading behind its end would end the process by a signal.
        raise UnreadableFileError(
            f"the LMDB file '{path}' is truncated: it has {size} of {needed} bytes. {cure}"
        )
    return environment


_opened: OpenFiles[Any] = OpenFiles(_open, part='data.mdb')
# An LMDB file that was opened before a fork must not be used behind it: it is opened anew.
os.register_at_fork(before=_opened.close)


class LmdbPhotoBackend(BaseStorageBackend):
    """Reads one value of an LMDB file, whose address ``lmdb_photos`` gave."""

    def get(self, filepath: str) -> bytes:
        """The bytes of ``lmdb://FILE#KEY``.

        Raises:
            OSError: There is no such key.
        """
        file, key = str(filepath).removeprefix('lmdb://').split('#', 1)
        with _environment(file).begin() as transaction:
            content = transaction.get(os.fsencode(key))
        if content is None:
            raise OSError(f'the LMDB file has no key {key!r}')
        return content

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """The same as text."""
        return self.get(filepath).decode(encoding)


register_backend('mmbeitv2.lmdb', LmdbPhotoBackend, prefixes='lmdb')
