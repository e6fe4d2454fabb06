"""What the tools that use a model on photos share: their options, and what they say."""

import argparse
from collections.abc import Sequence
from typing import Any

from mmengine.device import get_device
from mmengine.logging import MMLogger

from mmbeitv2.engine.precision import PRECISIONS
from mmbeitv2.launch.loaders import cores_of_process

NAMED = 5
# Which range is taken without --value-range by tools that read a checkpoint.
NOTED = 'what the checkpoint’s run noted'


def add_value_range(parser: argparse._ActionsContainer, default: str = '') -> None:
    """Add what becomes black and white, the same option of every tool that reads photos.

    Args:
        parser: or a group of its options, extended in place.
        default: which range is taken without the option, for the help.
    """
    parser.add_argument(
        '--value-range',
        type=float,
        nargs=2,
        metavar=('BLACK', 'WHITE'),
        help='of photos of float or 32-bit numbers' + (f' (default: {default})' if default else ''),
    )


def add_image_column(parser: argparse._ActionsContainer) -> None:
    """Add ``--image-column``, None for a table's only one."""
    parser.add_argument(
        '--image-column', metavar='NAME', help='of tables (default: their only one of image files)'
    )


def add_label_column(parser: argparse._ActionsContainer) -> None:
    """Add ``--label-column``, None for a table's only one with class names."""
    parser.add_argument(
        '--label-column', metavar='NAME', help='of tables (default: the only one with class names)'
    )


def add_device(parser: argparse._ActionsContainer) -> None:
    """Add ``--device``, None for this machine's."""
    parser.add_argument('--device', help='such as cuda or cpu (default: what this machine has)')


def add_max_unreadable(parser: argparse.ArgumentParser) -> None:
    """Add the share of photos that may be unreadable.

    Args:
        parser: extended in place.
    """
    parser.add_argument(
        '--max-unreadable',
        type=float,
        default=0.01,
        metavar='SHARE',
        help='of the photos, left out and named; one always is (default: 0.01)',
    )


def add_photo_arguments(parser: argparse.ArgumentParser) -> None:
    """Add batch, workers, device, precision, and how photos are read and which may be unreadable.

    Args:
        parser: extended in place.
    """
    parser.add_argument('--batch', type=int, default=32, metavar='N', help='photos a step')
    parser.add_argument(
        '--workers',
        type=int,
        default=cores_of_process('none') - 1,
        help='processes that read photos (default: cores but one)',
    )
    add_value_range(parser, NOTED)
    add_image_column(parser)
    add_device(parser)
    parser.add_argument(
        '--precision', choices=PRECISIONS, default='auto', help='of the matrix products'
    )
    parser.add_argument(
        '--num-heads', type=int, help='where the checkpoint does not note them (width / 64)'
    )
    add_max_unreadable(parser)
    parser.add_argument(
        '--trust', action='store_true', help='open a checkpoint that holds Python objects'
    )


def reading_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of :func:`add_photo_arguments` by the names that the functions give them."""
    # Where every weight was loaded from would bury the results.
    if not MMLogger.check_instance_created('mmbeitv2'):
        MMLogger.get_instance('mmbeitv2', log_level='WARNING')
    return dict(
        batch_size=args.batch,
        workers=args.workers,
        device=args.device or get_device(),
        precision=args.precision,
        num_heads=args.num_heads,
        max_unreadable=args.max_unreadable,
        trust=args.trust,
        value_range=args.value_range,
        image_column=args.image_column,
    )


def print_unread(unread: Sequence[tuple[str, str]], total: int) -> None:
    """Name photos that could not be read, if any.

    Args:
        unread: name and reason.
        total: number of all photos.
    """
    if unread:
        more = ', …' if len(unread) > NAMED else ''
        named = ', '.join(f'{name} ({reason})' for name, reason in unread[:NAMED])
        print(f'{len(unread)} of {total} photos cannot be read and are left out: {named}{more}')
