"""Images of other channel counts than three: read from a file, and seen by a network of RGB."""

import io
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mmbeitv2.checks import check_count, is_count
from mmbeitv2.errors import InputError, NotInstalledError

from .decoding import check_value_range, naming_unreadable_file, read_bytes, to_rgb

RGB = 3
GREY_MODES = ('1', 'L', 'I', 'F', 'I;16', 'I;16B', 'I;16L', 'I;16N')
# First bytes of a TIFF and of one of more than 4 GB, of either byte order.
TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
# First bytes of a PNG, and the place of its bits a channel.
PNG, PNG_DEPTH = b'\x89PNG', 24
# Channels of the modes of Pillow that hold several of 8 bits, each for itself.
MODES = {'LA': 2, 'RGB': 3, 'RGBA': 4, 'RGBX': 4, 'CMYK': 4}
# Names of the axes in which tifffile has bands: samples, pages, and what it cannot tell.
BAND_AXES = 'SCQI'
LEVELS = {'uint8': (0, 255), 'uint16': (0, 65535)}
VIEWS = (
    "'repeat' (one channel three times), three places of channels such as [3, 2, 1], or three rows "
    'of weights, one weight for each channel'
)


def read_channels(
    path: str,
    channels: int,
    backend_args: dict[str, Any] | None = None,
    value_range: Sequence[float] | None = None,
) -> np.ndarray:
    """Read a file as the 8-bit channels that it holds.

    A TIFF may have any number of them, as samples or as pages of one size. Values of 8 bits stay,
    16 bits are scaled from [0, 65535], others, and 16 bits too, from ``value_range``, which is
    that of all channels. Nothing is dropped or made up: alpha is a channel.

    Args:
        path: Of the file, or its key in the storage backend.
        channels: Of the result.
        backend_args: Arguments of ``mmengine.fileio.get`` that choose a storage backend.
        value_range: What becomes 0 and 255.

    Returns:
        np.ndarray: uint8 (H, W, channels).

    Raises:
        ValueError: The file holds another number of channels; or values that need a range.
        OSError: It is missing, damaged or no image.
        ImportError: A TIFF of several channels, and the package tifffile is missing.
    """
    content = read_bytes(path, backend_args)
    with naming_unreadable_file(path):
        if content.startswith(TIFF) and channels != 1:
            return _of_tiff(content, channels, path, value_range)
        image = Image.open(io.BytesIO(content))
        several = image.format == 'TIFF' and getattr(image, 'n_frames', 1) > 1
        # The numbers of a palette are no brightness.
        several = several or (content.startswith(TIFF) and image.mode not in GREY_MODES)
        if several and image.mode != 'P':
            return _of_tiff(content, channels, path, value_range)
        grey = image.mode in GREY_MODES
        found = 1 if grey else MODES.get(image.mode, f'colours in the mode {image.mode}, not')
        _check_count(found, channels, path)
        if grey:
            return np.array(to_rgb(image, path, value_range))[..., :1]
        if content.startswith(PNG) and content[PNG_DEPTH] == 16:
            return _scaled(_deep_png(content, channels, path), path, value_range)
        return _scaled(np.array(image), path, value_range)


def _of_tiff(
    content: bytes, channels: int, path: str, value_range: Sequence[float] | None
) -> np.ndarray:
    try:
        from tifffile import TiffFile
    except ImportError as error:
        raise NotInstalledError(
            'TIFFs of several channels need the package tifffile: `pip install "mmbeitv2[bands]"`'
        ) from error
    with TiffFile(io.BytesIO(content)) as file:
        series = file.series[0]
        try:
            values, axes = series.asarray(), series.axes
        except ValueError as error:
            if 'imagecodecs' not in str(error):
                raise
            raise NotInstalledError(
                f"'{path}' is compressed in a way that needs the package imagecodecs: `pip install "
                '"mmbeitv2[bands]"`'
            ) from error
    bands = [place for place, axis in enumerate(axes) if axis in BAND_AXES]
    if values.ndim == 2:
        values, bands = values[..., None], [2]
    if values.ndim != 3 or len(bands) != 1:
        raise InputError(
            f"Image '{path}' has the axes {axes} of {values.shape}, where height, width and one of "
            'channels are needed: save it as such'
        )
    values = np.moveaxis(values, bands[0], -1)
    _check_count(values.shape[-1], channels, path)
    return _scaled(values, path, value_range)


