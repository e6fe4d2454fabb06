"""Where the time of a step goes: top operators and kernels, an idle GPU, where the host waits.

python tools/benchmark/profiling.py pretraining --batch 128 --precision bfloat16
"""

import argparse
from collections import Counter
from pathlib import Path

import torch
from costs import Step, host_waits
from paired import compile_option, machine, seconds, silence, spread, write
from steps import STEPS, built
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from mmbeitv2.launch.user_errors import one_line_errors

TOP, TIMES = 15, 5
ROOT = Path(__file__).resolve().parents[2]


def times(step: Step, device: str) -> dict[str, dict[str, float]]:
    """Milliseconds of one run by operator and, on a GPU, by kernel; the largest first."""
    gpu = device != 'cpu'
    # Twice, since the profiler takes its time to start.
    for _ in range(2):
        with profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * gpu) as profiler:
            step()
            if gpu:
                torch.cuda.synchronize()
    # Ranges that somebody has named hold kernels that are listed anyway.
    events = [e for e in profiler.key_averages() if not getattr(e, 'is_user_annotation', False)]
    field = 'self_device_time_total' if gpu else 'self_cpu_time_total'
    # On a GPU every kernel is listed twice: by itself, and in the operator that launches it.
    kinds = {'operators': DeviceType.CPU, **({'kernels': DeviceType.CUDA} if gpu else {})}
    return {
        kind: _largest({e.key: getattr(e, field) / 1e3 for e in events if e.device_type == place})
        for kind, place in kinds.items()
    }


def _largest(found: dict[str, float]) -> dict[str, float]:
    return dict(sorted(found.items(), key=lambda item: item[1], reverse=True))


def waits(step: Step) -> dict[str, int]:
    """Lines of Python at which one run makes the host wait for the GPU, and how often."""
    found = (f'{_short(wait.filename)}:{wait.lineno}' for wait in host_waits(step))
    return dict(Counter(found).most_common())


def _short(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else '/'.join(path.parts[-3:])


def show(title: str, found: dict[str, float], total: float) -> None:
    """Print the largest, with their share of the step."""
    print(f'{title}, ms and share of the step:')
    for name, ms in list(found.items())[:TOP]:
        print(f'{ms:>10.2f} {ms / total:>6.1%}  {name[:100]}')


def main() -> None:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('step', choices=list(STEPS))
    parser.add_argument('--batch', type=int, default=2, help='images a step')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--precision', choices=['float32', 'bfloat16'], default='float32')
    compile_option(parser)
    parser.add_argument('--json', metavar='FILE', help='write all measurements to this file')
    args = parser.parse_args()
    silence()
    torch.manual_seed(0)
    step = built(args.step, args)
    step()
    measured = spread([1e3 * seconds(step, 1, args.device) for _ in range(TIMES)])
    total = measured['median']
    found = times(step, args.device)
    for kind, by_name in found.items():
        show(f'{args.step}, {kind}', by_name, total)
    top = next(iter(found['operators']))
    said = [f'{total:.4g} ms', f'most in {top} ({found["operators"][top] / total:.0%})']
    result = dict(batch=args.batch, precision=args.precision, ms=measured)
    result.update(found)
    if args.device != 'cpu':
        result.update(busy_ms=sum(found['kernels'].values()), waits=waits(step))
        # Of a step without the profiler, which makes the host slower: 0 where it never waits.
        idle = max(0.0, 1 - result['busy_ms'] / total)
        said += [f'GPU idle {idle:.0%}', f'{sum(result["waits"].values())} waits']
        print('waits of the host:', *(f'{n} × {w}' for w, n in result['waits'].items()), sep='\n  ')
    print(', '.join(said))
    write(args.json, dict(key_figures=', '.join(said), **result, machine=machine(args.device)))


if __name__ == '__main__':
    with one_line_errors():
        main()
