"""What all teachers share: frozen weights, input range, normalisation, the student's grid."""

import difflib
from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbeitv2.checks import is_count
from mmbeitv2.errors import InputError
from mmbeitv2.torch_releases import aminmax


def resample_grid(features: Tensor, grid_size: int | tuple[int, int]) -> Tensor:
    """Resample a feature map to another grid by antialiased bilinear interpolation.

    Args:
        features: floating (B, C, H, W).
        grid_size: the wanted grid, (h, w), or one integer for a square; positive.

    Returns:
        (B, C, h, w); the input itself if it has that grid already.

    Raises:
        ValueError: if a side of ``grid_size`` is not positive.
    """
    sides = tuple(grid_size) if isinstance(grid_size, Sequence) else (grid_size, grid_size)
    if len(sides) != 2 or not all(map(is_count, sides)):
        raise InputError(
            f'grid_size={grid_size!r} is not a grid: pass two positive integers (rows, columns), '
            'the image size divided by the patch size of the student'
        )
    if features.shape[-2:] == sides:
        return features
    return F.interpolate(features, size=sides, mode='bilinear', align_corners=False, antialias=True)


def check_model_name(name: str, known: Sequence[str], list_command: str) -> None:
    """Refuse a model name that a library does not know.

    Args:
        name: the asked name.
        known: every name the library knows.
        list_command: a Python expression that lists them, for the message.

    Raises:
        ValueError: if ``name`` is not in ``known``; the message lists the closest known names.
    """
    if not isinstance(name, str):
        raise InputError(
            f'model={name!r}: pass the name of a network; list all with {list_command}'
        )
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=5, cutoff=0.4)
    hint = f'close names: {", ".join(close)}; ' if close else ''
    raise InputError(f'unknown teacher model={name!r}; {hint}list all with {list_command}')


def check_image_size(image_size: int | None) -> None:
    """Refuse what is neither a number of pixels nor None.

    Raises:
        ValueError: with the value.
    """
    if image_size is not None and not is_count(image_size):
        raise InputError(f'image_size={image_size!r}: pass a positive number of pixels or None')


def first_line(error: Exception) -> str:
    """What an error of a library says first, without the lines that follow."""
    return str(error).strip().partition('\n')[0] or type(error).__name__


class FrozenTeacher(nn.Module):
    """A pretrained network that gives patch features and never changes.

    The network is held outside the module tree. So nothing that walks the tree can touch it: it is
    always in eval mode, is in no checkpoint, optimizer, DDP bucket or weight average, is not
    re-initialised by a parent's ``init_weights``, and stays float32. It moves to the device of the
    images at the first forward pass there.

    Args:
        model: the network, with its weights.
        embed_dim: channels C of the features.
        mean: what is subtracted from the pixels, in 0..255 units; one number or one per channel.
        std: what the pixels are then divided by, in 0..255 units, at least 1; likewise.
        image_size: side in pixels to which images are resized (antialiased bicubic) before the
            network; None keeps their size.

    Raises:
        ValueError: if ``mean``, ``std`` or ``image_size`` is out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        embed_dim: int,
        mean: float | Sequence[float],
        std: float | Sequence[float],
        image_size: int | None = None,
    ) -> None:
        super().__init__()
        check_image_size(image_size)
        self.embed_dim = embed_dim
        self.image_size = image_size
        means = _channel_values('mean', mean)
        stds = _channel_values('std', std)
        if not (stds >= 1).all():
            raise InputError(
                f'std={stds.flatten().tolist()}: every value must be at least 1, in 0..255 units '
                '(0..1 units times 255), and mean likewise'
            )
        # ((x + 1) * 127.5 - mean) / std, as one multiply and one add.
        self._scale = 127.5 / stds
        self._shift = (127.5 - means) / stds
        # Pixel values are read back once, since the host waits for the device each time.
        self._checked = False
        # nn.Module registers modules, parameters and buffers, not what is inside a tuple.
        self._unregistered = (model.requires_grad_(False).eval(),)

    @property
    def model(self) -> nn.Module:
        """The frozen network."""
        return self._unregistered[0]

    @abstractmethod
    def extract(self, pixels: Tensor) -> Tensor:
        """Feature map (B, C, h, w) of normalised ``pixels`` (B, 3, H, W), on the teacher's grid."""

    def normalize(self, images: Tensor) -> Tensor:
        """Resize and normalise images as the network expects them.

        Args:
            images: float RGB in [-1, 1], (B, 3, H, W).

        Returns:
            float32 (B, 3, H', W'); H' = W' = ``image_size`` if that is set.
        """
        images = images.float()
        if self.image_size is not None and images.shape[-2:] != (self.image_size,) * 2:
            images = F.interpolate(
                images,
                size=(self.image_size,) * 2,
                mode='bicubic',
                align_corners=False,
                antialias=True,
            )
        return images * self._scale + self._shift

    @torch.no_grad()
    def forward(self, images: Tensor, grid_size: int | tuple[int, int]) -> Tensor:
        """Patch features of images at the student's grid.

        Args:
            images: float RGB in [-1, 1], (B, 3, H, W): the tokenizer's view.
            grid_size: the student's grid, (h, w), or one integer for a square.

        Returns:
            float32 (B, h * w, ``embed_dim``), row-major, without gradient.

        Raises:
            ValueError: if the first ``images`` have another shape, type or value range.
        """
        if not self._checked:
            _check_images(images)
            self._checked = True
        if self._scale.device != images.device:
            self.model.to(images.device)
            self._scale = self._scale.to(images.device)
            self._shift = self._shift.to(images.device)
        features = self.extract(self.normalize(images)).float()
        return resample_grid(features, grid_size).flatten(2).transpose(1, 2)


def _channel_values(name: str, value: float | Sequence[float]) -> Tensor:
    try:
        values = torch.as_tensor(value, dtype=torch.float32).flatten()
    except (TypeError, ValueError, RuntimeError):  # no numbers, or nested ones
        values = torch.empty(0)
    if values.numel() not in (1, 3) or not values.isfinite().all():
        raise InputError(f'{name}={value!r}: pass one number or three, in 0..255 units')
    return values.reshape(1, -1, 1, 1)


def _check_images(images: Tensor) -> None:
    fits = images.ndim == 4 and images.shape[1] == 3 and images.numel()
    if not fits or not images.is_floating_point():
        raise InputError(
            f'images of shape {tuple(images.shape)} and type {images.dtype}: '
            'pass floating RGB of shape (B, 3, H, W) in [-1, 1]'
        )
    low, high = (bound.item() for bound in aminmax(images))
    # The margin is rounding in half precision.
    if not (low >= -1.01 and high <= 1.01):
        raise InputError(
            f'images have values in [{low:.3g}, {high:.3g}]: pass RGB mapped to [-1, 1] '
            '(x / 127.5 - 1 for 0..255 pixels); the teacher applies its own normalisation'
        )
