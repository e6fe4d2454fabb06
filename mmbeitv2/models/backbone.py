"""``BEiTViT``: the vision Transformer as a backbone of mmpretrain and mmsegmentation."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmbeitv2.checkpoints.loading import load_exactly
from mmbeitv2.checkpoints.translation import open_checkpoint
from mmbeitv2.checks import check_flag, is_count
from mmbeitv2.errors import InputError
from mmbeitv2.models.position import Grid
from mmbeitv2.models.starting import READING_OPTIONS, load_start
from mmbeitv2.models.stored_layout import FRESH
from mmbeitv2.models.vit import VisionTransformer
from mmbeitv2.registry import MODELS

ARCHITECTURES = {
    'base': dict(embed_dim=768, depth=12, num_heads=12),
    'large': dict(embed_dim=1024, depth=24, num_heads=16),
}
PROJECTION = 'backbone.patch_embed.proj.weight'
OUT_TYPES = ('raw', 'cls_token', 'avg_featmap', 'featmap', 'cls_and_avg')


def adapt_channels_of(weight: Tensor, channels: int) -> Tensor:
    """The patch projection for images of another number of channels.

    The rule of ``timm.models.adapt_input_conv``, which in timm 1.0.22 is for RGB alone.

    Args:
        weight: float ``(C, known channels, P, P)``.
        channels: of the images to come.

    Returns:
        Float ``(C, channels, P, P)``: the sum for one channel; repeated in order and scaled by
        known / wanted channels for several.
    """
    if channels == 1:
        return weight.sum(1, keepdim=True)
    known = weight.shape[1]
    return weight[:, torch.arange(channels) % known] * (known / channels)


@MODELS.register_module()
class BEiTViT(VisionTransformer):
    """Backbone: images in, a tuple of features out, one for each of ``out_indices``.

    Args:
        arch: ``'base'``, ``'large'`` or a dictionary with ``embed_dim``, ``depth``, ``num_heads``
            and optionally ``mlp_ratio``.
        out_indices: layers (0-based, negative from the end) whose features are returned, in this
            order, as often as named.
        out_type: as in mmpretrain: ``'cls_token'`` (B, C); ``'avg_featmap'``, mean of the patch
            tokens (B, C); ``'featmap'`` (B, C, rows, columns); ``'raw'`` tokens (B, 1 + N, C); also
            ``'cls_and_avg'``, a tuple of the first two for each layer.
        frozen: no gradient, always in eval mode: a fixed feature extractor.
        **kwargs: of :class:`VisionTransformer`.

    ``final_norm='norm'`` normalises the last layer's tokens before pooling, ``'fc_norm'`` the
    pooled vector (the paper's fine-tuning); earlier layers are returned as they are.
    ``init_cfg=dict(type='Pretrained', checkpoint=PATH)``, with ``prefix``, ``trust`` and
    ``img_size`` if needed, loads a pretraining or fine-tuning checkpoint, see
    :meth:`load_checkpoint`.
    """

    init_cfg: dict[str, Any] | None

    def __init__(
        self,
        arch: str | dict[str, Any] = 'base',
        out_indices: int | Sequence[int] = -1,
        out_type: str = 'cls_token',
        frozen: bool = False,
        **kwargs: Any,
    ) -> None:
        known = arch in ARCHITECTURES if isinstance(arch, str) else isinstance(arch, Mapping)
        if not known:
            raise InputError(
                f'arch is {arch!r}, allowed: {sorted(ARCHITECTURES)} or a dictionary such as '
                'dict(embed_dim=384, depth=12, num_heads=6).'
            )
        if out_type not in OUT_TYPES:
            raise InputError(f'out_type is {out_type!r}, allowed: {OUT_TYPES}.')
        if kwargs.get('final_norm') == 'fc_norm' and out_type not in ('avg_featmap', 'cls_and_avg'):
            raise InputError(
                f"final_norm='fc_norm' normalises the mean of the patches, which out_type="
                f"{out_type!r} does not return: set out_type='avg_featmap', or final_norm='norm'."
            )
        super().__init__(**(ARCHITECTURES[arch] if isinstance(arch, str) else arch), **kwargs)
        check_flag(self, 'frozen', frozen)
        self.out_indices = self._layers_of(out_indices)
        self.out_type = out_type
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False).eval()

    def _layers_of(self, out_indices: int | Sequence[int]) -> list[int]:
        """The layers asked for, counted from the first."""
        indices: list[Any] = [out_indices]
        if isinstance(out_indices, Sequence) and not isinstance(out_indices, str):
            indices = list(out_indices)
        if not indices or not all(
            is_count(i, least=-self.depth) and i < self.depth for i in indices
        ):
            raise InputError(
                f'out_indices {out_indices!r} reach outside the {self.depth} layers: allowed are '
                f'whole numbers from {-self.depth} to {self.depth - 1}, one or more.'
            )
        return [i % self.depth for i in indices]

    def init_weights(self) -> None:
        """Initialise, then load the checkpoint that ``init_cfg`` names, if any."""
        init_cfg, self.init_cfg = self.init_cfg, None
        super().init_weights()
        self.init_cfg = init_cfg
        load_start(self, (*READING_OPTIONS, 'adapt_channels'))

    def load_checkpoint(
        self,
        checkpoint: str,
        prefix: str = '',
        trust: bool = False,
        img_size: int | tuple[int, int] | None = None,
        adapt_channels: bool = False,
        ema: bool = False,
    ) -> None:
        """Load the backbone of a checkpoint, its positions fitted to this backbone.

        ``fc_norm`` starts fresh where the file has none (the paper's fine-tuning).

        Args:
            checkpoint: path or URL of a file of this project, the official release, mmpretrain,
                mmsegmentation, timm or transformers.
            prefix: with a dot, name of the model within a larger one that the file holds; not
                needed for ``'backbone.'`` and wrappers such as DDP's ``'module.'``.
            trust: open a file that holds Python objects beside weights, which can run any code.
            img_size: see :func:`mmbeitv2.checkpoints.translation.open_checkpoint`.
            adapt_channels: fit the patch projection of RGB to this backbone's channels by the rule
                of ``timm.models.adapt_input_conv``: summed for one channel; repeated in order
                (R, G, B, R, …) and scaled by 3 / channels for several.
            ema: see :func:`mmbeitv2.checkpoints.reading.read_weights`.

        Raises:
            FileNotFoundError: no such file.
            ValueError: another architecture; names the first differing tensor and both shapes. Or
                no checkpoint of a known project, or one with code.
        """
        opened = open_checkpoint(checkpoint, trust, prefix, img_size, 'backbone', ema)
        check_flag(self, 'adapt_channels', adapt_channels)
        weight = opened.state.get(PROJECTION)
        if weight is not None and weight.shape[1] != self.in_chans:
            if not adapt_channels:
                raise InputError(
                    f'{opened} takes images of {weight.shape[1]} channels, but in_chans is '
                    f'{self.in_chans}: set adapt_channels=True of init_cfg to fit its patch '
                    'projection (summed for one channel, repeated and scaled for several), or '
                    'start from other weights'
                )
            opened.state[PROJECTION] = adapt_channels_of(weight, self.in_chans)
        load_exactly(self, opened, 'backbone.', may_be_missing=FRESH)

    def train(self, mode: bool = True) -> 'BEiTViT':
        """Switch the mode; a frozen backbone stays in eval mode."""
        return super().train(mode and not self.frozen)

    def forward(self, images: Tensor) -> tuple[Any, ...]:
        """Features of ``images`` (float ``(B, 3, H, W)``, any size), a tuple over the layers."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            x, grid = self.embed(images)
            bias = self.shared_bias(grid)
            features, start = {}, 0
            for i in sorted(set(self.out_indices)):
                x = self.layers(x, grid, bias, start, i + 1)
                features[i] = self._format(x, grid, last=i == self.depth - 1)
                start = i + 1
        return tuple(features[i] for i in self.out_indices)

    def _format(self, x: Tensor, grid: Grid, last: bool) -> Tensor | tuple[Tensor, Tensor]:
        # Of the last layer alone: no norm was trained on what earlier ones give.
        if last and self.norm is not None:
            x = self.norm(x)
        if self.out_type == 'raw':
            return x
        if self.out_type == 'featmap':
            return x[:, 1:].transpose(1, 2).reshape(x.shape[0], -1, *grid).contiguous()
        cls_token = x[:, 0]
        if self.out_type == 'cls_token':
            return cls_token
        mean = x[:, 1:].mean(dim=1)
        if last and self.fc_norm is not None:
            mean = self.fc_norm(mean)
        return mean if self.out_type == 'avg_featmap' else (cls_token, mean)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer-wise learning rate decay.

        Args:
            param_name: full name of the parameter.
            prefix: name of this backbone within the model, with a dot.

        Returns:
            ``(depth, number of depths)``: 0 for the embeddings, i + 1 for layer i, the last for all
            after the layers. Source: official ``get_num_layer_for_vit``.
        """
        num_depths = self.depth + 2
        if not param_name.startswith(prefix):
            return num_depths - 1, num_depths
        parts = param_name[len(prefix) :].split('.')
        if parts[0] in ('cls_token', 'mask_token', 'pos_embed', 'patch_embed'):
            return 0, num_depths
        if parts[0] == 'blocks':
            return int(parts[1]) + 1, num_depths
        # The final norms, and the bias that all layers share, which is of no layer.
        return num_depths - 1, num_depths
