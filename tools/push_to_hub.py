"""A trained model for others: ``python tools/push_to_hub.py CHECKPOINT OWNER/NAME``.

Writes a folder of weights (safetensors), configuration and card with data, recipe and seed of the
run, compares it with the checkpoint, and uploads it to the Hugging Face hub with the login of
`hf auth login`. ``--folder DIR --dry-run`` writes and uploads nothing.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from mmbeitv2.errors import InputError
from mmbeitv2.exchange.sharing import LAYOUTS, push_to_hub, save_pretrained
from mmbeitv2.launch.user_errors import one_line_errors


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='file, folder of a run, or name')
    parser.add_argument('repository', metavar='OWNER/NAME', help='of the hub')
    parser.add_argument(
        '--layout',
        choices=LAYOUTS,
        default='transformers',
        help='whose names: transformers takes classifiers and backbones, mmbeitv2 every model '
        '(default: %(default)s)',
    )
    parser.add_argument('--folder', type=Path, metavar='DIR', help='keep what is uploaded here')
    parser.add_argument('--overwrite', action='store_true', help='replace files in DIR')
    parser.add_argument(
        '--licence',
        metavar='NAME',
        default='',
        help='of your weights, for the card, as the hub calls it, such as apache-2.0',
    )
    parser.add_argument('--private', action='store_true', help='for its owner alone')
    parser.add_argument('--dry-run', action='store_true', help='upload nothing')
    parser.add_argument(
        '--num-heads', type=int, help='where the file does not note them (default: width / 64)'
    )
    return parser.parse_args(argv)


def run(args: argparse.Namespace, folder: Path) -> None:
    """Write, compare and upload.

    Raises:
        UserError: what the user can mend.
    """
    written = save_pretrained(
        args.checkpoint,
        folder,
        args.layout,
        args.num_heads,
        overwrite=args.overwrite,
        repository=args.repository,
        licence=args.licence,
    )
    print(written)
    if not written.equal:
        sys.exit('error: the folder does not compute what the checkpoint does: nothing is uploaded')
    if not args.dry_run:
        print(push_to_hub(folder, args.repository, args.private))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    with one_line_errors():
        if args.folder is not None:
            run(args, args.folder)
            return
        if args.dry_run:
            raise InputError('--dry-run uploads nothing and keeps nothing without --folder DIR')
        with tempfile.TemporaryDirectory() as folder:
            run(args, Path(folder, args.repository.rpartition('/')[2] or 'folder'))


if __name__ == '__main__':
    main()
