"""Class maps of photos: ``python tools/segment.py CHECKPOINT PHOTOS --out FOLDER``.

PHOTOS is a folder (at any depth), a photo, a text file with a photo a line, or a file of photos
(.tar, .parquet, .lmdb, a folder of save_to_disk). FOLDER gets
``maps/PHOTO.png``, whose pixels are the numbers of the classes, coloured by a palette;
``overlays/PHOTO.jpg``, the colours laid over the photo; ``shares.csv``, the share of the pixels
that each class has; and ``classes.json``, names and colours. The names of the classes, the size and
the normalisation are those that the checkpoint's run noted in it. A stopped command goes on when it
is repeated.
"""

import argparse
import os
from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import numpy as np
from PIL import Image
from segment_folder import SegmentFolder

from mmbeitv2.apis.prediction import SegmentedPhoto, Segmenter
from mmbeitv2.checkpoints.atomic import check_writable
from mmbeitv2.checkpoints.sources import absolute
from mmbeitv2.datasets.decoding import read_rgb
from mmbeitv2.datasets.listing import address_parts, photo_path
from mmbeitv2.datasets.photo_sources import check_apart
from mmbeitv2.datasets.photo_stamps import look_at, stamp
from mmbeitv2.errors import InputError
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.photo_arguments import add_photo_arguments, print_unread, reading_options
from mmbeitv2.launch.user_errors import one_line_errors
from mmbeitv2.visualization.class_maps import as_palette_image, colours_of, lay_over

# In bytes, of file systems.
LONGEST_NAME = 255
# Options that may be others when a stopped command goes on.
AT_ANY_PACE = ('out', 'overwrite', 'batch', 'workers', 'device', 'max_unreadable')


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
    folder = SegmentFolder(args.out, asked_for(args), args.overwrite)
    options = reading_options(args)
    # A fine-tuned model is built from its config, which says both.
    del options['num_heads'], options['trust']
    config = load_config(args.config) if args.config else None
    segmenter = Segmenter(args.checkpoint, args.photos, config, progress=True, **options)
    photos, classes = segmenter.photos, segmenter.fine_tuned.classes
    check_names(photos.names)
    places = {name: place_of(name) for name in photos.names}
    stamps = {name: stamp([path]) for name, path in zip(photos.names, photos.paths)}
    segmenter.done = folder.done(places, stamps)
    if segmenter.done:
        print(f'{len(segmenter.done)} of {len(photos.names)} photos were done before')
    colours = colours_of(len(classes), segmenter.fine_tuned.palette)
    # Photos that cannot be used at all end here, before a folder that a second try would refuse.
    segmented = iter(segmenter)
    first = list(islice(segmented, 1))
    args.out.mkdir(parents=True, exist_ok=True)
    folder.begin([dict(name=n, colour=colour.tolist()) for n, colour in zip(classes, colours)])
    for photo in chain(first, segmented):
        pictures = pictures_of(args, segmenter, photo, colours)
        counts = np.bincount(photo.labels.ravel(), minlength=len(classes))
        shares = counts / photo.labels.size
        folder.add(photo.name, places[photo.name], pictures, shares, stamps[photo.name])
    count = folder.finish(photos.names, classes)
    print(f'{count} photos in {args.out}')
    print_unread(segmenter.unread, count + len(segmenter.unread))


def asked_for(args: argparse.Namespace) -> dict[str, Any]:
    """What has to be the same for a stopped command to go on: not what only the pace hangs on."""
    kept = {name: value for name, value in vars(args).items() if name not in AT_ANY_PACE}
    kept['photos'] = absolute(args.photos)
    for name in ('checkpoint', 'config'):
        if kept[name] is not None:
            kept[name] = absolute(kept[name])
            kept[f'size and time of {name}'] = list(look_at(kept[name])[:2])
    return kept


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


def pictures_of(
    args: argparse.Namespace, segmenter: Segmenter, photo: SegmentedPhoto, colours: np.ndarray
) -> tuple[Image.Image, Image.Image]:
    """Map and overlay of one photo."""
    file = photo_path(segmenter.photos.folder or '', photo.name)
    pixels = read_rgb(file, value_range=segmenter.fine_tuned.value_range)
    overlay = lay_over(np.asarray(pixels), photo.labels, colours, args.share)
    return as_palette_image(photo.labels, colours), Image.fromarray(overlay)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    with one_line_errors():
        run(args)


if __name__ == '__main__':
    main()
