"""What a checkpoint's features know of one's own classes: ``probe.py CHECKPOINT FOLDER``.

    python tools/probe.py CHECKPOINT FOLDER
    python tools/probe.py CHECKPOINT FOLDER --ask PHOTOS --out FILE.csv

FOLDER has a folder of photos for each class. k photos of each class are labelled, all others asked
about, by ridge regression on frozen features; another draw of labelled photos 40 times. Beside the
features stand 4 × 4 mean colours: features that are no better know nothing of the classes that
colours do not tell. With --ask, all photos of FOLDER teach which class other photos are of.

Any checkpoint serves, also of a tokenizer or fine-tuned. ``mmbeitv2 few-shot`` compares one of
pretraining with its own random weights and its teacher too.
"""

import argparse
import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import few_shot
import torch
import torch.nn.functional as F
from frozen_networks import BATCH
from labelled_photos import Photos, check_classes, check_read, find_photos, print_copies
from torch import Tensor

from mmbeitv2.apis import embed, read_photos
from mmbeitv2.checkpoints.atomic import check_writable
from mmbeitv2.datasets.listing import photo_path
from mmbeitv2.datasets.photo_list import list_photos
from mmbeitv2.errors import ExistingFileError, InputError
from mmbeitv2.evaluation.few_shot import ridge_probe
from mmbeitv2.exchange.embeddings import Embeddings, read_embeddings
from mmbeitv2.launch.photo_arguments import (
    add_label_column,
    add_photo_arguments,
    print_unread,
    reading_options,
)
from mmbeitv2.launch.user_errors import one_line_errors

NAMES = dict(cls='[CLS]', mean='mean of patches')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of any kind')
    parser.add_argument(
        'folder', type=Path, help='of a folder of photos per class, or tars or tables with labels'
    )
    parser.add_argument('--shots', type=int, nargs='+', default=[1, 2, 5, 10, 20], metavar='K')
    parser.add_argument('--draws', type=int, default=40)
    parser.add_argument(
        '--ask',
        metavar='PHOTOS',
        help='to classify: folder, photo, list, tar, Parquet or LMDB file, folder of save_to_disk',
    )
    parser.add_argument('--out', type=Path, metavar='FILE.csv', help='classes of --ask')
    parser.add_argument('--feature', choices=list(NAMES), default='mean', help='of --ask')
    add_label_column(parser)
    add_photo_arguments(parser)
    return parser.parse_args(argv)


def embedded(args: argparse.Namespace, photos: str | Path) -> Embeddings:
    """Features of photos, unreadable ones left out."""
    with tempfile.TemporaryDirectory() as folder:
        options = reading_options(args)
        done = embed(args.checkpoint, photos, Path(folder, 'all.npz'), progress=True, **options)
        print_unread(done.unread, done.photos + len(done.unread))
        return read_embeddings(done.path)


def mean_colours(args: argparse.Namespace, found: Embeddings) -> Tensor:
    """What few-shot compares with, of the same photos."""
    paths = [photo_path(args.folder, name) for name in found.paths]
    size, value_range = found.meta['size'], found.meta.get('value_range')
    parts = []
    for start in range(0, len(paths), BATCH):
        pixels = read_photos(paths[start : start + BATCH], size, value_range)
        parts.append(F.adaptive_avg_pool2d(pixels.float(), few_shot.COLOUR_GRID).flatten(1))
    return torch.cat(parts)


def run(args: argparse.Namespace) -> None:
    """Evaluate, print, and classify other photos."""
    if (args.ask is None) != (args.out is None):
        raise InputError('--ask PHOTOS and --out FILE.csv belong together: give both')
    if args.out is not None:
        check_writable(args.out)
        if args.out.exists():
            raise ExistingFileError(f'{args.out} is there already: give another --out')
    few_shot.check_draws(args.shots, args.draws)
    if args.ask is not None:
        list_photos(args.ask, args.image_column)
    labelled = find_photos(args.folder, None, args.image_column, args.label_column)
    check_classes(labelled)
    found = embedded(args, args.folder)
    of_class = dict(zip(labelled.paths, labelled.classes))
    paths = [photo_path(args.folder, name) for name in found.paths]
    rows = [i for i, path in enumerate(paths) if path in of_class]
    classes = [of_class[paths[i]] for i in rows]
    read = Photos([paths[i] for i in rows], classes, None)
    check_read(labelled, read)
    check_classes(read)
    features = {NAMES[k]: torch.from_numpy(found.arrays[k])[rows] for k in NAMES}
    compared = features | {few_shot.COLOURS: mean_colours(args, found)[rows]}
    print_copies(read.paths, compared[few_shot.COLOURS])
    answer = few_shot.evaluate(compared, classes, args.shots, args.draws)
    print(few_shot.table('accuracy in per cent', answer))
    if args.ask is not None:
        classify(args, features[NAMES[args.feature]], classes)


def classify(args: argparse.Namespace, features: Tensor, classes: Sequence[str]) -> None:
    """Write the classes of other photos, which all labelled ones teach."""
    asked = embedded(args, args.ask)
    names = sorted(set(classes))
    labels = torch.tensor([names.index(name) for name in classes])
    found = ridge_probe(features, labels, torch.from_numpy(asked.arrays[args.feature]))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open('w', encoding='utf-8', errors='backslashreplace', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['photo', 'class'])
        writer.writerows((path, names[i]) for path, i in zip(asked.paths, found.tolist()))
    print(f'\n{len(asked.paths)} photos in {args.out}')


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    with one_line_errors():
        run(args)


if __name__ == '__main__':
    main()
