"""Write smaller copies of a folder's photos, which training reads faster.

    python tools/prepare_images.py data/imagenet/train data/imagenet-320/train --short-side 320

The short side is reduced to ``--short-side``, never enlarged; folders and names stay as they are,
but a photo that is no JPEG and is reduced gets ``.jpg`` in addition. Photos that are small enough
are copied byte for byte. A run that was stopped goes on where it was; a copy is made again if its
photo has changed since or is another file, also below a folder that was renamed. At the end both
folders are read by the random crop of fine-tuning, and the gain is printed.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import torch
from smaller_photos import (
    PART,
    Originals,
    check_names,
    copies_of,
    end_with_parent,
    photos,
    prepare,
    without_original,
    write,
)
from tqdm import tqdm

from mmbeitv2.checkpoints.atomic import check_writable
from mmbeitv2.datasets import LoadRandomCrop
from mmbeitv2.datasets.decoding import check_value_range
from mmbeitv2.errors import InputError, MissingFileError, UnreadableFileError
from mmbeitv2.launch.loaders import cores_of_process
from mmbeitv2.launch.photo_arguments import add_value_range
from mmbeitv2.launch.user_errors import one_line_errors

RECORD = 'prepared.json'
SHORT_SIDES = (32, 4096)
QUALITIES = (1, 100)
TIMED_IMAGES = 200
NAMED_FAILURES = 10


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help='photos at any depth')
    parser.add_argument('out', type=Path, help='new folder, or that of a run to go on with')
    parser.add_argument(
        '--short-side',
        type=int,
        default=320,
        metavar='PIXELS',
        help='256 to 512 serve for training at 224 (default: 320)',
    )
    parser.add_argument('--quality', type=int, default=90, help='of JPEG, 1 to 100 (default: 90)')
    add_value_range(parser)
    parser.add_argument(
        '--workers', type=int, default=cores_of_process('none'), help='processes (default: cores)'
    )
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> None:
    """Check the arguments, and that the output folder is new or of the same settings.

    Raises:
        FileNotFoundError: the folder of the photos does not exist.
        ValueError: a number is out of its range, or the output folder holds something else.
        OSError: the output folder cannot be written.
    """
    check_writable(args.out, folder=True)
    for name, value, (least, most) in (
        ('--short-side', args.short_side, SHORT_SIDES),
        ('--quality', args.quality, QUALITIES),
        ('--workers', args.workers, (1, 1024)),
    ):
        if not least <= value <= most:
            raise InputError(f'{name} is {value}, but must be from {least} to {most}')
    if not args.folder.is_dir():
        raise MissingFileError(f'{args.folder} is no folder: give the one with the photos')
    check_value_range(args.value_range)
    source, target = args.folder.resolve(), args.out.resolve()
    if target == source or source in target.parents or target in source.parents:
        raise InputError(
            f'{args.out} and {args.folder} lie in one another: give a folder beside it, such as '
            f'{source.with_name(f"{source.name}-{args.short_side}")}'
        )
    _check_record(args)


def settings_of(args: argparse.Namespace) -> dict:
    """What the copies depend on, as it is kept in their folder."""
    settings = dict(
        folder=str(args.folder.resolve()), short_side=args.short_side, quality=args.quality
    )
    # Left out without one, as folders of earlier versions have it.
    return settings | (dict(value_range=args.value_range) if args.value_range else {})


def _check_record(args: argparse.Namespace) -> None:
    settings = settings_of(args)
    record = args.out / RECORD
    if record.is_file():
        try:
            found = json.loads(record.read_text())
        except ValueError as error:
            raise InputError(
                f'{record} is damaged: {error}. Remove it with its folder, or write {settings}'
            ) from error
        if found != settings:
            raise InputError(
                f'{args.out} was prepared with {found}, but now {settings} are asked for: give '
                'the same, or another output folder'
            )
    elif args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise InputError(
            f'{args.out} exists and was not made by this tool: give a new or empty folder'
        )


def prepare_all(args: argparse.Namespace, names: Sequence[Path]) -> dict[Path, str]:
    """Write all smaller photos, with a progress bar; return what is wrong with files, by name."""
    for part in args.out.rglob(f'*{PART}'):
        # Of a run that was killed.
        part.unlink()
    work = partial(
        prepare,
        folder=args.folder,
        out=args.out,
        short_side=args.short_side,
        quality=args.quality,
        value_range=args.value_range,
    )
    progress = partial(
        tqdm,
        total=len(names),
        desc='photos',
        unit=' images',
        # A file or a pipe keeps every line that a terminal would overwrite.
        mininterval=1 if sys.stderr.isatty() else 30,
    )
    originals = Originals(args.out, names)
    noted = [originals.of(name) for name in names]
    failures = {}
    with ExitStack() as stack:
        note = stack.enter_context(originals.noting())
        if args.workers == 1:
            made = map(work, names, noted)
        else:
            pool = ProcessPoolExecutor(args.workers, initializer=end_with_parent)
            made = stack.enter_context(pool).map(work, names, noted, chunksize=32)
        for name, (original, failure) in zip(names, progress(made), strict=True):
            if failure is not None:
                failures[name] = failure
            elif original != originals.of(name):
                note(name, original)
    return failures


def loading_rate(paths: Sequence[Path], value_range: Sequence[float] | None = None) -> float:
    """Images a second of one core that fine-tuning's random crop reads, by processor time."""
    torch.set_num_threads(1)
    load = LoadRandomCrop(224, scale=(0.08, 1), value_range=value_range)
    load(dict(img_path=str(paths[0])))
    begin = time.process_time()
    for path in paths:
        load(dict(img_path=str(path)))
    return len(paths) / (time.process_time() - begin)


