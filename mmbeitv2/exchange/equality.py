"""Compare what a converted checkpoint computes in its own project with what the source does here.

A project whose code is no library, the official release, is read back by this one instead.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbeitv2.checkpoints.naming import with_prefix
from mmbeitv2.checkpoints.translation import Checkpoint, open_checkpoint
from mmbeitv2.exchange.architecture import vit_architecture
from mmbeitv2.exchange.building import build_backbone, build_pretrained, build_tokenizer
from mmbeitv2.exchange.exporting import Export
from mmbeitv2.exchange.peers import PEERS, Outputs, block_mask

NUM_IMAGES = 2


@dataclass(frozen=True)
class Difference:
    """Largest difference of one output, absolute and over the largest value of the output."""

    output: str
    shape: tuple[int, ...]
    absolute: float
    relative: float


def random_images(checkpoint: Checkpoint, num_heads: int | None = None) -> Tensor:
    """Images of a checkpoint's size, float ``(B, in_chans, H, W)`` in [−1, 1], the same always."""
    prefix = 'encoder.' if checkpoint.kind == 'tokenizer' else 'backbone.'
    vit = vit_architecture(with_prefix(checkpoint.state, prefix), num_heads)
    size = vit['img_size']
    height, width = (size, size) if isinstance(size, int) else size
    shape = (NUM_IMAGES, vit['in_chans'], height, width)
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
        ``vectors`` and ``codes`` of a tokenizer; ``logits`` of a classifier; else ``features``, see
        :func:`build_backbone`. Of pretraining also ``logits_mim``, with patch aggregation
        ``logits_cls``, and with a tokenizer ``codes``.
    """
    if checkpoint.kind == 'tokenizer':
        tokenizer = build_tokenizer(checkpoint, num_heads, report=False)
        vectors, _ = tokenizer.encode(images)
        return dict(vectors=vectors, codes=tokenizer.tokenize(images).flatten(1))
    (features,) = build_backbone(checkpoint, num_heads, report=False)(images)
    if checkpoint.kind == 'classifier':
        weight, bias = (checkpoint.state[f'head.fc.{name}'] for name in ('weight', 'bias'))
        return dict(logits=F.linear(features, weight, bias))
    if checkpoint.kind != 'pretraining':
        return dict(features=features)
    model = build_pretrained(checkpoint, num_heads, report=False)
    mask, positions = block_mask(len(images), model.backbone.grid)
    logits = model.predict_codes(images, mask.flatten(1), positions)
    outputs = dict(features=features, **{f'logits_{name}': v for name, v in logits.items()})
    if model.target_generator is not None:
        outputs['codes'] = model.target_generator.tokenize(images).flatten(1)
    return outputs


def _difference(output: str, ours: Tensor, theirs: Tensor) -> Difference:
    absolute = (ours.double() - theirs.double()).abs().max().item()
    largest = ours.double().abs().max().item()
    return Difference(output, tuple(ours.shape), absolute, absolute / max(largest, 1e-30))
