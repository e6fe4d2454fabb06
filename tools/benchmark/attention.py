"""Compare attention with a learned bias, forward and backward, with torch's own.

    python tools/benchmark/attention.py --batch 256 --precision bfloat16 --pairs 20 --steps 10

On a GPU ours is the kernel of ``mmbeitv2.models.bias_gradient``, whether or not it would be chosen
for that card; on a CPU it is ``biased_attention``. ``torch, constant bias`` gives no gradient of
the bias and is what remains to be gained. ``--queries 76`` is a last layer of pretraining.

    python tools/benchmark/attention.py --batch 256 --precision bfloat16 --predict 550 2.7

counts what the gradient of the bias costs either way, and runs nothing.
"""

import torch
import torch.nn.functional as F
from paired import compare, parser, report, same_result, start
from torch import Tensor

from mmbeitv2.errors import InputError
from mmbeitv2.launch.user_errors import one_line_errors
from mmbeitv2.models.bias_gradient import learned_bias_attention
from mmbeitv2.models.biased_attention import biased_attention


def main() -> None:
    """Run the tool."""
    options = parser(__doc__, batch=8)
    options.add_argument('--heads', type=int, default=12)
    options.add_argument('--tokens', type=int, default=197, help='T')
    options.add_argument('--queries', type=int, help='of each image; default: all tokens')
    options.add_argument(
        '--predict',
        type=float,
        nargs=2,
        metavar=('TFLOPS', 'TB'),
        help='rates a second of a card: print milliseconds by them instead of measuring',
    )
    args = options.parse_args()
    if args.predict:
        print(predicted(args, *args.predict))
        return
    start(args)
    q, k, v, bias, queries = _inputs(args)

    def ours() -> Tensor:
        if args.device == 'cpu':
            return biased_attention(q, k, v, bias)
        return learned_bias_attention(q, k, v, bias, queries)

    def learned() -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=_mask(bias, q.dtype, queries))

    def constant() -> Tensor:
        mask = _mask(bias.detach(), q.dtype, queries)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    tolerance = 1e-4 if args.precision == 'float32' else 0.05
    gradients = [torch.autograd.grad(f().float().square().sum(), bias)[0] for f in (ours, learned)]
    same_result('the gradient of the bias', *gradients, tolerance)
    weights = torch.randn_like(ours())

    def step(attend, *wanted: Tensor):
        return lambda: torch.autograd.grad(attend(), wanted, weights)

    steps = {'ours': step(ours, q, k, v, bias), "torch's gradient": step(learned, q, k, v, bias)}
    steps['torch, constant bias'] = step(constant, q, k, v)
    shape = f'{args.heads} heads, {q.shape[2]} queries of {args.tokens} tokens, {args.precision}'
    report('attention', {shape: compare(steps, args)}, args)


def predicted(args, tflops: float, terabytes: float) -> str:
    """What the bias's gradient adds to the backward pass of one layer, as lines of text.

    The larger of operations over rate and bytes over bandwidth. Whole tiles are multiplied; every
    tensor is read once from memory, and the kernels' tiles again from the cache.
    """
    # Needs Triton, which a CPU's comparison does not.
    from mmbeitv2.models.bias_gradient_launch import tile_size

    size = 4 if args.precision == 'float32' else 2
    tokens, queries = args.tokens, args.queries or args.tokens
    pairs = args.batch * args.heads
    whole, rows, keys = tile_size(tokens, 64, size)
    row_tiles = _up(tokens, rows) * _up(tokens, keys)
    # Counted for heads of 64.
    vectors = 64 * size * pairs
    parts = {
        "torch's gradient, written and summed": (0, 2 * size * pairs * queries * _up(tokens, 16)),
        'ours, sum over the images': (
            4 * 64 * pairs * row_tiles,
            (2 * queries + 2 * tokens) * vectors,
        ),
    }
    if not whole:
        parts['ours, statistics of the rows'] = (
            2 * 64 * pairs * _up(queries, rows) * _up(tokens, keys),
            (3 * queries + tokens) * vectors,
        )
    lines = [f'{"predicted":<40}{"GFLOP":>8}{"MB":>8}{"ms":>8}']
    for name, (operations, moved) in parts.items():
        ms = 1e3 * max(operations / (tflops * 1e12), moved / (terabytes * 1e12))
        lines.append(f'{name:<40}{operations / 1e9:>8.1f}{moved / 1e6:>8.0f}{ms:>8.3f}')
    return '\n'.join(lines)


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _inputs(args) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """Queries, keys, values ``(B, heads, T, 64)``, a bias, and the places of the queries."""
    if args.queries is not None and args.device == 'cpu':
        raise InputError('--queries is for a GPU, and --device is cpu: leave it out')
    dtype = getattr(torch, args.precision)
    size = (args.batch, args.tokens, 3, args.heads, 64)
    qkv = torch.randn(size, device=args.device, dtype=dtype)
    q, k, v = (t.transpose(1, 2).requires_grad_() for t in qkv.unbind(2))
    bias = torch.randn(args.heads, args.tokens, args.tokens, device=args.device)
    if args.queries is None:
        return q, k, v, bias.requires_grad_(), None
    if not 1 <= args.queries <= args.tokens:
        raise InputError(f'--queries is {args.queries}, allowed: 1 to --tokens, {args.tokens}')
    order = torch.rand(args.batch, args.tokens, device=args.device).argsort(dim=1)
    some = q.detach()[:, :, : args.queries].clone().requires_grad_()
    return some, k, v, bias.requires_grad_(), order[:, : args.queries]


def _mask(bias: Tensor, dtype: torch.dtype, queries: Tensor | None) -> Tensor:
    bias = bias.to(dtype)
    return bias.unsqueeze(0) if queries is None else bias[:, queries].transpose(0, 1)


if __name__ == '__main__':
    with one_line_errors():
        main()