def report(args: argparse.Namespace, names: Sequence[Path], seconds: float) -> str:
    """What the copies gain: bytes and loading rate of some photos that exist in both folders."""
    pairs = []
    for name in random.Random(0).sample(names, len(names)):
        pairs += [(args.folder / name, copy) for copy in copies_of(name, args.out)][:1]
        if len(pairs) == TIMED_IMAGES:
            break
    before, after = zip(*pairs, strict=True)
    rates = [loading_rate(paths, args.value_range) for paths in (before, after)]
    sizes = [sum(path.stat().st_size for path in paths) for paths in (before, after)]
    return (
        f'{len(names)} photos in {seconds:.0f} s, {len(names) / max(seconds, 1e-9):.0f} images/s; '
        f'of {len(pairs)} of them: {sizes[1] / sizes[0]:.0%} of the bytes, loaded at '
        f'{rates[1]:.0f} instead of {rates[0]:.0f} images/s a core, '
        f'{rates[1] / rates[0]:.1f} times as fast'
    )


def prepare_folder(args: argparse.Namespace) -> None:
    """Prepare a folder and print what that has gained.

    Raises:
        UserError: an argument that cannot be used, no photos, or photos that cannot be read.
    """
    check(args)
    names = list(photos(args.folder))
    if not names:
        raise InputError(
            f'{args.folder} holds no photos: no file has an extension that Pillow reads'
        )
    check_names(names)
    write(args.out / RECORD, (json.dumps(settings_of(args), indent=2) + '\n').encode())
    begin = time.perf_counter()
    failures = prepare_all(args, names)
    seconds = time.perf_counter() - begin
    if readable := [name for name in names if name not in failures]:
        print(report(args, readable, seconds))
    if left := without_original(names, args.out):
        print(
            f'{len(left)} photos in {args.out} have none in {args.folder} any more, such as '
            f'{left[0]}: remove them, or training reads them'
        )
    if failures:
        raise UnreadableFileError(_failed(args, failures, len(names)))


def _failed(args: argparse.Namespace, failures: Mapping[Path, str], count: int) -> str:
    # Not removed: they may be all that is left of the photos, or a drive is away for a moment.
    kept = [copies[0] for name in failures if (copies := copies_of(name, args.out))]
    copies = 'have no copy'
    if kept:
        copies = (
            f'have no copy, or one from before ({len(kept)}, such as {kept[0]}), which training '
            'reads if it stays'
        )
    shown = '\n  '.join([*failures.values()][:NAMED_FAILURES])
    return (
        f'{len(failures)} of {count} photos cannot be read and {copies}; restore or remove them '
        f'and start again:\n  {shown}'
    )


def main() -> None:
    """Run the tool."""
    args = parse_args()
    with one_line_errors('interrupted: the same command goes on where it stopped'):
        prepare_folder(args)


if __name__ == '__main__':
    main()
