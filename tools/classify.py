"""Classes of photos by a fine-tuned checkpoint: ``python tools/classify.py CHECKPOINT PHOTOS``.

PHOTOS is a folder (at any depth), a photo, a text file with a photo a line, or a file of photos
(.tar, .parquet, .lmdb, a folder of save_to_disk). The names of the
classes, the size and the normalisation are those that the checkpoint's run noted in it.
"""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from mmbeitv2.apis.prediction import Classified, classify
from mmbeitv2.checkpoints.atomic import check_writable
from mmbeitv2.datasets.listing import listed_lines
from mmbeitv2.errors import ExistingFileError, InputError
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.photo_arguments import add_photo_arguments, print_unread, reading_options
from mmbeitv2.launch.user_errors import one_line_errors

SUFFIXES = ('.csv', '.json')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of fine-tuning')
    parser.add_argument(
        'photos', help='folder, photo, list, tar, Parquet or LMDB file, or folder of save_to_disk'
    )
    parser.add_argument('--out', type=Path, metavar='FILE', help='.csv or .json (default: print)')
    parser.add_argument('--picture', type=Path, metavar='FILE.png', help='photos with their class')
    parser.add_argument('--top', type=int, default=5, metavar='K', help='classes a photo')
    parser.add_argument(
        '--config', help='of the run (default: the checkpoint’s, or the catalogue’s)'
    )
    parser.add_argument('--classes', metavar='FILE', help='names of the classes, one a line')
    parser.add_argument('--overwrite', action='store_true', help='replace FILE')
    add_photo_arguments(parser)
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> None:
    """Refuse what could not be written, before any work."""
    if args.top < 1:
        raise InputError(f'--top is {args.top}, but must be 1 or more')
    if args.out is not None and args.out.suffix not in SUFFIXES:
        raise InputError(f'--out is {args.out}, but must end in {" or ".join(SUFFIXES)}')
    if args.picture is not None and args.picture.suffix != '.png':
        raise InputError(f'--picture is {args.picture}, but must end in .png')
    for path in (args.out, args.picture):
        if path is None:
            continue
        check_writable(path)
        if path.exists() and not args.overwrite:
            raise ExistingFileError(f'{path} is there already: give another, or --overwrite')


def write_csv(found: Classified, top: int, file) -> None:
    """A row a photo: path, then classes and scores from the best on."""
    count = min(top, len(found.classes))
    writer = csv.writer(file)
    heads = [f'{name}_{i}' for i in range(1, count + 1) for name in ('class', 'score')]
    writer.writerow(['photo', *heads])
    for row, name in enumerate(found.names):
        best = [cell for kind, score in found.best(row, count) for cell in (kind, f'{score:.4f}')]
        writer.writerow([name, *best])


def write_json(found: Classified, top: int, file) -> None:
    """Photos with their best classes, and what could not be read."""
    photos = [
        dict(photo=name, classes=[dict(name=n, score=s) for n, s in found.best(row, top)])
        for row, name in enumerate(found.names)
    ]
    unread = [dict(photo=name, reason=reason) for name, reason in found.unread]
    content = dict(classes=found.classes, photos=photos, unread=unread)
    json.dump(content, file, ensure_ascii=False, indent=1)


def run(args: argparse.Namespace) -> None:
    """Classify and write."""
    check(args)
    options = reading_options(args)
    # A fine-tuned model is built from its config, which says both.
    del options['num_heads'], options['trust']
    found = classify(
        args.checkpoint,
        args.photos,
        config=load_config(args.config) if args.config else None,
        classes=args.classes and [text for _, text in listed_lines(args.classes)],
        progress=True,
        **options,
    )
    if args.out is None:
        write_csv(found, args.top, sys.stdout)
    else:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with args.out.open('w', encoding='utf-8', errors='backslashreplace', newline='') as file:
            (write_csv if args.out.suffix == '.csv' else write_json)(found, args.top, file)
        print(f'{len(found.names)} photos in {args.out}')
    if args.picture is not None:
        # Drawing alone needs matplotlib.
        from mmbeitv2.visualization.photo_grid import draw_photos

        titles = ['{} {:.0%}'.format(*found.best(row, 1)[0]) for row in range(len(found.names))]
        draw_photos(found.paths, titles, args.picture, found.value_range)
    print_unread(found.unread, len(found.names) + len(found.unread))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    with one_line_errors():
        run(args)


if __name__ == '__main__':
    main()
