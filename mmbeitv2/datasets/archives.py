"""Photos inside tars and LMDB files: where each one lies, and how it is read by itself."""

import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from mmengine.fileio import BaseStorageBackend, register_backend

from mmbeitv2.errors import InputError, NotInstalledError, UnreadableFileError

from .listing import LeftOut

BLOCK = 512
# Two blocks of zeros end a tar.
END_MARK = bytes(2 * BLOCK)
LABEL = '.cls'
OPEN_FILES = 64


def check_tar(path: str) -> None:
    """Refuse a file that is no plain tar, or one that was cut off, by its first and last bytes.

    Raises:
        OSError: With the file and the cure.
    """
    cure = 'Write or copy it once more, or leave it out of data_root and data_prefix'
    try:
        with open(path, 'rb') as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(END_MARK)))
            whole = size % BLOCK == 0 and file.read() == END_MARK
        with tarfile.open(path, 'r:'):
            pass
    except (OSError, tarfile.TarError) as error:
        raise UnreadableFileError(
            f"'{path}' cannot be read as a tar without compression: {error}. {cure}"
        ) from error
    if not whole:
        raise UnreadableFileError(
            f"the tar '{path}' is truncated: its {size} bytes do not end with the two empty blocks "
            f'of a whole one. {cure}'
        )


def tar_photos(
    path: str, extensions: Sequence[str], with_label: bool, left_out: LeftOut
) -> Iterator[tuple[str, int | None]]:
    """Yield address and label of the photos of a tar, in the order in which they lie in it.

    Args:
        path: Of the tar, which is not compressed.
        extensions: Of photos, in lower case, with their dot.
        with_label: Whether the member of the same WebDataset key that ends in ``.cls`` holds the
            label, a whole number.
        left_out: Told of every file that is no photo, but for labels.

    Raises:
        ValueError: A photo without a label, or a label that is none.
        OSError: A tar that cannot be read or is truncated.
    """
    check_tar(path)
    photos, labels = [], {}
    try:
        with tarfile.open(path, 'r:') as tar:
            archive: Any = tar
            for member in tar:
                # tarfile keeps all members otherwise: 500 bytes for each photo.
                archive.members = []
                if not member.isreg() or member.issparse():
                    continue
                name, place = member.name, (member.offset_data, member.size)
                if any(part.startswith('.') for part in name.split('/')[-1:]):
                    left_out.add(name, 'hidden')
                elif name.lower().endswith(tuple(extensions)):
                    photos.append((name, place))
                elif name.endswith(LABEL) and with_label:
                    labels[_key(name)] = _label(archive.extractfile(member).read(), name, path)
                elif not name.endswith(LABEL):
                    left_out.add(name, 'of another extension')
    except tarfile.TarError as error:
        raise UnreadableFileError(
            f"the tar '{path}' is damaged: {error}. Write or copy it once more"
        ) from error
    for name, (offset, size) in photos:
        if with_label and _key(name) not in labels:
            raise InputError(
                f"'{name}' in '{path}' has no label: write it into a member {_key(name)}{LABEL}, "
                'or set with_label=False for images without labels'
            )
        # mmengine takes what stands before '://' for the storage.
        shown = name.replace('://', '/')
        yield f'tar://{path}#{shown}@{offset}+{size}', labels.get(_key(name))


def _key(name: str) -> str:
    """WebDataset's key of a member: all before the first dot of its file name."""
    folder, slash, file = name.rpartition('/')
    return folder + slash + file.split('.')[0]


def _label(content: bytes, name: str, path: str) -> int:
    text = content.decode('ascii', 'replace').strip()
    if not re.fullmatch('[0-9]+', text):
        raise InputError(
            f"the label '{name}' in '{path}' is {text[:20]!r}, but must be a whole number from 0: "
            'write the tar once more, or set with_label=False'
        )
    return int(text)


class TarBackend(BaseStorageBackend):
    """Reads one member of a tar, whose address ``tar_photos`` gave, without reading the others."""

    def get(self, filepath: str) -> bytes:
        """The bytes of ``tar://FILE#NAME@OFFSET+SIZE``.

        Raises:
            OSError: The file ends before the member does, or cannot be opened.
        """
        file, member = str(filepath).removeprefix('tar://').split('#', 1)
        offset, size = (int(n) for n in member.rpartition('@')[2].split('+'))
        # Reads at a place of its own: processes that share the open file do not disturb each other.
        content = os.pread(_descriptor(file).fileno(), size, offset)
        if len(content) < size:
            raise OSError(f'the tar ends {size - len(content)} bytes before the member does')
        return content

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """The same as text."""
        return self.get(filepath).decode(encoding)


@lru_cache(maxsize=OPEN_FILES)
def _descriptor(path: str) -> Any:
    return open(path, 'rb')


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
            if not name.lower().endswith(tuple(extensions)):
                left_out.add(name, 'of another extension')
            elif '://' in name:
                left_out.add(name, 'with :// in its name')
            else:
                yield f'lmdb://{path}#{name}'


@lru_cache(maxsize=OPEN_FILES)
def _environment(path: str) -> Any:
    lmdb = import_lmdb()
    try:
        return lmdb.open(path, subdir=os.path.isdir(path), readonly=True, lock=False)
    except lmdb.Error as error:
        raise UnreadableFileError(
            f"'{path}' cannot be read as an LMDB file: {error}. Write it with "
            '`python tools/pack_images.py FOLDER FILE.lmdb`'
        ) from error


# An LMDB file that was opened before a fork must not be used behind it: it is opened anew.
os.register_at_fork(before=_environment.cache_clear)


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


register_backend('mmbeitv2.tar', TarBackend, prefixes='tar')
register_backend('mmbeitv2.lmdb', LmdbPhotoBackend, prefixes='lmdb')
