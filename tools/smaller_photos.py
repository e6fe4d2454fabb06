"""Smaller copies of photos, one by one, for ``prepare_images.py``."""

import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import parent_process
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from PIL import Image

from mmbeitv2.checkpoints.atomic import write_atomically
from mmbeitv2.datasets.decoding import open_image, reason_of, to_rgb
from mmbeitv2.datasets.listing import LeftOut, readable_extensions, walk_images
from mmbeitv2.datasets.photo_stamps import Seen, look_at
from mmbeitv2.datasets.random_crop import reduce_decoding
from mmbeitv2.errors import InputError, UnreadableFileError

JPEG_SUFFIXES = ('.jpg', '.jpeg')
PART = '.part'
# Hidden: it is nothing for whoever looks at the photos.
ORIGINALS = '.originals.jsonl'
ORIENTATION = 0x112  # tag of EXIF


class Prepared(NamedTuple):
    """What has become of one photo.

    Attributes:
        original: what its file was like before it was read.
        failure: what is wrong with it, None if nothing.
    """

    original: Seen
    failure: str | None = None


class Originals:
    """Which files the copies in a folder were made of, a line a photo: a killed run goes on.

    Args:
        out: of the copies, there already.
        names: of the photos that there are now.
    """

    def __init__(self, out: Path, names: Sequence[Path]) -> None:
        self._file = out / ORIGINALS
        self._seen = self._read()
        # Whole lines alone: what a killed run wrote last may end within one.
        lines = (_line(name, self._seen[str(name)]) for name in names if str(name) in self._seen)
        write_atomically(self._file, ''.join(lines).encode())

    def _read(self) -> dict[str, Seen]:
        seen = {}
        text = self._file.read_text(errors='replace') if self._file.is_file() else ''
        for line in text.splitlines():
            try:
                name, *found = json.loads(line)
                seen[name] = Seen(*found)
            except (ValueError, TypeError):
                # Its copy is made again.
                continue
        return seen

    def of(self, name: Path) -> Seen | None:
        """What the file was like that a photo's copy was made of; None if nobody knows."""
        return self._seen.get(str(name))

    @contextmanager
    def noting(self) -> Iterator[Callable[[Path, Seen], None]]:
        """Give what notes the original of a copy, at once."""
        with open(self._file, 'a', buffering=1) as file:
            yield lambda name, seen: print(_line(name, seen), end='', file=file)


def _line(name: Path, seen: Seen) -> str:
    # ASCII, also for names that are no text.
    return json.dumps([str(name), *seen]) + '\n'


def photos(folder: Path) -> Iterator[Path]:
    """Paths of all image files, relative to the folder, in order; what is left out is printed."""
    left_out = LeftOut()
    # Links to nothing and pipes too, which are mistakes: they fail by their names.
    yield from map(Path, walk_images(folder, readable_extensions(), left_out, unusual=True))
    if left_out.names:
        print(f'{folder}: {left_out}')


def end_with_parent() -> None:
    """Have this worker end when the process that started it is gone, however that ended."""
    # Its queue would keep it waiting for ever: all workers hold both ends.
    Thread(target=_wait_and_exit, daemon=True).start()


def _wait_and_exit() -> None:
    parent_process().join()
    # The main thread may be anywhere; what it writes is whole or a part file.
    os._exit(1)


def copy_of(name: Path) -> Path:
    """What the reduced copy of a photo is called: one that is no JPEG gets ``.jpg`` in addition."""
    jpeg = name.suffix.lower() in JPEG_SUFFIXES
    return name if jpeg else name.with_name(f'{name.name}.jpg')


def check_names(names: Sequence[Path]) -> None:
    """Check that no two photos would have one copy.

    Raises:
        ValueError: two would.
    """
    known = set(names)
    for name in names:
        if copy_of(name) != name and copy_of(name) in known:
            raise InputError(
                f'the smaller copy of {name} would be {copy_of(name)}, which is a photo too: '
                'rename one of them'
            )


