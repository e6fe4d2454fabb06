"""BEiT v2 pretraining (section 2.3): predict the codes of masked patches."""

from functools import partial
from typing import Any

import torch
from mmpretrain.models.selfsup.base import BaseSelfSupervisor
from mmpretrain.structures import DataSample
from torch import Tensor

from mmbeitv2.checkpoints.loading import load_exactly, parts_with_start
from mmbeitv2.checkpoints.translation import open_checkpoint
from mmbeitv2.errors import InputError
from mmbeitv2.models.float32 import in_float32
from mmbeitv2.models.masks import masked_positions
from mmbeitv2.models.starting import load_start
from mmbeitv2.models.tokenizer import VQKDTokenizer
from mmbeitv2.registry import MODELS


@MODELS.register_module()
class BEiTV2(BaseSelfSupervisor):
    """Masked image modelling with a frozen tokenizer and patch aggregation.

    Args:
        backbone: :class:`BEiTViT` with ``use_mask_token=True`` and ``final_norm='norm'``.
        head: :class:`MIMHead` with as many codes as the tokenizer.
        target_generator: :class:`VQKDTokenizer`; None for a model that is not trained, only used.
        neck: :class:`PatchAggregationNeck`; None trains on the masked patches alone.
        **kwargs: of mmpretrain's ``BaseSelfSupervisor``; ``init_cfg`` names a whole pretraining
            checkpoint of any layout, whose tokenizer may come from ``target_generator.init_cfg``.

    Raises:
        ValueError: parts that do not fit one another; the message names both values.
    """

    init_cfg: dict[str, Any] | None

    def __init__(
        self,
        backbone: dict[str, Any],
        head: dict[str, Any],
        target_generator: dict[str, Any] | None = None,
        neck: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault('data_preprocessor', dict(type='mmbeitv2.BEiTV2DataPreprocessor'))
        super().__init__(backbone, neck, head, target_generator, **kwargs)
        if target_generator is not None:
            self.set_tokenizer(self.target_generator)
        if self.backbone.mask_token is None or self.backbone.norm is None:
            raise InputError(
                "pretraining needs a backbone with use_mask_token=True and final_norm='norm'."
            )
        self._check_widths()
        if neck is not None and not 0 < self.neck.layer < self.backbone.depth:
            raise InputError(
                f'patch aggregation takes patches of layer {self.neck.layer}, allowed: 1 to '
                f'{self.backbone.depth - 1} for this backbone of {self.backbone.depth} layers.'
            )

    def init_weights(self) -> None:
        """Initialise every part, then load the checkpoint that ``init_cfg`` names, if any."""
        init_cfg, self.init_cfg = self.init_cfg, None
        super().init_weights()
        self.init_cfg = init_cfg
        load_start(self)

    def load_checkpoint(self, checkpoint: str, **options: Any) -> None:
        """Load a whole pretraining checkpoint.

        Args:
            checkpoint: name, path or address of a file of any project; one without a tokenizer
                leaves that of ``target_generator.init_cfg``.
            **options: of :func:`mmbeitv2.checkpoints.translation.open_checkpoint`.

        Raises:
            FileNotFoundError: no such file.
            ValueError: another architecture; names the first differing tensor and both shapes.
        """
        opened = open_checkpoint(checkpoint, wanted='pretraining', **options)
        load_exactly(self, opened, may_be_missing=parts_with_start(self, opened))

    def _check_widths(self) -> None:
        width, heads = self.backbone.embed_dim, self.backbone.num_heads
        classifier = getattr(self.head.lm_head, 'in_features', width)
        for part, found in (('head', classifier), ('neck', getattr(self.neck, 'embed_dim', width))):
            if found != width:
                raise InputError(
                    f'the {part} takes tokens of width {found} but the backbone gives {width}: set '
                    f'{part}.embed_dim={width}.'
                )
        shared = self.backbone.rel_pos_bias is not None
        if self.neck is not None and shared and self.neck.num_heads != heads:
            raise InputError(
                f'the neck has {self.neck.num_heads} heads but the position bias that it shares '
                f'with the backbone {heads}: set neck.num_heads={heads}.'
            )

    def set_tokenizer(self, tokenizer: VQKDTokenizer) -> None:
        """Make ``tokenizer`` the target generator.

        Raises:
            ValueError: it does not fit the head or the backbone; the message names both values.
        """
        num_codes = tokenizer.quantize.num_codes
        if self.head.num_codes != num_codes:
            raise InputError(
                f'the head predicts {self.head.num_codes} codes but the tokenizer has {num_codes}: '
                'set num_codes of the head to the tokenizer’s.'
            )
        if tokenizer.encoder.patch_size != self.backbone.patch_size:
            raise InputError(
                f'the backbone has patch_size {self.backbone.patch_size} but the tokenizer '
                f'{tokenizer.encoder.patch_size}: they must be equal.'
            )
        self.target_generator = tokenizer

    def forward(
        self,
        inputs: list[Tensor] | Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
    ) -> dict[str, Any] | list[Any] | tuple[Any, ...]:
        """Run one batch; see mmpretrain's ``BaseSelfSupervisor`` for ``'loss'`` and ``'tensor'``.

        ``mode='predict'`` fills every data sample for the held-out masked-code accuracy.
        """
        if mode != 'tensor' and data_samples is None:
            raise InputError(
                f'data_samples is None, but mode={mode!r} needs one for each image, with its mask.'
            )
        if mode == 'predict' and data_samples is not None:
            return self.predict(inputs, data_samples)
        return super().forward(inputs, data_samples, mode)

    def extract_feat(self, inputs: Tensor) -> tuple[Any, ...]:
        """Features of the backbone.

        Args:
            inputs: float ``(B, 3, H, W)``, the student's view.

        Raises:
            ValueError: both views of the data preprocessor.
        """
        if not isinstance(inputs, Tensor):
            raise InputError(
                "features are of the student's view alone, the first of the data preprocessor's: "
                "give that. mmpretrain's FeatureExtractor gives both: for photos use "
                'mmbeitv2.apis.load_encoder(CHECKPOINT).from_photo(PATH)'
            )
        features: tuple[Any, ...] = super().extract_feat(inputs)
        return features

    def loss(self, inputs: list[Tensor], data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Section 2.3: Eq. 3 of the last layer and of the aggregation, with equal weights.

        Args:
            inputs: the student's view and the tokenizer's view, both float ``(B, 3, H, W)``.
            data_samples: with ``mask``, bool ``(H / P, W / P)``, the same number in every image.

        Returns:
            ``loss_mim``, ``loss_cls`` (with a neck), ``acc_mim``, ``acc_cls`` (0 to 1).
        """
        mask, positions = self._masks(inputs, data_samples)
        # The same codes for both branches: the aggregation asks what [CLS] adds to an answer that
        # the last layer gives already, and it can be dropped after pretraining.
        codes = self._codes(inputs[1], positions)
        results = {}
        for name, tokens in self.masked_tokens(inputs[0], mask, positions).items():
            loss, accuracy = self.head.loss_of_tokens(tokens, codes, aggregated=name == 'cls')
            results[f'loss_{name}'], results[f'acc_{name}'] = loss, accuracy
        return results

    def predict_codes(self, images: Tensor, mask: Tensor, positions: Tensor) -> dict[str, Tensor]:
        """Logits of the masked patches' codes, by both branches, in float32 under autocast too.

        In bfloat16, of three significant digits, the best of thousands of codes is often equal to
        another.

        Args:
            images: float ``(B, 3, H, W)``, the student's view.
            mask: bool ``(B, N)``.
            positions: int64 ``(B, M)``, the masked patches.

        Returns:
            ``mim`` and, with a neck, ``cls``: float32 ``(B, M, K)``.
        """
        return {
            name: in_float32(partial(self.head, aggregated=name == 'cls'), tokens, self.head)
            for name, tokens in self.masked_tokens(images, mask, positions).items()
        }

    def masked_tokens(self, images: Tensor, mask: Tensor, positions: Tensor) -> dict[str, Tensor]:
        """What the head predicts codes from: normalised tokens of the masked patches.

        Only [CLS] and masked tokens are computed where nothing else is read: in the last layer of
        the backbone and of the neck.

        Args:
            images: float ``(B, 3, H, W)``, the student's view.
            mask: bool ``(B, N)``.
            positions: int64 ``(B, M)``, the masked patches.

        Returns:
            ``mim`` and, with a neck, ``cls``: float ``(B, M, C)``.
        """
        backbone = self.backbone
        masked = positions + 1
        cls_and_masked = torch.cat([torch.zeros_like(masked[:, :1]), masked], dim=1)
        x, grid = backbone.embed(images, mask)
        bias = backbone.shared_bias(grid)
        # l layers have been run, counted from 1, so the patches that the neck gets leave layer l.
        # Only they stop there: [CLS] goes to the end, and what the layers behind l have learned of
        # the image reaches the neck by it alone (section 2.3, figure 3).
        branch = backbone.depth - 1 if self.neck is None else self.neck.layer
        x_l = backbone.layers(x, grid, bias, stop=branch)
        x = backbone.layers(x_l, grid, bias, start=branch, queries=cls_and_masked)
        tokens = {'mim': backbone.norm(x[:, 1:])}
        if self.neck is not None:
            aggregated = self.neck(x[:, :1], x_l[:, 1:], grid, bias, masked)
            # By default one norm for both branches, since one head reads both.
            norm = self.neck.cls_pt_norm or backbone.norm
            tokens['cls'] = norm(aggregated)
        return tokens

    def predict(
        self, inputs: list[Tensor] | Tensor, data_samples: list[DataSample]
    ) -> list[DataSample]:
        """Predict the masked codes of held-out images.

        Every sample gets ``codes`` int64 ``(h, w)``, the tokenizer's of all patches,
        ``masked_codes`` int64 ``(M,)``, those of the masked ones, and for each branch
        ``pred_codes_mim``, ``pred_codes_cls`` int64 ``(M,)``.
        """
        mask, positions = self._masks(inputs, data_samples)
        grids = self._tokenizer().tokenize(inputs[1])
        for name, logits in self.predict_codes(inputs[0], mask, positions).items():
            for sample, predicted in zip(data_samples, logits.argmax(-1)):
                sample.set_field(predicted, f'pred_codes_{name}')
        for sample, grid, code in zip(data_samples, grids, grids.flatten(1).gather(1, positions)):
            sample.set_field(grid, 'codes')
            sample.set_field(code, 'masked_codes')
        return data_samples

    def _masks(
        self, inputs: list[Tensor] | Tensor, data_samples: list[DataSample]
    ) -> tuple[Tensor, Tensor]:
        """As :func:`masked_positions`, of masks and views that fit one another."""
        grids = [
            tuple(-(-side // self.backbone.patch_size) for side in x.shape[-2:]) for x in inputs
        ]
        if grids[0] != grids[1]:
            raise InputError(
                f'the student sees {grids[0]} patches but the tokenizer {grids[1]}: give both '
                'views the same size.'
            )
        return masked_positions(data_samples, inputs[0].device, grids[0])

    def _codes(self, images: Tensor, positions: Tensor) -> Tensor:
        return self._tokenizer().tokenize_at(images, positions)

    def _tokenizer(self) -> VQKDTokenizer:
        if self.target_generator is None:
            raise InputError(
                'this model has no tokenizer to compute codes with: set target_generator in its '
                'config, or load it by load_pretrained(checkpoint, tokenizer=FILE).'
            )
        return self.target_generator
