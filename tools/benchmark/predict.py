"""Predict a step on a GPU that is not there: a roofline over every operator that the step runs.

    python tools/benchmark/predict.py --gpu h200
    python tools/benchmark/predict.py --gpu h100 --batch 128 --only ours
    python tools/benchmark/predict.py --gpu cpu

The step runs on tensors without values (``absent_gpu.py``) and each operator takes
``max(operations / rate, bytes / bandwidth)`` and a gap. Nothing of it is measured on a step: the
rates and what is assumed stand in ``cards.py``, the rule for bytes in ``traffic.py``, the rule for
compiled layers in ``fusion.py``. ``--gpu cpu`` is the check: predicted against measured ratios of
steps on this machine's processor, at the rates that it reaches in the same run.
"""

import argparse
from collections import Counter, defaultdict

import torch
from cards import CARDS, Card
from fusion import fuse
from gpu_steps import CLASSES, STEPS, mmpretrain_pretraining, official_pretraining
from mmengine.logging import MMLogger
from paired import write
from recording import Recording, record
from timing import share_of_rate, step_seconds
from traffic import Operator

from mmbeitv2.errors import InputError
from mmbeitv2.launch.user_errors import one_line_errors
from mmbeitv2.models.bias_gradient import choose_kernels

SHOWN = 10
LEARN_A_BIAS = ('pretraining', 'finetune', 'segmentation')


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--gpu', choices=[*CARDS, 'cpu'], required=True, help='card')
    parser.add_argument('--batch', type=int, default=256, help='images a step')
    parser.add_argument('--step', choices=list(STEPS), default='pretraining')
    parser.add_argument(
        '--precision', choices=['bfloat16', 'float16', 'float32'], default='bfloat16'
    )
    parser.add_argument(
        '--only', choices=['ours', 'mmpretrain', 'official'], help='default: all that have the step'
    )
    parser.add_argument('--json', metavar='FILE', help='write the predictions to this file')
    return parser.parse_args()


def variants(args: argparse.Namespace) -> dict[str, tuple]:
    """Name: (function that prepares, compiled, the bias's gradient by our kernel)."""
    ours = STEPS[args.step]
    found = {'ours': (ours, False, False), 'ours, compiled': (ours, True, False)}
    if args.step in LEARN_A_BIAS:
        found['ours, compiled, bias by the kernel'] = ours, True, True
    if args.step == 'pretraining':
        found['mmpretrain'] = mmpretrain_pretraining, False, False
        found['mmpretrain, compiled'] = mmpretrain_pretraining, True, False
        found['official structure'] = official_pretraining, False, False
    chosen = {name: v for name, v in found.items() if name.startswith(args.only or '')}
    if not chosen:
        raise SystemExit(
            f'error: --only is {args.only}, which has no step {args.step} to predict: give --only '
            'ours, or --step pretraining.'
        )
    return chosen


def predict(recording: Recording, card: Card, batch: int, compiled: bool) -> dict:
    """What a recorded step would take on a card."""
    operators = fuse(recording.operators) if compiled else recording.operators
    timing = step_seconds(operators, card, compiled)
    seconds, traffic, phases = Counter(), Counter(), defaultdict(Counter)
    longest, times = Counter(), Counter()
    for operator, each in zip(operators, timing.by_operator):
        seconds[operator.kind] += each
        traffic[operator.kind] += operator.bytes
        phases[operator.phase].update(seconds=each, bytes=operator.bytes, flops=operator.flops)
        longest[_label(operator)] += each
        times[_label(operator)] += 1
    return dict(
        ms=timing.seconds * 1e3,
        kernels_ms=timing.device_seconds * 1e3,
        host_ms=timing.host_seconds * 1e3,
        images_per_s=batch / timing.seconds,
        share_of_matrix_rate=share_of_rate(operators, card, timing.seconds),
        model_tflop=sum(operator.model_flops for operator in operators) / 1e12,
        tflop=sum(operator.flops for operator in operators) / 1e12,
        gb=sum(operator.bytes for operator in operators) / 1e9,
        kernels=sum(operator.is_kernel for operator in operators),
        kept_gb=recording.kept_bytes / 1e9,
        kinds={k: dict(gb=traffic[k] / 1e9, ms=s * 1e3) for k, s in seconds.most_common()},
        phases={p: _scaled(c) for p, c in phases.items()},
        longest=[
            dict(operator=label, times=times[label], ms=s * 1e3)
            for label, s in longest.most_common(SHOWN)
        ],
    )


def _label(operator: Operator) -> str:
    return f'{operator.phase}: {operator.name} {operator.shapes}'.strip()


def _scaled(count: Counter) -> dict[str, float]:
    return dict(ms=count['seconds'] * 1e3, gb=count['bytes'] / 1e9, tflop=count['flops'] / 1e12)


def show(name: str, found: dict) -> None:
    """Print one prediction."""
    print(
        f'\n== {name}: {found["images_per_s"]:,.0f} images/s predicted, {found["ms"]:.1f} ms a '
        f'step ({found["kernels"]} kernels {found["kernels_ms"]:.1f}, host '
        f'{found["host_ms"]:.1f}), {found["share_of_matrix_rate"]:.0%} of the matrix rate\n'
        f'{found["tflop"]:.1f} TFLOP, {found["model_tflop"]:.1f} of them the model’s; '
        f'{found["gb"]:.0f} GB moved, {found["kept_gb"]:.1f} GB kept for the backward pass'
    )
    for title in ('phases', 'kinds'):
        print(f'{title:<42} {"ms":>7} {"GB":>7}')
        for kind, values in found[title].items():
            print(f'  {kind:<40} {values["ms"]:>7.1f} {values["gb"]:>7.1f}')
    print(f'the {SHOWN} that cost most{"times":>24} {"ms":>7}')
    for row in found['longest']:
        print(f'  {row["times"]:>40} {row["ms"]:>7.1f}  {row["operator"]}')


def main() -> None:
    """Run the tool."""
    args = parse_args()
    if args.batch < 1:
        raise InputError(f'--batch is {args.batch}, allowed: 1 or more, say 256.')
    if not hasattr(torch.compiler, '_compile_session_context'):
        raise InputError(
            f'this is torch {torch.__version__}, which asks a driver for operators that '
            'a prediction runs without one: use torch 2.14 or newer.'
        )
    # Every parameter group would be logged.
    MMLogger.get_instance('predict', log_level='ERROR')
    if args.gpu == 'cpu':
        import cpu_check

        results = cpu_check.compare()
    else:
        card, results = CARDS[args.gpu], {}
        steps = variants(args)
        print(f'{card.name}, {args.step}, batch {args.batch}, {args.precision}: {card.describe()}')
        for name, (prepare, compiled, kernel) in steps.items():
            choose_kernels(kernel)
            recording = record(
                prepare,
                args.batch,
                getattr(torch, args.precision),
                compiled,
                CLASSES.get(args.step, -1),
                card.cudnn is not None,
            )
            results[name] = predict(recording, card, args.batch, compiled)
            show(name, results[name])
    write(args.json, results)


if __name__ == '__main__':
    with one_line_errors():
        main()
