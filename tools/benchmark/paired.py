"""Run implementations of one step in turns, and compare their time and memory with ours.

Turns alternate in one process on the same inputs, so that a busy machine slows all alike; what
counts are the ratios of neighbouring turns.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from costs import Step, peak_bytes
from mmengine.logging import MMLogger

from mmbeitv2.errors import InputError
from mmbeitv2.launch.processor import processor_name

OURS = 'ours'
PACKAGES = ('torch', 'timm', 'mmengine', 'mmpretrain', 'mmsegmentation', 'vector-quantize-pytorch')
PACKAGES = (*PACKAGES, 'onnxruntime')


def parser(doc: str, batch: int, pairs: int = 5) -> argparse.ArgumentParser:
    """Options that every benchmark has; ``doc`` is the module's docstring."""
    result = argparse.ArgumentParser(description=doc.splitlines()[0])
    result.add_argument('--batch', type=int, default=batch, help='images a step')
    result.add_argument('--pairs', type=int, default=pairs, help='turns of each implementation')
    result.add_argument('--steps', type=int, default=1, help='steps a turn')
    result.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    result.add_argument('--precision', choices=['float32', 'bfloat16'], default='float32')
    result.add_argument('--threads', type=int, help='CPU threads')
    result.add_argument('--json', metavar='FILE', help='write all measurements to this file')
    return result


def compile_option(options: argparse.ArgumentParser) -> None:
    """Add ``--compile``, which a benchmark of whole models has."""
    options.add_argument(
        '--compile',
        action='store_true',
        help="compile our Transformer layers; the peer's too, as a third side",
    )


def keep_option(options: argparse.ArgumentParser) -> None:
    """Add ``--keep``, which a benchmark of training has."""
    options.add_argument(
        '--keep',
        action='store_true',
        help='our layers keep what norms and GELUs give: more memory, less time',
    )


def start(args: argparse.Namespace) -> None:
    """Seed, set threads, and refuse what cannot be run before any work."""
    if args.device != 'cpu' and not torch.cuda.is_available():
        raise InputError(f'--device is {args.device}, but torch sees no GPU: give cpu')
    if args.pairs < 1 or args.steps < 1 or args.batch < 1:
        raise InputError('--batch, --pairs and --steps must be 1 or more')
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    silence()


def silence() -> None:
    """Log warnings only: mmengine would name every initialised tensor."""
    MMLogger.get_instance('benchmark', log_level='WARNING')


