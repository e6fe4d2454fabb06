"""Launch the kernels of :mod:`mmbeitv2.models.bias_gradient` with tiles that suit the tensors."""

import torch
import triton
from torch import Tensor

from mmbeitv2.models.bias_gradient_kernels import row_statistics, sum_tiles, sum_whole_rows

# Bytes of a head's keys that fit as one tile, with its values, into three stages of a Hopper's
# shared memory: 6 · 256 · 128 of 227 KiB, in registers beside 32 rows without spilling.
WHOLE_BYTES = 256 * 128
WHOLE_ROWS = 32

# Images of which a program has the tiles in shared memory while it multiplies one. On an H200 three
# were faster than two by an eighth (256 images of 12 heads and 197 tokens).
STAGES, FEW_STAGES = 3, 2
SHARED_BYTES = 227 * 1024

# Bytes of the keys of a tile otherwise, with twice as many rows: two stages are 96 KiB.
TILE_BYTES = 64 * 128

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
    """See :func:`mmbeitv2.models.bias_gradient.bias_gradient`, whose arguments these are."""
    heads, num_tokens, width = k.shape[1:]
    # Triton's interpreter does not know bfloat16; products of it are exact in float32.
    compiled = isinstance(sum_tiles, triton.JITFunction)
    dtype = q.dtype if compiled else torch.float32
    q, k, v, bias, out, grad_out = (
        _unit_stride(t.to(dtype)) for t in (q, k, v, bias, out, grad_out)
    )
    queries = queries if queries is None else queries.contiguous()
    whole, rows, keys = tile_size(num_tokens, width, q.element_size())
    blocks = heads * triton.cdiv(num_tokens, rows) * triton.cdiv(num_tokens, keys)
    images = max(1, triton.cdiv(q.shape[0], triton.cdiv(MIN_PROGRAMS, blocks)))
    sums = bias.new_empty(triton.cdiv(q.shape[0], images), *bias.shape, dtype=torch.float32)
    tiles = dict(WIDTH=width, ROWS=rows, KEYS=keys, GATHERED=queries is not None)
    with torch.cuda.device_of(q):
        statistics = () if whole else _statistics(q, k, bias, out, grad_out, queries, tiles)
        _sum(q, k, v, bias, grad_out, queries, statistics, sums, images, blocks, tiles)
    # A sum in a fixed order: the same tensors give the same bits.
    return sums[0] if sums.shape[0] == 1 else sums.sum(dim=0)


def tile_size(num_tokens: int, width: int, element_size: int) -> tuple[bool, int, int]:
    """Whether a tile holds whole rows of the bias, and its rows and keys.

    Args:
        num_tokens: T.
        width: of a head.
        element_size: bytes of a number of q, k and v.
    """
    keys = max(16, triton.next_power_of_2(num_tokens))
    if keys * width * element_size <= WHOLE_BYTES:
        return True, WHOLE_ROWS, keys
    keys = max(16, min(64, TILE_BYTES // (width * element_size)))
    return False, 2 * keys, keys


def _sum(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    grad_out: Tensor,
    queries: Tensor | None,
    statistics: tuple[Tensor, ...],
    sums: Tensor,
    images: int,
    blocks: int,
    tiles: dict[str, int],
) -> None:
    """Fill ``sums``, of so many images each, by so many programs for each of them."""
    heads, num_tokens = k.shape[1:3]
    # Without queries no kernel reads the slots.
    slots = q if queries is None else _slots(queries, num_tokens)
    # Tiles find their place in the statistics by the number of queries.
    kernel, sizes = (sum_tiles, (q.shape[2],)) if statistics else (sum_whole_rows, ())
    kernel[(blocks, sums.shape[0])](
        *(q, k, v, bias, grad_out, slots, *statistics, sums),
        *(q.shape[0], images, heads, *sizes, num_tokens, q.shape[-1] ** -0.5),
        *(*q.stride()[:3], *k.stride()[:3], *v.stride()[:3], *bias.stride()[:2]),
        *grad_out.stride()[:3],
        **tiles,
        num_warps=8,
        num_stages=FEW_STAGES if statistics else _stages(q.device),
    )


def _stages(device: torch.device) -> int:
    """Stages of whole rows that the card has shared memory for."""
    if device.type != 'cuda':
        return FEW_STAGES
    card = torch.cuda.get_device_properties(device)
    # Early releases of torch do not tell; a card of unknown size is taken for a small one.
    fits = getattr(card, 'shared_memory_per_block_optin', 0) >= SHARED_BYTES
    return STAGES if fits else FEW_STAGES


def _statistics(
    q: Tensor,
    k: Tensor,
    bias: Tensor,
    out: Tensor,
    grad_out: Tensor,
    queries: Tensor | None,
    tiles: dict[str, int],
) -> tuple[Tensor, Tensor]:
    """What a tile must know of whole rows: float32 ``(B, heads, M)`` each."""
    batch, heads, num_queries, width = q.shape
    log_sums = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
    weighted = torch.empty_like(log_sums)
    row_statistics[(batch * heads * triton.cdiv(num_queries, tiles['ROWS']),)](
        *(q, k, bias, out, grad_out, q if queries is None else queries, log_sums, weighted),
        *(heads, num_queries, k.shape[2], width**-0.5),
        *(*q.stride()[:3], *k.stride()[:3], *bias.stride()[:2]),
        *(*out.stride()[:3], *grad_out.stride()[:3]),
        **tiles,
        num_warps=8,
        num_stages=FEW_STAGES,
    )
    return log_sums, weighted


def _unit_stride(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _slots(queries: Tensor, num_tokens: int) -> Tensor:
    """Place ``(B, T)`` of every token among the ``queries`` ``(B, M)``, −1 where it is none."""
    slots = queries.new_full((queries.shape[0], num_tokens), -1)
    places = torch.arange(queries.shape[1], device=queries.device)
    return slots.scatter_(1, queries, places.expand_as(queries))
