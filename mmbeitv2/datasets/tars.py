"""Photos inside tars: where each one lies, and how it is read by itself."""

import os
import posixpath
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from mmengine.fileio import BaseStorageBackend, register_backend

from mmbeitv2.errors import InputError, UnreadableFileError

from .listing import LeftOut, in_address, is_hidden
from .open_files import OpenFiles

BLOCK = 512
# Two blocks of zeros end a tar.
END_MARK = bytes(2 * BLOCK)
LABEL = '.cls'
# First byte and number of bytes of a member's content.
Location = tuple[int, int]


def check_tar(path: str) -> None:
    """Refuse a file that is no plain tar, or one that was cut off, by its first and last bytes.

    Raises:
        OSError: With the file and the cure.
    """
    cure = 'Write or copy it once more, or leave it out of the photos'
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
    path: str,
    extensions: Sequence[str],
    with_label: bool,
    left_out: LeftOut,
    all_labelled: bool = True,
) -> Iterator[tuple[str, int | None]]:
    """Yield address and label of the photos of a tar, in the order in which they lie in it.

    Args:
        path: Of the tar, which is not compressed.
        extensions: Of photos, in lower case, with their dot.
        with_label: Whether the member of the same WebDataset key that ends in ``.cls`` holds the
            label, a whole number.
        left_out: Told of every file that is no photo, but for labels.
        all_labelled: Whether a photo without a label is an error.

    Raises:
        ValueError: A photo without a label, or a label that is none.
        OSError: A tar that cannot be read or is truncated.
    """
    check_tar(path)
    try:
        photos, labels = _index(path, tuple(extensions), with_label, left_out)
    except tarfile.TarError as error:
        raise UnreadableFileError(
            f"the tar '{path}' is damaged: {error}. Write or copy it once more"
        ) from error
    for name, (offset, size) in photos.items():
        if with_label and all_labelled and _key(name) not in labels:
            raise InputError(
                f"'{name}' in '{path}' has no label: write it into a member {_key(name)}{LABEL}, "
                'or set with_label=False for images without labels'
            )
        yield f'tar://{path}#{in_address(name)}@{offset}+{size}', labels.get(_key(name))


def _index(
    path: str, extensions: tuple[str, ...], with_label: bool, left_out: LeftOut
) -> tuple[dict[str, Location], dict[str, int]]:
    """Where each photo lies, in order, and each label by its key; of equal names the last counts.

    So it is when a tar is unpacked: one that was updated holds the old member too.
    """
    photos: dict[str, Location | str] = {}
    labels = {}
    with tarfile.open(path, 'r:') as tar:
        archive: Any = tar
        for member in tar:
            # tarfile keeps all members otherwise: 500 bytes for each photo.
            archive.members = []
            # tar writes './001.png' and adds '001.png', which are one file when unpacked.
            name = posixpath.normpath(member.name)
            place = (member.offset_data, member.size)
            if member.isdir():
                continue
            if is_hidden(name):
                left_out.add(name, 'hidden')
            elif name.endswith(LABEL) and member.isreg():
                if with_label:
                    labels[_key(name)] = _label(archive.extractfile(member).read(), name, path)
            elif not name.lower().endswith(extensions):
                left_out.add(name, 'of another extension')
            elif member.issym() or member.islnk():
                photos[name] = _target(member)
            elif member.isreg() and not member.issparse():
                photos[name] = place
            else:
                left_out.add(name, 'sparse file, pipe or device')
        _check_end(path, archive.offset)
    return dict(_followed(photos, left_out)), labels


def _check_end(path: str, offset: int) -> None:
    """Refuse a tar of which more than zeros follows where it ends for ``tarfile``.

    Raises:
        OSError: With the place and the cure.
    """
    with open(path, 'rb') as file:
        file.seek(offset)
        while rest := file.read(2**20):
            if rest.strip(b'\0'):
                raise UnreadableFileError(
                    f"the tar '{path}' goes on behind byte {offset}, where its list of members "
                    'ends: a damaged header, or several tars in one file, which `tar -A` joins and '
                    '`cat` does not. Write or copy it once more'
                )


def _target(member: tarfile.TarInfo) -> str:
    """Name of the member that a link names; a symbolic one is relative to its own folder."""
    if member.islnk():
        return member.linkname
    return posixpath.normpath(posixpath.join(posixpath.dirname(member.name), member.linkname))


def _followed(
    photos: Mapping[str, Location | str], left_out: LeftOut
) -> Iterator[tuple[str, Location]]:
    """Photos with what their links lead to; those that lead to no photo are left out."""
    for name, place in photos.items():
        seen = set()
        found: Location | str | None = place
        while isinstance(found, str) and found not in seen:
            seen.add(found)
            found = photos.get(posixpath.normpath(found))
        if isinstance(found, tuple):
            yield name, found
        else:
            left_out.add(name, 'link to nothing')


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
        content = os.pread(_opened(file).fileno(), size, offset)
        if len(content) < size:
            raise OSError(f'the tar ends {size - len(content)} bytes before the member does')
        return content

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """The same as text."""
        return self.get(filepath).decode(encoding)


_opened: OpenFiles[Any] = OpenFiles(partial(open, mode='rb'))
register_backend('mmbeitv2.tar', TarBackend, prefixes='tar')
