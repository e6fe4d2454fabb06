"""Take a checkpoint to another project and show that it computes the same there.

    python tools/convert_checkpoint.py work_dirs/finetune work_dirs/out --to transformers

The source may come from this project, the official release, mmpretrain, mmsegmentation, timm or
transformers; which one is seen from its tensors. After writing, the table of equality is printed:
outputs of the source here beside those of the written file in its own project, and the tensors
after the way back. See docs/checkpoints.md.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import indent

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from mmbeitv2.exchange.conversion import convert
from mmbeitv2.exchange.exporting import TARGETS
from mmbeitv2.launch.user_errors import one_line_errors


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Convert a checkpoint and check the result')
    parser.add_argument(
        'source', metavar='SRC', help='file, folder, published name, hf-hub:OWNER/NAME, or URL'
    )
    parser.add_argument(
        'destination',
        metavar='DST',
        type=Path,
        help='file to write (.pth or .safetensors); for transformers a folder',
    )
    parser.add_argument(
        '--to',
        required=True,
        choices=list(TARGETS),
        help="project to write for; 'safetensors' keeps this project's names, 'mmbeitv2' too, as a "
        "file that this project's tools load",
    )
    parser.add_argument('--overwrite', action='store_true', help='replace an existing DST')
    parser.add_argument(
        '--trust',
        action='store_true',
        help='open a SRC that holds Python objects beside weights, which can run any code',
    )
    parser.add_argument(
        '--ema',
        action='store_true',
        help='take the moving average of the weights, which SRC holds beside them',
    )
    parser.add_argument(
        '--num-heads',
        type=int,
        help='heads, where the file does not show them (default: width / 64)',
    )
    parser.add_argument(
        '--img-size',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='pixels of the images that SRC was trained with, where it does not note them '
        '(default: square)',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    with one_line_errors():
        conversion = convert(
            args.source,
            args.destination,
            args.to,
            num_heads=args.num_heads,
            overwrite=args.overwrite,
            trust=args.trust,
            ema=args.ema,
            img_size=None if args.img_size is None else tuple(args.img_size),
        )
    print(conversion)
    print(f'\nTo load it:\n\n{indent(conversion.lines, "    ")}')
    if not conversion.equal:
        sys.exit('error: the converted checkpoint does not compute what the source does')


if __name__ == '__main__':
    main()
