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

from mmbeitv2.checkpoints.atomic import check_writable, write_atomically
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
from mmbeitv2.errors import (
    ExistingFileError,
    InputError,
    MissingFileError,
    UnreadableFileError,
    UserError,
)
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
        '--out',
        type=Path,
        help='folder of the result (default: work_dirs/check_images/FOLDER, or '
        'FOLDER-CHECKSUM where that has the result of another folder of this name)',
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
        source: what is checked, for checks of others to tell.
    """

    def __init__(
        self, out: Path, names: Sequence[str], folder: Path, settings: str, source: str = ''
    ) -> None:
        self.bad_file, self.progress_file = out / BAD, out / PROGRESS
        self.folder, self.source = folder, source
        self._stamps = hashlib.sha256()
        digest = hashlib.blake2b(settings.encode(errors='surrogateescape'), digest_size=16)
        for name in names:
            digest.update(os.fsencode(name) + b'\0')
        self.key = digest.hexdigest()
        self.done, self.bad = 0, []
        found = noted_in(out)
        # A finished check is made anew: files may have been restored.
        if found.get('key') == self.key and found['done'] < len(names):
            self._go_on(found, names[: found['done']])
        self.write()

    def _go_on(self, found: dict[str, Any], names: Sequence[str]) -> None:
        bad = self._listed()[: found['bad']]
        if len(bad) < found['bad']:
            print(f'{self.bad_file} has lost lines: beginning anew')
            return
        stamps = hashlib.sha256()
        for name in names:
            stamps.update(self._stamp(name))
        if stamps.hexdigest() == found['stamps']:
            self.done, self.bad, self._stamps = found['done'], bad, stamps
        else:
            print('images have changed since they were checked, or were touched: beginning anew')

    def _stamp(self, name: str) -> bytes:
        return stamp([photo_path(self.folder, name)]).encode()

    def _listed(self) -> list[str]:
        if not self.bad_file.is_file():
            return []
        # The last one ends, too.
        return self.bad_file.read_text(encoding='utf-8', errors='replace').split('\n')[:-1]

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
        bad = ''.join(f'{line}\n' for line in self.bad)
        write_atomically(self.bad_file, bad.encode(errors='backslashreplace'))
        noted = dict(key=self.key, done=self.done, bad=len(self.bad), source=self.source)
        noted['stamps'] = self._stamps.hexdigest()
        write_atomically(self.progress_file, json.dumps(noted).encode())
        self._noted_at = time.monotonic()


def noted_in(out: Path) -> dict[str, Any]:
    """What a check has noted in a folder; nothing where there was none, or the note is damaged."""
    try:
        found = json.loads((out / PROGRESS).read_bytes())
    except (OSError, ValueError):
        return {}
    whole = isinstance(found, dict) and {'key', 'done', 'bad', 'stamps', 'source'} <= found.keys()
    return found if whole else {}


def place_of(args: argparse.Namespace, source: str) -> Path:
    """Folder of the result, which is not that of another source.

    Raises:
        FileExistsError: ``--out`` is.
    """
    usual = Path('work_dirs/check_images', args.folder.resolve().name)
    out = usual if args.out is None else args.out
    other = noted_in(out).get('source', source)
    if other == source:
        return out
    if args.out is None:
        # Of two folders `train` the second has its path's checksum behind its name.
        own = hashlib.blake2b(source.encode(errors='surrogateescape'), digest_size=4).hexdigest()
        return usual.with_name(f'{usual.name}-{own}')
    raise ExistingFileError(
        f'{out} holds the result of {other}, but {source} is to be checked: give another --out, or '
        'remove it'
    )


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
    source = str(args.folder.resolve())
    if args.list is not None:
        source += f' with the list {args.list.resolve()}'
    out = place_of(args, source)
    check_writable(out, folder=True)
    names = images_of(args)
    settings = f'{args.folder.resolve()} {args.value_range} {Image.__version__}'
    progress = Progress(out, names, args.folder, settings, source)
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
