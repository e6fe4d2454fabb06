"""Read every image once, as training does, and list those that cannot be read.

    python tools/check_images.py data/own/train
    python tools/check_images.py 'data/own/{000..099}.tar'

Files with an image's extension that are damaged, empty, pipes, links to nothing or not to be read
are named in ``bad.tsv`` (path and reason) in the folder of ``--out``. A check that was stopped goes
on where it was. Ends with code 2 and counts if an image is bad.
"""

import argparse
import hashlib
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from PIL import Image
from tqdm import tqdm

from mmbeitv2.checkpoints.atomic import check_writable
from mmbeitv2.datasets.decoding import check_value_range, read_rgb, reason_of
from mmbeitv2.datasets.listing import (
    LeftOut,
    in_one_line,
    listed_samples,
    photo_path,
    readable_extensions,
    walk_images,
)
from mmbeitv2.datasets.photo_sources import find_sources
from mmbeitv2.datasets.photo_stamps import stamp
from mmbeitv2.datasets.places import kind_of
from mmbeitv2.datasets.survey import in_processes
from mmbeitv2.errors import InputError, MissingFileError, UnreadableFileError, UserError
from mmbeitv2.launch.loaders import cores_of_process
from mmbeitv2.launch.photo_arguments import add_image_column, add_value_range
from mmbeitv2.launch.user_errors import one_line_errors

BAD, PROGRESS = 'bad.tsv', 'progress.json'
SECONDS_BETWEEN_NOTES = 2
NAMED = 10


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'folder',
        type=Path,
        help='images at any depth; or a list with an image a line, tars or Parquet files by name '
        'or pattern, a folder of save_to_disk, an LMDB file',
    )
    parser.add_argument(
        '--list', type=Path, metavar='FILE', help='check the images that a list names instead'
    )
    parser.add_argument(
        '--with-label', action='store_true', help='lines of the list end with a label'
    )
    parser.add_argument(
        '--out', type=Path, help='folder of the result (default: work_dirs/check_images/FOLDER)'
    )
    add_value_range(parser)
    add_image_column(parser)
    parser.add_argument(
        '--workers', type=int, default=cores_of_process('none'), help='processes (default: cores)'
    )
    return parser.parse_args(argv)


def images_of(args: argparse.Namespace) -> list[str]:
    """Paths of all images to read, relative to the folder, in order.

    Raises:
        ValueError: there is none.
    """
    if args.list is not None:
        return [name for name, _ in listed_samples(args.list, args.with_label)]
    if not args.folder.is_dir() or kind_of(str(args.folder)) != 'folder':
        found = find_sources(args.folder, args.image_column)
        if found.left_out.names:
            print(f'{args.folder}: {found.left_out}')
        return [photo_path(found.folder or '', name) for name in found.names]
    left_out = LeftOut()
    extensions = readable_extensions()
    names = list(walk_images(args.folder, extensions, left_out, unusual=True))
    if left_out.names:
        print(f'{args.folder}: {left_out}')
    if not names:
        raise InputError(f'{args.folder} holds no file with the extension of an image')
    return names


def reason_against(
    name: str, folder: Path, value_range: Sequence[float] | None
) -> tuple[str, str | None]:
    """Path of an image and why it cannot be used, None for a good one."""
    path = photo_path(folder, name)
    try:
        with warnings.catch_warnings():
            # Of files that are large or odd, but readable.
            warnings.simplefilter('ignore')
            read_rgb(path, value_range=value_range)
    except UserError as error:
        return name, reason_of(error)
    return name, None


