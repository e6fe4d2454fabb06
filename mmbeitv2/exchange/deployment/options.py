"""How a model is exported, and what of that is refused before any work."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from mmbeitv2.errors import ExistingFileError, InputError, UnreadableFileError
from mmbeitv2.exchange.deployment.checks import BATCHES, LEAST
from mmbeitv2.exchange.deployment.formats import SUFFIXES, check_format
from mmbeitv2.exchange.deployment.sources import Deployable

PRECISIONS = ('float32', 'float16')


@dataclass(frozen=True)
class Options:
    """How a model is exported.

    Attributes:
        to: ``'onnx'``, ``'torch-export'`` or ``'torchscript'``.
        input: ``'uint8'`` for pixels in [0, 255] or ``'float'`` for float32 in [0, 1].
        image_size: height and width in pixels; None for those of training.
        free_size: one graph for all sizes that are multiples of the patch.
        opset: of ONNX; None for the default.
        precision: ``'float32'`` or ``'float16'`` of weights and products.
        quantize: ``'int8'`` or None.
        calibrate: folder of photos on which int8 ranges are found once; None: at every call.
        count: photos that are compared, evenly chosen.
        least_agreement: what float16 or int8 must keep, see ``Row.agreement``; None for ``LEAST``.
        value_range: black and white of photos of float or 32-bit numbers that are compared.
        image_column: of tables of such photos; None for their only column of image files.
        overwrite: replace files of an earlier export.
    """

    to: str
    input: str = 'uint8'
    image_size: tuple[int, int] | None = None
    free_size: bool = False
    opset: int | None = None
    precision: str = 'float32'
    quantize: str | None = None
    calibrate: str | None = None
    count: int = 64
    least_agreement: float | None = None
    value_range: Sequence[float] | None = None
    image_column: str | None = None
    overwrite: bool = False

    @property
    def least(self) -> float | None:
        """Agreement that is asked for; None where float32's tolerance holds."""
        variant = self.quantize or self.precision
        if variant == 'float32':
            return None
        return LEAST[variant] if self.least_agreement is None else self.least_agreement


def files_beside(path: Path) -> list[Path]:
    """The file and its note and table, which are one export's."""
    return [path, path.with_name(f'{path.name}.json'), path.with_name(f'{path.name}.txt')]


def check_options(path: Path, options: Options) -> None:
    """Refuse what cannot be done, or would replace a file, before anything is read.

    Args:
        path: of the file to write.
        options: see there.

    Raises:
        ValueError: an option that the format does not have, or out of range.
        FileExistsError: there is such a file.
        ImportError: a package is missing.
        OSError: the folder cannot be written.
    """
    to = options.to
    check_format(to, options.opset, options.free_size)
    if path.suffix != SUFFIXES[to]:
        raise InputError(f'--out is {path}, but with --to {to} its name must end in {SUFFIXES[to]}')
    if options.quantize and to != 'onnx':
        raise InputError(f'--quantize is of ONNX: leave it out with --to {to}')
    if options.quantize and options.precision != 'float32':
        raise InputError('--quantize int8 starts from float32: leave --precision out')
    if options.calibrate and not options.quantize:
        raise InputError('--calibrate is for --quantize int8: add that, or leave it out')
    if options.precision == 'float16' and not _cpu_convolves_float16():
        raise InputError(
            f'--precision float16 is tried on a CPU, where torch {torch.__version__} does not '
            'compute it: update torch (2.4 does), or leave it out'
        )
    if options.free_size and options.image_size:
        raise InputError('--free-size serves all sizes: leave --image-size out')
    least = options.least_agreement
    if least is not None and not 0 <= least <= 1:
        raise InputError(f'--least-agreement is {least}, allowed: a share from 0 to 1')
    if options.count < max(BATCHES):
        raise InputError(
            f'--count is {options.count} photos, allowed: {max(BATCHES)} or more, the largest batch'
        )
    present = [str(file) for file in files_beside(path) if file.exists()]
    if present and not options.overwrite:
        raise ExistingFileError(
            f'{" and ".join(present)} exists: choose another --out, or --overwrite'
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UnreadableFileError(
            f'--out is {path}, but nothing can be written there ({error.strerror or error}): '
            'choose another folder'
        ) from error


def _cpu_convolves_float16() -> bool:
    pixel = torch.zeros(1, 1, 1, 1, dtype=torch.float16)
    try:
        functional.conv2d(pixel, pixel)
    except RuntimeError:
        return False
    return True


def chosen_size(model: Deployable, options: Options) -> tuple[int, int]:
    """Height and width in pixels that a model is exported for.

    Args:
        model: opened.
        options: see there.

    Raises:
        ValueError: a size that its patches do not fill, or a free one that it cannot have.
    """
    if options.free_size and model.bound_to_size:
        raise InputError(
            f'--free-size cannot be had of {model.checkpoint["name"]}: {model.bound_to_size}. '
            'Leave it out and give --image-size, one export a size'
        )
    size = options.image_size or model.size
    patch = model.vit.patch_size
    if min(size) < 1 or any(side % patch for side in size):
        raise InputError(
            f'--image-size is {size[0]} × {size[1]}, allowed: multiples of the patch, {patch} '
            f'pixels, such as {model.size[0]} × {model.size[1]}'
        )
    return size
