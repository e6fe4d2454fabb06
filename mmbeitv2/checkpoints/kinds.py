"""What a file is that is no checkpoint, or a damaged one; known by its bytes, never unpickled."""

import json
import pickletools
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

ZIP, PICKLE = b'PK\x03\x04', b'\x80'
# Beginnings of files that downloads and copies put in a checkpoint's place.
BEGINNINGS = (
    (
        b'version https://git-lfs',
        'is a Git-LFS pointer, not the file it stands for: fetch that with `git lfs pull`',
    ),
    (b'\xff\xd8\xff', 'is a JPEG image'),
    (b'\x89PNG', 'is a PNG image'),
    (b'GIF8', 'is a GIF image'),
    (b'RIFF', 'is a WebP image or another RIFF file'),
    (b'II*\x00', 'is a TIFF image'),
    (b'MM\x00*', 'is a TIFF image'),
    (b'%PDF', 'is a PDF document'),
    (b'\x1f\x8b', 'is a gzip archive: unpack it'),
    (b'BZh', 'is a bzip2 archive: unpack it'),
    (b'\xfd7zXZ', 'is an xz archive: unpack it'),
    (b'7z\xbc\xaf', 'is a 7-zip archive: unpack it'),
    (b'\x28\xb5\x2f\xfd', 'is a Zstandard archive: unpack it'),
    (b'\x93NUMPY', 'is a NumPy array'),
    (b'\x89HDF', 'is an HDF5 file'),
)
MARKUP = (b'<!doctype', b'<!--', b'<html', b'<?xml', b'<head', b'<body', b'<error')
BYTE_ORDER_MARK = b'\xef\xbb\xbf'
# In a zip archive's directory; torch leaves the memory of such a member as it is.
DIRECTORY_ATTRIBUTE = 0x10
DAMAGED = 'is truncated or damaged: copy or download it again'
SHOWN = 20


def is_safetensors(path: str | Path) -> bool:
    """Whether a file begins with safetensors' JSON header, after the header's length."""
    with open(path, 'rb') as file:
        beginning = file.read(9)
    # In a text the eight bytes would be a length beyond any file.
    return beginning[8:] == b'{' and struct.unpack('<Q', beginning[:8])[0] < 2**40


def fault(path: str | Path) -> str | None:
    """What makes a file no whole checkpoint, as the end of a sentence; None if it is one.

    Every byte of torch's zip archives is compared with the checksums in them, which torch writes
    and does not look at: about a second per gigabyte.

    Args:
        path: a file.
    """
    path = Path(path)
    if is_safetensors(path):
        return _fault_of_safetensors(path)
    with open(path, 'rb') as file:
        beginning = file.read(512)
        if not beginning:
            return 'is empty: copy or download it again'
        for magic, name in BEGINNINGS:
            if beginning.startswith(magic):
                return name if ':' in name else f'{name}, no checkpoint'
        if beginning.removeprefix(BYTE_ORDER_MARK).lstrip().lower().startswith(MARKUP):
            return 'is a web page, not a checkpoint: its address needs a login or leads elsewhere'
        if beginning.startswith(ZIP):
            return _fault_of_archive(path)
        # A pickle of protocol 0 begins with an opcode as text does; it is read as one if it is.
        if beginning.startswith(PICKLE) or not _is_text(beginning):
            file.seek(0)
            return None if _pickle_is_whole(file) else _unknown(beginning)
        file.seek(0)
        if _pickle_is_whole(file):
            return None
    lines = beginning[:SHOWN].decode(errors='ignore').splitlines() or ['']
    return f'is a text file that begins with {lines[0]!r}, no checkpoint'


def _fault_of_archive(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(name.endswith('/constants.pkl') for name in names):
                return 'is a TorchScript program, not a checkpoint: save its state_dict() instead'
            pickles = [name for name in names if name.endswith('data.pkl')]
            if not pickles:
                return 'is a zip archive without a checkpoint: unpack it'
            folders = [
                m.filename for m in archive.infolist() if m.external_attr & DIRECTORY_ATTRIBUTE
            ]
            if folders:
                return f'is damaged ({folders[0]} is marked as a folder): copy it again'
            spoiled = archive.testzip()
            if spoiled is not None:
                return f'is damaged ({spoiled} does not have its checksum): copy it again'
            with archive.open(pickles[0]) as file:
                return None if _pickle_is_whole(file) else DAMAGED
    # A flipped bit may also spoil a name's encoding (ValueError) or say that data are compressed.
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError),
        *(RuntimeError, ValueError),
    ):
        return DAMAGED


def _fault_of_safetensors(path: Path) -> str | None:
    with open(path, 'rb') as file:
        (length,) = struct.unpack('<Q', file.read(8))
        try:
            header = json.loads(file.read(length)) if length < path.stat().st_size else {}
            ends = [v['data_offsets'][1] for n, v in header.items() if n != '__metadata__']
            whole = 8 + length + max(ends, default=0) == path.stat().st_size
        except (ValueError, LookupError, TypeError, AttributeError):
            whole = False
    return (
        None if whole else 'is a truncated or damaged safetensors file: copy or download it again'
    )


def _pickle_is_whole(file: IO[bytes]) -> bool:
    """Whether a stream begins with a complete pickle, whatever it would do."""
    try:
        return any(operation.name == 'STOP' for operation, _, _ in pickletools.genops(file))
    # Any byte may stand where an operand is parsed.
    except Exception:
        return False


def _is_text(beginning: bytes) -> bool:
    try:
        text = beginning.decode()
    except UnicodeDecodeError as error:
        # The last character may be cut.
        if error.start < len(beginning) - 3:
            return False
        text = beginning[: error.start].decode()
    return all(character.isprintable() or character in '\r\n\t\f' for character in text)


def _unknown(beginning: bytes) -> str:
    if beginning.startswith(PICKLE):
        return DAMAGED
    return f'is no checkpoint, or a damaged one: it begins with the bytes {beginning[:8].hex(" ")}'
