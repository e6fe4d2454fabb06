"""Load trained models from their checkpoint alone, and use them."""

import torch
from torch import Tensor

from mmbeitv2.checkpoints.architecture import (
    layer_architecture,
    num_layers,
    vit_architecture,
    with_prefix,
)
from mmbeitv2.checkpoints.loading import load_exactly
from mmbeitv2.checkpoints.reading import read_state_dict
from mmbeitv2.models import BEiTV2, VQKDTokenizer


def load_tokenizer(checkpoint: str, num_heads: int | None = None) -> VQKDTokenizer:
    """Tokenizer of a VQ-KD checkpoint, frozen, on the CPU.

    Args:
        checkpoint: path of a file written by :class:`VQKD` training or of the official release.
        num_heads: heads of the encoder, which the file does not show; width / 64 unless given.

    Returns:
        The tokenizer; sizes are read off the tensors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a VQ-KD checkpoint.
    """
    state = read_state_dict(checkpoint)
    if 'quantize.embedding.weight' not in state:
        raise ValueError(
            f'{checkpoint} is no tokenizer: it has no tensor quantize.embedding.weight; it holds '
            f'{", ".join(list(state)[:3])}, …'
        )
    num_codes, code_dim = state['quantize.embedding.weight'].shape
    tokenizer = VQKDTokenizer(
        encoder=vit_architecture(with_prefix(state, 'encoder.'), num_heads),
        quantizer=dict(num_codes=num_codes, code_dim=code_dim),
    )
    load_exactly(tokenizer, state, checkpoint)
    return tokenizer


def load_pretrained(checkpoint: str, num_heads: int | None = None) -> BEiTV2:
    """Pretraining model of a checkpoint with its tokenizer, in eval mode, on the CPU.

    Args:
        checkpoint: path of a file written by :class:`BEiTV2` training.
        num_heads: heads of the tokenizer's encoder, which the file does not show; width / 64 unless
            given.

    Returns:
        The model; sizes are read off the tensors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a checkpoint, see above.
    """
    state = read_state_dict(checkpoint)
    if 'backbone.mask_token' not in state or 'target_generator.encoder.cls_token' not in state:
        raise ValueError(
            f'{checkpoint} is no pretraining checkpoint of BEiTV2: it holds '
            f'{", ".join(list(state)[:3])}, …'
        )
    backbone = vit_architecture(with_prefix(state, 'backbone.'))
    num_codes, code_dim = state['target_generator.quantize.embedding.weight'].shape
    encoder = vit_architecture(with_prefix(state, 'target_generator.encoder.'), num_heads)
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
    model = BEiTV2(
        backbone=dict(type='mmbeitv2.BEiTViT', arch=arch, use_mask_token=True, **backbone),
        neck=neck,
        head=dict(
            type='mmbeitv2.MIMHead',
            embed_dim=arch['embed_dim'],
            num_codes=num_codes,
            shared='head.cls_pt_lm_head.weight' not in state,
        ),
        target_generator=dict(
            type='mmbeitv2.VQKDTokenizer',
            encoder=encoder,
            quantizer=dict(num_codes=num_codes, code_dim=code_dim),
        ),
    )
    load_exactly(model, state, checkpoint)
    return model.eval()


def tokenize(tokenizer: VQKDTokenizer, images: Tensor) -> Tensor:
    """Codes int64 ``(B, H / P, W / P)`` of float RGB images in [−1, 1], ``(B, 3, H, W)``.

    Raises:
        ValueError: values outside [−1, 1], or another shape.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f'images have shape {tuple(images.shape)}, expected (B, 3, H, W): add the batch '
            'dimension with images[None].'
        )
    low, high = images.aminmax()
    if not (low >= -1 and high <= 1):  # also where they are not numbers
        raise ValueError(
            f'images reach from {low:.3g} to {high:.3g}, allowed: RGB in [−1, 1]; uint8 images '
            'become that by images / 127.5 − 1.'
        )
    return tokenizer.tokenize(images.to(tokenizer.quantize.codebook.device))


@torch.no_grad()
def extract_features(model: BEiTV2, images: Tensor) -> dict[str, Tensor]:
    """Features of unmasked images.

    Args:
        model: result of :func:`load_pretrained`.
        images: float ``(B, 3, H, W)``, RGB normalised by the ImageNet mean and standard deviation.

    Returns:
        ``cls_token`` float32 ``(B, C)`` and ``patch_tokens`` float32 ``(B, N, C)``, after the final
        norm.
    """
    backbone = model.backbone
    x, grid = backbone.embed(images)
    x = backbone.norm(backbone.layers(x, grid, backbone.shared_bias(grid)))
    return dict(cls_token=x[:, 0], patch_tokens=x[:, 1:])
