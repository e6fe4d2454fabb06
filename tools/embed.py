"""Features of photos in one file: ``python tools/embed.py CHECKPOINT PHOTOS --out FILE.npz``.

PHOTOS is a folder (at any depth), a photo, a text file with a photo a line, or a file of photos
(.tar, .parquet, .lmdb, a folder of save_to_disk); or several such folders and files. FILE ends in
.npz or .parquet and holds a row a photo: ``paths`` (addresses, of photos in files), ``cls`` ([CLS]
after the final norm) and ``mean`` (of the patches), with --with also ``patches`` and ``codes``. Any
checkpoint serves: of pretraining, of a tokenizer, fine-tuned, of this project or another; its
photos are normalised as it was trained.

Stopped or killed, the same command goes on; what is made so far lies beside FILE until it is whole.
"""

import argparse
from collections.abc import Sequence

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from mmbeitv2.apis.embedding import OPTIONAL, Embedded, embed
from mmbeitv2.launch.photo_arguments import add_photo_arguments, print_unread, reading_options
from mmbeitv2.launch.user_errors import one_line_errors


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='path, address or published name')
    parser.add_argument(
        'photos',
        nargs='+',
        help='folder, photo, list, tar, Parquet or LMDB file, or folder of save_to_disk; '
        'or several folders and files',
    )
    parser.add_argument('--out', required=True, metavar='FILE', help='ends in .npz or .parquet')
    parser.add_argument(
        '--with',
        dest='with_',
        nargs='+',
        default=[],
        choices=OPTIONAL,
        help='patches: float16; codes: of the tokenizer, in float32',
    )
    parser.add_argument('--tokenizer', help="its codes (default: the checkpoint's own)")
    parser.add_argument('--size', type=int, help='side in pixels (default: that of training)')
    parser.add_argument('--overwrite', action='store_true', help='replace a file of another run')
    add_photo_arguments(parser)
    return parser.parse_args(argv)


def report(done: Embedded) -> None:
    """Say what was made."""
    print_unread(done.unread, done.photos + len(done.unread))
    resumed = f', {done.resumed} of them made before' if done.resumed else ''
    print(f'{done.photos} photos in {done.path}{resumed}')


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    with one_line_errors('interrupted: the same command goes on where it stopped'):
        report(
            embed(
                args.checkpoint,
                args.photos[0] if len(args.photos) == 1 else args.photos,
                args.out,
                with_=args.with_,
                tokenizer=args.tokenizer,
                size=args.size,
                overwrite=args.overwrite,
                progress=True,
                **reading_options(args),
            )
        )


if __name__ == '__main__':
    main()
