"""Attention as on a GPU, for tensors on one that is not there.

torch chooses the kernel by the properties of the card; without one it takes none of them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

aten = torch.ops.aten

HALF = (torch.float16, torch.bfloat16)

# Elements: torch copies a bias of which rows, heads or images begin elsewhere before it calls the
# memory-efficient kernel. ``mem_eff_alignment`` of ``preprocess_mask`` in torch's
# aten/src/ATen/native/transformers/attention.cpp, of which ``ALIGNMENT`` in the installed
# torch/_inductor/lowering.py is a copy. The rows of the bias's gradient are multiples of 16
# elements instead, which is the backward operator's own doing.
BIAS_ALIGNMENT = 8


class FusedAttention(TorchFunctionMode):
    """``scaled_dot_product_attention`` of CUDA tensors by the operator that CUDA would run.

    For a bias that learns, and in float32, it is the memory-efficient one; else cuDNN's on cards
    for which torch prefers it; else the memory-efficient one with a bias and flash without.

    Args:
        cudnn: torch prefers cuDNN's attention on the card.
    """

    def __init__(self, cudnn: bool = False) -> None:
        super().__init__()
        self.cudnn = cudnn

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            query = args[0] if args else kwargs['query']
            if query.is_cuda:
                return _fused_attention(*args, **kwargs, cudnn=self.cudnn)
        return func(*args, **kwargs)


def _fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    cudnn: bool = False,
) -> Tensor:
    if enable_gqa:
        raise NotImplementedError('attention of grouped queries is not followed')
    if torch.is_autocast_enabled('cuda'):
        query, key, value, attn_mask = map(_autocast, (query, key, value, attn_mask))
    if attn_mask is not None and attn_mask.dtype != query.dtype:
        raise RuntimeError(f'attn_mask is {attn_mask.dtype}, the query {query.dtype}')
    options = dict(dropout_p=dropout_p, is_causal=is_causal, scale=scale)
    records = torch.is_grad_enabled()
    mask_learns = records and attn_mask is not None and attn_mask.requires_grad
    learns = mask_learns or (records and any(t.requires_grad for t in (query, key, value)))
    half = query.dtype in HALF
    if half and cudnn and not mask_learns:
        kernel = aten._scaled_dot_product_cudnn_attention
    elif half and attn_mask is None:
        return aten._scaled_dot_product_flash_attention(query, key, value, **options)[0]
    else:
        kernel = aten._scaled_dot_product_efficient_attention
        attn_mask = None if attn_mask is None else _aligned(attn_mask)
    if attn_mask is not None:
        attn_mask = attn_mask.expand(*query.shape[:3], key.shape[2])
    return kernel(query, key, value, attn_mask, learns, **options)[0]


def _autocast(tensor: Tensor | None) -> Tensor | None:
    """As autocast: Boolean masks stay what they are."""
    if tensor is None or not tensor.is_floating_point():
        return tensor
    return tensor.to(torch.get_autocast_dtype('cuda'))


def _aligned(bias: Tensor) -> Tensor:
    """Copy a bias that is not aligned into one that is.

    Its gradient is the kernel's own, of every image and head, summed by autograd.
    """
    *outer, last = bias.stride()
    if last == 1 and not any(stride % BIAS_ALIGNMENT for stride in outer):
        return bias
    length = bias.shape[-1]
    return F.pad(bias, (0, BIAS_ALIGNMENT - length % BIAS_ALIGNMENT))[..., :length]
