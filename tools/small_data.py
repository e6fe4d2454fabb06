"""How many codes few photos can fill: tokenizers of 200 to 20,000 photos, measured on others.

    python tools/small_data.py --minutes 40
    python tools/small_data.py --curves docs/images/small_data.png --table docs/small_data.md

Trains the demo's tokenizer on composites of the demo's cut-outs, with K at, below and above the
rule photos × patches / 200, with and without revival of dead codes, with other teachers and
quantizers; measures usage, perplexity and what codes tell of classes on photos of other cut-outs;
pretrains on some of the codebooks and probes the backbones with five labels a class. Every finished
cell is added to --record at once. The tool can be stopped and started again at any time; a cell
that was under way begins anew.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from list_experiments import update
from mmengine.logging import MMLogger
from small_data_study.cells import all_cells, remaining
from small_data_study.curves import draw_curves
from small_data_study.record import add_result, check_digest, read_results
from small_data_study.settings import ROOT, Settings
from small_data_study.table import BEGIN, END, tables
from small_data_study.work import results_of, with_tokenizers

from mmbeitv2.launch.jobs import end_cleanly

RECORD = Path('docs/small_data.jsonl')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/small_data'))
    parser.add_argument('--record', type=Path, default=RECORD)
    parser.add_argument('--seeds', type=int, default=1, help='of every cell')
    parser.add_argument('--processes', type=int, default=2, help='cells at once, a thread each')
    parser.add_argument('--minutes', type=float, help='after which no other cell is begun')
    parser.add_argument('--only', default='', metavar='WORDS', help='cells whose name has them')
    parser.add_argument('--left', action='store_true', help='list what is left, and end')
    parser.add_argument('--curves', type=Path, metavar='FILE.png', help='draw the record, and end')
    parser.add_argument(
        '--table',
        nargs='?',
        const='-',
        metavar='PAGE.md',
        help='print the tables of the record, or write them into this page, and end',
    )
    args = parser.parse_args(argv)
    for name in ('seeds', 'processes'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} is {getattr(args, name)}, allowed: 1 or more')
    if args.minutes is not None and args.minutes <= 0:
        parser.error(f'--minutes is {args.minutes:g}, allowed: above 0')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    os.chdir(ROOT)
    results = read_results(args.record)
    if args.curves is not None:
        draw_curves(results, args.curves)
    if args.table == '-':
        print(tables(results))
    elif args.table is not None:
        update(Path(args.table), tables(results), BEGIN, END)
    if args.curves is not None or args.table is not None:
        return
    cells = [cell for cell in all_cells(args.seeds) if args.only in cell.name]
    left = remaining([result.cell for result in results], cells)
    print(f'{len(results)} cells are in {args.record}, {len(left)} are left')
    if args.left:
        print('\n'.join(cell.name for cell in left))
        return
    MMLogger.get_instance('small_data', log_level='WARNING')
    settings = Settings(args.work_dir.resolve())
    check_digest(results, settings.digest, args.record)
    settings.make_photos(args.processes)
    seconds = None if args.minutes is None else 60 * args.minutes
    for result in results_of(with_tokenizers(left, settings), settings, args.processes, seconds):
        add_result(result, args.record)
        print(f'done in {result.seconds:.0f} s: {result.cell.name}', flush=True)


if __name__ == '__main__':
    end_cleanly(main)
