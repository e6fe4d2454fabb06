"""From the bytes of an image file to 8-bit RGB, alike in every loader and tool of this package."""

import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mmengine import fileio
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from mmbeitv2.datasets.jpeg import decode_jpeg
from mmbeitv2.errors import InputError, MissingFileError, UnreadableFileError, UserError

DEEP_MODES = ('F', 'I')
# Tag of TIFF and its value of unsigned integers.
SAMPLE_FORMAT, UNSIGNED = 339, (1,)
# Levels of 16 bits for each of 8: 65535 / 255.
LEVELS_16 = 257
# Pillow widens what these formats hold, 16 bits at most, to its 32-bit mode.
SIXTEEN_BIT_FORMATS = ('PNG', 'PPM')


@contextmanager
def naming_unreadable_file(path: str | Path) -> Iterator[None]:
    """Turn any error of the ``with`` statement's body, which reads ``path``, into an OSError.

    Raises:
        OSError: With the file, the reason and the cure.
    """
    # Storage backends and decoders raise dozens of types, few of which name the file.
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        missing = isinstance(error, FileNotFoundError)
        raise (MissingFileError if missing else UnreadableFileError)(
            f"Image '{path}' cannot be read: {reason_of(error)}. Restore the "
            'file or remove it from the data set; if all files fail, check data_root and '
            'data_prefix of the dataset in the config.'
        ) from error


def reason_of(error: BaseException) -> str:
    """Type and text of the error behind one of ``naming_unreadable_file``, in one line."""
    error = error.__cause__ or error
    # Pillow names its buffer in memory, not what is wrong.
    unknown = isinstance(error, UnidentifiedImageError)
    text = 'no image of a format that Pillow knows' if unknown else ' '.join(str(error).split())
    return f'{type(error).__name__}: {text}'


def open_image(
    path: str | Path, backend_args: dict[str, Any] | None = None
) -> tuple[ImageFile.ImageFile, bytes]:
    """Open an image file, which is decoded later.

    Args:
        path: Of the file, or its key in the storage backend.
        backend_args: Arguments of ``mmengine.fileio.get`` that choose a storage backend.

    Returns:
        tuple: The opened image, whose size and mode are known, and all bytes of the file.

    Raises:
        OSError: If the file is missing, empty, no ordinary file or no image.
    """
    content = read_bytes(path, backend_args)
    with naming_unreadable_file(path):
        return Image.open(io.BytesIO(content)), content


def image_size(path: str | Path) -> tuple[int, int]:
    """Width and height of an image, by its header; of one in a file of many all bytes are read.

    Raises:
        OSError: See ``open_image``.
    """
    if '://' in str(path):
        return open_image(path)[0].size
    with naming_unreadable_file(path), Image.open(path) as image:
        return image.size


def read_bytes(path: str | Path, backend_args: dict[str, Any] | None = None) -> bytes:
    """All bytes of an image file, see ``open_image``."""
    with naming_unreadable_file(path):
        if backend_args is None and '://' not in str(path):
            _check_ordinary(path)
        content = fileio.get(path, backend_args=backend_args)
        if not content:
            raise OSError('the file is empty (0 bytes)')
        return content


