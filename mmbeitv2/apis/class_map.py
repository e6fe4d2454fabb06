"""The class of every pixel of a photo, in the memory of a few maps of its size."""

from collections.abc import Mapping
from typing import Any

import torch
from mmseg.models.utils import resize
from torch import Tensor


def class_map(model: Any, item: Mapping[str, Any]) -> Tensor:
    """Classes of the pixels, as mmsegmentation gives them.

    mmsegmentation enlarges the logits of all classes to the photo's size at once: of ADE20K's 150
    and a photo of twelve megapixels these are 7 GB. Here one class after the other is enlarged.

    Args:
        model: a segmentor of mmsegmentation.
        item: what its test pipeline makes of one photo: ``inputs`` and ``data_samples``.

    Returns:
        int64 ``(H, W)`` of the photo as it is stored.
    """
    sample = item['data_samples']
    data = dict(inputs=[item['inputs']], data_samples=[sample])
    stored = tuple(sample.ori_shape[:2])
    # Then mmsegmentation leaves the logits at the size of the network's input.
    sample.set_metainfo(dict(ori_shape=tuple(item['inputs'].shape[-2:])))
    (found,) = model.test_step(data)
    if len(found.seg_logits.data) > 1:
        return _largest(found.seg_logits.data, stored, model.align_corners)
    # A threshold on one map, which is not large.
    sample.set_metainfo(dict(ori_shape=stored))
    (found,) = model.test_step(data)
    return found.pred_sem_seg.data[0].long()


def _largest(logits: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Where each of ``(C, h, w)``, enlarged to ``size``, is the largest; the first of equals."""
    best = labels = None
    for number, channel in enumerate(logits):
        channel = resize(
            channel[None, None], size, mode='bilinear', align_corners=align_corners, warning=False
        )[0, 0]
        if best is None or labels is None:
            best, labels = channel, torch.zeros_like(channel, dtype=torch.long)
            continue
        # A logit that is no number wins, as in argmax.
        larger = (channel > best) | (channel.isnan() & ~best.isnan())
        labels[larger] = number
        best = torch.where(larger, channel, best)
    assert labels is not None, 'a segmentor has classes'
    return labels
