"""Where a vision Transformer looks: the attention that the fused kernels do not keep."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbeitv2.errors import InputError
from mmbeitv2.models.layers import Block
from mmbeitv2.models.position import (
    Grid,
    expand_relative_position_bias,
    resize_relative_position_bias,
)
from mmbeitv2.models.vit import VisionTransformer


def attention_weights(q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √D + bias): what ``scaled_dot_product_attention`` weights the values with.

    Args:
        q: float ``(B, heads, M, D)``, queries.
        k: float ``(B, heads, T, D)``, keys.
        bias: float ``(heads, M, T)`` added to the logits; None for none.

    Returns:
        ``(B, heads, M, T)``, each row sums to 1.
    """
    logits = q @ k.mT * q.shape[-1] ** -0.5
    return (logits if bias is None else logits + bias).softmax(dim=-1)


def check_layer(vit: VisionTransformer, layer: int) -> None:
    """Refuse a layer that is not there.

    Args:
        vit: whose layer it is to be.
        layer: 0 … depth − 1, or from the end by −1 … −depth.

    Raises:
        ValueError: no such layer.
    """
    if not -vit.depth <= layer < vit.depth:
        raise InputError(f'layer is {layer}, allowed: {-vit.depth} to {vit.depth - 1}.')


@torch.no_grad()
def cls_attention(vit: VisionTransformer, images: Tensor, layer: int = -1) -> Tensor:
    """How much each head of a layer takes from each patch for [CLS].

    Args:
        vit: in eval mode.
        images: float ``(B, 3, H, W)``, as the network takes them.
        layer: 0 … depth − 1, or from the end by −1 … −depth.

    Returns:
        float32 ``(B, heads, rows, columns)``. What [CLS] takes from itself is left out, so that the
        patches sum to less than 1.

    Raises:
        ValueError: no such layer.
    """
    check_layer(vit, layer)
    layer %= vit.depth
    x, grid = vit.embed(images)
    shared = vit.shared_bias(grid)
    x = vit.layers(x, grid, shared, stop=layer)
    return cls_attention_to(vit.blocks[layer], x, grid, shared)


def cls_attention_to(block: nn.Module, x: Tensor, grid: Grid, shared: Tensor | None) -> Tensor:
    """As :func:`cls_attention`, of a layer and the tokens ``(B, 1 + N, C)`` that enter it.

    Args:
        block: the layer, see :class:`Block`.
        x: float.
        grid: of patches.
        shared: position bias of all layers, None without one.
    """
    assert isinstance(block, Block)
    q, k, _ = queries_keys_values(block, x)
    bias = position_bias(block, grid, shared)
    weights = attention_weights(q[:, :, :1], k, None if bias is None else bias[:, :1])
    return weights[:, :, 0, 1:].unflatten(-1, grid).float()


def queries_keys_values(block: Block, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v ``(B, heads, T, D)`` of a layer's attention to tokens ``(B, T, C)``."""
    attn = block.attn
    bias = torch.cat([attn.q_bias, torch.zeros_like(attn.v_bias), attn.v_bias])
    qkv = F.linear(block.norm1(x), attn.qkv.weight, bias)
    return tuple(
        part.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1)
    )


def position_bias(block: Block, grid: Grid, shared: Tensor | None) -> Tensor | None:
    """What a layer adds to its logits: its own bias, the shared one, or both, ``(heads, T, T)``."""
    attn = block.attn
    if attn.grid is None:
        return shared
    table = resize_relative_position_bias(attn.relative_position_bias_table, attn.grid, grid)
    own = expand_relative_position_bias(table, grid)
    return own if shared is None else own + shared
