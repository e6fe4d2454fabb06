"""The kernels of :mod:`mmbeitv2.models.bias_gradient`, in Triton.

Where a head's keys fit one tile, ``sum_whole_rows`` does everything. Longer rows are prepared by
``row_statistics`` and summed tile by tile by ``sum_tiles``. A program adds the gradients of its
images in registers and writes once.
"""

import triton
import triton.language as tl

# Exponentials are taken to base 2, which is what the hardware computes.
LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def _logits(a, b, bias, scale):
    """Attention logits to base 2 of a tile, float32; queries and keys in the bias's order.

    ``bias`` is to base 2 already; ``scale`` is not.
    """
    return tl.dot(a, tl.trans(b), input_precision='ieee') * (scale * LOG2_E) + bias


@triton.jit
def sum_whole_rows(
    q_ptr,
    k_ptr,
    v_ptr,
    bias_ptr,
    grad_out_ptr,
    slots_ptr,
    partial_ptr,
    batch,
    images,
    heads,
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
    """Gradient of some rows of one head's bias, summed over ``images`` images in registers.

    Keys come first in every tile: there are more of them, and Hopper multiplies 64 rows at least.
    """
    row_blocks = tl.cdiv(num_tokens, ROWS)
    head = tl.program_id(0) // row_blocks
    rows = tl.program_id(0) % row_blocks * ROWS + tl.arange(0, ROWS)
    keys = tl.arange(0, KEYS)
    columns = tl.arange(0, WIDTH)
    there = (keys < num_tokens)[:, None]
    inside = there & (rows < num_tokens)[None, :]
    bias_at = bias_ptr + head * bias_head + rows[None, :] * bias_token + keys[:, None]
    gradient = tl.zeros([KEYS, ROWS], tl.float32)
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
        k = tl.load(k_rows + columns[None, :], mask=there, other=0.0)
        q = tl.load(q_rows + columns[None, :], mask=live[:, None], other=0.0)
        v = tl.load(v_rows + columns[None, :], mask=there, other=0.0)
        # Tokens that were no query add zeros.
        grad_out = tl.load(grad_rows + columns[None, :], mask=live[:, None], other=0.0)
        bias = tl.load(bias_at, mask=inside, other=float('-inf')).to(tl.float32) * LOG2_E
        logits = _logits(k, q, bias, scale)
        # Attention times its row's sum; one division a row instead of one an element.
        powers = tl.exp2(logits - tl.max(logits, 0)[None, :])
        grad_attention = tl.dot(v, tl.trans(grad_out), input_precision='ieee')
        inverse = 1.0 / tl.sum(powers, 0)
        weighted = tl.sum(powers * grad_attention, 0) * inverse
        gradient += powers * ((grad_attention - weighted[None, :]) * inverse[None, :])
    tile = partial_ptr + (tl.program_id(1) * heads + head).to(tl.int64) * num_tokens * num_tokens
    tl.store(tile + rows[None, :] * num_tokens + keys[:, None], gradient, mask=inside)


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
        bias = tl.load(bias_rows + keys[None, :], mask=inside, other=0.0).to(tl.float32) * LOG2_E
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
def sum_tiles(
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
    bias = tl.load(bias_rows + keys[None, :], mask=inside, other=0.0).to(tl.float32) * LOG2_E
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
