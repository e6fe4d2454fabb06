"""Read IDX files, the format of MNIST and its relatives: a header, then 8-bit values."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from mmbeitv2.errors import InputError, UnreadableFileError

GZIP_MAGIC = b'\x1f\x8b'
UINT8 = 0x08
SIZE_BYTES = 4


def read_idx(path: Path, axes: int) -> np.ndarray:
    """Read one file, packed with gzip or not, whatever its name says.

    Args:
        path: of the file.
        axes: number of axes that it is to have: 3 for photos, 1 for labels.

    Returns:
        uint8 array with ``axes`` axes.

    Raises:
        UnreadableFileError: it cannot be read or unpacked.
        InputError: it is no IDX file of 8-bit values with ``axes`` axes, or longer or shorter than
            its header says.
    """
    content = _unpacked(path)
    header = SIZE_BYTES * (1 + axes)
    magic = bytes([0, 0, UINT8, axes])
    if content[:4] != magic:
        raise InputError(
            f'{path} begins with 0x{content[:4].hex()}, an IDX file of 8-bit values with {axes} '
            f'{"axis" if axes == 1 else "axes"} with 0x{magic.hex()}: fetch the original file.'
        )
    if len(content) < header:
        raise _cut_off(path, len(content), header)
    shape = np.frombuffer(content[4:header], '>u4').tolist()
    expected = header + math.prod(shape)
    if len(content) != expected:
        raise _cut_off(path, len(content), expected)
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _unpacked(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableFileError(
            f'{path} cannot be read ({error}): it is cut off or damaged, fetch it again.'
        ) from error


def _cut_off(path: Path, found: int, expected: int) -> InputError:
    return InputError(
        f'{path} holds {found:,} bytes, its header announces {expected:,}: it is cut off or '
        'damaged, fetch it again.'
    )
