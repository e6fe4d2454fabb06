"""From photos to a backbone: tokenizer, pretraining, what it is worth, and a report.

    python tools/pretrain.py PHOTOS --out RUN

Looks at the photos first, chooses image size, model, codes, batches and steps for this machine,
prints the plan with its time, and asks nothing. RUN then holds the ordinary configs that it wrote,
which the ordinary tools take, plan.json, the runs, export/ for other projects and report.html,
which refreshes itself while the run goes on. The same command goes on where an earlier one has
stopped. Labels are not needed; --labels says what the features are worth by them.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from own_run import run
from own_teachers import TEACHERS

from mmbeitv2.datasets.photo_folder import FOLDERS
from mmbeitv2.launch.jobs import end_cleanly
from mmbeitv2.launch.photo_arguments import add_image_column, add_label_column, add_value_range
from mmbeitv2.launch.plan import SIZES

# A year is long enough.
MOST_HOURS = 8766
# What every generator of random numbers takes.
MOST_SEEDS = 2**32


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'photos',
        type=Path,
        nargs='+',
        metavar='PHOTOS',
        help='folder with photos at any depth, list with a photo a line, tars, Parquet files, '
        'folder of save_to_disk, LMDB file; or several of them, but one list',
    )
    parser.add_argument('--out', type=Path, required=True, metavar='RUN', help='folder to write')
    parser.add_argument('--hours', type=float, help='for everything (default: usual lengths)')
    parser.add_argument(
        '--labels',
        nargs='?',
        const=FOLDERS,
        metavar='CSV|FOLDER',
        help='to judge by alone: a table whose lines are PHOTO,CLASS, photos relative to PHOTOS; '
        'another folder, of class folders; alone, where PHOTOS has class folders, .cls members or '
        'a column of labels (default: .cls members, or the column whose classes have names)',
    )
    weights = parser.add_argument_group('weights to start from')
    weights.add_argument(
        '--teacher',
        metavar='NAME',
        help=f'{", ".join(TEACHERS)} or timm:MODEL, each also with @FILE for its weights '
        '(default: clip on a GPU, lite0 on a CPU)',
    )
    weights.add_argument('--tokenizer', metavar='CHECKPOINT', help='take this one, and train none')
    weights.add_argument(
        '--from',
        dest='start',
        metavar='CHECKPOINT',
        help='go on from this backbone; with the tokenizer that it was trained with, from its head '
        'and aggregation too',
    )
    choices = parser.add_argument_group('what is chosen otherwise')
    choices.add_argument('--size', choices=list(SIZES), help='of the model')
    choices.add_argument('--image-size', type=int, help='in pixels, a multiple of 16')
    choices.add_argument('--codes', type=int, help='of the tokenizer')
    add_value_range(choices)
    add_image_column(choices)
    add_label_column(choices)
    choices.add_argument('--seed', type=int, default=0)
    parser.add_argument('--plan', action='store_true', help='print the plan, and end')
    args = parser.parse_args(argv)
    if len(args.photos) == 1:
        (args.photos,) = args.photos
    if args.hours is not None and not 0 < args.hours < MOST_HOURS:
        parser.error(f'--hours is {args.hours}, allowed: above 0, below {MOST_HOURS:,}')
    if not 0 <= args.seed < MOST_SEEDS:
        parser.error(f'--seed is {args.seed}, allowed: 0 to {MOST_SEEDS - 1}')
    if args.tokenizer is not None and args.teacher is not None:
        parser.error('--teacher teaches a tokenizer, but --tokenizer gives one: leave one out')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    run(args)


if __name__ == '__main__':
    end_cleanly(main)
