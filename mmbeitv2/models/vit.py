"""The one vision Transformer: tokenizer encoder, tokenizer decoder and student are all made of it.

Parameter names equal the official release's, so its checkpoints load without renaming.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmbeitv2.errors import InputError
from mmbeitv2.models.arguments import check_flags, check_images, check_layers, check_picture
from mmbeitv2.models.layers import INIT_STD, Block, PatchEmbed, init_layer_, init_normal_
from mmbeitv2.models.position import Grid, RelativePositionBias, resize_absolute_position
from mmbeitv2.models.stored_layout import FitsCheckpoints
from mmbeitv2.registry import MODELS


@MODELS.register_module()
class VisionTransformer(FitsCheckpoints, BaseModule):
    """Vision Transformer with the choices that BEiT v2 makes.

    Args:
        img_size: side in pixels, or ``(height, width)``, of the images that positions are learned
            for; other sizes are served by resizing the positions.
        patch_size: side of a patch in pixels.
        in_chans: channels of the input.
        embed_dim: width C of a token.
        depth: number of layers.
        num_heads: heads of the attention; ``embed_dim`` must be a multiple.
        mlp_ratio: hidden width of the MLP over ``embed_dim``.
        init_values: start of the layer scale; None for no layer scale.
        drop_path_rate: probability of dropping a branch in the last layer, growing linearly from 0.
        use_abs_pos_emb: learn an absolute position embedding.
        use_shared_rel_pos_bias: learn one relative position bias for all layers (pretraining).
        use_rel_pos_bias: learn a relative position bias in every layer (fine-tuning).
        use_mask_token: learn an embedding that stands for masked patches.
        final_norm: ``'norm'`` on all tokens, ``'fc_norm'`` for patch tokens or their mean, or None.
        norm_eps: epsilon of the norms.
        init_std: spread of the initial weights (official flag ``--init_std``); narrow models learn
            faster from larger weights than the paper's 0.02.
        init_cut: where the initial weights' normal is cut, in ``init_std``. None, as in the
            official tokenizer training: not cut, and the patch embedding starts as PyTorch's.
        with_cp: recompute whole layers in the backward pass to save memory.
        recompute: recompute norms and GELUs alone, which costs little; False where memory allows.
            Compiled layers do not heed it.
        init_cfg: mmengine's initialisation config.

    Raises:
        ValueError: an argument of another type or out of range, or a size that does not fit
            another; the message names the value and what is allowed.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        init_values: float | None = None,
        drop_path_rate: float = 0.0,
        use_abs_pos_emb: bool = True,
        use_shared_rel_pos_bias: bool = False,
        use_rel_pos_bias: bool = False,
        use_mask_token: bool = False,
        final_norm: str | None = 'norm',
        norm_eps: float = 1e-6,
        init_std: float = INIT_STD,
        init_cut: float | None = 1.0,
        with_cp: bool = False,
        recompute: bool = True,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_layers(
            *(self, embed_dim, num_heads, depth, mlp_ratio),
            *(init_values, norm_eps, init_std, recompute),
        )
        check_picture(self, img_size, patch_size, in_chans, drop_path_rate, init_cut, final_norm)
        check_flags(
            self,
            use_abs_pos_emb=use_abs_pos_emb,
            use_shared_rel_pos_bias=use_shared_rel_pos_bias,
            use_rel_pos_bias=use_rel_pos_bias,
            use_mask_token=use_mask_token,
            with_cp=with_cp,
        )
        height, width = img_size if isinstance(img_size, Sequence) else (img_size, img_size)
        self.img_size = (height, width)
        self.patch_size = patch_size
        self.in_chans = in_chans
        self.embed_dim = embed_dim
        self.depth = depth
        self.num_heads = num_heads
        self.init_values = init_values
        self.init_std = init_std
        self.init_cut = init_cut
        self.with_cp = with_cp
        self.grid = (height // patch_size, width // patch_size)

        self._add_embedding(use_mask_token, use_abs_pos_emb)
        self.rel_pos_bias = (
            RelativePositionBias(self.grid, num_heads) if use_shared_rel_pos_bias else None
        )
        own_bias = self.grid if use_rel_pos_bias else None
        self._add_layers(mlp_ratio, drop_path_rate, own_bias, norm_eps, recompute)
        # Official names: pretraining norms every token for its head (`norm`); a classifier norms
        # the mean of the patches, a tokenizer each patch (`fc_norm`).
        self.norm = nn.LayerNorm(embed_dim, eps=norm_eps) if final_norm == 'norm' else None
        self.fc_norm = nn.LayerNorm(embed_dim, eps=norm_eps) if final_norm == 'fc_norm' else None

    def _add_embedding(self, use_mask_token: bool, use_abs_pos_emb: bool) -> None:
        """What :meth:`embed` makes tokens with."""
        width = self.embed_dim
        self.patch_embed = PatchEmbed(self.patch_size, self.in_chans, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width)) if use_mask_token else None
        num_tokens = 1 + self.grid[0] * self.grid[1]
        self.pos_embed = (
            nn.Parameter(torch.zeros(1, num_tokens, width)) if use_abs_pos_emb else None
        )

    def _add_layers(
        self,
        mlp_ratio: float,
        drop_path_rate: float,
        own_bias: Grid | None,
        norm_eps: float,
        recompute: bool,
    ) -> None:
        """The layers that :meth:`layers` runs; the deeper, the more often a branch is dropped."""
        self.blocks = nn.ModuleList(
            Block(
                self.embed_dim,
                self.num_heads,
                mlp_ratio,
                self.init_values,
                drop_path_rate * i / max(self.depth - 1, 1),
                own_bias,
                norm_eps,
                recompute,
            )
            for i in range(self.depth)
        )

    def init_weights(self) -> None:
        """Initialise as the official release: normal weights, outputs of layer i over √(2i)."""
        if self.init_cfg is not None:
            super().init_weights()
            return
        how = dict(std=self.init_std, cut=self.init_cut)
        for module in (self.patch_embed, self.norm, self.fc_norm):
            if module is not None:
                module.apply(partial(init_layer_, **how))
        if self.init_cut is None:
            self.patch_embed.proj.reset_parameters()
        for token in (self.cls_token, self.mask_token, self.pos_embed):
            if token is not None:
                init_normal_(token, **how)
        if self.rel_pos_bias is not None:
            # Attention begins without a preference for any place.
            nn.init.zeros_(self.rel_pos_bias.relative_position_bias_table)
        blocks: Iterable[Any] = self.blocks
        for i, block in enumerate(blocks):
            block.init_weights(i + 1, **how)
        self._is_init = True

    def embed(self, images: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Grid]:
        """Tokens of an image before the first layer.

        Args:
            images: float ``(B, in_chans, H, W)``.
            mask: bool ``(B, N)``, True where the patch is replaced by the mask token.

        Returns:
            float ``(B, 1 + N, C)`` with [CLS] first, and the grid ``(rows, columns)``.

        Raises:
            ValueError: no images, or a mask that does not fit their patches or has no token.
        """
        check_images(self, images, self.in_chans)
        x, grid = self.patch_embed(images)
        # Tokens keep the weights' precision from here on, as in the official code: branches may be
        # computed in less, but what they are added to is rounded in no layer.
        x = x.to(self.cls_token.dtype)
        if mask is not None:
            if self.mask_token is None:
                raise InputError('a mask needs a mask token: set use_mask_token=True.')
            if mask.shape != x.shape[:2]:
                raise InputError(
                    f'the mask has shape {tuple(mask.shape)} but the images give '
                    f'{tuple(x.shape[:2])} (batch, patches) at patch_size {self.patch_size}: set '
                    f'the grid of the mask generator to {grid}.'
                )
            # Before the positions are added: by its place alone a masked patch differs from others.
            x = torch.where(mask.unsqueeze(-1), self.mask_token, x)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        if self.pos_embed is not None:
            x = x + resize_absolute_position(self.pos_embed, self.grid, grid)
        return x, grid

    def shared_bias(self, grid: Grid) -> Tensor | None:
        """Attention bias ``(heads, 1 + N, 1 + N)`` of all layers, or None without one."""
        return None if self.rel_pos_bias is None else self.rel_pos_bias(grid)

    def layers(
        self,
        x: Tensor,
        grid: Grid,
        shared_bias: Tensor | None = None,
        start: int = 0,
        stop: int | None = None,
        queries: Tensor | None = None,
    ) -> Tensor:
        """Run layers ``start`` to ``stop`` (0-based, end excluded) on tokens ``(B, 1 + N, C)``.

        Args:
            x: tokens.
            grid: grid of patches.
            shared_bias: result of :meth:`shared_bias`.
            start: first layer.
            stop: layer to stop before; None for all.
            queries: int64 ``(B, M)`` tokens wanted of the last of these layers; None for all.

        Returns:
            float ``(B, 1 + N, C)``, or ``(B, M, C)`` with ``queries``; no final norm.
        """
        stop = self.depth if stop is None else stop
        for i in range(start, stop):
            wanted = queries if i == stop - 1 else None
            if self.with_cp and self.training and torch.is_grad_enabled():
                x = checkpoint(self.blocks[i], x, grid, shared_bias, wanted, use_reentrant=False)
            else:
                x = self.blocks[i](x, grid, shared_bias, wanted)
        return x

    def patch_tokens(self, images: Tensor, queries: Tensor | None = None) -> tuple[Tensor, Grid]:
        """Normalised patch tokens ``(B, N, C)`` without [CLS], and their grid.

        Args:
            images: float ``(B, in_chans, H, W)``.
            queries: int64 ``(B, M)`` patch positions wanted (0 is the first patch); None for all.
        """
        x, grid = self.embed(images)
        x = self.layers(
            x, grid, self.shared_bias(grid), queries=None if queries is None else queries + 1
        )
        x = x[:, 1:] if queries is None else x
        for norm in (self.norm, self.fc_norm):
            x = x if norm is None else norm(x)
        return x, grid
