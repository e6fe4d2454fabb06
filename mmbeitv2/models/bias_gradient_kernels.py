"""The two kernels of :mod:`mmbeitv2.models.bias_gradient`, in Triton."""

import torch
import triton
import triton.language as tl
from torch import Tensor

# Exponentials are taken to base 2, which is what the hardware computes.
LOG2_E = tl.constexpr(1.4426950408889634)

# Bytes of a key that 64 of fit, with twice as many queries, into the shared memory of every card:
# two stages of 4 · 64 · 192 · 2 bytes are 96 KiB.
BYTES_OF_64_KEYS = 64 * 128

# Programs wanted: a few for each processor of a large card (132), so that none waits long for
# the last. Fewer tiles than that share out the images among several programs.
MIN_PROGRAMS = 768


def sum_over_batch(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    out: Tensor,
    grad_out: Tensor,
    queries: Tensor | None,
) -> Tensor:
    """Launch both kernels; arguments as of :func:`mmbeitv2.models.bias_gradient.bias_gradient`."""
    batch, heads, num_queries, width = q.shape
    num_tokens = k.shape[2]
    # Triton's interpreter does not know bfloat16; products of it are exact in float32.
    compiled = isinstance(bias_gradient_tile, triton.JITFunction)
    dtype = q.dtype if compiled else torch.float32
    q, k, v, out, grad_out = (_unit_stride(t.to(dtype)) for t in (q, k, v, out, grad_out))
    bias = _unit_stride(bias.to(dtype))
    log_sums = torch.empty(batch, heads, num_queries, dtype=torch.float32, device=q.device)
    weighted = torch.empty_like(log_sums)
    keys = max(16, min(64, BYTES_OF_64_KEYS // (width * q.element_size())))
    rows = 2 * keys
    blocks = triton.cdiv(num_tokens, rows) * triton.cdiv(num_tokens, keys) * heads
    slices = min(batch, triton.cdiv(MIN_PROGRAMS, blocks))
    images = triton.cdiv(batch, slices)
    partial = torch.empty(
        triton.cdiv(batch, images), *bias.shape, dtype=torch.float32, device=q.device
    )
    # Without queries the kernels read neither of the two.
    queries = queries if queries is None else queries.contiguous()
    slots = q if queries is None else _slots(queries, num_tokens)
    constants = dict(
        WIDTH=width,
        ROWS=rows,
        KEYS=keys,
        GATHERED=queries is not None,
        num_warps=8,
        num_stages=2,
    )
    scale = width**-0.5
    with torch.cuda.device_of(q):
        row_statistics[(batch * heads * triton.cdiv(num_queries, rows),)](
            *(q, k, bias, out, grad_out, q if queries is None else queries, log_sums, weighted),
            *(heads, num_queries, num_tokens, scale),
            *(*q.stride()[:3], *k.stride()[:3], *bias.stride()[:2]),
            *(*out.stride()[:3], *grad_out.stride()[:3]),
            **constants,
        )
        bias_gradient_tile[(blocks, partial.shape[0])](
            *(q, k, v, bias, grad_out, slots, log_sums, weighted, partial),
            *(batch, images, heads, num_queries, num_tokens, scale),
            *(*q.stride()[:3], *k.stride()[:3], *v.stride()[:3], *bias.stride()[:2]),
            *grad_out.stride()[:3],
            **constants,
        )
    # A sum in a fixed order: the same tensors give the same bits.
    return partial[0] if partial.shape[0] == 1 else partial.sum(dim=0)


def _unit_stride(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _slots(queries: Tensor, num_tokens: int) -> Tensor:
    """Place ``(B, T)`` of every token among the ``queries`` ``(B, M)``, −1 where it is none."""
    slots = queries.new_full((queries.shape[0], num_tokens), -1)
    places = torch.arange(queries.shape[1], device=queries.device)
    return slots.scatter_(1, queries, places.expand_as(queries))


@triton.jit
def _logits(q, k, bias, scale):
    """Attention logits to base 2 of a tile, float32."""
    products = tl.dot(q, tl.trans(k), input_precision='ieee')
    return (products * scale + bias.to(tl.float32)) * LOG2_E


@triton.jit
def row_statistics(
    q_ptr,
    k_ptr,
    bias_ptr,
    out_ptr,
    grad_out_ptr,
    queries_ptr,
    log_sums_ptr,
    weighted_ptr,
    heads,
    num_queries,
    num_tokens,
    scale,
    q_image,
    q_head,
    q_token,
    k_image,
    k_head,
    k_token,
    bias_head,
    bias_token,
    out_image,
    out_head,
    out_token,
    grad_image,
    grad_head,
    grad_token,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    GATHERED: tl.constexpr,
):
    """Of each query: log2 of its softmax's sum, and the output's product with its gradient."""
    block = tl.program_id(0) % tl.cdiv(num_queries, ROWS)
    pair = tl.program_id(0) // tl.cdiv(num_queries, ROWS)
    image, head = (pair // heads).to(tl.int64), pair % heads
    rows = block * ROWS + tl.arange(0, ROWS)
    live = rows < num_queries
    tokens = rows
    if GATHERED:
        tokens = tl.load(queries_ptr + image * num_queries + rows, mask=live, other=0)
    columns = tl.arange(0, WIDTH)
    q_rows = q_ptr + image * q_image + head * q_head + rows[:, None] * q_token
    q = tl.load(q_rows + columns[None, :], mask=live[:, None], other=0.0)
    highest = tl.full([ROWS], float('-inf'), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    for start in range(0, num_tokens, KEYS):
        keys = start + tl.arange(0, KEYS)
        there = keys < num_tokens
        k_rows = k_ptr + image * k_image + head * k_head + keys[:, None] * k_token
        k = tl.load(k_rows + columns[None, :], mask=there[:, None], other=0.0)
        bias_rows = bias_ptr + head * bias_head + tokens[:, None] * bias_token
        inside = live[:, None] & there[None, :]
        bias = tl.load(bias_rows + keys[None, :], mask=inside, other=0.0)
        logits = tl.where(there[None, :], _logits(q, k, bias, scale), float('-inf'))
        higher = tl.maximum(highest, tl.max(logits, 1))
        total = total * tl.exp2(highest - higher) + tl.sum(tl.exp2(logits - higher[:, None]), 1)
        highest = higher
    out_rows = out_ptr + image * out_image + head * out_head + rows[:, None] * out_token
    grad_rows = grad_out_ptr + image * grad_image + head * grad_head + rows[:, None] * grad_token
    out = tl.load(out_rows + columns[None, :], mask=live[:, None], other=0.0)
    grad_out = tl.load(grad_rows + columns[None, :], mask=live[:, None], other=0.0)
    weighted = tl.sum(out.to(tl.float32) * grad_out.to(tl.float32), 1)
    place = (image * heads + head) * num_queries + rows
    tl.store(log_sums_ptr + place, highest + tl.log2(total), mask=live)
    tl.store(weighted_ptr + place, weighted, mask=live)


@triton.jit
def bias_gradient_tile(
    q_ptr,
    k_ptr,
    v_ptr,
    bias_ptr,
    grad_out_ptr,
    slots_ptr,
    log_sums_ptr,
    weighted_ptr,
    partial_ptr,
    batch,
    images,
    heads,
    num_queries,
    num_tokens,
    scale,
    q_image,
    q_head,
    q_token,
    k_image,
    k_head,
    k_token,
    v_image,
    v_head,
    v_token,
    bias_head,
    bias_token,
    grad_image,
    grad_head,
    grad_token,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    GATHERED: tl.constexpr,
):
    """Gradient of one tile of one head's bias, summed over ``images`` images in registers."""
    # Neighbouring programs read the same images, so that these come from the cache.
    key_blocks = tl.cdiv(num_tokens, KEYS)
    row_blocks = tl.cdiv(num_tokens, ROWS)
    head = tl.program_id(0) // (key_blocks * row_blocks)
    rows = tl.program_id(0) // key_blocks % row_blocks * ROWS + tl.arange(0, ROWS)
    keys = tl.program_id(0) % key_blocks * KEYS + tl.arange(0, KEYS)
    columns = tl.arange(0, WIDTH)
    inside = (rows < num_tokens)[:, None] & (keys < num_tokens)[None, :]
    bias_rows = bias_ptr + head * bias_head + rows[:, None] * bias_token
    bias = tl.load(bias_rows + keys[None, :], mask=inside, other=0.0)
    gradient = tl.zeros([ROWS, KEYS], tl.float32)
    first = tl.program_id(1) * images
    for number in range(first, tl.minimum(first + images, batch)):
        image = tl.cast(number, tl.int64)
        places = rows
        live = rows < num_tokens
        if GATHERED:
            places = tl.load(slots_ptr + image * num_tokens + rows, mask=live, other=-1)
            live = places >= 0
        k_rows = k_ptr + image * k_image + head * k_head + keys[:, None] * k_token
        v_rows = v_ptr + image * v_image + head * v_head + keys[:, None] * v_token
        q_rows = q_ptr + image * q_image + head * q_head + places[:, None] * q_token
        grad_rows = grad_out_ptr + image * grad_image + head * grad_head
        grad_rows += places[:, None] * grad_token
        there = (keys < num_tokens)[:, None]
        k = tl.load(k_rows + columns[None, :], mask=there, other=0.0)
        v = tl.load(v_rows + columns[None, :], mask=there, other=0.0)
        q = tl.load(q_rows + columns[None, :], mask=live[:, None], other=0.0)
        grad_out = tl.load(grad_rows + columns[None, :], mask=live[:, None], other=0.0)
        place = (image * heads + head) * num_queries + places
        # Tokens that were no query attend to nothing: 2^(−∞).
        log_sums = tl.load(log_sums_ptr + place, mask=live, other=float('inf'))
        weighted = tl.load(weighted_ptr + place, mask=live, other=0.0)
        attention = tl.exp2(_logits(q, k, bias, scale) - log_sums[:, None])
        grad_attention = tl.dot(grad_out, tl.trans(v), input_precision='ieee')
        gradient += attention * (grad_attention - weighted[:, None])
    tile = partial_ptr + (tl.program_id(1) * heads + head).to(tl.int64) * num_tokens * num_tokens
    tl.store(tile + rows[:, None] * num_tokens + keys[None, :], gradient, mask=inside)
