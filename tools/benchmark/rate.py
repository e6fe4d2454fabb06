"""Measure the roofline: the rates of matrix products and of memory that PyTorch reaches here.

    python tools/benchmark/rate.py

And where our steps lie below it: with ``--step NAME`` the operations of a step over its time, as a
share of the matrix rate.
"""

import torch
from costs import flops
from paired import machine, parser, seconds, spread, start, write
from steps import STEPS

from mmbeitv2.launch.user_errors import one_line_errors

SIDE = 4096


def matrix_rate(dtype: torch.dtype, args) -> dict[str, float]:
    """GFLOP/s of square matrix products; the best that a step could reach."""
    side = SIDE if args.device != 'cpu' else SIDE // 2
    a, b = (torch.randn(side, side, device=args.device, dtype=dtype) for _ in range(2))
    a @ b
    times = [seconds(lambda: a @ b, 5, args.device) for _ in range(args.pairs)]
    return spread([2 * side**3 / t / 1e9 for t in times])


def memory_rate(args) -> dict[str, float]:
    """GB/s of reading one large float32 tensor and writing another."""
    x = torch.randn(2**26, device=args.device)
    y = torch.empty_like(x)
    y.copy_(x)
    times = [seconds(lambda: y.copy_(x), 3, args.device) for _ in range(args.pairs)]
    return spread([2 * x.numel() * 4 / t / 1e9 for t in times])


def main() -> None:
    """Run the tool."""
    options = parser(__doc__, batch=8)
    options.add_argument('--step', choices=list(STEPS), action='append', default=[])
    args = options.parse_args()
    start(args)
    # bfloat16 only where it is asked for: a CPU without its instructions takes minutes.
    rates = {
        f'{precision} GFLOP/s': matrix_rate(getattr(torch, precision), args)
        for precision in dict.fromkeys(['float32', args.precision])
    }
    rates['memory GB/s'] = memory_rate(args)
    for name, rate in rates.items():
        print(f'{name:<18} {rate["median"]:.5g} ({rate["lowest"]:.5g}–{rate["highest"]:.5g})')
    steps = {}
    for name in args.step:
        step = STEPS[name](args.batch, args.device, args.precision)
        step()
        work = flops(step) / 1e9
        # Step and matrix product in turns: a share of what the machine gave at that time.
        shares, times = [], []
        dtype = getattr(torch, args.precision)
        for _ in range(args.pairs):
            times.append(seconds(step, args.steps, args.device))
            shares.append(work / times[-1] / matrix_rate(dtype, args)['median'])
        steps[name] = dict(gflop=work, seconds=spread(times), share=spread(shares))
        share = steps[name]['share']
        print(
            f'{name}: {work / args.batch:.1f} GFLOP an image, {share["median"]:.0%} '
            f'({share["lowest"]:.0%}–{share["highest"]:.0%}) of the {args.precision} matrix rate'
        )
    facts = machine(args.device)
    print(', '.join(f'{key} {value}' for key, value in facts.items()))
    write(args.json, dict(rates=rates, steps=steps, machine=facts))


if __name__ == '__main__':
    with one_line_errors():
        main()
