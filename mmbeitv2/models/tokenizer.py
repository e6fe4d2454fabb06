"""The visual tokenizer (section 2.2): an image to vectors, vectors to codes."""

from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmbeitv2.checkpoints.loading import load_exactly
from mmbeitv2.checkpoints.translation import open_checkpoint, tokenizer_prefix
from mmbeitv2.checks import check_arguments, check_choice
from mmbeitv2.models.arguments import check_images
from mmbeitv2.models.float32 import in_float32
from mmbeitv2.models.layers import task_layer
from mmbeitv2.models.position import Grid
from mmbeitv2.models.quantizer import NormEMAQuantizer
from mmbeitv2.models.starting import load_start
from mmbeitv2.models.vit import VisionTransformer
from mmbeitv2.registry import MODELS
from mmbeitv2.torch_releases import autocast_dtype

PRECISIONS = dict(float16=torch.float16, bfloat16=torch.bfloat16, float32=torch.float32)


class VQKDEncoder(BaseModule):
    """Images to vectors to codes: what the tokenizer and its training share.

    Args:
        encoder: arguments of :class:`VisionTransformer`.
        quantizer: arguments of :class:`NormEMAQuantizer`.
        **kwargs: of the next base class.
    """

    def __init__(self, encoder: dict[str, Any], quantizer: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_arguments(self, 'encoder', encoder, VisionTransformer)
        check_arguments(self, 'quantizer', quantizer, NormEMAQuantizer)
        self.encoder = VisionTransformer(**encoder, final_norm='fc_norm', init_cut=None)
        self.quantize = NormEMAQuantizer(**quantizer)
        self.encode_task_layer = task_layer(self.encoder.embed_dim, self.quantize.code_dim)

    def encode(self, images: Tensor, queries: Tensor | None = None) -> tuple[Tensor, Grid]:
        """Vectors before quantization.

        Args:
            images: float RGB in [−1, 1], ``(B, 3, H, W)``.
            queries: int64 ``(B, M)`` patch positions wanted; None for all.

        Returns:
            float32 ``(B, N, D)`` or ``(B, M, D)``, and the grid of patches.
        """
        x, grid = self.encoder.patch_tokens(images, queries)
        # The paper's recipe: the code is the nearest of thousands, and rounding of the vector that
        # is looked up would make it another one.
        return in_float32(self.encode_task_layer, x), grid

    def load_checkpoint(self, checkpoint: str, **options: Any) -> None:
        """Load the tokenizer of a checkpoint, its positions fitted to this encoder.

        Args:
            checkpoint: name, path or address of a file of VQ-KD or pretraining, of this project or
                mmpretrain, or of the official release's VQ-KD.
            **options: of :func:`mmbeitv2.checkpoints.translation.open_checkpoint`.

        Raises:
            FileNotFoundError: no such file.
            ValueError: another architecture; names the first differing tensor and both shapes. Or
                no checkpoint of a tokenizer, or one with code.
        """
        opened = open_checkpoint(checkpoint, wanted='tokenizer', **options)
        load_exactly(self, opened, tokenizer_prefix(opened))


@MODELS.register_module()
class VQKDTokenizer(VQKDEncoder):
    """The trained tokenizer, frozen for good: always in eval mode, no parameter with a gradient.

    Args:
        encoder: arguments of :class:`VisionTransformer`.
        quantizer: arguments of :class:`NormEMAQuantizer`.
        mixed_precision: ``'float16'``, ``'bfloat16'`` or ``'float32'``: of the encoder's matrix
            products where training runs under autocast. float16, as in the official code, is not
            done on CPUs, where float32 takes its place. bfloat16 changes more codes;
            ``tools/benchmark/flips.py`` counts them.
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH)``, with :meth:`load_checkpoint`'s.

    Raises:
        ValueError: another precision.
    """

    def __init__(
        self,
        encoder: dict[str, Any],
        quantizer: dict[str, Any],
        mixed_precision: str = 'float16',
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(encoder, quantizer, init_cfg=init_cfg)
        check_choice(self, 'mixed_precision', mixed_precision, PRECISIONS)
        self.mixed_precision = PRECISIONS[mixed_precision]
        self.requires_grad_(False)
        self.eval()

    def init_weights(self) -> None:
        """Load the checkpoint that ``init_cfg`` names; without one the weights stay as they are."""
        load_start(self)
        self._is_init = True

    def train(self, mode: bool = True) -> 'VQKDTokenizer':
        """Stay in eval mode whatever ``mode`` says."""
        # Every runner calls train() on the whole model, and a codebook in training mode moves.
        return super().train(False)

    def encode(self, images: Tensor, queries: Tensor | None = None) -> tuple[Tensor, Grid]:
        """As :meth:`VQKDEncoder.encode`, in ``mixed_precision`` under autocast."""
        check_images(self, images, self.encoder.in_chans)
        device = images.device.type
        if autocast_dtype(device) is None:
            return super().encode(images, queries)
        precision = self.mixed_precision
        if precision is torch.float16 and device == 'cpu':
            precision = torch.float32
        # Torch before 2.3 refuses a type that it does not cast to, also where nothing is cast.
        options = dict(enabled=False) if precision is torch.float32 else dict(dtype=precision)
        with torch.autocast(device, **options):
            return super().encode(images, queries)

    @torch.no_grad()
    def tokenize(self, images: Tensor) -> Tensor:
        """Codes of all patches.

        Args:
            images: float RGB in [−1, 1], ``(B, 3, H, W)``.

        Returns:
            int64 ``(B, H / P, W / P)`` in 0 … K − 1.
        """
        z, grid = self.encode(images)
        return self._codes(z).view(-1, *grid)

    @torch.no_grad()
    def tokenize_at(self, images: Tensor, positions: Tensor) -> Tensor:
        """Codes of some patches, for less than the cost of all.

        Args:
            images: float RGB in [−1, 1], ``(B, 3, H, W)``.
            positions: int64 ``(B, M)``, patch positions in row-major order.

        Returns:
            int64 ``(B, M)`` in 0 … K − 1.
        """
        z, _ = self.encode(images, positions)
        return self._codes(z)

    def _codes(self, z: Tensor) -> Tensor:
        _, codes, _ = self.quantize(z.transpose(1, 2).unsqueeze(-1))
        return codes.squeeze(-1)
