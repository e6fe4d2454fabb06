"""Ask of the paper's choices, on the demo photos, which of them show: paired over enough seeds.

    bash tools/quickstart.sh data
    python tools/demo_ablations.py
    python tools/demo_ablations.py --table docs/experiments.md

Pretrains the demo's model as it is and with one thing changed, both from the same tokenizer, first
weights and order of photos. Three pairs of each claim show how much their differences spread; from
that follows how many pairs find a difference of two points with a power of 80 %, and so many are
run, at most --max-seeds. Every finished run is added to --record at once. The tool can be stopped
and started again at any time: it goes on where it stopped, within a run too.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from ablation_record import Record, Run, read_record, write_record
from ablation_runs import Place, make_run
from ablation_table import BEGIN, END, table
from demo_claims import BASE, CLAIMS, remaining
from demo_runs import ROOT
from list_experiments import update
from mmengine.logging import MMLogger

from mmbeitv2.errors import InputError
from mmbeitv2.launch.jobs import end_cleanly

RECORD = Path('docs/demo_ablations.json')
MAX_SEEDS = 12
# On two cores with bfloat16, as long as no run has been timed.
USUAL_MINUTES = 5.0


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--claims', nargs='+', choices=list(CLAIMS), default=list(CLAIMS), metavar='NAME',
        help=f'what is changed: {", ".join(CLAIMS)} (default: all)',
    )  # fmt: skip
    parser.add_argument(
        '--max-seeds',
        type=int,
        help=f'pairs of a claim at most; default: as the record says, {MAX_SEEDS} at first',
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/ablations'))
    parser.add_argument('--data', type=Path, default=Path('data/demo'), help='the demo photos')
    parser.add_argument('--record', type=Path, help=f'default: {RECORD}')
    parser.add_argument('--left', action='store_true', help='print what is left to run, and end')
    parser.add_argument(
        '--table',
        nargs='?',
        const='-',
        metavar='PAGE.md',
        help='print the table of the record, or write it into this page, and end',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='for tokenizers and pretraining alike; needs a --record of its own',
    )
    args = parser.parse_args(argv)
    if args.max_seeds is not None and args.max_seeds < 1:
        parser.error(f'--max-seeds is {args.max_seeds}, allowed: 1 or more')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    os.chdir(ROOT)
    if args.record is None and (args.cfg_options or args.data != Path('data/demo')):
        raise InputError(
            f'{RECORD} is of the configs as they are on data/demo: with --cfg-options or --data '
            'give another file by --record.'
        )
    path = args.record or RECORD
    record = read_record(path, MAX_SEEDS)
    if args.table is not None:
        write_table(record, args.table)
        return
    if args.max_seeds is not None:
        record.max_seeds = args.max_seeds
    if args.left:
        print(what_is_left(record, args.claims))
    else:
        # The initial values of every parameter would bury the rest.
        MMLogger.get_instance('ablations', log_level='WARNING')
        place = Place(args.work_dir, args.data, tuple(args.cfg_options))
        for variant in (BASE, *args.claims):
            record.check_digest(variant, place.variant_digest(variant), path)
        work_through(record, args.claims, path, lambda *run: make_run(*run, place))
        print(table(record))


def write_table(record: Record, page: str) -> None:
    """Print the table, or write it into a page."""
    if page == '-':
        print(table(record))
    else:
        update(Path(page), table(record), BEGIN, END)


def work_through(
    record: Record, claims: Sequence[str], path: Path, make: Callable[[str, int], Run]
) -> None:
    """Do every run that is left, and write the record after each.

    Args:
        record: of what is done; grows.
        claims: keys of ``CLAIMS``.
        path: of the record.
        make: the run of a variant and a seed.
    """
    while left := remaining(record.figures, claims, record.max_seeds):
        print(what_is_left(record, claims), flush=True)
        record.runs.append(make(*left[0]))
        write_record(record, path)


def what_is_left(record: Record, claims: Sequence[str]) -> str:
    """The runs that are left and the hours they take, as far as is known by now."""
    left = remaining(record.figures, claims, record.max_seeds)
    if not left:
        return f'No run is left; {len(record.runs)} are in the record.'
    names = ', '.join(f'{variant} {seed}' for variant, seed in left)
    timed = record.typical_minutes()
    hours = len(left) * (timed or USUAL_MINUTES) / 60
    known = 'as long as the runs so far' if timed else 'not timed here yet'
    return f'Left to run: {len(left)}, about {hours:.1f} hours ({known}): {names}'


if __name__ == '__main__':
    end_cleanly(main)
