"""The command line of the example on Fashion-MNIST, and where its photos come from.

Of the standard library alone: ``bash tools/example_fashion_mnist.sh --help`` installs nothing.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = 'dataset-fashion-mnist'
# Where the package puts them.
SOURCE = Path('/usr/share/datasets/fashion-mnist')
ORIGIN = 'github.com/zalandoresearch/fashion-mnist, arXiv 1708.07747'
LICENCE = 'MIT licence, © 2017 Zalando SE'
STAGES = {
    'photos': 'unpack photos into a folder for each class',
    'tokenizer': 'train the tokenizer (VQ-KD) on unlabelled photos',
    'pretrain': 'pretrain a small ViT to predict the codes of masked patches',
    'few-shot': 'classify test photos with a few labels, on frozen features',
    'report': 'draw the report',
}
SHOTS = (1, 2, 5, 10, 20, 50)
# Photos of each class that are asked about at the largest number of labels.
LEAST_ASKED = 10


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    stages = '\n'.join(f'  {name:<10} {text}' for name, text in STAGES.items())
    parser = argparse.ArgumentParser(
        prog='bash tools/example_fashion_mnist.sh',
        description='BEiT v2 on Fashion-MNIST, in about 10 minutes on 2 cores: is pretraining '
        'worth more than random weights, and how near does it come to its teacher?',
        epilog=f'stages:\n{stages}\n\nThe photos: `sudo apt-get install {PACKAGE}` (Debian, '
        f'Ubuntu); {LICENCE}.\nMMBEITV2_VENV names another environment than .venv.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'work_dir',
        nargs='?',
        type=Path,
        default=ROOT / 'work_dirs/example_fashion_mnist',
        metavar='WORK_DIR',
        help='a new folder, or one of an earlier start (default: work_dirs/example_fashion_mnist)',
    )
    parser.add_argument(
        '--source',
        type=Path,
        default=SOURCE,
        metavar='FOLDER',
        help=f'with the four IDX files, packed or not (default: {SOURCE})',
    )
    parser.add_argument(
        '--train', type=int, default=6000, help='training photos, in tens (default: 6000)'
    )
    parser.add_argument(
        '--test', type=int, default=2000, help='test photos, in tens (default: 2000)'
    )
    args = parser.parse_args(argv)
    least = 10 * (max(SHOTS) + LEAST_ASKED)
    if args.test < least:
        parser.error(f'--test {args.test}: {max(SHOTS)} labels a class need {least} or more')
    args.work_dir, args.source = short(args.work_dir), args.source.expanduser().absolute()
    return args


def short(path: Path) -> Path:
    """The path from the repository on, where the stages run, if it lies below it."""
    path = path.expanduser().absolute()
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
