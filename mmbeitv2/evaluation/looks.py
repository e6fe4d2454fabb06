"""What one look at frozen weights sees of photos: of a tokenizer's training, and of pretraining.

Numbers stay apart by photo until the end: two looks at the same photos are compared in pairs, which
shows changes that the difference from photo to photo would hide.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmbeitv2.evaluation.code_meaning import copied_right
from mmbeitv2.models.attention_maps import cls_attention_to
from mmbeitv2.models.beitv2 import BEiTV2
from mmbeitv2.models.masks import masked_positions
from mmbeitv2.models.quantizer import l2_normalize
from mmbeitv2.models.token_features import features_of_tokens
from mmbeitv2.models.vit import VisionTransformer
from mmbeitv2.models.vqkd import VQKD

# Arrays by name, a row a photo. Those of SUMS are added up over the photos instead.
Seen = dict[str, np.ndarray]
SUMS = ('probability', 'target')
# What does not change while a model is trained, such as a frozen tokenizer's codes, is kept here
# from the first look on.
Known = dict[str, Any]


def frozen_features(vit: VisionTransformer, images: Tensor) -> dict[str, Tensor]:
    """Features of whole photos, after the final norm, and how widely [CLS] looks.

    Args:
        vit: in eval mode.
        images: float ``(B, in_chans, H, W)``, as the network takes them.

    Returns:
        ``cls`` and ``mean`` (of the patches), float32 ``(B, C)``; ``attention`` float32 ``(B,)``:
        the entropy of the last layer's attention from [CLS] to the patches, in nats, the mean over
        the heads.
    """
    x, grid = vit.embed(images)
    shared = vit.shared_bias(grid)
    x = vit.layers(x, grid, shared, stop=vit.depth - 1)
    attention = cls_attention_to(vit.blocks[-1], x, grid, shared).flatten(2)
    x = vit.layers(x, grid, shared, start=vit.depth - 1)
    # No classifier is looked at: an `fc_norm` is a tokenizer's.
    features = features_of_tokens(vit, x, of_tokenizer=True)
    patches = attention / attention.sum(-1, keepdim=True)
    entropy = torch.special.entr(patches).sum(-1).mean(1)
    return dict(cls=features['cls'], mean=features['mean'], attention=entropy)


def look_at_pretraining(
    model: BEiTV2, data: Mapping[str, Any], known: Known, wanted: str
) -> dict[str, Tensor]:
    """Predict the masked codes of a batch, and compute its frozen features.

    Args:
        model: in eval mode.
        data: of the model's data preprocessor.
        known: of this batch.
        wanted: ``'task'``, ``'features'`` or ``'both'``.

    Returns:
        By photo, of the task: ``loss``, ``accuracy`` and with a neck ``accuracy_cls`` over the
        masked patches, ``entropy`` of the predictions in nats, ``guesses`` and ``masked_codes``
        int64 ``(B, M)``, ``codes`` int64 ``(B, N)``, ``copied``: the accuracy of copying the
        nearest visible code. Summed: ``probability`` ``(K,)`` of the codes. Of the features: see
        :func:`frozen_features`.
    """
    views = data['inputs']
    seen = frozen_features(model.backbone, views[0]) if wanted != 'task' else {}
    if wanted == 'features':
        return seen
    grid = tuple(side // model.backbone.patch_size for side in views[0].shape[-2:])
    mask, positions = masked_positions(data['data_samples'], views[0].device, grid)
    if 'codes' not in known:
        codes = model.target_generator.tokenize(views[1])
        known['codes'] = codes.flatten(1)
        pairs = zip(codes.cpu(), mask.view_as(codes).cpu())
        known['copied'] = torch.stack([copied_right(c, m).float().mean() for c, m in pairs])
    codes = known['codes'].to(positions.device).gather(1, positions)
    for name, logits in model.predict_codes(views[0], mask, positions).items():
        guesses = logits.argmax(-1)
        right = (guesses == codes).float().mean(1)
        if name != 'mim':
            seen[f'accuracy_{name}'] = right
            continue
        log = logits.log_softmax(-1)
        probability = log.exp()
        seen |= dict(
            loss=F.nll_loss(log.flatten(0, 1), codes.flatten(), reduction='none')
            .view_as(codes)
            .mean(1),
            accuracy=right,
            entropy=-(probability * log).sum(-1).mean(1),
            guesses=guesses,
            masked_codes=codes,
            probability=probability.sum((0, 1)),
        )
    return seen | dict(codes=known['codes'], copied=known['copied'])


def look_at_tokenizer(
    model: VQKD, data: Mapping[str, Any], known: Known, wanted: str
) -> dict[str, Tensor]:
    """Reconstruct the teacher's features of a batch; the codebook does not move.

    Args:
        model: in eval mode.
        data: of the model's data preprocessor.
        known: of this batch.
        wanted: ``'task'``, ``'features'`` or ``'both'``.

    Returns:
        By photo, of the task: ``loss``, the mean of 1 − cosine over the patches, and ``codes``
        int64 ``(B, N)``. Summed: ``target`` ``(C,)``, the teacher's unit vectors. Of the features:
        see :func:`frozen_features`.
    """
    images = data['inputs']
    seen = frozen_features(model.encoder, images) if wanted != 'task' else {}
    if wanted == 'features':
        return seen
    z_q, codes, _ = model.quantized(images)
    if 'target' not in known:
        target = l2_normalize(model.teacher(images, codes.shape[1:]))
        # Unit vectors have no need of more digits, and the teacher takes most of a look's time.
        known['target'] = target.half().cpu()
        known['sum'] = target.sum((0, 1))
    target = known['target'].to(images.device).float()
    loss = model.reconstruction_loss(model.decode(z_q), target).mean(1)
    return seen | dict(loss=loss, codes=codes.flatten(1), target=known['sum'])


Look = Callable[[Mapping[str, Any], Known, str], dict[str, Tensor]]


def look_for(model: torch.nn.Module) -> tuple[str, Look] | None:
    """``'pretraining'`` or ``'tokenizer'`` and how to look at it; None for another model."""
    if isinstance(model, BEiTV2):
        return 'pretraining', partial(look_at_pretraining, model)
    if isinstance(model, VQKD):
        return 'tokenizer', partial(look_at_tokenizer, model)
    return None


def joined(parts: list[Seen]) -> Seen:
    """What several batches or processes have seen, as one."""
    return {
        name: np.sum([part[name] for part in parts], axis=0)
        if name in SUMS
        else np.concatenate([part[name] for part in parts])
        for name in parts[0]
    }


def first_broken(groups: Mapping[str, Seen]) -> str:
    """What of a look is not finite, in words; empty if all is.

    Args:
        groups: what has been seen of each group of photos.
    """
    for group, seen in groups.items():
        for name, values in seen.items():
            if not np.isfinite(values).all():
                return f'{name} of {group.replace("_", "-")} photos is infinite or not a number'
    return ''
