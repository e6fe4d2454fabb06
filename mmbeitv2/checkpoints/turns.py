"""One of several processes at a file: downloads are waited for, work of one's own is refused."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from mmengine.logging import print_log

from mmbeitv2.checkpoints.atomic import PARTIAL_SUFFIX
from mmbeitv2.errors import ExistingFileError, UnreadableFileError

SECONDS_BETWEEN_LOOKS = 5.0
# Longer than any silence after which a download gives up by itself.
MOST_SECONDS_WITHOUT_PROGRESS = 120.0


@contextmanager
def turn(place: Path) -> Iterator[None]:
    """Wait until no other process downloads the same file; look then whether it is there.

    The system gives back the lock of a process that ends, however it does. Where it has none, as on
    some network file systems, ``filelock`` makes a file of it, which a killed process leaves:
    whoever sees no download grow goes on without. Files are whole or not there in any case.

    Args:
        place: where the file is wanted; its folder is made if need be.

    Raises:
        OSError: the folder cannot be written.
    """
    lock = FileLock(place.with_name(f'.{place.name}.lock'))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        held = _acquired(lock, place)
    except OSError as error:
        raise UnreadableFileError(
            f'cannot write {place}: {error.strerror or error}; free space, or choose another '
            'folder for downloads with the environment variable TORCH_HOME.'
        ) from error
    try:
        yield
    finally:
        if held:
            lock.release()


@contextmanager
def alone(lock_file: Path) -> Iterator[None]:
    """Refuse to go on where another process is at the same work; its lock is given back at the end.

    Args:
        lock_file: beside or within what is written; it is removed at the end.

    Raises:
        FileExistsError: another process holds it.
    """
    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ExistingFileError(
            f'another process is at this work, it holds {lock_file}: wait for it, end it, or give '
            'another --out; if there is none, remove that file'
        ) from error
    try:
        yield
    finally:
        lock_file.unlink(missing_ok=True)
        lock.release()


def _acquired(lock: FileLock, place: Path) -> bool:
    """Whether the lock is held, in the end; not, where its owner seems to be dead."""
    progress = time.time()
    said = False
    while True:
        try:
            lock.acquire(timeout=SECONDS_BETWEEN_LOOKS)
            return True
        except Timeout:
            progress = max([progress, *map(_changed, _partials(place))])
        if time.time() - progress > MOST_SECONDS_WITHOUT_PROGRESS:
            print_log(
                f'{lock.lock_file} is held, but nothing is downloaded: going on without it',
                logger='current',
            )
            return False
        if not said:
            print_log(f'another process downloads {place}: waiting for it', logger='current')
            said = True


def _partials(place: Path) -> list[Path]:
    return list(place.parent.glob(f'.{place.name}.*{PARTIAL_SUFFIX}'))


def _changed(partial: Path) -> float:
    try:
        return partial.stat().st_mtime
    except OSError:
        # It has got its name, or was given up.
        return 0.0
