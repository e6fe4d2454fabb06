"""Compare what a converted checkpoint computes in its own project with what the source does here.

A project whose code is no library, the official release, is read back by this one instead.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbeitv2.checkpoints.architecture import (
    pretraining_architecture,
    tokenizer_architecture,
    vit_architecture,
    with_prefix,
)
from mmbeitv2.checkpoints.exporting import FC_NORM, NORM, Export
from mmbeitv2.checkpoints.loading import load_exactly
from mmbeitv2.checkpoints.peers import PEERS, Outputs, block_mask
from mmbeitv2.checkpoints.translation import Checkpoint, open_checkpoint
from mmbeitv2.models import BEiTV2, BEiTViT, VQKDTokenizer

NUM_IMAGES = 2


@dataclass(frozen=True)
class Difference:
    """Largest difference of one output, absolute and over the largest value of the output."""

    output: str
    shape: tuple[int, ...]
    absolute: float
    relative: float


def random_images(checkpoint: Checkpoint, num_heads: int | None = None) -> Tensor:
    """Images of a checkpoint's size, float ``(B, in_chans, S, S)`` in [−1, 1], the same always."""
    prefix = 'encoder.' if checkpoint.kind == 'tokenizer' else 'backbone.'
    vit = vit_architecture(with_prefix(checkpoint.state, prefix), num_heads)
    shape = (NUM_IMAGES, vit['in_chans'], vit['img_size'], vit['img_size'])
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 1


@torch.no_grad()
def run_there(
    path: Path, project: str, target: Checkpoint, images: Tensor, num_heads: int | None = None
) -> Outputs:
    """Outputs of a converted checkpoint in its project.

    Args:
        path: the converted file, or transformers' folder.
        project: a key of ``TARGETS``.
        target: what was written, by our names.
        images: float ``(B, 3, H, W)``.
        num_heads: heads, where the tensors do not show them; width / 64 unless given.

    Returns:
        Some of those of :func:`run_here`.
    """
    if project in PEERS:
        return PEERS[project](path, target, images, num_heads)
    return run_here(open_checkpoint(path), images, num_heads)


def differences(ours: Outputs, theirs: Outputs) -> list[Difference]:
    """Compare every output of ``theirs``."""
    return [_difference(name, ours[name], value) for name, value in theirs.items()]


def differing_tensors(path: Path, export: Export) -> list[str]:
    """Names, ours, of tensors that the way back does not give exactly as they were."""
    back = open_checkpoint(path).state
    return [n for n, v in export.kept.items() if n not in back or not torch.equal(back[n], v)]


@torch.no_grad()
def run_here(checkpoint: Checkpoint, images: Tensor, num_heads: int | None = None) -> Outputs:
    """Outputs of this project's model of a checkpoint, in eval mode.

    Args:
        checkpoint: of any kind.
        images: float ``(B, 3, H, W)``.
        num_heads: heads, where the tensors do not show them; width / 64 unless given.

    Returns:
        ``vectors`` and ``codes`` of a tokenizer; ``logits`` of a classifier; else ``features``:
        the mean of the patches where that is normalised, else all tokens of the last layer. With
        ``logits_mim`` and, with patch aggregation, ``logits_cls`` of pretraining.
    """
    state = checkpoint.state
    if checkpoint.kind == 'tokenizer':
        tokenizer = VQKDTokenizer(**tokenizer_architecture(state, num_heads))
        load_exactly(tokenizer, checkpoint, report=False)
        return dict(
            vectors=tokenizer.encode(images)[0], codes=tokenizer.tokenize(images).flatten(1)
        )
    vit = vit_architecture(with_prefix(state, 'backbone.'), num_heads)
    arch = {k: vit.pop(k) for k in ('embed_dim', 'depth', 'num_heads', 'mlp_ratio')}
    mean = FC_NORM in state
    norm = 'fc_norm' if mean else 'norm' if NORM in state else None
    out_type = 'avg_featmap' if mean else 'raw'
    backbone = BEiTViT(arch, out_type=out_type, final_norm=norm, **vit).eval()
    load_exactly(backbone, checkpoint, 'backbone.', report=False)
    (features,) = backbone(images)
    if checkpoint.kind == 'classifier':
        return dict(logits=F.linear(features, state['head.fc.weight'], state['head.fc.bias']))
    if checkpoint.kind != 'pretraining':
        return dict(features=features)
    model = BEiTV2(**pretraining_architecture(state)).eval()
    load_exactly(model, checkpoint, report=False)
    mask, positions = block_mask(len(images), model.backbone.grid)
    logits = model.predict_codes(images, mask.flatten(1), positions)
    return dict(features=features, **{f'logits_{name}': value for name, value in logits.items()})


def _difference(output: str, ours: Tensor, theirs: Tensor) -> Difference:
    absolute = (ours.double() - theirs.double()).abs().max().item()
    largest = ours.double().abs().max().item()
    return Difference(output, tuple(ours.shape), absolute, absolute / max(largest, 1e-30))
