"""From one uint8 crop per image to the views that the models see, on the device."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor

from mmbeitv2.checks import check_count
from mmbeitv2.errors import InputError
from mmbeitv2.registry import MODELS

from .channels import RGBView

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class _CropPreprocessor(BaseDataPreprocessor):
    """Check, transfer and stack the uint8 crops of a batch; subclasses make views of them.

    The transfer happens in uint8, a quarter of the bytes of float32.
    """

    def __init__(
        self,
        image_size: int | Sequence[int] | None = None,
        non_blocking: bool = True,
        channels: int = 3,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        check_count(self, 'channels', channels, 3)
        self.channels = channels
        if isinstance(image_size, int):
            image_size = (image_size, image_size)
        self.image_size = None if image_size is None else tuple(image_size)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Make the views of a batch.

        Args:
            data: ``inputs``: uint8 tensor (B, C, H, W), RGB or of other channels, or a list of B
                tensors (C, H, W), in [0, 255]; ``data_samples``: optional list of B samples.
            training: Has no effect; part of mmengine's interface.

        Returns:
            dict: ``inputs``: the views, float32; ``data_samples``: as they are, or None. The
            models list the masked patches on the CPU, where no device has to be waited for.

        Raises:
            ValueError: If the inputs are not uint8 images of ``channels`` channels and one size,
                ``image_size`` if given.
        """
        self._check(data['inputs'])
        pixels = self.cast_data(data['inputs'])
        if not isinstance(pixels, torch.Tensor):
            pixels = torch.stack(tuple(pixels))
        return {
            'inputs': self.views(pixels),
            'data_samples': data.get('data_samples'),
        }

    def views(self, pixels: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Make the model's inputs of uint8 pixels (B, C, H, W)."""
        raise NotImplementedError

    def _check(self, images: torch.Tensor | Sequence[torch.Tensor]) -> None:
        if not len(images):
            raise InputError(
                'A batch has no images: give a batch_size of 1 or more, and a data set with images.'
            )
        kinds = sorted({(str(image.dtype), tuple(image.shape)) for image in images})
        for dtype, shape in kinds:
            if dtype != 'torch.uint8' or len(shape) != 3 or shape[0] != self.channels:
                raise InputError(
                    f'An input image has dtype {dtype} and shape {shape}, but uint8 '
                    f'{"RGB " if self.channels == 3 else ""}of shape ({self.channels}, H, W) in '
                    '[0, 255] is needed. Load with mmbeitv2.LoadRandomCrop, leave '
                    'normalisation to this data preprocessor, and end the pipeline with PackInputs.'
                )
        shapes = [shape for _, shape in kinds]
        if len(shapes) > 1:
            raise InputError(
                f'Images of one batch have different shapes: {shapes}. End the pipeline with a '
                'crop or resize to one size, such as mmbeitv2.LoadRandomCrop.'
            )
        if self.image_size is not None and shapes[0][1:] != self.image_size:
            raise InputError(
                f'Input images have (height, width) {shapes[0][1:]}, but the data preprocessor '
                f'was built for image_size={self.image_size}. Make the size of the crop in the '
                'pipeline and image_size equal.'
            )


def _tokenizer_view(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.float() / 127.5 - 1


@MODELS.register_module()
class VQKDDataPreprocessor(_CropPreprocessor):
    """Give tokenizer training its images: float32 RGB, or other channels, (B, C, H, W) in [−1, 1].

    Args:
        image_size: Side, or (height, width), in pixels that every image must have; any if None.
        non_blocking: Whether the transfer to the device overlaps with computation.
        channels: C of the images.
    """

    def views(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map uint8 pixels (B, C, H, W) to float32 in [−1, 1]."""
        return _tokenizer_view(pixels)


@MODELS.register_module()
class BEiTV2DataPreprocessor(_CropPreprocessor):
    """Give pretraining two views of one crop: ``inputs = [student_view, tokenizer_view]``.

    The student's view is (pixel / 255 − mean) / std, the tokenizer's pixel / 127.5 − 1 in [−1, 1];
    both float32 (B, C, H, W), RGB unless ``channels`` says otherwise.

    Args:
        mean: Mean of every channel on the scale [0, 1]; ImageNet's by default, for RGB alone.
        std: Standard deviation of every channel on the scale (0, 1]; likewise.
        image_size: Side, or (height, width), in pixels that every image must have; any if None.
        non_blocking: Whether the transfer to the device overlaps with computation.
        channels: C of the images.
        tokenizer_view: What a tokenizer of RGB sees of other channels, see ``channels.RGBView``;
            None for a tokenizer that was trained on the same channels.

    Raises:
        ValueError: If ``mean`` or ``std`` is not on its scale or not of ``channels`` numbers.

    Source: the official pretraining pipeline, whose two views are the same crop when both have the
    paper's 224 pixels.
    """

    def __init__(
        self,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        image_size: int | Sequence[int] | None = None,
        non_blocking: bool = True,
        channels: int = 3,
        tokenizer_view: str | Sequence[Any] | None = None,
    ) -> None:
        super().__init__(image_size=image_size, non_blocking=non_blocking, channels=channels)
        if (
            len(mean) != channels
            or len(std) != channels
            or not all(0 <= value <= 1 for value in mean)
            or not all(0 < value <= 1 for value in std)
        ):
            raise InputError(
                f'mean={tuple(mean)} and std={tuple(std)} must be {channels} numbers each, one for '
                'each channel, mean in [0, 1] and std in (0, 1]. Divide values given for pixels in '
                '[0, 255] by 255.'
            )
        self.register_buffer('mean', torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(-1, 1, 1), persistent=False)
        self.rgb_view = None
        if tokenizer_view is not None:
            self.rgb_view = RGBView(channels, tokenizer_view, 'data_preprocessor.tokenizer_view')

    def views(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Make the student's and the tokenizer's view of uint8 pixels (B, C, H, W)."""
        student_view = (pixels.float() / 255 - self.mean) / self.std
        tokenizer_view = _tokenizer_view(pixels)
        if self.rgb_view is not None:
            tokenizer_view = self.rgb_view(tokenizer_view)
        return [student_view, tokenizer_view]
