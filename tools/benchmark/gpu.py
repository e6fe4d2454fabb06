"""Learn by one command whether a GPU computes right, how fast it is, and where time is lost.

    bash tools/benchmark/gpu.sh FOLDER
    bash tools/benchmark/gpu.sh FOLDER --only agree-pretraining,pretraining-bfloat16
    bash tools/benchmark/gpu.sh FOLDER cpu

FOLDER/summary.md grows row by row, FOLDER/summary.json holds all measurements, FOLDER/NAME.txt the
output of a row. The same command goes on where an earlier one has stopped: rows that succeeded with
the same code are not run again. `cpu` runs all commands with tiny settings on the CPU, to see that
they work. Needs no network, and no package beyond this project's: absent peers are left out.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from gpu_rows import cpu_rows, gpu_rows
from rows import ROOT, STAGES, Row, run_rows

FAILED, BAD_INPUT = 1, 2
DEVICES = ('cuda', 'cpu')
TRIAL = 'A trial of the commands with tiny settings on a CPU: no measurement, and no comparison of '
TRIAL += 'devices.'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog='gpu.sh', description=__doc__.splitlines()[0])
    parser.add_argument('folder', nargs='?', type=Path, help='for the results')
    parser.add_argument('device', nargs='?', choices=DEVICES, default='cuda')
    parser.add_argument('--only', metavar='NAME[,NAME]', help='these rows alone')
    parser.add_argument('--stage', metavar='N[,N]', help='these stages alone, of 1, 2, 3')
    parser.add_argument('--list', action='store_true', help='print the rows and run none')
    parser.add_argument('--again', action='store_true', help='rows that succeeded before too')
    args = parser.parse_args(argv)
    if args.list and str(args.folder) in DEVICES:
        # To list rows needs no folder.
        args.folder, args.device = None, str(args.folder)
    if not args.list and (args.folder is None or str(args.folder) in DEVICES):
        parser.error('give a folder for the results: bash tools/benchmark/gpu.sh FOLDER [cpu]')
    if args.folder is not None and args.folder.exists() and not args.folder.is_dir():
        parser.error(f'{args.folder} is a file: give a folder for the results')
    return args


def chosen(rows: Sequence[Row], only: str | None, stage: str | None) -> list[Row]:
    """The rows that are asked for, in their order.

    Raises:
        ValueError: a name or a stage that there is not, or no row at all; the message lists what is
            allowed.
    """
    names, stages = (set(filter(None, (given or '').split(','))) for given in (only, stage))
    for given, asked, known, what in (
        (names, only, [row.name for row in rows], '--only'),
        (stages, stage, [str(number) for number in STAGES], '--stage'),
    ):
        if asked is not None and not given:
            raise ValueError(f'{what} names nothing, allowed: {", ".join(known)}')
        if unknown := sorted(given - set(known)):
            raise ValueError(f'{what} names {unknown[0]!r}, allowed: {", ".join(known)}')
    found = [
        row
        for row in rows
        if (not names or row.name in names) and (not stages or str(row.stage) in stages)
    ]
    if not found:
        stages_of = {str(row.stage) for row in rows if row.name in names}
        raise ValueError(
            f'--stage {stage} holds none of the rows of --only {only}, which are of stage '
            f'{", ".join(sorted(stages_of))}: give one of both'
        )
    return found


def plan(rows: Sequence[Row]) -> str:
    """The rows with their limits, and the sum."""
    lines = []
    for stage, title in STAGES.items():
        of_stage = [row for row in rows if row.stage == stage]
        lines += [f'stage {stage}, {title}'] * bool(of_stage)
        lines += [f'  {row.name:<24} at most {row.limit:>4.0f} s' for row in of_stage]
    total = sum(row.limit for row in rows) / 60
    return '\n'.join([*lines, f'{len(rows)} rows, at most {total:.0f} minutes together'])


def all_rows(device: str) -> list[Row]:
    """Rows for a device."""
    if device == 'cuda':
        return gpu_rows()
    # The package too, which need not be installed.
    sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]
    os.environ['CUDA_VISIBLE_DEVICES'] = ''
    from demo_runs import is_mixed

    return cpu_rows(is_mixed())


def refuse(message: str) -> None:
    """End with one line."""
    print(f'error: {message}', file=sys.stderr)
    sys.exit(BAD_INPUT)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    # A closed terminal must end the running row as an interrupt does.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    try:
        rows = chosen(all_rows(args.device), args.only, args.stage)
    except ValueError as error:
        refuse(str(error))
    if not args.list and args.device == 'cuda':
        import torch

        if not torch.cuda.is_available():
            refuse('torch sees no GPU: give `cpu` after the folder to try all commands on the CPU')
    print(plan(rows), flush=True)
    if args.list:
        return
    paths = [str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])]
    environment = {'PYTHONPATH': os.pathsep.join(paths)}
    try:
        failed = run_rows(
            rows,
            args.folder.resolve(),
            args.again,
            environment,
            lambda line: print(line, flush=True),
            note=TRIAL if args.device == 'cpu' else '',
        )
    except KeyboardInterrupt:
        sys.exit('\ninterrupted: the same command goes on where it stopped')
    print(f'{args.folder / "summary.md"} and summary.json hold the results')
    if failed:
        print(f'{len(failed)} of {len(rows)} rows failed: {", ".join(failed)}', file=sys.stderr)
        sys.exit(FAILED)


if __name__ == '__main__':
    main()