class Progress:
    """How far a check has come, in files that a later start reads.

    Args:
        out: folder of the files, made if needed.
        names: all images, in the order in which they are checked.
        folder: that the names are relative to.
        settings: what results depend on beside the images.
    """

    def __init__(self, out: Path, names: Sequence[str], folder: Path, settings: str) -> None:
        self.bad_file, self.progress_file = out / BAD, out / PROGRESS
        self.folder = folder
        self._stamps = hashlib.sha256()
        digest = hashlib.blake2b(settings.encode(), digest_size=16)
        for name in names:
            digest.update(os.fsencode(name) + b'\0')
        self.key = digest.hexdigest()
        self.done, self.bad = 0, []
        out.mkdir(parents=True, exist_ok=True)
        if self.progress_file.is_file():
            found = json.loads(self.progress_file.read_text())
            # A finished check is made anew: files may have been restored.
            if found['key'] == self.key and found['done'] < len(names):
                self._go_on(found, names[: found['done']])
        self._write_bad()
        self._noted_at = time.monotonic()

    def _go_on(self, found: dict[str, Any], names: Sequence[str]) -> None:
        stamps = hashlib.sha256()
        for name in names:
            stamps.update(self._stamp(name))
        if stamps.hexdigest() == found.get('stamps'):
            self.done, self.bad = found['done'], self._listed(found['bad'])
            self._stamps = stamps
        else:
            print('images have changed, or were copied, since they were checked: beginning anew')

    def _stamp(self, name: str) -> bytes:
        return stamp([photo_path(self.folder, name)]).encode()

    def _listed(self, count: int) -> list[str]:
        return self.bad_file.read_text(encoding='utf-8').split('\n')[:count]

    def _write_bad(self) -> None:
        text = ''.join(f'{line}\n' for line in self.bad)
        self.bad_file.write_text(text, encoding='utf-8', errors='backslashreplace')

    def add(self, name: str, reason: str | None) -> None:
        """Count one image, and write to disk from time to time."""
        self.done += 1
        self._stamps.update(self._stamp(name))
        if reason is not None:
            self.bad.append(f'{in_one_line(name)}\t{reason}')
        if time.monotonic() - self._noted_at > SECONDS_BETWEEN_NOTES:
            self.write()

    def write(self) -> None:
        """Write both files, the list before the number of its lines that count."""
        self._write_bad()
        part = self.progress_file.with_suffix('.part')
        noted = dict(key=self.key, done=self.done, bad=len(self.bad))
        part.write_text(json.dumps(noted | dict(stamps=self._stamps.hexdigest())))
        part.replace(self.progress_file)
        self._noted_at = time.monotonic()


def check_all(args: argparse.Namespace, names: Sequence[str], progress: Progress) -> None:
    """Read the images that are left, with a progress bar and its rate."""
    bar = partial(
        tqdm,
        total=len(names),
        initial=progress.done,
        desc='images',
        unit=' images',
        # A file or a pipe keeps every line that a terminal would overwrite.
        mininterval=1 if sys.stderr.isatty() else 30,
    )
    try:
        for name, reason in bar(read_all(args, names[progress.done :])):
            progress.add(name, reason)
    finally:
        progress.write()


def read_all(args: argparse.Namespace, names: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Read images in several processes; results come in the order of the names."""
    read = partial(reason_against, folder=args.folder, value_range=args.value_range)
    return in_processes(read, names, args.workers)


def check(args: argparse.Namespace) -> None:
    """Check a folder and print what was found.

    Raises:
        UserError: an argument that cannot be used, or images that cannot be read.
    """
    if args.list is not None and not args.folder.is_dir():
        raise MissingFileError(f'{args.folder} is no folder: give the one with the images')
    if not 1 <= args.workers <= 1024:
        raise InputError(f'--workers is {args.workers}, but must be from 1 to 1024')
    check_value_range(args.value_range)
    out = args.out or Path('work_dirs/check_images', args.folder.resolve().name)
    check_writable(out, folder=True)
    names = images_of(args)
    settings = f'{args.folder.resolve()} {args.value_range} {Image.__version__}'
    progress = Progress(out, names, args.folder, settings)
    if progress.done:
        print(f'{progress.done} of {len(names)} images were checked before: going on behind them')
    check_all(args, names, progress)
    if progress.bad:
        shown = '\n  '.join(progress.bad[:NAMED]).replace('\t', ': ')
        raise UnreadableFileError(
            f'{len(progress.bad)} of {len(names)} images cannot be read, all listed in '
            f'{progress.bad_file}; restore or remove them:\n  {shown}'
        )
    print(f'{len(names)} images, all can be read')


def main() -> None:
    """Run the tool."""
    args = parse_args()
    with one_line_errors('interrupted: the same command goes on where it stopped'):
        check(args)


if __name__ == '__main__':
    main()