def _check_ordinary(path: str | Path) -> None:
    """Refuse what ``open`` would wait for without end (a pipe), or cannot read."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kind = 'a folder' if stat.S_ISDIR(mode) else 'a pipe, socket or device'
        raise OSError(f'it is {kind}, not a file')


def to_rgb(
    image: Image.Image, path: str | Path, value_range: Sequence[float] | None = None
) -> Image.Image:
    """Decode an opened image to 8-bit RGB.

    Grey is repeated, palettes are looked up, CMYK is converted, alpha is dropped, of several frames
    the first is taken, and the EXIF orientation is left alone; as ``Image.convert('RGB')`` does and
    with it the official release. What that would cut off at 255 is scaled: 16 bits from [0, 65535],
    float and 32-bit numbers from ``value_range``, beyond which they are cut off.

    Args:
        image: Opened, perhaps not decoded.
        path: Of its file, for messages.
        value_range: What becomes black and white in images of one channel and more than 8 bits.

    Raises:
        ValueError: If the image holds float or 32-bit numbers and ``value_range`` is None; or
            numbers that are not finite.
    """
    sixteen = image.mode.startswith('I;16') or (
        image.mode == 'I' and image.format in SIXTEEN_BIT_FORMATS
    )
    if sixteen and value_range is None:
        levels = (np.asarray(image).astype(np.uint32) + LEVELS_16 // 2) // LEVELS_16
        return Image.fromarray(levels.astype(np.uint8)).convert('RGB')
    if sixteen or image.mode in DEEP_MODES:
        return _scaled(image, path, value_range)
    if image.mode in ('RGBa', 'La'):
        # Premultiplied by alpha: Pillow converts these to nothing else.
        image = image.convert({'RGBa': 'RGBA', 'La': 'LA'}[image.mode])
    return image.convert('RGB')


def _scaled(
    image: Image.Image, path: str | Path, value_range: Sequence[float] | None
) -> Image.Image:
    values = np.asarray(image)
    if isinstance(image, TiffImageFile) and image.tag_v2.get(SAMPLE_FORMAT, UNSIGNED) == UNSIGNED:
        # Pillow has no unsigned mode of 32 bits, so that large values come out negative.
        values = values.view(np.uint32) if values.dtype == np.int32 else values
    values = values.astype(np.float64)
    lowest, highest = (float(f(values)) for f in (np.min, np.max))
    kind = 'float' if image.mode == 'F' else 'integer'
    if value_range is None:
        raise InputError(
            f"Image '{path}' holds {kind} numbers, from {lowest:g} to {highest:g}, "
            'whose black and white nothing tells: declare them by --value-range BLACK WHITE of a '
            'command, by value_range=(BLACK, WHITE) of the transforms that load (at the top of the '
            'own_data configs), or save the images with 8 or 16 bits.'
        )
    if not np.isfinite([lowest, highest]).all():
        raise InputError(
            f"Image '{path}' holds numbers that are not finite, where nothing can be learned: "
            'replace NaN and infinity in the file.'
        )
    black, white = _black_and_white(value_range)
    levels = np.rint((values.clip(black, white) - black) * (255 / (white - black)))
    return Image.fromarray(levels.astype(np.uint8)).convert('RGB')


def check_value_range(value_range: Sequence[float] | None) -> tuple[float, float] | None:
    """Return a declared range as it is, if it is one.

    Raises:
        ValueError: If it is not two finite numbers, the first the smaller.
    """
    return None if value_range is None else _black_and_white(value_range)


def _black_and_white(value_range: Sequence[float]) -> tuple[float, float]:
    try:
        black, white = (float(value) for value in value_range)
    except (TypeError, ValueError):
        black, white = 0.0, 0.0
    if not (np.isfinite([black, white]).all() and black < white):
        raise InputError(
            f'value_range is {value_range!r}, but must be two numbers, the value of black and a '
            'larger one of white, such as (0, 4095), or None'
        )
    return black, white


def decode(
    image: ImageFile.ImageFile,
    content: bytes,
    reduction: int,
    path: str | Path = '',
    value_range: Sequence[float] | None = None,
) -> np.ndarray:
    """Decode an opened file to uint8 RGB (H, W, 3), as ``to_rgb`` has it.

    Args:
        image: The opened file, not decoded yet.
        content: All bytes of the file.
        reduction: What ``reduce_decoding`` returned for the file.
        path: Of the file, for messages.
        value_range: See ``to_rgb``.

    Raises:
        OSError: If the file is truncated, or damaged such that Pillow refuses it.
        ValueError: As ``to_rgb``.
    """
    pixels = decode_jpeg(image, content) if reduction == 1 else None
    return np.asarray(to_rgb(image, path, value_range)) if pixels is None else pixels


def read_rgb(
    path: str | Path,
    backend_args: dict[str, Any] | None = None,
    value_range: Sequence[float] | None = None,
) -> Image.Image:
    """Read an image file as 8-bit RGB, see ``open_image`` and ``to_rgb``."""
    image, _ = open_image(path, backend_args)
    with naming_unreadable_file(path), image:
        return to_rgb(image, path, value_range)
