"""Pack the photos of a folder, byte for byte, into one LMDB file, which training reads.

    python tools/pack_images.py data/own/train data/own/train.lmdb

Keys are the photos' paths below the folder, in the order of the folder's own reading. Set
``data_prefix='train.lmdb'`` of the dataset. Photos that cannot be read are packed as they are:
`python tools/check_images.py` finds them before.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from tqdm import tqdm

from mmbeitv2.checkpoints.atomic import check_writable
from mmbeitv2.datasets.listing import LeftOut, readable_extensions, walk_images
from mmbeitv2.datasets.lmdb_files import import_lmdb
from mmbeitv2.errors import ExistingFileError, InputError, MissingFileError, UnreadableFileError
from mmbeitv2.launch.user_errors import one_line_errors

PART = '.part'
# Of LMDB, as it is compiled.
LONGEST_KEY = 511
PAGE = 4096
PHOTOS_A_WRITE = 1000


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help='photos at any depth')
    parser.add_argument('out', type=Path, metavar='OUT.lmdb', help='new file')
    return parser.parse_args(argv)


def photos_of(folder: Path, out: Path) -> list[str]:
    """Check the arguments; names of the photos, in order.

    Raises:
        UserError: no folder, no photos, a name that no key can be, or a file that is there already
            or cannot be written.
    """
    check_writable(out)
    if not folder.is_dir():
        raise MissingFileError(f'{folder} is no folder: give the one with the photos')
    if out.suffix != '.lmdb':
        raise InputError(f'{out} must end in .lmdb, by which data sets know the format')
    if out.exists():
        raise ExistingFileError(f'{out} exists: remove it, or give another name')
    left_out = LeftOut()
    names = sorted(walk_images(folder, readable_extensions(), left_out))
    if left_out.names:
        print(f'{folder}: {left_out}')
    if not names:
        raise InputError(f'{folder} holds no file with the extension of an image')
    for name in names:
        if len(os.fsencode(name)) > LONGEST_KEY or '://' in name:
            raise InputError(
                f'{name!r} cannot be a key of LMDB, which has {LONGEST_KEY} bytes at most and here '
                'no ://: rename it'
            )
    return names


def pack(folder: Path, out: Path) -> None:
    """Write the file, which has its name once it is whole.

    Raises:
        UserError: see ``photos_of``; or a photo that cannot be opened, or a full disk.
    """
    names = photos_of(folder, out)
    lmdb = import_lmdb()
    # Each value takes whole pages; the file grows to what is used of this only.
    room = sum((folder / name).stat().st_size + 2 * PAGE for name in names) + 2**26
    part = out.with_name(out.name + PART)
    part.unlink(missing_ok=True)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with lmdb.open(str(part), subdir=False, map_size=room, lock=False) as environment:
            progress = tqdm(total=len(names), desc='photos', unit=' images')
            for begin in range(0, len(names), PHOTOS_A_WRITE):
                with environment.begin(write=True) as transaction:
                    for name in names[begin : begin + PHOTOS_A_WRITE]:
                        transaction.put(os.fsencode(name), (folder / name).read_bytes())
                        progress.update()
            progress.close()
    except (OSError, lmdb.Error) as error:
        part.unlink(missing_ok=True)
        raise UnreadableFileError(
            f'{out} cannot be written: {error}. Make room on the disk, or restore the photo'
        ) from error
    part.replace(out)
    print(f'{len(names)} photos, {out.stat().st_size / 2**20:.0f} MiB: data_prefix={out.name!r}')


def main() -> None:
    """Run the tool."""
    args = parse_args()
    with one_line_errors('interrupted: start again'):
        pack(args.folder, args.out)


if __name__ == '__main__':
    main()
