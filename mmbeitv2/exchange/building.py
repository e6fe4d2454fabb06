"""Build the model that a checkpoint belongs to, its sizes read off the tensors."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mmbeitv2.checkpoints.loading import load_exactly
from mmbeitv2.checkpoints.naming import with_prefix
from mmbeitv2.checkpoints.translation import TOKENIZER_PART, Checkpoint, tokenizer_prefix
from mmbeitv2.errors import InputError
from mmbeitv2.exchange.architecture import (
    pretraining_architecture,
    tokenizer_architecture,
    vit_architecture,
)
from mmbeitv2.models import BEiTV2, BEiTViT, VQKDTokenizer

FC_NORM, NORM = 'backbone.fc_norm.weight', 'backbone.norm.weight'


def build_tokenizer(
    checkpoint: Checkpoint, num_heads: int | None = None, report: bool = True
) -> VQKDTokenizer:
    """Tokenizer of a checkpoint of VQ-KD or of pretraining.

    Args:
        checkpoint: what was read.
        num_heads: heads of the encoder, which tensors do not show; width / 64 unless given.
        report: log what was loaded.

    Raises:
        ValueError: there is no tokenizer in it, or tensors that do not fit one.
    """
    prefix = tokenizer_prefix(checkpoint)
    state = with_prefix(checkpoint.state, prefix)
    with _named(checkpoint):
        tokenizer = VQKDTokenizer(**tokenizer_architecture(state, num_heads))
    load_exactly(tokenizer, checkpoint, prefix, report=report)
    return tokenizer


def build_pretrained(
    checkpoint: Checkpoint,
    num_heads: int | None = None,
    with_tokenizer: bool = True,
    report: bool = True,
    normalization: Sequence[Sequence[float]] = (),
) -> BEiTV2:
    """Pretraining model of a checkpoint, in eval mode.

    Args:
        checkpoint: what was read.
        num_heads: heads of the tokenizer's encoder; width / 64 unless given.
        with_tokenizer: take the tokenizer that the checkpoint holds, if it does.
        report: log what was loaded.
        normalization: mean and standard deviation of every channel, on the scale [0, 1], of the
            model's data preprocessor; ImageNet's unless given.

    Raises:
        ValueError: it is a checkpoint of another kind, or tensors do not fit.
    """
    state = checkpoint.state
    if checkpoint.kind != 'pretraining':
        raise InputError(
            f'{checkpoint} is no pretraining checkpoint of BEiTV2: it holds '
            f'{", ".join(list(state)[:3])}, …'
        )
    part = with_prefix(state, TOKENIZER_PART)
    with _named(checkpoint):
        model = BEiTV2(**pretraining_architecture(state), **_preprocessor(normalization))
        if part and with_tokenizer:
            model.set_tokenizer(VQKDTokenizer(**tokenizer_architecture(part, num_heads)))
    load_exactly(model, checkpoint, report=report)
    return model.eval()


def build_backbone(
    checkpoint: Checkpoint, num_heads: int | None = None, report: bool = True
) -> BEiTViT:
    """Backbone of a checkpoint, in eval mode.

    Its output is the normalised mean of the patches where the checkpoint has a norm for it, else
    all tokens of the last layer.

    Args:
        checkpoint: what was read.
        num_heads: heads, where the tensors do not show them; width / 64 unless given.
        report: log what was loaded.

    Raises:
        ValueError: there is no backbone in it, or tensors that do not fit one.
    """
    with _named(checkpoint):
        vit = vit_architecture(with_prefix(checkpoint.state, 'backbone.'), num_heads)
    arch = {k: vit.pop(k) for k in ('embed_dim', 'depth', 'num_heads', 'mlp_ratio')}
    mean = FC_NORM in checkpoint.state
    backbone = BEiTViT(
        arch,
        out_type='avg_featmap' if mean else 'raw',
        final_norm='fc_norm' if mean else 'norm' if NORM in checkpoint.state else None,
        **vit,
    )
    load_exactly(backbone, checkpoint, 'backbone.', report=report)
    return backbone.eval()


def _preprocessor(normalization: Sequence[Sequence[float]]) -> dict[str, Any]:
    if not normalization:
        return {}
    mean, std = normalization
    kind = dict(type='mmbeitv2.BEiTV2DataPreprocessor', channels=len(mean))
    return dict(data_preprocessor=dict(kind, mean=mean, std=std))


@contextmanager
def _named(checkpoint: Checkpoint) -> Iterator[None]:
    """Let errors about tensors say whose they are."""
    try:
        yield
    except InputError as error:
        raise InputError(f'{checkpoint}: {error}') from error
