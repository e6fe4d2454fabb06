"""Photos most like a photo: ``python tools/nearest.py CHECKPOINT PHOTOS PHOTO``.

    python tools/nearest.py CHECKPOINT PHOTOS PHOTO
    python tools/nearest.py FILE.npz PHOTO

The latter takes the features of a file that ``mmbeitv2 embed`` wrote, also .parquet, and a photo
that is in it; another one needs --checkpoint, the one of the file. The cosine of two features says
how alike photos are.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import numpy as np

from mmbeitv2.apis.embedding import digest_of, embed, unusual_views
from mmbeitv2.apis.encoder import load_encoder
from mmbeitv2.apis.nearest import Neighbour, nearest
from mmbeitv2.checkpoints.atomic import check_writable
from mmbeitv2.datasets.listing import photo_path
from mmbeitv2.datasets.photo_list import list_photos
from mmbeitv2.errors import InputError, MissingFileError
from mmbeitv2.exchange.embeddings import SUFFIXES, Embeddings, read_embeddings
from mmbeitv2.launch.photo_arguments import add_photo_arguments, print_unread, reading_options
from mmbeitv2.launch.user_errors import one_line_errors

# Of a file of embeddings, what a photo's feature must have in common with it.
MADE_BY = ('checkpoint', 'num_heads', 'normalization')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', help='checkpoint, or file of embeddings')
    parser.add_argument('photos', nargs='+', help='[PHOTOS] PHOTO')
    parser.add_argument('--count', type=int, default=10, metavar='N', help='photos to name')
    parser.add_argument('--feature', choices=['mean', 'cls'], default='mean')
    parser.add_argument('--checkpoint', help='of the embeddings, for a photo that they lack')
    parser.add_argument('--picture', type=Path, metavar='FILE.png', help='draw the photos')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write names and cosines too')
    add_photo_arguments(parser)
    return parser.parse_args(argv)


def of_checkpoint(args: argparse.Namespace) -> tuple[np.ndarray, Embeddings]:
    """Feature of the photo and those of all, which are computed."""
    options = reading_options(args)
    photos, photo = args.photos
    list_photos(photo)
    with tempfile.TemporaryDirectory() as folder:
        done = embed(args.source, photos, Path(folder, 'all.npz'), progress=True, **options)
        print_unread(done.unread, done.photos + len(done.unread))
        found = read_embeddings(done.path, [args.feature])
    return feature_of(photo, args.source, found, args), found


def of_file(args: argparse.Namespace) -> tuple[np.ndarray, Embeddings]:
    """Feature of the photo and those of all, which a file holds."""
    (photo,) = args.photos
    found = read_embeddings(args.source, [args.feature])
    folder = Path(found.meta['folder'])
    places = {path: row for row, path in enumerate(found.paths)}
    row, given = places.get(photo), Path(photo).resolve()
    if row is not None and given.is_file() and given != (folder / photo).resolve():
        raise InputError(
            f'{photo} is the name of a photo in {args.source}, and of another file here: give the '
            'absolute path of the one that is meant'
        )
    if row is None:
        row = next((n for path, n in places.items() if (folder / path).resolve() == given), None)
    if row is not None:
        return found.arrays[args.feature][row], found
    if args.checkpoint is None:
        raise MissingFileError(
            f'{args.source} has no photo {photo!r}, it has {len(places)} such as '
            f'{found.paths[0]!r}: give one of these, or --checkpoint to embed another'
        )
    return feature_of(photo, args.checkpoint, found, args), found


def feature_of(
    photo: str, checkpoint: str, found: Embeddings, args: argparse.Namespace
) -> np.ndarray:
    """Feature of a photo by the checkpoint, and at the size, of the others' features."""
    options = reading_options(args)
    encoder = load_encoder(
        checkpoint,
        size=found.meta['size'],
        num_heads=options['num_heads'],
        device=options['device'],
        precision=options['precision'],
        trust=options['trust'],
        value_range=options['value_range'] or found.meta.get('value_range'),
    )
    made = dict(checkpoint=digest_of(encoder.vit), **unusual_views(encoder, codes=False))
    if any(made.get(name) != found.meta.get(name) for name in MADE_BY):
        raise InputError(
            f'{checkpoint} is not the checkpoint of {args.source}, or has other heads or another '
            'normalisation: features of two models cannot be compared'
        )
    return encoder.from_photo(photo)[args.feature].numpy()


def run(args: argparse.Namespace) -> list[Neighbour]:
    """Find, print and draw."""
    of_embeddings = Path(args.source).suffix in SUFFIXES
    if len(args.photos) != (1 if of_embeddings else 2):
        what = 'a file of embeddings and PHOTO' if of_embeddings else 'CHECKPOINT PHOTOS PHOTO'
        raise InputError(f'{len(args.photos) + 1} arguments are given, expected {what}')
    if args.picture is not None and args.picture.suffix != '.png':
        raise InputError(f'--picture is {args.picture}, but must end in .png')
    if args.count < 1:
        raise InputError(f'--count is {args.count}, but must be 1 or more')
    for path in (args.json, args.picture):
        if path is not None:
            check_writable(path)
    feature, found = (of_file if of_embeddings else of_checkpoint)(args)
    neighbours = nearest(feature, found.arrays[args.feature], found.paths, args.count)
    for one in neighbours:
        print(f'{one.cosine:.4f}  {one.name}')
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps([one._asdict() for one in neighbours], indent=1))
    if args.picture is not None:
        # Drawing alone needs matplotlib.
        from mmbeitv2.visualization.photo_grid import draw_photos

        paths = [photo_path(found.meta['folder'], one.name) for one in neighbours]
        titles = [f'{one.cosine:.3f}' for one in neighbours]
        draw_photos(paths, titles, args.picture, found.meta.get('value_range'))
    return neighbours


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    with one_line_errors():
        run(args)


if __name__ == '__main__':
    main()
