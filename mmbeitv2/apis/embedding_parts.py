"""Embeddings that are not finished yet, in a folder beside their file: a killed run goes on."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

import numpy as np

from mmbeitv2.checkpoints.atomic import partial_file, write_atomically
from mmbeitv2.datasets.decoding import reason_of
from mmbeitv2.errors import ExistingFileError, UnreadableFileError

# Photos of a part, which is what a killed run loses at most.
PHOTOS = 256
POSITIONS, UNREAD, STAMP = 'positions', 'unread', 'stamp'


class EmbeddingParts:
    """Parts of a run: each holds the features of ``PHOTOS`` photos that follow one another.

    Args:
        out: file that the run will write.
        meta: what the run makes its features of; parts of another are not touched.
        overwrite: remove parts of another run.

    Raises:
        FileExistsError: there are parts of another run.
    """

    def __init__(self, out: Path, meta: Mapping[str, Any], overwrite: bool) -> None:
        self.folder = out.with_name(f'{out.name}.parts')
        note = self.folder / 'run.json'
        text = json.dumps(meta, sort_keys=True)
        found = note.read_text(encoding='utf-8', errors='replace') if note.is_file() else ''
        if found != text:
            # Of a run that ended at its first photos nothing is lost.
            if not overwrite and any(self.folder.glob('*.npz')):
                raise ExistingFileError(
                    f'{self.folder} holds the beginning of another run ({_other(found, meta)}): '
                    'finish that, give another --out, or remove it with --overwrite'
                )
            if self.folder.is_dir():
                self.remove()
            write_atomically(note, text.encode())

    def file(self, number: int) -> Path:
        """Where a part lies or will lie."""
        return self.folder / f'{number:06d}.npz'

    def add(
        self,
        number: int,
        positions: Sequence[int],
        arrays: Mapping[str, np.ndarray],
        unread: Sequence[tuple[int, str]],
        stamp: str,
    ) -> None:
        """Write a part.

        Args:
            number: of the part.
            positions: of the photos that could be read, among all.
            arrays: their features.
            unread: position and reason of the others.
            stamp: of its photos before they were read.
        """
        noted = {
            POSITIONS: np.array(positions, np.int64),
            UNREAD: json.dumps(unread),
            STAMP: stamp,
        }
        whole: dict[str, Any] = {**arrays, **noted}
        with partial_file(self.file(number)) as partial, open(partial, 'xb') as file:
            np.savez(file, **whole)

    def unread(self, number: int) -> list[tuple[int, str]]:
        """Position and reason of the photos of a part that could not be read."""
        with _opened(self.file(number)) as part:
            return [(index, reason) for index, reason in json.loads(str(part[UNREAD]))]

    def positions(self, number: int) -> list[int]:
        """Of the photos of a part that could be read."""
        with _opened(self.file(number)) as part:
            return part[POSITIONS].tolist()

    def stamp(self, number: int) -> str | None:
        """Of the photos of a part; None where it is not there, or cannot be read."""
        if not self.file(number).is_file():
            return None
        try:
            # What else is asked of a part that is there.
            self.positions(number)
            self.unread(number)
            with _opened(self.file(number)) as part:
                return str(part[STAMP])
        except UnreadableFileError:
            return None

    def remove(self) -> None:
        """Remove all parts."""
        shutil.rmtree(self.folder)


class LazyParts(Sequence[Mapping[str, np.ndarray]]):
    """Arrays of the parts of a run, read one part at a time.

    Args:
        parts: of the run, all of them there.
        names: of the arrays.
        count: of parts.
    """

    def __init__(self, parts: EmbeddingParts, names: Sequence[str], count: int) -> None:
        filled = (n for n in range(count) if parts.positions(n))
        self.files = [parts.file(number) for number in filled]
        self.names = names

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, number: int) -> '_LazyPart': ...

    @overload
    def __getitem__(self, number: slice) -> 'list[_LazyPart]': ...

    def __getitem__(self, number: int | slice) -> 'list[_LazyPart] | _LazyPart':
        if isinstance(number, slice):
            return [_LazyPart(file, self.names) for file in self.files[number]]
        return _LazyPart(self.files[number], self.names)


class _LazyPart(Mapping[str, np.ndarray]):
    def __init__(self, file: Path, names: Sequence[str]) -> None:
        self.file = file
        self.names = names

    def __getitem__(self, name: str) -> np.ndarray:
        with _opened(self.file) as part:
            return part[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@contextmanager
def _opened(file: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """A part, whose arrays are read one by one.

    Raises:
        OSError: it is damaged, with what to do.
    """
    try:
        with np.load(file) as part:
            yield part
    # NumPy, zipfile and zlib raise a dozen types.
    except Exception as error:
        raise UnreadableFileError(
            f'{file} is damaged ({reason_of(error)}): remove it, and the same command makes it '
            'again'
        ) from error


def _other(found: str, meta: Mapping[str, Any]) -> str:
    try:
        return differing(json.loads(found), meta)
    except ValueError:
        return 'of which nothing is known: its run.json is damaged or gone'


def differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Which of what two runs are made of differ, for a message."""
    names = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
    return f'another {", ".join(names)}'
