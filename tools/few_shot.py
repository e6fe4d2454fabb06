"""What a few labels are worth on the features of a pretrained model, and on those of others.

    python tools/few_shot.py CHECKPOINT FOLDER

FOLDER has a folder of photos for each class. k photos of each class are labelled, all others asked
about, by ridge regression on frozen features: another draw of labelled photos 40 times, the same
draws for all features. Beside the pretrained features are those of the same network with random
weights, 4 × 4 mean colours, the codes that it was asked for, if the checkpoint has its tokenizer,
and, given its config, the tokenizer's teacher.

With --groups, a table that says what each photo shows (which individual, object, patient, place), a
second question is asked: labelled and asked photos then show different ones.

    python tools/few_shot.py CHECKPOINT FOLDER [FOLDER ...] --train FOLDER --shots 1 4 16

takes the labels from other photos, those of a training set: k of each class, drawn 40 times, and
all of them. With --groups the k photos show different things. All photos of the other folders are
asked about.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import numpy as np
import torch
import torch.nn.functional as F
from frozen_networks import (
    TEACHER,
    Networks,
    add_network_arguments,
    code_vectors,
    networks,
    photos_of,
    tokens_of,
)
from labelled_photos import (
    Photos,
    check_classes,
    check_read,
    find_photos,
    print_copies,
    some_of_each,
)
from mmengine.logging import MMLogger
from torch import Tensor

from mmbeitv2.checkpoints.atomic import check_writable
from mmbeitv2.errors import InputError
from mmbeitv2.evaluation.few_shot import Accuracy, draw_episodes, few_shot_accuracy
from mmbeitv2.evaluation.labelled import ALL, ProbeAccuracy, draws_of, probe_accuracy
from mmbeitv2.launch.photo_arguments import add_image_column, add_label_column
from mmbeitv2.launch.user_errors import one_line_errors

COLOUR_GRID = 4
COLOURS = 'mean colours, 4 × 4'
CODES = 'codes, mean of their vectors'
OTHER_PHOTOS, OTHER_THINGS = 'other photos', 'photos of other things'

Accuracies = dict[str, dict[int | str, Accuracy | ProbeAccuracy]]


class Answer(NamedTuple):
    """Accuracies by features and number of labelled photos, of so many classes.

    ``training`` is the number of photos a class that all labels are, where others are asked about;
    ``remarks`` say which numbers of labelled photos not every class has.
    """

    classes: int
    features: Accuracies
    training: float | None = None
    remarks: Sequence[str] = ()


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of pretraining')
    parser.add_argument(
        'folders',
        type=Path,
        nargs='+',
        metavar='FOLDER',
        help='of a folder of photos per class, or tars or tables with labels',
    )
    parser.add_argument('--shots', type=int, nargs='+', default=[1, 2, 5, 10, 20], metavar='K')
    parser.add_argument('--draws', type=int, default=40)
    parser.add_argument(
        '--groups',
        type=Path,
        metavar='FILE.csv',
        help='first column: photo, relative to the table; last column: what it shows',
    )
    parser.add_argument(
        '--train', type=Path, metavar='FOLDER', help='the labels come from these photos instead'
    )
    parser.add_argument(
        '--train-photos', type=int, metavar='N', help='use so many of them (default: all)'
    )
    parser.add_argument('--json', type=Path, help='write the accuracies of every draw here too')
    add_image_column(parser)
    add_label_column(parser)
    add_network_arguments(parser)
    return parser.parse_args(argv)


def check_draws(shots: Sequence[int], draws: int, least: int = 2) -> None:
    """Refuse numbers that no table can be made of, before any photo is read.

    Args:
        shots: numbers of labelled photos of a class.
        draws: of labelled photos.
        least: draws that have an interval: two, or one where that is over the photos.

    Raises:
        UserError: no labelled photos, or too few draws.
    """
    if min(shots) < 1:
        raise InputError(f'--shots has {min(shots)}, allowed: 1 or more labelled photos of a class')
    if draws < least:
        raise InputError(f'--draws is {draws}, but must be {least} or more')


def features_of(photos: Photos, found: Networks) -> tuple[Photos, dict[str, Tensor]]:
    """Those photos that can be read, and their features by name, ``(N, C)`` each."""
    places: list[int] = []
    parts: dict[str, list[Tensor]] = {}
    for positions, pixels in photos_of(found, photos.paths):
        places += positions
        for name, value in _features(found, pixels):
            parts.setdefault(name, []).append(value)
    read = photos.some(places)
    check_read(photos, read)
    return read, {name: torch.cat(values) for name, values in parts.items()}


def _features(found: Networks, pixels: Tensor) -> Iterator[tuple[str, Tensor]]:
    tokens = dict(tokens_of(found, pixels))
    # In the order of the table: ours, colours, what was asked for, the teacher.
    teacher = tokens.pop(TEACHER, None)
    for name, (cls, patches) in tokens.items():
        yield f'{name}, [CLS]', cls
        yield f'{name}, mean of patches', patches.mean(1)
    yield COLOURS, F.adaptive_avg_pool2d(pixels.float(), COLOUR_GRID).flatten(1)
    codes = code_vectors(found, pixels)
    if codes is not None:
        yield CODES, codes.mean(1)
    if teacher is not None:
        yield TEACHER, teacher.patches.mean(1)


def shots_given(
    labelled: Mapping[int, Sequence[np.ndarray]], classes: Sequence[str]
) -> tuple[list[int], list[str]]:
    """Numbers of labelled photos that a class has, and what is to be said of them and the others.

    Args:
        labelled: positions of the labelled photos of each draw, by the number asked for.
        classes: of all photos.

    Raises:
        UserError: no class has as many labelled photos as any of the numbers.
    """
    names, numbers = np.unique(classes, return_inverse=True)
    # Fewest of each class, and most of any, over the draws: where photos show few things, a half of
    # these has more photos in one draw than in another.
    given = {
        shots: np.array([np.bincount(numbers[drawn], minlength=len(names)) for drawn in draws])
        for shots, draws in labelled.items()
    }
    most = max(int(counts.max()) for counts in given.values())
    kept = [shots for shots in given if shots <= most]
    if not kept:
        raise InputError(
            f'--shots has {min(given)}, but no class has more than {most} photos to be labelled: '
            'take fewer, or add photos'
        )
    remarks = []
    for shots in kept:
        fewest = given[shots].min(0)
        if few := int((fewest < shots).sum()):
            remarks.append(
                f'of {shots} labelled, {few} of {len(names)} classes have fewer, as few as '
                f'{fewest.min()} of the class {str(names[fewest.argmin()])!r}'
            )
    if left_out := [str(shots) for shots in given if shots > most]:
        remarks.append(
            f'left out: {", ".join(left_out)} labelled, for no class has more than {most} photos '
            'to be labelled'
        )
    return kept, remarks


def evaluate(
    features: Mapping[str, Tensor],
    classes: Sequence[str],
    shots: Sequence[int],
    draws: int,
    groups: Sequence[str] | None = None,
) -> Answer:
    """Ask about all photos that are not labelled.

    Args:
        features: of the photos, by name.
        classes: of the photos.
        shots: numbers of labelled photos of a class.
        draws: of labelled photos.
        groups: what the photos show; None to ask about other photos of the same things too.

    Raises:
        UserError: no class has so many photos, or groups that cannot be parted.
    """
    names = sorted(set(classes))
    labels = [names.index(name) for name in classes]
    # By name, which is what a refusal names.
    episodes = {k: list(draw_episodes(classes, k, draws, groups=groups)) for k in shots}
    labelled = {k: [episode.support for episode in drawn] for k, drawn in episodes.items()}
    kept, remarks = shots_given(labelled, classes)
    accuracies = {
        name: {k: few_shot_accuracy(values, labels, episodes[k]) for k in kept}
        for name, values in features.items()
    }
    return Answer(len(names), accuracies, remarks=remarks)


def ask(args: argparse.Namespace) -> dict[str, Answer]:
    """Ask one question, or two where it is known what photos show; print each as a table."""
    if len(args.folders) > 1 or args.train_photos is not None:
        raise InputError('more folders than one, and --train-photos, need --train FOLDER.')
    folder = args.folders[0]
    photos = find_photos(folder, args.groups, args.image_column, args.label_column)
    check_classes(photos)
    photos, features = features_of(photos, networks(args))
    check_classes(photos)
    print_copies(photos.paths, features[COLOURS])
    results = {OTHER_PHOTOS: evaluate(features, photos.classes, args.shots, args.draws)}
    print(table(f'{folder}, {OTHER_PHOTOS}', results[OTHER_PHOTOS]))
    if photos.groups is None:
        return results
    things = {c: set() for c in photos.classes}
    for name, group in zip(photos.classes, photos.groups):
        things[name].add(group)
    kept = [i for i, name in enumerate(photos.classes) if len(things[name]) > 1]
    classes, groups = ([column[i] for i in kept] for column in (photos.classes, photos.groups))
    if len(set(classes)) < 2:
        raise InputError(f'{args.groups}: fewer than 2 classes show more than one thing.')
    features = {name: values[kept] for name, values in features.items()}
    results[OTHER_THINGS] = evaluate(features, classes, args.shots, args.draws, groups)
    print(table(f'{folder}, {OTHER_THINGS}', results[OTHER_THINGS]))
    left_out = sorted(set(photos.classes) - set(classes))
    if left_out:
        print(f'left out, for they show one thing only: {", ".join(left_out)}')
    return results


def ask_others(args: argparse.Namespace) -> dict[str, Answer]:
    """Label training photos, ask about all photos of every folder; print each as a table.

    Raises:
        UserError: a class that the training photos lack, fewer training photos of every class than
            are to be labelled, and what the parts refuse.
    """
    training = find_photos(args.train, args.groups, args.image_column, args.label_column)
    if args.train_photos is not None:
        training = some_of_each(training, args.train_photos)
    names = sorted(set(training.classes))
    asked = [
        find_photos(folder, None, args.image_column, args.label_column) for folder in args.folders
    ]
    for folder, photos in zip(args.folders, asked):
        if unknown := set(photos.classes) - set(names):
            raise InputError(
                f'{folder} asks about {min(unknown)!r}, but {args.train} has no photo of it: '
                f'allowed are {", ".join(names)}.'
            )
    found = networks(args)
    sets, parts = zip(*(features_of(photos, found) for photos in (training, *asked)))
    training = sets[0]
    labels = [[names.index(name) for name in photos.classes] for photos in sets]
    drawn = draws_of(labels[0], args.shots, args.draws, training.groups)
    kept, remarks = shots_given({k: drawn[k] for k in args.shots}, training.classes)
    drawn = {k: drawn[k] for k in (*kept, ALL)}
    features = {name: [part[name] for part in parts] for name in parts[0]}
    paths = [path for photos in sets for path in photos.paths]
    print_copies(paths, torch.cat(features[COLOURS]), len(training.paths))
    answers = []
    for number, folder in enumerate(args.folders, 1):
        accuracies = {
            name: {
                k: probe_accuracy((values[0], labels[0]), (values[number], labels[number]), draws)
                for k, draws in drawn.items()
            }
            for name, values in features.items()
        }
        answers.append(Answer(len(names), accuracies, len(training.paths) / len(names), remarks))
        print(table(f'{folder}, labels of {args.train}', answers[-1]))
    return dict(zip(names_of(args.folders), answers))


def names_of(folders: Sequence[Path]) -> list[str]:
    """The last part of each path; the whole where several share it, or it is the folder '.'."""
    counts = Counter(folder.name for folder in folders)
    return [f.name if f.name and counts[f.name] == 1 else str(f) for f in folders]


def table(title: str, answer: Answer) -> str:
    """Accuracies in per cent with their intervals, a row for each features, and the remarks."""
    shots = next(iter(answer.features.values()))
    rows = [[f'{title}, {answer.classes} classes', *(f'{k} labelled' for k in shots)]]
    for name, by_shots in answer.features.items():
        cells = (f'{100 * a.mean:.1f} ± {100 * a.interval:.1f}' for a in by_shots.values())
        rows.append([name, *cells])
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        '  '.join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))])
        for row in rows
    ]
    return '\n'.join(['', *lines, *answer.remarks])


def as_json(results: Mapping[str, Answer]) -> dict:
    """Accuracy of every draw, by question, features and number of labelled photos.

    Asked about other photos, with the number of training photos a class and the intervals.
    """
    found = {}
    for question, answer in results.items():
        tables = {'features': lambda a: a.draws.tolist()}
        if answer.training is not None:
            tables['intervals'] = lambda a: a.interval
        found[question] = dict(classes=answer.classes, training_photos_a_class=answer.training) | {
            key: {
                name: {str(k): value(accuracy) for k, accuracy in by_shots.items()}
                for name, by_shots in answer.features.items()
            }
            for key, value in tables.items()
        }
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    # The initial values of every parameter would bury the tables.
    MMLogger.get_instance('few-shot', log_level='WARNING')
    with one_line_errors():
        check_draws(args.shots, args.draws, least=2 if args.train is None else 1)
        if args.json is not None:
            check_writable(args.json)
        results = ask(args) if args.train is None else ask_others(args)
        if args.json is not None:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps(as_json(results)) + '\n')


if __name__ == '__main__':
    main()
