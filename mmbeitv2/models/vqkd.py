"""VQ-KD (section 2.2): training of the visual tokenizer by distilling a teacher."""

from functools import partial
from typing import Any

import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmbeitv2.checks import check_arguments
from mmbeitv2.errors import InputError
from mmbeitv2.models.float32 import in_float32
from mmbeitv2.models.layers import init_layer_, task_layer
from mmbeitv2.models.quantizer import count_codes, perplexity
from mmbeitv2.models.starting import load_start
from mmbeitv2.models.teachers.view import build_teacher
from mmbeitv2.models.tokenizer import VQKDEncoder, VQKDTokenizer
from mmbeitv2.models.vit import VisionTransformer
from mmbeitv2.registry import MODELS

# The tokenizer stood here before it had a file of its own: imports by this name keep working.
__all__ = ['VQKD', 'VQKDEncoder', 'VQKDTokenizer']


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
        # Its picture is the grid of codes: with patches of one pixel it is the same Transformer.
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
            # Unlike pretraining, the official tokenizer training does not cut the normal.
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
        """Eq. 2 as losses, with the usage (share of codes, 0 to 1) and perplexity of the batch.

        The codebook's own term needs none: it is the moving average of the quantizer.
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
        # Of each image: the quantizer's own loss is the mean over the batch.
        unit = F.normalize(z, dim=-1).transpose(1, 2).unflatten(2, grid)
        commitment = self.quantize.beta * (z_q - unit).square().mean(dim=(1, 2, 3))
        data_samples = data_samples or [BaseDataElement() for _ in images]
        for sample, code, rec, commit in zip(data_samples, codes, reconstruction, commitment):
            sample.set_field(code, 'codes')
            sample.set_field(rec, 'reconstruction_loss')
            sample.set_field(commit, 'commitment_loss')
        return data_samples
