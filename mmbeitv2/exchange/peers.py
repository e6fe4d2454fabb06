"""Models of other projects, built by their own code, run on converted checkpoints.

Each takes the converted file as it lies on the disk, every tensor of it (strict loading).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import DefaultScope
from torch import Tensor

from mmbeitv2.checkpoints.naming import with_prefix
from mmbeitv2.checkpoints.reading import read_state_dict
from mmbeitv2.checkpoints.translation import TOKENIZER_PART, Checkpoint
from mmbeitv2.exchange.architecture import (
    pretraining_architecture,
    tokenizer_architecture,
    vit_architecture,
)
from mmbeitv2.exchange.building import FC_NORM
from mmbeitv2.exchange.transformers_files import LAYER_SCALE
from mmbeitv2.models.position import Grid

Outputs = dict[str, Tensor]


def block_mask(num_images: int, grid: Grid) -> tuple[Tensor, Tensor]:
    """Mask the upper half of every image: bool ``(B, rows, columns)`` and int64 ``(B, M)``."""
    mask = torch.zeros(num_images, *grid, dtype=torch.bool)
    mask[:, : grid[0] // 2] = True
    return mask, mask.flatten(1).nonzero()[:, 1].view(num_images, -1)


def _run_timm(path: Path, target: Checkpoint, images: Tensor, num_heads: int | None) -> Outputs:
    from timm.models.beit import Beit

    vit = vit_architecture(with_prefix(target.state, 'backbone.'), num_heads)
    scale = None if vit.pop('init_values') is None else LAYER_SCALE
    num_classes = target.state['head.fc.weight'].shape[0] if target.kind == 'classifier' else 0
    pooling = 'avg' if FC_NORM in target.state else 'token'
    model = Beit(num_classes=num_classes, global_pool=pooling, init_values=scale, **vit).eval()
    model.load_state_dict(read_state_dict(path), strict=True)
    if target.kind == 'classifier':
        return dict(logits=model(images))
    return dict(
        features=model(images) if FC_NORM in target.state else model.forward_features(images)
    )


def _run_transformers(
    path: Path, target: Checkpoint, images: Tensor, num_heads: int | None
) -> Outputs:
    from transformers import BeitForImageClassification, BeitModel

    model_class = BeitForImageClassification if target.kind == 'classifier' else BeitModel
    model, loading = model_class.from_pretrained(path, output_loading_info=True)
    _check_all_taken(path, loading)
    output = model.eval()(images)
    if target.kind == 'classifier':
        return dict(logits=output.logits)
    return dict(
        features=output.pooler_output if FC_NORM in target.state else output.last_hidden_state
    )


def _run_masked_modelling(
    path: Path, target: Checkpoint, images: Tensor, num_heads: int | None
) -> Outputs:
    from transformers import BeitForMaskedImageModeling

    model, loading = BeitForMaskedImageModeling.from_pretrained(path, output_loading_info=True)
    _check_all_taken(path, loading)
    grid = (model.config.image_size // model.config.patch_size,) * 2
    mask, positions = block_mask(len(images), grid)
    logits = model.eval()(images, bool_masked_pos=mask.flatten(1)).logits
    return dict(logits_mim=logits[torch.arange(len(images))[:, None], positions])


def _check_all_taken(path: Path, loading: dict[str, Any]) -> None:
    if any(loading.values()):
        raise RuntimeError(f'transformers did not take every tensor of {path}: {loading}')


def _run_mmpretrain(
    path: Path, target: Checkpoint, images: Tensor, num_heads: int | None
) -> Outputs:
    from mmpretrain.registry import MODELS

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(mmpretrain_config(target.kind, target.state, num_heads))
    model.eval()
    prefix = 'backbone.' if target.kind == 'backbone' else ''
    model.load_state_dict(with_prefix(read_state_dict(path), prefix), strict=True)
    if target.kind == 'tokenizer':
        vectors = model.encode_task_layer(model.encoder(images)[0].flatten(2).transpose(1, 2))
        return dict(vectors=vectors, codes=model.get_tokens(images)['token'])
    if target.kind == 'classifier':
        return dict(logits=model(images))
    if target.kind == 'backbone':
        return dict(features=model(images)[-1])
    mask, positions = block_mask(len(images), model.backbone.patch_resolution)
    tokens = model.backbone(images, mask)
    outputs = model.neck(tokens, rel_pos_bias=model.backbone.shared_rel_pos_bias)
    rows = torch.arange(len(images))[:, None]
    logits = [model.head.cls_head(output[rows, positions]) for output in outputs]
    results = dict(zip(('logits_mim', 'logits_cls'), logits))
    if model.target_generator is not None:
        results['codes'] = model.target_generator(images)
    return results


def mmpretrain_config(
    kind: str, state: dict[str, Tensor], num_heads: int | None = None
) -> dict[str, Any]:
    """Config of mmpretrain's own model for a checkpoint.

    Args:
        kind: ``'pretraining'``, ``'tokenizer'``, ``'classifier'`` or ``'backbone'``.
        state: tensors by our names.
        num_heads: heads, where the tensors do not show them; width / 64 unless given.
    """
    if kind == 'tokenizer':
        tokenizer = tokenizer_architecture(state, num_heads)
        encoder = _mmpretrain_vit(tokenizer['encoder'], final_norm=True, out_type='featmap')
        num_codes, code_dim = tokenizer['quantizer'].values()
        return dict(type='VQKD', encoder_config=encoder, num_embed=num_codes, embed_dims=code_dim)
    vit = vit_architecture(with_prefix(state, 'backbone.'), num_heads)
    if kind != 'pretraining':
        mean = FC_NORM in state
        backbone = _mmpretrain_vit(
            vit, final_norm=not mean, out_type='avg_featmap' if mean else 'raw'
        )
        if kind == 'backbone':
            return dict(type='BEiTViT', **backbone)
        num_classes, width = state['head.fc.weight'].shape
        return dict(
            type='ImageClassifier',
            backbone=dict(type='BEiTViT', **backbone),
            head=dict(type='LinearClsHead', num_classes=num_classes, in_channels=width),
        )
    backbone = _mmpretrain_vit(vit, final_norm=False, out_type='raw')
    ours = pretraining_architecture(state)
    layer = ours['neck']['layer']
    depth = vit['depth']
    generator = with_prefix(state, TOKENIZER_PART)
    return dict(
        type='BEiT',
        backbone=dict(
            type='BEiTPretrainViT', **{**backbone, 'out_indices': [layer - 1, depth - 1]}
        ),
        neck=dict(
            type='BEiTV2Neck',
            num_layers=ours['neck']['depth'],
            early_layers=layer,
            backbone_arch=dict(backbone['arch'], depth=depth),
            layer_scale_init_value=backbone['layer_scale_init_value'],
        ),
        head=dict(
            type='BEiTV2Head',
            embed_dims=vit['embed_dim'],
            num_embed=ours['head']['num_codes'],
            loss=dict(type='CrossEntropyLoss'),
        ),
        target_generator=mmpretrain_config('tokenizer', generator, num_heads)
        if generator
        else None,
    )


def _mmpretrain_vit(vit: dict[str, Any], final_norm: bool, out_type: str) -> dict[str, Any]:
    return dict(
        arch=dict(
            embed_dims=vit['embed_dim'],
            num_layers=vit['depth'],
            num_heads=vit['num_heads'],
            feedforward_channels=round(vit['embed_dim'] * vit['mlp_ratio']),
        ),
        img_size=vit['img_size'],
        patch_size=vit['patch_size'],
        out_indices=-1,
        final_norm=final_norm,
        out_type=out_type,
        use_abs_pos_emb=vit['use_abs_pos_emb'],
        use_rel_pos_bias=vit['use_rel_pos_bias'],
        use_shared_rel_pos_bias=vit['use_shared_rel_pos_bias'],
        layer_scale_init_value=0.0 if vit['init_values'] is None else LAYER_SCALE,
    )


PEERS: dict[str, Callable[..., Outputs]] = {
    'timm': _run_timm,
    'transformers': _run_transformers,
    'transformers-mim': _run_masked_modelling,
    'mmpretrain': _run_mmpretrain,
}


def package_of(project: str) -> str:
    """Name of the Python package of a key of ``PEERS``."""
    return project.partition('-')[0]