def _deep_png(content: bytes, channels: int, path: str) -> np.ndarray:
    """All 16 bits of a PNG of several channels, of which Pillow gives the upper half."""
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.shape[2:] != (channels,):
        raise InputError(
            f"Image '{path}' is a PNG with 16 bits of {channels} channels, which cannot be read "
            'whole: save it as TIFF'
        )
    return values[..., [2, 1, 0, 3][:channels]]


def _check_count(found: int | str, wanted: int, path: str) -> None:
    if found != wanted:
        raise InputError(
            f"Image '{path}' holds {found} channels, but channels={wanted} are asked for: set "
            'channels of the transforms that load, of data_preprocessor and of the model to those '
            'of the files, or save the files with that many'
        )


def _scaled(values: np.ndarray, path: str, value_range: Sequence[float] | None) -> np.ndarray:
    if np.iscomplexobj(values):
        raise InputError(
            f"Image '{path}' holds complex numbers, of which nothing tells what to see: save "
            'magnitude and phase, or both parts, as channels'
        )
    black, white = check_value_range(value_range) or LEVELS.get(values.dtype.name, (0, 0))
    if black == white:
        raise InputError(
            f"Image '{path}' holds numbers of {values.dtype}, from {values.min():g} to "
            f'{values.max():g}, whose black and white nothing tells: declare them as '
            'value_range=(BLACK, WHITE) of the transforms that load'
        )
    if values.dtype == np.uint8 and value_range is None:
        return np.ascontiguousarray(values)
    if not np.isfinite(values).all():
        raise InputError(
            f"Image '{path}' holds numbers that are not finite, where nothing can be learned: "
            'replace NaN and infinity in the file'
        )
    levels = (values.astype(np.float32).clip(black, white) - black) * (255 / (white - black))
    return np.rint(levels).astype(np.uint8)


class RGBView(torch.nn.Module):
    """What a network of three channels sees of images with others.

    Args:
        channels: Of the images.
        view: ``'repeat'``; three places of channels, counted from 0; or three rows of ``channels``
            weights, which make red, green and blue of values in [0, 1] and are cut to that range.
            None is allowed for three channels alone, which stay as they are.
        key: Of the config, for messages.

    Raises:
        ValueError: No such view, or none for other channels than three.
    """

    def __init__(self, channels: int, view: str | Sequence[Any] | None, key: str) -> None:
        super().__init__()
        check_count(self, 'channels', channels, RGB)
        weights = _weights(channels, view)
        if weights is None:
            raise InputError(
                f'{key} is {view!r} for images of {channels} channels, of which a network of RGB '
                f'must be told what to see: set {key} to {VIEWS}'
            )
        self.channels = channels
        self.same = view is None
        self.register_buffer('weights', weights, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Float RGB (B, 3, H, W) in [−1, 1] of float ``images`` (B, channels, H, W) in [−1, 1]."""
        if self.same:
            return images
        # Autocast would round each channel to eight bits of mantissa, and a teacher sees the rest.
        with torch.autocast(images.device.type, enabled=False):
            mixed = torch.einsum('rc,bchw->brhw', self.weights, images.float() / 2 + 0.5)
        return mixed.clamp(0, 1) * 2 - 1


def _weights(channels: int, view: str | Sequence[Any] | None) -> Tensor | None:
    """Matrix (3, channels) of a view; None for what is none."""
    if view is None:
        return torch.eye(RGB) if channels == RGB else None
    if isinstance(view, str):
        return torch.ones(RGB, 1) if view == 'repeat' and channels == 1 else None
    if not isinstance(view, Sequence) or len(view) != RGB:
        return None
    if all(is_count(place, least=0) and int(place) < channels for place in view):
        return torch.eye(channels)[list(view)]
    try:
        weights = torch.tensor(view, dtype=torch.float32)
    except (TypeError, ValueError):
        return None
    fits = weights.shape == (RGB, channels) and weights.isfinite().all()
    return weights if fits else None
