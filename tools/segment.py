"""Class maps of photos: ``python tools/segment.py CHECKPOINT PHOTOS --out FOLDER``.

PHOTOS is a folder (at any depth), a photo, a text file with a photo a line, or a file of photos
(.tar, .parquet, .lmdb, a folder of save_to_disk). FOLDER gets
``maps/PHOTO.png``, whose pixels are the numbers of the classes, coloured by a palette;
``overlays/PHOTO.jpg``, the colours laid over the photo; ``shares.csv``, the share of the pixels
that each class has; and ``classes.json``, names and colours. The names of the classes, the size and
the normalisation are those that the checkpoint's run noted in it.
"""

import argparse
import csv
import json
import os
from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import numpy as np
from PIL import Image

from mmbeitv2.apis.prediction import SegmentedPhoto, Segmenter
from mmbeitv2.checkpoints.atomic import check_writable
from mmbeitv2.datasets.decoding import read_rgb
from mmbeitv2.datasets.listing import address_parts, photo_path
from mmbeitv2.datasets.photo_sources import check_apart
from mmbeitv2.errors import ExistingFileError, InputError
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.photo_arguments import add_photo_arguments, print_unread, reading_options
from mmbeitv2.launch.user_errors import one_line_errors
from mmbeitv2.visualization.class_maps import as_palette_image, colours_of, lay_over

# In bytes, of file systems.
LONGEST_NAME = 255


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of fine-tuning for segmentation')
    parser.add_argument(
        'photos', help='folder, photo, list, tar, Parquet or LMDB file, or folder of save_to_disk'
    )
    parser.add_argument('--out', type=Path, required=True, metavar='FOLDER')
    parser.add_argument('--share', type=float, default=0.5, help='of the colours in overlays')
    parser.add_argument(
        '--config', help='of the run (default: the checkpoint’s, or the catalogue’s)'
    )
    parser.add_argument('--overwrite', action='store_true', help='write into a folder with files')
    add_photo_arguments(parser)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Segment and write."""
    if not 0 <= args.share <= 1:
        raise InputError(f'--share is {args.share}, but must be from 0 to 1')
    check_writable(args.out, folder=True)
    check_apart(args.out, args.photos)
    if args.out.is_dir() and any(args.out.iterdir()) and not args.overwrite:
        raise ExistingFileError(f'{args.out} holds files: give an empty folder, or --overwrite')
    options = reading_options(args)
    # A fine-tuned model is built from its config, which says both.
    del options['num_heads'], options['trust']
    config = load_config(args.config) if args.config else None
    segmenter = Segmenter(args.checkpoint, args.photos, config, progress=True, **options)
    check_names(segmenter.photos.names)
    classes = segmenter.fine_tuned.classes
    colours = colours_of(len(classes), segmenter.fine_tuned.palette)
    # Photos that cannot be used at all end here, before a folder that a second try would refuse.
    photos = iter(segmenter)
    first = list(islice(photos, 1))
    args.out.mkdir(parents=True, exist_ok=True)
    named = [dict(name=name, colour=colour.tolist()) for name, colour in zip(classes, colours)]
    (args.out / 'classes.json').write_text(json.dumps(named, indent=1))
    count = 0
    with (args.out / 'shares.csv').open(
        'w', encoding='utf-8', errors='backslashreplace', newline=''
    ) as file:
        table = csv.writer(file)
        table.writerow(['photo', *classes])
        for photo in chain(first, photos):
            write_pictures(args, segmenter, photo, colours)
            counts = np.bincount(photo.labels.ravel(), minlength=len(classes))
            table.writerow([photo.name, *(f'{n / photo.labels.size:.4f}' for n in counts)])
            count += 1
    print(f'{count} photos in {args.out}')
    print_unread(segmenter.unread, count + len(segmenter.unread))


def check_names(names: Sequence[str]) -> None:
    """Refuse photos whose pictures could not be told apart, or not be written.

    Raises:
        UserError: names them.
    """
    photo_of: dict[Path, str] = {}
    for name in names:
        place = place_of(name)
        other = photo_of.setdefault(place, name)
        # Named twice, a photo has the same map twice.
        if os.path.normpath(other) != os.path.normpath(name):
            raise InputError(
                f'the photos {other} and {name} would both be written as {place}: '
                'segment them by two commands'
            )
        if len(os.fsencode(f'{place.name}.png')) > LONGEST_NAME:
            raise InputError(f'the name of {name} is too long to write {place.name}.png: rename it')


def place_of(name: str) -> Path:
    """Where below a folder of pictures those of a photo lie, but for their suffix."""
    # A list may name photos by absolute paths, or above its own folder.
    path = os.path.join(*address_parts(name)) if '://' in name else name
    return Path(*(part for part in Path(os.path.normpath(path)).parts if part not in ('/', '..')))


def write_pictures(
    args: argparse.Namespace, segmenter: Segmenter, photo: SegmentedPhoto, colours: np.ndarray
) -> None:
    """Map and overlay of one photo, under its whole name: a.jpg and a.png may lie side by side."""
    name = place_of(photo.name)
    for kind, suffix in (('maps', '.png'), ('overlays', '.jpg')):
        path = args.out / kind / name.with_name(f'{name.name}{suffix}')
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == 'maps':
            as_palette_image(photo.labels, colours).save(path)
        else:
            file = photo_path(segmenter.photos.folder or '', photo.name)
            pixels = read_rgb(file, value_range=segmenter.fine_tuned.value_range)
            overlay = lay_over(np.asarray(pixels), photo.labels, colours, args.share)
            Image.fromarray(overlay).save(path, quality=90)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    with one_line_errors():
        run(args)


if __name__ == '__main__':
    main()
