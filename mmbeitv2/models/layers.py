"""Layers of the vision Transformer, with the official release's parameter names."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn

from mmbeitv2.models.attention import Attention, take_tokens
from mmbeitv2.models.patches import is_patch_projection, project_patches
from mmbeitv2.models.position import Grid
from mmbeitv2.models.recomputation import can_recompute, linear_of_gelu, linear_of_norm
from mmbeitv2.models.shortcuts import can_bypass

INIT_STD = 0.02


def init_normal_(weight: Tensor, std: float = INIT_STD, cut: float | None = 1.0) -> None:
    """Fill with a normal of spread ``std``, cut at ``cut`` standard deviations; None: not cut.

    The official pretraining cuts at one; its tokenizer training does not cut.
    """
    if cut is None:
        nn.init.normal_(weight, std=std)
    else:
        nn.init.trunc_normal_(weight, std=std, a=-cut * std, b=cut * std)


def init_layer_(module: nn.Module, std: float = INIT_STD, cut: float | None = 1.0) -> None:
    """Initialise one linear, convolution or norm layer in place (official ``_init_weights``)."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        init_normal_(module.weight, std, cut)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def task_layer(in_dim: int, out_dim: int) -> nn.Sequential:
    """Linear – Tanh – Linear head after an encoder or decoder (official ``*_task_layer``)."""
    return nn.Sequential(nn.Linear(in_dim, in_dim), nn.Tanh(), nn.Linear(in_dim, out_dim))


class PatchEmbed(nn.Module):
    """Linear projection of non-overlapping patches.

    Args:
        patch_size: side of a patch in pixels.
        in_chans: channels of the input.
        embed_dim: width of a token.
    """

    def __init__(self, patch_size: int, in_chans: int, embed_dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> tuple[Tensor, Grid]:
        """Tokens ``(B, N, C)`` in row-major order and their grid ``(rows, columns)``.

        Images whose sides are no multiple of the patch size are padded with zeros at the bottom and
        at the right.
        """
        height, width = images.shape[-2:]
        pad_bottom, pad_right = -height % self.patch_size, -width % self.patch_size
        if pad_bottom or pad_right:
            images = F.pad(images, (0, pad_right, 0, pad_bottom))
        # cuDNN's convolution takes several times as long as the product, and is made in TF32 where
        # float32 is asked for.
        if not images.is_cpu and is_patch_projection(self.proj, self.patch_size):
            return project_patches(images, self.proj)
        x = self.proj(images)
        return x.flatten(2).transpose(1, 2), (x.shape[2], x.shape[3])


class Mlp(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, dim: int, hidden_dim: int, recompute: bool = True) -> None:
        super().__init__()
        self.recompute = recompute
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor, norm: nn.LayerNorm | None = None) -> Tensor:
        """Apply, after ``norm`` if there is one, to the last dimension of ``x``."""
        if norm is not None and self.recompute and can_recompute(self, norm, self.fc1):
            hidden = linear_of_norm(x, norm, self.fc1.weight, self.fc1.bias)
        else:
            hidden = self.fc1(x if norm is None else norm(x))
        if self.recompute and can_recompute(self, self.act, self.fc2):
            return linear_of_gelu(hidden, self.fc2.weight, self.fc2.bias, self.act.approximate)
        return self.fc2(self.act(hidden))


class Block(nn.Module):
    """Pre-norm Transformer layer with layer scale and stochastic depth.

    Args:
        dim: width of a token.
        num_heads: heads of the attention.
        mlp_ratio: hidden width of the MLP over ``dim``.
        init_values: start of the layer scale; None for no layer scale.
        drop_path: probability of dropping a residual branch, 0 to 1.
        grid: where given, the layer learns a relative position bias of its own for this grid.
        norm_eps: epsilon of the norms.
        recompute: keep neither what the norms nor what the GELU gives for the backward pass.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        init_values: float | None = None,
        drop_path: float = 0.0,
        grid: Grid | None = None,
        norm_eps: float = 1e-6,
        recompute: bool = True,
    ) -> None:
        super().__init__()
        self.init_values = init_values
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = Attention(dim, num_heads, grid, recompute)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), recompute)
        self.drop_path = DropPath(drop_path)
        self.gamma_1 = self.gamma_2 = None
        if init_values is not None:
            self.gamma_1 = nn.Parameter(torch.full((dim,), float(init_values)))
            self.gamma_2 = nn.Parameter(torch.full((dim,), float(init_values)))

    def forward(
        self,
        x: Tensor,
        grid: Grid,
        shared_bias: Tensor | None = None,
        queries: Tensor | None = None,
    ) -> Tensor:
        """Transform ``(B, T, C)``; with ``queries`` ``(B, M)`` only those tokens, ``(B, M, C)``.

        A layer whose other outputs nobody reads costs less that way and gives the same numbers:
        keys and values still come from every token.
        """
        if can_bypass(self.attn, kinds=(Attention,)):
            attended = self.attn(x, grid, shared_bias, queries, self.norm1)
        else:
            attended = self.attn(self.norm1(x), grid, shared_bias, queries)
        if queries is not None:
            x = take_tokens(x, queries)
        x = x + self.drop_path(_scale(attended, self.gamma_1))
        if can_bypass(self.mlp, kinds=(Mlp,)):
            return x + self.drop_path(_scale(self.mlp(x, self.norm2), self.gamma_2))
        return x + self.drop_path(_scale(self.mlp(self.norm2(x)), self.gamma_2))

    def init_weights(self, layer: int, std: float = INIT_STD, cut: float | None = 1.0) -> None:
        """Initialise as layer number ``layer`` (from 1): both output weights over √(2·layer)."""
        self.apply(partial(init_layer_, std=std, cut=cut))
        nn.init.zeros_(self.attn.q_bias)
        nn.init.zeros_(self.attn.v_bias)
        if self.attn.grid is not None:
            nn.init.zeros_(self.attn.relative_position_bias_table)
        for gamma in (self.gamma_1, self.gamma_2):
            if gamma is not None and self.init_values is not None:
                nn.init.constant_(gamma, self.init_values)
        with torch.no_grad():
            self.attn.proj.weight.div_(math.sqrt(2 * layer))
            self.mlp.fc2.weight.div_(math.sqrt(2 * layer))


def _scale(x: Tensor, gamma: Tensor | None) -> Tensor:
    return x if gamma is None else gamma * x
