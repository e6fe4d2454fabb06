"""What frozen patch features know of what lies where: linear segmentation, nothing trained.

    python tools/dense_probe.py CHECKPOINT PHOTOS ANNOTATIONS

PHOTOS is a folder, ANNOTATIONS one with a PNG of the same name for each of them, whose values are
the class of each pixel (255: none), as mmsegmentation reads them. A linear layer on the frozen
features of a patch is fitted in closed form to one half of the photos and asked about the other,
and the other way round, so that every photo is asked about once; with --train, to the photos of
other folders. Beside the pretrained features are those of the same network with random weights, the
4 × 4 colours of the patch, and, given its config, the tokenizer's teacher. Photos are seen as the
checkpoint's run saw its validation photos: centres, at its size.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as tv
from frozen_networks import (
    PRETRAINED,
    RANDOM,
    TEACHER,
    Networks,
    add_network_arguments,
    grid_of,
    networks,
    photos_of,
    tokens_of,
)
from mmengine.logging import MMLogger
from torch import Tensor

from mmbeitv2.checkpoints.atomic import check_writable
from mmbeitv2.datasets.decoding import image_size
from mmbeitv2.datasets.listing import LeftOut, readable_extensions, walk_images
from mmbeitv2.datasets.segmentation import mask_error, read_mask
from mmbeitv2.errors import InputError, MissingFileError
from mmbeitv2.evaluation.bootstrap import Outcomes, paired_interval, score
from mmbeitv2.evaluation.dense_probe import class_shares, fit_dense_probe
from mmbeitv2.evaluation.outcomes import IGNORED, class_areas
from mmbeitv2.launch.user_errors import one_line_errors

COLOURS = 'colours of the patch, 4 × 4'
COLOUR_GRID = 4


class Scenes(NamedTuple):
    """Photos, the class of each of their pixels int64 ``(N, H, W)``, and their features by name."""

    paths: list[Path]
    labels: Tensor
    features: dict[str, Tensor]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of pretraining')
    parser.add_argument('photos', type=Path, metavar='PHOTOS')
    parser.add_argument('annotations', type=Path, metavar='ANNOTATIONS')
    parser.add_argument(
        '--train',
        type=Path,
        nargs=2,
        metavar=('PHOTOS', 'ANNOTATIONS'),
        help='the labels come from these photos instead',
    )
    parser.add_argument(
        '--reduce-zero-label',
        action='store_true',
        help='0 in annotations is no class and 1 the first one, as in ADE20K',
    )
    parser.add_argument(
        '--max-photos', type=int, default=1000, help='of a folder, drawn (default: 1000)'
    )
    parser.add_argument('--json', type=Path, help='write what is right on each photo here too')
    add_network_arguments(parser)
    args = parser.parse_args(argv)
    if args.max_photos < 2:
        parser.error(f'--max-photos is {args.max_photos}, allowed: 2 or more')
    return args


def pairs(photos: Path, annotations: Path, most: int) -> list[tuple[Path, Path]]:
    """Photos with their annotations, in order.

    Raises:
        UserError: no such folder, fewer than two photos, or one without annotation.
    """
    for folder, what in ((photos, 'photos'), (annotations, 'annotations')):
        if not folder.is_dir():
            raise MissingFileError(f'no folder {folder}: it is to hold {what}.')
    left_out = LeftOut()
    names = sorted(walk_images(photos, readable_extensions(), left_out))
    if left_out.names:
        print(f'{photos}: {left_out}')
    if len(names) < 2:
        raise InputError(f'{photos} has {len(names)} photos, needed are 2 or more.')
    if len(names) > most:
        names = sorted(np.random.default_rng(0).choice(names, most, replace=False).tolist())
    found = [(photos / name, (annotations / name).with_suffix('.png')) for name in names]
    photo_of: dict[Path, Path] = {}
    for photo, annotation in found:
        if photo_of.setdefault(annotation, photo) != photo:
            raise InputError(
                f'{photo_of[annotation]} and {photo} have one annotation, {annotation}: rename one '
                'of the two, or leave it out.'
            )
        if not annotation.is_file():
            raise MissingFileError(
                f'{photo} has no annotation {annotation}: add it, a PNG with the class of each '
                'pixel, or leave the photo out.'
            )
    return found


def read_labels(photo: Path, path: Path, size: int, reduce_zero_label: bool) -> Tensor:
    """Class of each pixel of the centre, int64 ``(size, size)``, cut as ``read_photos`` cuts.

    Raises:
        UserError: an annotation that cannot be read, with colours instead of classes, or of another
            size than its photo, such as one that was drawn on the photo turned by its EXIF.
    """
    mask = read_mask(path)
    error = mask_error(mask, image_size(photo)[::-1], IGNORED, reduce_zero_label)
    if error is not None:
        raise InputError(f'the annotation {path} {error}')
    values = torch.from_numpy(mask.astype(np.int64))[None]
    values = tv.resize(values, [size], tv.InterpolationMode.NEAREST_EXACT, antialias=False)
    labels = tv.center_crop(values, [size])[0]
    if reduce_zero_label:
        labels = torch.where((labels == 0) | (labels == IGNORED), IGNORED, labels - 1)
    return labels


def read_scenes(
    found: Sequence[tuple[Path, Path]], compared: Networks, reduce_zero_label: bool
) -> Scenes:
    """Labels and features of all photos that can be read."""
    size = compared.models[PRETRAINED].backbone.img_size[0]
    paths = [photo for photo, _ in found]
    labels = torch.stack([read_labels(*pair, size, reduce_zero_label) for pair in found])
    parts: dict[str, list[Tensor]] = {}
    read: list[int] = []
    for positions, pixels in photos_of(compared, paths):
        read += positions
        for name, tokens in patch_features(compared, pixels):
            parts.setdefault(name, []).append(tokens)
    features = {name: torch.cat(values) for name, values in parts.items()}
    return Scenes([paths[i] for i in read], labels[read], features)


def patch_features(compared: Networks, pixels: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Name and features of the patches, float ``(B, C, h, w)``."""
    grid = grid_of(compared, pixels)
    fine = [COLOUR_GRID * side for side in grid]
    colours = F.pixel_unshuffle(F.adaptive_avg_pool2d(pixels.float(), fine), COLOUR_GRID)
    tokens = dict(tokens_of(compared, pixels))
    # In the order of the table: ours, colours, the teacher.
    teacher = tokens.pop(TEACHER, None)
    for name, features in tokens.items():
        yield name, features.patches.mT.unflatten(2, grid)
    yield COLOURS, colours
    if teacher is not None:
        yield TEACHER, teacher.patches.mT.unflatten(2, grid)


