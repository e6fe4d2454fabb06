"""Which checkpoint of a run's folder to go on from."""

import pickle
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from mmbeitv2.checkpoints.atomic import write_atomically
from mmbeitv2.checkpoints.kinds import fault
from mmbeitv2.errors import UnreadableFileError

POINTER = 'last_checkpoint'
TEMPLATES = ('epoch_{}.pth', 'iter_{}.pth')


class Newest(NamedTuple):
    """The newest whole checkpoint of a folder, and what there is to say about the search."""

    path: Path | None
    notes: list[str]


def newest_whole(
    folder: str | Path, pointer_folder: str | Path | None = None, templates: Sequence[str] = ()
) -> Newest:
    """Find the newest checkpoint of a folder that is whole.

    ``last_checkpoint`` decides if the file of that name lies in the folder and is whole, wherever
    the folder was when it was written. Otherwise it is the checkpoint of the largest iteration.

    Args:
        folder: where the checkpoints are.
        pointer_folder: where ``last_checkpoint`` is; by default the same.
        templates: further names of checkpoints, ``{}`` for the number.

    Raises:
        OSError: there are checkpoints, and none is whole; names the damage of each.
    """
    folder = Path(folder)
    notes: list[str] = []
    damaged = {}
    named = pointed(folder, Path(pointer_folder or folder) / POINTER, notes)
    if named is not None:
        damaged[named] = damage(named)
        if damaged[named] is None:
            return Newest(named, notes)
        notes.append(f'{named} {damaged[named]}')
    found = []
    for family in _families(folder, (*TEMPLATES, *templates)):
        for path in family:
            if path not in damaged:
                damaged[path] = damage(path)
                if damaged[path] is not None:
                    notes.append(f'{path} {damaged[path]}')
            if damaged[path] is None:
                found.append(path)
                break
    if found:
        return Newest(max(found, key=_iteration) if len(found) > 1 else found[0], notes)
    if damaged:
        raise UnreadableFileError(
            f'no checkpoint in {folder} can be resumed: {"; ".join(notes)}. Restore one, name '
            'another with --resume FILE, or start anew in another --work-dir.'
        )
    return Newest(None, notes)


def damage(path: str | Path) -> str | None:
    """What is wrong with a checkpoint file, or None if it is whole.

    Every byte is read and compared with the checksums in the file, which torch writes but does not
    look at. What the file holds is not unpickled.
    """
    path = Path(path)
    try:
        if not path.is_file():
            return 'is not there'
        if path.stat().st_size == 0:
            return 'is empty'
        with zipfile.ZipFile(path) as archive:
            spoiled = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError):
        found = fault(path)
        return 'is truncated, or no checkpoint' + ('' if found is None else f': it {found}')
    except OSError as error:
        return f'cannot be read ({error.strerror or error})'
    return None if spoiled is None else f'is damaged: {spoiled} does not have its checksum'


def point_to(path: str | Path, folder: str | Path) -> None:
    """Write ``last_checkpoint``, which mmengine and other tools read too."""
    write_atomically(Path(folder, POINTER), str(path).encode())


def pointed(folder: Path, pointer: Path, notes: list[str]) -> Path | None:
    """Return the file of a folder that has the name which ``last_checkpoint`` gives.

    Args:
        folder: where the checkpoints are, wherever they were when the pointer was written.
        pointer: the file ``last_checkpoint``.
        notes: grows by what is the matter with the pointer.

    Returns:
        A path, which need not exist; None where the pointer is missing or names no checkpoint.
    """
    try:
        text = pointer.read_bytes().decode('utf-8', errors='replace').strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        notes.append(f'{pointer} cannot be read ({error.strerror or error})')
        return None
    name = re.split(r'[/\\]', text)[-1]
    if not re.fullmatch(r'[^\x00\n]+\.pth', name):
        notes.append(f'{pointer} {"names no checkpoint" if text else "is empty"}')
        return None
    return folder / name


def _families(folder: Path, templates: Sequence[str]) -> list[list[Path]]:
    """Checkpoints by the template of their name, each from the largest number down."""
    families = []
    for template in dict.fromkeys(templates):
        before, _, after = template.partition('{}')
        pattern = re.compile(f'{re.escape(before)}([0-9]+){re.escape(after)}')
        numbered = {
            path: int(match[1])
            for path in (folder.iterdir() if folder.is_dir() else ())
            if (match := pattern.fullmatch(path.name))
        }
        families.append(sorted(numbered, key=numbered.__getitem__, reverse=True))
    return families


def _iteration(path: Path) -> tuple[int, float]:
    """Iteration that a checkpoint was saved at, and its time; without loading its tensors."""
    changed = path.stat().st_mtime
    try:
        content = torch.load(str(path), map_location='cpu', weights_only=True, mmap=True)
        return int(content['meta']['iter']), changed
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError):
        # It is whole, but of another kind: what reads it in earnest says what is the matter.
        return -1, changed
