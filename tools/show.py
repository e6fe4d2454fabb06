"""Draw what a pretrained model makes of one's own photos, in four figures.

    python tools/show.py CHECKPOINT PHOTOS --out FOLDER

features.png has the patch features as colours, the same for all photos; attention.png what [CLS]
looks at, by head; codes.png masked photos with the codes that are predicted; neighbours.png the
photos of the folder that are most alike. Photos are those of all folders below PHOTOS.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from mmengine.logging import MMLogger

from mmbeitv2.apis import load_pretrained, show_model
from mmbeitv2.checkpoints.atomic import check_writable
from mmbeitv2.datasets.photo_list import list_photos
from mmbeitv2.datasets.photo_sources import check_apart
from mmbeitv2.exchange.run_notes import noted_value_range
from mmbeitv2.launch.photo_arguments import (
    NOTED,
    add_image_column,
    add_max_unreadable,
    add_value_range,
    print_unread,
)
from mmbeitv2.launch.user_errors import one_line_errors


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of pretraining')
    parser.add_argument(
        'photos',
        type=Path,
        metavar='PHOTOS',
        help='folder, photo, list, tar, Parquet or LMDB file, or folder of save_to_disk',
    )
    parser.add_argument('--out', type=Path, required=True, metavar='FOLDER', help='of the figures')
    parser.add_argument('--tokenizer', metavar='FILE', help='where CHECKPOINT holds none')
    parser.add_argument('--count', type=int, default=6, metavar='N', help='photos drawn')
    parser.add_argument('--photo', type=Path, metavar='FILE', help='draw this one of PHOTOS alone')
    parser.add_argument('--neighbours', type=int, default=6, metavar='N', help='of each photo')
    parser.add_argument(
        '--layer', type=int, default=-1, metavar='L', help='whose attention (default: the last)'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the masks')
    parser.add_argument(
        '--num-heads', type=int, metavar='N', help="of the tokenizer's encoder, if not width / 64"
    )
    add_image_column(parser)
    add_value_range(parser, NOTED)
    add_max_unreadable(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    # What was loaded, tensor by tensor, would bury the lines of the result.
    MMLogger.get_instance('show', log_level='WARNING')
    with one_line_errors():
        check_writable(args.out, folder=True)
        check_apart(args.out, args.photos)
        # Before the weights are read, which takes longer than to see that there are no photos.
        list_photos(args.photos, args.image_column)
        model = load_pretrained(args.checkpoint, args.num_heads, args.tokenizer)
        shown = show_model(
            *(model, args.photos, args.out, args.count, args.neighbours),
            *(args.layer, args.photo, args.seed),
            args.value_range or noted_value_range(args.checkpoint),
            args.image_column,
            args.max_unreadable,
        )
        for path in shown.figures:
            print(path)
        print_unread(shown.unread, shown.photos)
        if model.target_generator is None:
            print('no codes.png: the checkpoint has no tokenizer; give one by --tokenizer FILE')


if __name__ == '__main__':
    main()
