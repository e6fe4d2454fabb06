"""Show what every code of a tokenizer stands for, as one page: the codebook atlas.

    python tools/atlas.py TOKENIZER PHOTOS --out atlas.html
    python tools/atlas.py TOKENIZER PHOTOS --labels              # classes by folder
    python tools/atlas.py TOKENIZER PHOTOS --labels labels.csv   # PHOTO,LABEL a line

The page needs no server and no network: open it in a browser, or send it to someone. It holds every
code with its usage, its examples in their photos, the classes that it is found in, its nearest
codes and its place on a map; every photo in it leads to its codes. Photos are those of all folders
below PHOTOS; their centre is coded at the tokenizer's own size.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from mmengine.logging import MMLogger

from mmbeitv2.apis import load_tokenizer, survey_codebook
from mmbeitv2.checkpoints.atomic import check_writable
from mmbeitv2.datasets.photo_batches import check_unread
from mmbeitv2.datasets.photo_folder import FOLDERS, labels_of
from mmbeitv2.datasets.photo_list import list_photos
from mmbeitv2.errors import ExistingFileError, InputError
from mmbeitv2.exchange.run_notes import noted_value_range
from mmbeitv2.launch.photo_arguments import (
    NOTED,
    add_image_column,
    add_label_column,
    add_max_unreadable,
    add_value_range,
    print_unread,
)
from mmbeitv2.launch.user_errors import one_line_errors
from mmbeitv2.reports.atlas import check_megabytes, write_atlas


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('tokenizer', help='checkpoint of VQ-KD, or of pretraining with a tokenizer')
    parser.add_argument(
        'photos',
        type=Path,
        metavar='PHOTOS',
        help='folder, photo, list, tar, Parquet or LMDB file, or folder of save_to_disk',
    )
    parser.add_argument('--out', type=Path, default=Path('atlas.html'), metavar='FILE.html')
    parser.add_argument(
        '--labels',
        nargs='?',
        const=FOLDERS,
        metavar='FILE.csv',
        help='alone: the first folder below PHOTOS is the class, or what tars and tables say; '
        'else a table PHOTO,LABEL',
    )
    parser.add_argument(
        '--shown', type=int, default=1000, metavar='N', help='photos in the page (default: 1000)'
    )
    parser.add_argument(
        '--megabytes', type=float, default=48, metavar='MB', help='most that the page may take'
    )
    parser.add_argument('--batch-size', type=int, default=64, metavar='N')
    parser.add_argument('--title', help='of the page (default: the last parts of TOKENIZER)')
    parser.add_argument(
        '--num-heads', type=int, metavar='N', help='of the encoder, if not width / 64'
    )
    add_image_column(parser)
    add_label_column(parser)
    add_value_range(parser, NOTED)
    add_max_unreadable(parser)
    return parser.parse_args(argv)


def make_atlas(args: argparse.Namespace) -> Path:
    """Check what was given, then code the photos and write the page.

    Raises:
        UserError: of whatever was given; before any photo is coded, but for photos that cannot be
            read and are too many.
    """
    check_out(args.out)
    check_megabytes(args.megabytes)
    # Before the weights are read, which takes longer than to see that a file is wrong.
    check_unread((), (), args.max_unreadable)
    photos = list_photos(args.photos, args.image_column).paths
    if args.labels is not None:
        labels_of(photos, args.photos, args.labels, args.image_column, args.label_column)
    tokenizer = load_tokenizer(args.tokenizer, num_heads=args.num_heads)
    value_range = args.value_range or noted_value_range(args.tokenizer)
    survey = survey_codebook(
        *(tokenizer, args.photos, args.labels, args.shown, args.batch_size, value_range),
        *(args.image_column, args.label_column, args.max_unreadable),
    )
    print_unread(survey.unread, survey.census.seen + len(survey.unread))
    title = args.title or '/'.join(Path(args.tokenizer).parts[-2:])
    return write_atlas(survey, args.out, title, args.megabytes)


def check_out(path: Path) -> None:
    """Refuse a page's path that is a folder, or that no browser would take for a page.

    Raises:
        UserError: with the path and an allowed one.
    """
    if os.path.isdir(path):
        raise ExistingFileError(f"--out '{path}' is a folder: give a file, '{path}/atlas.html'.")
    if path.suffix.lower() not in ('.html', '.htm'):
        raise InputError(f"--out '{path}' does not end in .html: a browser would not open it.")
    check_writable(path)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    # What was loaded, tensor by tensor, would bury the one line of the result.
    MMLogger.get_instance('atlas', log_level='WARNING')
    with one_line_errors():
        path = make_atlas(args)
        print(f'{path}: {path.stat().st_size / 1e6:.1f} MB; open it in a browser')


if __name__ == '__main__':
    main()