def answers(asked: Scenes, training: Scenes | None) -> dict[str, Outcomes]:
    """Intersection and union of every class on each photo, by features.

    Raises:
        UserError: no annotation names a class.
    """
    labels = [scenes.labels for scenes in (asked, training) if scenes is not None]
    known = torch.cat([values[values != IGNORED] for values in labels])
    if len(known) == 0:
        raise InputError(f'no annotation names a class: all pixels are {IGNORED}.')
    num_classes = int(known.max()) + 1
    found = {}
    for name in asked.features:
        maps = class_maps(name, asked, training, num_classes)
        areas = [class_areas(*both, num_classes) for both in zip(maps, asked.labels)]
        found[name] = Outcomes(*(np.stack(side) for side in zip(*areas)))
    return found


def class_maps(name: str, asked: Scenes, training: Scenes | None, num_classes: int) -> Tensor:
    """Class of every pixel by one kind of features, int64 ``(N, H, W)``.

    Args:
        name: of the features.
        asked: the photos.
        training: those that are labelled; None for the other half of ``asked``.
        num_classes: K.
    """
    features, size = asked.features[name], tuple(asked.labels.shape[-2:])
    grid = tuple(features.shape[-2:])
    if training is not None:
        shares = class_shares(training.labels, grid, num_classes)
        return fit_dense_probe(training.features[name], shares).class_map(features, size)
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))
    maps = torch.empty_like(asked.labels)
    for labelled, questions in (halves := order.tensor_split(2)), halves[::-1]:
        shares = class_shares(asked.labels[labelled], grid, num_classes)
        probe = fit_dense_probe(features[labelled], shares)
        maps[questions] = probe.class_map(features[questions], size)
    return maps


def table(title: str, outcomes: Mapping[str, Outcomes]) -> str:
    """mIoU in per cent, and what it gains over random weights, a row for each features."""
    lines = ['', f'{title}: mIoU, and beyond random weights [95 % interval over photos]']
    width = max(map(len, outcomes))
    for name, found in outcomes.items():
        line = f'{name.ljust(width)}  {100 * float(score(found)[0]):5.1f}'
        if name != RANDOM:
            gain = float((score(found) - score(outcomes[RANDOM]))[0])
            low, high = paired_interval(found, outcomes[RANDOM])
            line += f'  {100 * gain:+.1f} [{100 * low:+.1f} to {100 * high:+.1f}]'
        lines.append(line)
    return '\n'.join(lines)


def as_json(asked: Scenes, outcomes: Mapping[str, Outcomes]) -> dict:
    """What is right of what was asked on each photo, as runs leave it, by features."""
    return dict(
        photos=['/'.join(path.parts[-2:]) for path in asked.paths],
        outcomes={
            name: {side: values.tolist() for side, values in found._asdict().items()}
            for name, found in outcomes.items()
        },
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    # The initial values of every parameter would bury the table.
    MMLogger.get_instance('dense-probe', log_level='WARNING')
    with one_line_errors():
        if args.json is not None:
            check_writable(args.json)
        places = [(args.photos, args.annotations), *([args.train] if args.train else [])]
        found = [pairs(*place, args.max_photos) for place in places]
        compared = networks(args)
        scenes = [read_scenes(several, compared, args.reduce_zero_label) for several in found]
        asked, training = scenes[0], scenes[1] if args.train else None
        outcomes = answers(asked, training)
        labelled = f'labels of {args.train[0]}' if args.train else 'labels of the other half'
        print(table(f'{args.photos}, {labelled}', outcomes))
        if args.json is not None:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps(as_json(asked, outcomes)) + '\n')


if __name__ == '__main__':
    main()