def copies_of(name: Path, out: Path) -> list[Path]:
    """Copies of a photo that are there, under any of the names that it may have."""
    return [path for path in sorted({out / name, out / copy_of(name)}) if path.exists()]


def prepare(
    name: Path,
    noted: Seen | None,
    folder: Path,
    out: Path,
    short_side: int,
    quality: int,
    value_range: Sequence[float] | None = None,
) -> Prepared:
    """Write one smaller photo, unless it is there and its original is the same file as then.

    Args:
        name: of the photo, relative to both folders. Where it is reduced, see ``copy_of``.
        noted: what its copy was made of.
        folder: of the original.
        out: of the copy.
        short_side: the most that the copy has, in pixels.
        quality: of JPEG.
        value_range: of float and 32-bit images, see ``decoding.to_rgb``.

    Raises:
        OSError: the copy cannot be written.
    """
    seen = look_at(folder / name)
    copies = copies_of(name, out)
    try:
        if seen == noted and _is_newer(copies, folder / name):
            return Prepared(seen)
        content, smaller = reduce(folder / name, short_side, quality, value_range)
    # Decoders raise dozens of types.
    except Exception as error:
        return Prepared(seen, f'{folder / name}: {reason_of(error)}')
    target = out / (name if smaller is None else copy_of(name))
    write(target, content if smaller is None else smaller)
    for path in copies:
        if path != target:
            # It was smaller, or larger, before.
            path.unlink()
    return Prepared(seen)


def _is_newer(copies: Sequence[Path], photo: Path) -> bool:
    """Whether all copies, of which there is one at least, are younger than a photo, and whole."""
    original = photo.stat()
    # A file that was moved here keeps the time of its content, but not of its place.
    changed = max(original.st_mtime_ns, original.st_ctime_ns)
    found = [path.stat() for path in copies]
    # A power failure leaves empty files.
    return bool(found) and all(copy.st_size and copy.st_mtime_ns >= changed for copy in found)


def without_original(names: Sequence[Path], out: Path) -> list[Path]:
    """Photos in the folder of the copies that are no copy of a photo, in order.

    Args:
        names: of the photos, relative to their folder.
        out: of the copies.
    """
    copies = {*names, *map(copy_of, names)}
    return sorted(set(map(Path, walk_images(out, readable_extensions(), LeftOut()))) - copies)


def reduce(
    path: Path, short_side: int, quality: int, value_range: Sequence[float] | None
) -> tuple[bytes, bytes | None]:
    """Read a photo's file and make a smaller JPEG of it; None for one that is small enough.

    Args:
        path: of the file.
        short_side: of the JPEG, in pixels.
        quality: of JPEG.
        value_range: see ``decoding.to_rgb``.

    Raises:
        Exception: of many types, if the file cannot be read.
    """
    image, content = open_image(path)
    shape = image.size[::-1]
    if min(shape) <= short_side:
        to_rgb(image, path, value_range)
        return content, None
    size = tuple(round(short_side * side / min(shape)) for side in shape)
    # Readers that turn photos as they were taken turn the copy as well; ours leave both.
    orientation = Image.Exif()
    if ORIENTATION in image.getexif():
        orientation[ORIENTATION] = image.getexif()[ORIENTATION]
    reduce_decoding(image, shape, size)
    # As the pipelines see it: of grey all channels are the same.
    image = image if image.mode == 'L' else to_rgb(image, path, value_range)
    file = io.BytesIO()
    image.resize(size[::-1], Image.Resampling.BICUBIC).save(
        file, 'JPEG', quality=quality, exif=orientation
    )
    return content, file.getvalue()


def write(path: Path, content: bytes) -> None:
    """Write a file that is either whole or not there."""
    part = path.with_name(f'{path.name}.{os.getpid()}{PART}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise UnreadableFileError(
            f'{path} cannot be written: {error}. Make room or another folder; the same command '
            'goes on from here'
        ) from error
