"""Read a model's architecture off the tensors of its checkpoint."""

from typing import Any

from torch import Tensor

from mmbeitv2.checkpoints.naming import num_layers, with_prefix
from mmbeitv2.errors import InputError
from mmbeitv2.models.position import SHARED_TABLE, TABLE
from mmbeitv2.models.stored_layout import check_heads, learned_grid, stored_layout

HEAD_WIDTH = 64


def vit_architecture(state: dict[str, Tensor], num_heads: int | None = None) -> dict[str, Any]:
    """Arguments of :class:`VisionTransformer` for the tensors of one ViT.

    Args:
        state: tensors by official name, without a prefix.
        num_heads: heads, where neither this project's note nor the tables of a relative position
            bias show them; width / 64 if not given either.

    Returns:
        Keyword arguments.

    Raises:
        ValueError: the number of heads can be neither read nor assumed, or the grid is not known.
    """
    embed_dim, in_chans, patch_size, _ = _shape(state, 'patch_embed.proj.weight', 4)
    table = state.get(SHARED_TABLE, state.get(f'blocks.0.attn.{TABLE}'))
    layout = stored_layout(state)
    if layout is not None and layout.num_heads:
        num_heads = layout.num_heads
    elif table is not None:
        num_heads = table.shape[1]
    # Without positions any size is served.
    rows, columns = learned_grid(state) or (1, 1)
    height, width = rows * patch_size, columns * patch_size
    if num_heads is None and embed_dim % HEAD_WIDTH:
        raise InputError(
            f'width {embed_dim} is no multiple of {HEAD_WIDTH}, so the number of heads, which the '
            'checkpoint does not show, cannot be assumed: give num_heads.'
        )
    return dict(
        img_size=height if height == width else (height, width),
        patch_size=patch_size,
        in_chans=in_chans,
        embed_dim=embed_dim,
        depth=num_layers(state, 'blocks'),
        num_heads=num_heads or embed_dim // HEAD_WIDTH,
        **layer_architecture(with_prefix(state, 'blocks.0.')),
        use_abs_pos_emb='pos_embed' in state,
        use_shared_rel_pos_bias=SHARED_TABLE in state,
        use_rel_pos_bias=f'blocks.0.attn.{TABLE}' in state,
    )


def layer_architecture(state: dict[str, Tensor]) -> dict[str, Any]:
    """Arguments ``mlp_ratio`` and ``init_values`` for the tensors of one layer."""
    hidden, embed_dim = _shape(state, 'mlp.fc1.weight', 2)
    gamma = state.get('gamma_1')
    return dict(
        mlp_ratio=hidden / embed_dim,
        init_values=None if gamma is None else float(gamma.abs().mean()),
    )


def tokenizer_architecture(
    state: dict[str, Tensor], num_heads: int | None = None
) -> dict[str, Any]:
    """Arguments of :class:`VQKDTokenizer` for a tokenizer's tensors, see :func:`vit_architecture`.

    Args:
        state: tensors by our names, without a prefix.
        num_heads: heads of the encoder, where the file does not note them; width / 64 unless given.

    Raises:
        ValueError: the file notes other heads.
    """
    encoder = with_prefix(state, 'encoder.')
    check_heads(stored_layout(encoder), num_heads)
    num_codes, code_dim = _shape(state, 'quantize.embedding.weight', 2)
    return dict(
        encoder=vit_architecture(encoder, num_heads),
        quantizer=dict(num_codes=num_codes, code_dim=code_dim),
    )


def pretraining_architecture(state: dict[str, Tensor]) -> dict[str, Any]:
    """Arguments of :class:`BEiTV2`, the tokenizer's left out, for a pretraining model's tensors.

    Args:
        state: tensors by our names.
    """
    backbone = vit_architecture(with_prefix(state, 'backbone.'))
    arch = {k: backbone.pop(k) for k in ('embed_dim', 'depth', 'num_heads', 'mlp_ratio')}
    neck = None
    if 'neck._extra_state' in state:
        neck = dict(
            type='mmbeitv2.PatchAggregationNeck',
            embed_dim=arch['embed_dim'],
            num_heads=arch['num_heads'],
            layer=int(state['neck._extra_state']),
            depth=num_layers(state, 'neck.cls_pt_layers'),
            shared_norm='neck.cls_pt_norm.weight' not in state,
            **layer_architecture(with_prefix(state, 'neck.cls_pt_layers.0.')),
        )
    return dict(
        backbone=dict(type='mmbeitv2.BEiTViT', arch=arch, use_mask_token=True, **backbone),
        neck=neck,
        head=dict(
            type='mmbeitv2.MIMHead',
            embed_dim=arch['embed_dim'],
            num_codes=_shape(state, 'head.lm_head.weight', 2)[0],
            shared='head.cls_pt_lm_head.weight' not in state,
        ),
    )


def _shape(state: dict[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
    """Shape of a tensor that sizes are read off."""
    if name not in state:
        raise InputError(
            f'the checkpoint has no tensor {name}, which every such model has: it is incomplete, '
            'or of another model.'
        )
    shape = tuple(state[name].shape)
    if len(shape) != dimensions or not state[name].numel():
        raise InputError(
            f'{name} has shape {shape} in the checkpoint, allowed: {dimensions} dimensions, none '
            'of them empty.'
        )
    return shape
