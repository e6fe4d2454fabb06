"""Count what a step costs: what a busy machine cannot change.

    python tools/benchmark/count.py
    python tools/benchmark/count.py --step pretraining --batch 4 --device cuda
    python tools/benchmark/count.py --step pretraining --batch 8 --profile

Floating-point operations of matrix products (a multiplication and an addition are two), operator
calls, kernel launches (on a GPU), the most bytes of tensors beyond those before the step, and how
often the host waits for the device. ``--profile`` shows which operators the time goes to.
"""

import argparse
import json
from dataclasses import asdict

import torch
from costs import count, time_shares
from mmengine.logging import MMLogger
from steps import STEPS

PROFILED = 12


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--step', choices=list(STEPS), help='default: all of them')
    parser.add_argument('--batch', type=int, default=2, help='images a step')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--precision', choices=['float32', 'bfloat16'], default='float32', help='of products'
    )
    parser.add_argument('--profile', action='store_true', help='operators that take most time')
    parser.add_argument('--json', metavar='FILE', help='write the counts to this file')
    return parser.parse_args()


def main() -> None:
    """Run the tool."""
    args = parse_args()
    # Every initialised tensor would be logged.
    MMLogger.get_instance('count', log_level='WARNING')
    results = {}
    print(
        f'{"step":<14} {"GFLOP/image":>12} {"operators":>10} {"kernels":>8} {"waits":>6} {"MB":>8}'
    )
    for name in [args.step] if args.step else STEPS:
        torch.manual_seed(0)
        step = STEPS[name](args.batch, args.device, args.precision)
        step()
        counts = count(step, args.device)
        results[name] = dict(batch=args.batch, **asdict(counts))
        launches, waits = (
            '–' if number is None else number
            for number in (counts.kernel_launches, counts.host_waits)
        )
        print(
            f'{name:<14} {counts.flops / args.batch / 1e9:>12.1f} {counts.operator_calls:>10} '
            f'{launches:>8} {waits:>6} {counts.peak_bytes / 1e6:>8.0f}',
            flush=True,
        )
        if args.profile:
            shares = list(time_shares(step, args.device).items())[:PROFILED]
            for operator, share in shares:
                print(f'    {share:>6.1%} {operator}')
            results[name]['time_shares'] = dict(shares)
    if args.json:
        with open(args.json, 'w') as file:
            json.dump(results, file, indent=2)


if __name__ == '__main__':
    main()