def same_result(name: str, ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> float:
    """Largest difference of two results relative to ours' largest value.

    Raises:
        SystemExit: above the tolerance: what does something else need not be timed.
    """
    ours, theirs = ours.detach().double(), theirs.detach().double()
    difference = ((ours - theirs).abs().max() / ours.abs().max().clamp(min=1e-30)).item()
    if not difference <= tolerance:
        raise SystemExit(f'error: {name} differs by {difference:.1e}, allowed: {tolerance:.0e}')
    return difference


def same_losses(steps: Mapping[str, Callable[[], torch.Tensor]], tolerance: float) -> None:
    """Run each step once and say by how much the losses differ.

    Raises:
        SystemExit: as :func:`same_result`.
    """
    losses = {name: step() for name, step in steps.items()}
    difference = max(
        same_result('the loss', losses['ours'], loss, tolerance) for loss in losses.values()
    )
    print(f'losses of the first step differ by {difference:.1e} of their value')


def compare(steps: Mapping[str, Step], args: argparse.Namespace) -> dict:
    """Time and memory of every implementation, and their ratios to ours.

    Args:
        steps: by name, ours under ``'ours'``.
        args: of :func:`parser`.

    Returns:
        ``turns`` and ``cpu_turns`` (seconds of the clock and of processor time a step, of every
        turn, by name), ``peak_mb`` (of tensors during a step beyond those before it), and for every
        peer ``speedup`` (their time over ours), ``cpu_speedup`` (on a CPU, where other programs
        take less of it than of the clock) and ``memory`` (our peak over theirs).
    """
    for step in steps.values():
        step()
    turns, cpu_turns = ({name: [] for name in steps} for _ in range(2))
    for pair in range(args.pairs):
        # The other way round every time, since the first of a pair may find a warmer processor.
        for name in list(steps)[:: 1 if pair % 2 == 0 else -1]:
            begin = time.process_time()
            turns[name].append(seconds(steps[name], args.steps, args.device))
            cpu_turns[name].append((time.process_time() - begin) / args.steps)
    peaks = {name: peak_bytes(step, args.device) / 1e6 for name, step in steps.items()}
    peers = [name for name in steps if name != OURS]
    return dict(
        batch=args.batch,
        precision=args.precision,
        turns=turns,
        cpu_turns=cpu_turns,
        peak_mb=peaks,
        speedup={p: _ratios(turns, p) for p in peers},
        cpu_speedup={p: _ratios(cpu_turns, p) for p in peers if args.device == 'cpu'},
        # Of another runtime's memory torch knows nothing.
        memory={p: peaks[OURS] / peaks[p] for p in peers if peaks[p]},
    )


def _ratios(turns: Mapping[str, Sequence[float]], peer: str) -> dict[str, float]:
    return spread([theirs / ours for theirs, ours in zip(turns[peer], turns[OURS])])


def seconds(step: Step, times: int, device: str) -> float:
    """Seconds of one step, the mean of ``times``."""
    synchronize(device)
    begin = time.perf_counter()
    for _ in range(times):
        step()
    synchronize(device)
    return (time.perf_counter() - begin) / times


def synchronize(device: str) -> None:
    """Wait for the device."""
    if device != 'cpu':
        torch.cuda.synchronize()


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return dict(median=statistics.median(values), lowest=min(values), highest=max(values))


def table(title: str, result: dict) -> str:
    """The comparison as lines of text: times faster than a peer, and our memory over its."""
    columns = f'{"s/step":>9} {"images/s":>9} {"MB":>8} {"times faster":>20}'
    lines = [title, f'{"":<30}{columns} {"by processor time":>20} memory']
    for name, turns in result['turns'].items():
        second = statistics.median(turns)
        line = f'{name:<30}{second:>9.4g} {result["batch"] / second:>9.4g} '
        peak = result['peak_mb'][name]
        line += f'{peak:>8.0f} ' if peak else f'{"–":>8} '
        if name != OURS:
            for kind in ('speedup', 'cpu_speedup'):
                ratio = result[kind].get(name)
                line += f'{shown(ratio) if ratio else "–":>20} '
            memory = result['memory'].get(name)
            line += '–' if memory is None else f'{memory:.3f}'
        lines.append(line.rstrip())
    return '\n'.join(lines)


def shown(ratio: Mapping[str, float]) -> str:
    """Median with the smallest and the largest."""
    return f'{ratio["median"]:.2f} ({ratio["lowest"]:.2f}–{ratio["highest"]:.2f})'


def report(title: str, results: Mapping[str, dict], args: argparse.Namespace) -> None:
    """Print every comparison and the machine; write them as JSON if asked."""
    for name, result in results.items():
        print(table(f'{title}, {name}', result), end='\n\n')
    facts = machine(args.device)
    print(', '.join(f'{key} {value}' for key, value in facts.items()))
    write(args.json, dict(title=title, results=dict(results), machine=facts))


def write(path: str | None, result: dict) -> None:
    """Write a result as JSON, if there is a path."""
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(result, indent=2) + '\n')


def machine(device: str) -> dict[str, str | int]:
    """Device, processor, threads, date and versions."""
    return dict(
        date=time.strftime('%Y-%m-%d'),
        device='CPU' if device == 'cpu' else torch.cuda.get_device_name(),
        processor=processor_name(),
        threads=torch.get_num_threads(),
        Python=platform.python_version(),
        **{name: found for name in PACKAGES if (found := installed_version(name))},
    )


def installed_version(name: str) -> str | None:
    """Version of a distribution, or of the fork that stands in for it; None if there is none."""
    for distribution in (name, f'onedl-{name}'):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None
