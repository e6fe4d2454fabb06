"""Features of photos from any checkpoint: each model gets the views that it was trained with."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mmbeitv2.apis.photos import check_rgb, for_backbone, for_tokenizer, read_photos
from mmbeitv2.checkpoints.translation import Checkpoint, open_checkpoint
from mmbeitv2.datasets import LoadCenterCrop
from mmbeitv2.datasets.decoding import check_value_range
from mmbeitv2.engine.precision import Precision, choose_precision
from mmbeitv2.errors import InputError
from mmbeitv2.exchange.building import build_backbone, build_pretrained, build_tokenizer
from mmbeitv2.exchange.run_notes import RunNotes, read_run_notes
from mmbeitv2.models.token_features import token_features
from mmbeitv2.models.tokenizer import VQKDTokenizer
from mmbeitv2.models.vit import VisionTransformer


class PhotoEncoder:
    """Frozen features of photos, whichever model they come from.

    Args:
        vit: whose tokens are the features; in eval mode.
        tokenizer: whose codes are given too, None for no codes.
        kind: of checkpoint that ``vit`` is of; a tokenizer's sees [−1, 1].
        precision: of the matrix products, see :func:`mmbeitv2.engine.precision.choose_precision`.
        normalization: mean and standard deviation by which all others see photos, see
            :func:`mmbeitv2.apis.for_backbone`; ImageNet's unless given.
        value_range: black and white of photos of float or 32-bit numbers, see ``LoadImage``.
    """

    def __init__(
        self,
        vit: VisionTransformer,
        tokenizer: VQKDTokenizer | None,
        kind: str,
        precision: Precision,
        normalization: Sequence[Sequence[float]] = (),
        value_range: Sequence[float] | None = None,
    ) -> None:
        self.vit = vit
        self.tokenizer = tokenizer
        self.kind = kind
        self.precision = precision
        self.normalization = normalization
        self.value_range = check_value_range(value_range)
        self.size = min(vit.img_size)

    def __repr__(self) -> str:
        codes = 0 if self.tokenizer is None else self.tokenizer.quantize.num_codes
        width = self.vit.embed_dim
        return f'PhotoEncoder({self.kind}, size={self.size}, width={width}, codes={codes})'

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.vit.cls_token.device

    @property
    def grids(self) -> dict[str, tuple[int, int]]:
        """Rows and columns of patches by what has them: ``'patches'`` and, with codes, those."""
        parts = dict(patches=self.vit.patch_size)
        if self.tokenizer is not None:
            parts['codes'] = self.tokenizer.encoder.patch_size
        return {name: (self.size // patch, self.size // patch) for name, patch in parts.items()}

    def loading(self) -> LoadCenterCrop:
        """The transform that reads a photo as this encoder sees it."""
        return LoadCenterCrop(self.size, value_range=self.value_range)

    def from_photo(self, path: str | Path) -> dict[str, Tensor]:
        """Features of the centre of one photo, as :meth:`from_pixels` without the batch."""
        return {name: value[0] for name, value in self.from_photos([path]).items()}

    def from_photos(self, paths: Iterable[str | Path]) -> dict[str, Tensor]:
        """Features of the centre of each photo, see :meth:`from_pixels`.

        Raises:
            OSError: a photo that cannot be read, by its name.
        """
        return self.from_pixels(read_photos(paths, self.size, self.value_range))

    @torch.no_grad()
    def from_pixels(self, pixels: Tensor) -> dict[str, Tensor]:
        """Features of photos.

        Args:
            pixels: uint8 RGB ``(B, 3, H, W)``, sides multiples of the patch.

        Returns:
            On the CPU: ``cls`` and ``mean`` float32 ``(B, C)``, ``patches`` float32 ``(B, N, C)``
            after the final norm, and with a tokenizer ``codes`` int64 ``(B, rows, columns)``. A
            fine-tuned classifier normalises the mean of its patches alone.

        Raises:
            ValueError: other images.
        """
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
            raise InputError(
                f'pixels are {pixels.dtype} {tuple(pixels.shape)}, expected uint8 RGB '
                '(B, 3, H, W) in [0, 255], as read_photos gives them.'
            )
        pixels = pixels.to(self.device, non_blocking=True)
        with self.precision.autocast(self.device.type):
            of_tokenizer = self.kind == 'tokenizer'
            views = (
                for_tokenizer(pixels) if of_tokenizer else for_backbone(pixels, *self.normalization)
            )
            features = token_features(self.vit, views, of_tokenizer)
        if self.tokenizer is not None:
            # Not under autocast, which changes some codes.
            features['codes'] = self.tokenizer.tokenize(for_tokenizer(pixels))
        return {
            name: (value.float() if value.is_floating_point() else value).cpu()
            for name, value in features.items()
        }


def load_encoder(
    checkpoint: str | Path,
    tokenizer: str | Path | None = None,
    size: int | None = None,
    num_heads: int | None = None,
    device: str | None = None,
    precision: str = 'auto',
    trust: bool = False,
    value_range: Sequence[float] | None = None,
) -> PhotoEncoder:
    """Model of a checkpoint that turns photos into features.

    Args:
        checkpoint: of pretraining, of a fine-tuned classifier or segmenter, of a backbone alone, or
            of a tokenizer, of any known project: told apart by content.
        tokenizer: file whose codes are given, instead of the tokenizer in ``checkpoint``, if any.
        size: side in pixels at which photos are seen; the one of training unless given.
        num_heads: where the file does not note them; width / 64 unless given.
        device: such as ``'cuda'``; the CPU unless given.
        precision: of the matrix products, on that device.
        trust: open a file that holds Python objects beside weights, which can run any code.
        value_range: black and white of photos of float or 32-bit numbers; those that the
            checkpoint's run noted unless given.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such model in it, or an argument that does not fit it.
    """
    place = find_device(device)
    chosen = choose_precision(precision, place.type)
    opened = open_checkpoint(str(checkpoint), trust)
    vit, codes = _parts(opened, num_heads)
    if tokenizer is not None:
        codes = build_tokenizer(
            open_checkpoint(str(tokenizer), trust, wanted='tokenizer'), report=False
        )
    check_rgb(vit, checkpoint)
    if codes is not None:
        check_rgb(codes.encoder, checkpoint if tokenizer is None else tokenizer)
    # Nothing of a file with code is read twice.
    notes = RunNotes() if trust else read_run_notes(checkpoint)
    encoder = PhotoEncoder(
        vit.eval().to(place),
        codes,
        opened.kind,
        chosen,
        notes.normalization_of_rgb,
        notes.value_range if value_range is None else value_range,
    )
    if codes is not None:
        codes.eval().to(place)
    if size is not None:
        encoder.size = size
    patches = {vit.patch_size} | ({codes.encoder.patch_size} if codes else set())
    if encoder.size < 1 or any(encoder.size % patch for patch in patches):
        raise InputError(
            f'size is {encoder.size} pixels, but must be a multiple of the patch, '
            f'{max(patches)} pixels'
        )
    return encoder


def _parts(
    opened: Checkpoint, num_heads: int | None
) -> tuple[VisionTransformer, VQKDTokenizer | None]:
    if opened.kind == 'tokenizer':
        tokenizer = build_tokenizer(opened, num_heads, report=False)
        return tokenizer.encoder, tokenizer
    if opened.kind == 'pretraining':
        model = build_pretrained(opened, num_heads, report=False)
        return model.backbone, model.target_generator
    return build_backbone(opened, num_heads, report=False), None


def find_device(name: str | None) -> torch.device:
    """Device of a name, the CPU without one.

    Raises:
        ValueError: this machine has no such device.
    """
    try:
        device = torch.device(name or 'cpu')
        # Nothing is computed on a device without memory, such as torch's `meta`.
        torch.empty(0, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f'device is {name!r}, which this machine does not have: give cpu, or cuda where there '
            'is a GPU'
        ) from error
    return device
