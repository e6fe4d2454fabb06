"""VQ-KD (section 2.2): the visual tokenizer, and its training by distilling a teacher."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel, BaseModule
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmbeitv2.checkpoints.loading import load_exactly
from mmbeitv2.checkpoints.translation import open_checkpoint, tokenizer_prefix
from mmbeitv2.checks import check_arguments, check_choice
from mmbeitv2.errors import InputError
from mmbeitv2.models.arguments import check_images
from mmbeitv2.models.float32 import in_float32
from mmbeitv2.models.layers import init_layer_, task_layer
from mmbeitv2.models.position import Grid
from mmbeitv2.models.quantizer import NormEMAQuantizer, count_codes, perplexity
from mmbeitv2.models.starting import load_start
from mmbeitv2.models.teachers.view import build_teacher
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


@MODELS.register_module()
class VQKD(VQKDEncoder, BaseModel):
    """Trains the tokenizer to reconstruct a teacher's features from discrete codes (Eq. 2).

    Args:
        encoder: arguments of :class:`VisionTransformer`.
        decoder: likewise; input size, channels and patch size follow from encoder and codes.
        quantizer: arguments of :class:`NormEMAQuantizer`.
        teacher: config of a teacher, see :func:`build_teacher`; its patch features are the target.
        data_preprocessor: config; ``mmbeitv2.VQKDDataPreprocessor`` by default.
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH)`` to go on from a whole tokenizer, with
            :meth:`load_checkpoint`'s options.

    The state dict is the tokenizer's plus the decoder; the teacher is not in it.
    """

    def __init__(
        self,
        encoder: dict[str, Any],
        decoder: dict[str, Any],
        quantizer: dict[str, Any],
        teacher: dict[str, Any],
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        preprocessor = data_preprocessor or dict(type='mmbeitv2.VQKDDataPreprocessor')
        super().__init__(encoder, quantizer, data_preprocessor=preprocessor, init_cfg=init_cfg)
        check_arguments(self, 'decoder', decoder, VisionTransformer)
        self.decoder = VisionTransformer(
            **decoder,
            img_size=self.encoder.grid,
            patch_size=1,
            in_chans=self.quantize.code_dim,
            final_norm='fc_norm',
            init_cut=None,
        )
        self.teacher = build_teacher(teacher, self.encoder.in_chans)
        self.decode_task_layer = task_layer(self.decoder.embed_dim, self.teacher.embed_dim)

    def init_weights(self) -> None:
        """Initialise encoder, decoder and both heads as the official release; then load.

        What is loaded is the checkpoint that ``init_cfg`` names, if any.
        """
        self.encoder.init_weights()
        self.decoder.init_weights()
        for head in (self.encode_task_layer, self.decode_task_layer):
            head.apply(partial(init_layer_, cut=None))
        load_start(self)
        self._is_init = True

    def decode(self, z_q: Tensor) -> Tensor:
        """Reconstruct teacher features ``(B, N, C)`` from quantized vectors ``(B, D, h, w)``.

        The decode head runs in float32 under every precision, as the paper's recipe has it. The
        official ``decode`` leaves it under autocast, in float16; both train. In bfloat16, which has
        three bits less, autocast would give the head's own gradients four times the rounding error
        and those that pass through it somewhat more, at the same loss
        (``tools/benchmark/decode_head.py`` prints both).
        """
        x, _ = self.decoder.patch_tokens(z_q)
        return in_float32(self.decode_task_layer, x)

    def quantized(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode and quantize: ``z_q (B, D, h, w)``, codes ``(B, h, w)``, commitment loss."""
        z, grid = self.encode(images)
        return self.quantize(z.transpose(1, 2).unflatten(2, grid))

    def reconstruction_loss(self, decoded: Tensor, target: Tensor) -> Tensor:
        """Eq. 2, first term, as a loss: 1 − cos(decoder output, teacher feature), per patch.

        Args:
            decoded: float32 ``(B, N, C)``.
            target: float32 ``(B, N, C)``.

        Returns:
            float32 ``(B, N)`` in 0 … 2.
        """
        return 1 - F.cosine_similarity(decoded, target, dim=-1)

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[BaseDataElement] | None = None,
        mode: str = 'tensor',
    ) -> dict[str, Any] | list[Any] | Tensor:
        """Run one batch.

        Args:
            inputs: float RGB in [−1, 1], ``(B, 3, H, W)``.
            data_samples: samples of the batch; predictions are put into them.
            mode: ``'loss'``: dictionary of losses and statistics; ``'predict'``: list of data
                samples with ``codes``, ``reconstruction_loss`` and ``commitment_loss``;
                ``'tensor'``: codes int64 ``(B, h, w)``.
        """
        if mode == 'loss':
            return self.loss(inputs)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        if mode == 'tensor':
            return self.quantized(inputs)[1]
        raise InputError(f"mode is {mode!r}, allowed: 'loss', 'predict', 'tensor'.")

    def loss(self, images: Tensor) -> dict[str, Tensor]:
        """Both terms of Eq. 2, with the usage (share of codes, 0 to 1) and perplexity of the batch.

        The codebook's own term needs no loss: it is the moving average of the quantizer.
        """
        z_q, codes, commitment = self.quantized(images)
        target = self.teacher(images, codes.shape[1:])
        counts = count_codes(codes, self.quantize.num_codes)
        return dict(
            loss_rec=self.reconstruction_loss(self.decode(z_q), target).mean(),
            loss_commit=commitment,
            batch_usage=(counts > 0).float().mean(),
            batch_perplexity=perplexity(counts),
        )

    def predict(
        self, images: Tensor, data_samples: list[BaseDataElement] | None = None
    ) -> list[BaseDataElement]:
        """Codes and losses of every image; the codebook does not move.

        Each sample gets ``codes`` int64 ``(h, w)`` and the means over its patches
        ``reconstruction_loss`` and ``commitment_loss``, float32 scalars.
        """
        z, grid = self.encode(images)
        z_q, codes, _ = self.quantize(z.transpose(1, 2).unflatten(2, grid))
        target = self.teacher(images, grid)
        reconstruction = self.reconstruction_loss(self.decode(z_q), target).mean(dim=1)
        unit = F.normalize(z, dim=-1).transpose(1, 2).unflatten(2, grid)
        commitment = self.quantize.beta * (z_q - unit).square().mean(dim=(1, 2, 3))
        data_samples = data_samples or [BaseDataElement() for _ in images]
        for sample, code, rec, commit in zip(data_samples, codes, reconstruction, commitment):
            sample.set_field(code, 'codes')
            sample.set_field(rec, 'reconstruction_loss')
            sample.set_field(commit, 'commitment_loss')
        return data_samples
