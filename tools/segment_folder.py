"""The folder of class maps that `mmbeitv2 segment` fills, photo by photo, over several starts."""

import csv
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from PIL import Image

from mmbeitv2.checkpoints.atomic import partial_file, write_atomically
from mmbeitv2.errors import ExistingFileError

MAPS, OVERLAYS = 'maps', 'overlays'
SHARES, CLASSES = 'shares.csv', 'classes.json'
UNFINISHED = 'unfinished.jsonl'


class SegmentFolder:
    """Pictures of the photos that are done, and a line for each: whole or not there, if killed.

    The lines are kept in ``unfinished.jsonl``, the first of which says what was asked for; at the
    end they become ``shares.csv``.

    Args:
        path: of the folder.
        asked: what has to be the same for a run to go on.
        overwrite: begin anew, without the pictures of an earlier run.

    Raises:
        ExistingFileError: it holds files, and is no unfinished run of the same.
    """

    def __init__(self, path: Path, asked: Mapping[str, Any], overwrite: bool) -> None:
        self.path, self.asked, self.overwrite = path, dict(asked), overwrite
        self.lines = [] if overwrite else self._lines()
        if self.lines and self.lines[0] == self.asked:
            return
        if self.lines:
            before = self.lines[0]
            names = {*before, *self.asked}
            name = min(n for n in names if before.get(n) != self.asked.get(n))
            raise ExistingFileError(
                f'{path} is an unfinished run with {name} {before.get(name)!r}, now '
                f'{self.asked.get(name)!r}: repeat its command to go on, give another folder, or '
                '--overwrite'
            )
        if path.is_dir() and any(path.iterdir()) and not overwrite:
            raise ExistingFileError(f'{path} holds files: give an empty folder, or --overwrite')

    def done(self, places: Mapping[str, Path], stamps: Mapping[str, str]) -> set[str]:
        """Photos whose pictures are there and of the photos as they are now.

        Args:
            places: of pictures below ``maps`` and ``overlays``, without suffix, by photo.
            stamps: of the files of photos.
        """
        kept = {
            line['photo']: line
            for line in self.lines[1:]
            if stamps.get(line['photo']) == line['stamp']
            and all(file.is_file() for file in self._pictures(places[line['photo']]))
        }
        self.lines = [self.asked, *kept.values()]
        return set(kept)

    def begin(self, classes: Sequence[Mapping[str, Any]]) -> None:
        """Write what does not wait for photos, and remove what an earlier run has left.

        Args:
            classes: name and colour of each.
        """
        if self.overwrite:
            for name in (MAPS, OVERLAYS):
                shutil.rmtree(self.path / name, ignore_errors=True)
            (self.path / SHARES).unlink(missing_ok=True)
        write_atomically(self.path / CLASSES, json.dumps(classes, indent=1).encode())
        self.lines = self.lines or [self.asked]
        text = ''.join(f'{json.dumps(line)}\n' for line in self.lines)
        write_atomically(self.path / UNFINISHED, text.encode())

    def add(
        self,
        photo: str,
        place: Path,
        pictures: tuple[Image.Image, Image.Image],
        shares: Sequence[float],
        stamp: str,
    ) -> None:
        """Keep a photo's pictures, then its line.

        Args:
            photo: its name.
            place: of its pictures, without suffix.
            pictures: map and overlay.
            shares: of each class, 0 to 1.
            stamp: of its file, before it was read.
        """
        kinds = (dict(format='PNG'), dict(format='JPEG', quality=90))
        for picture, file, kind in zip(pictures, self._pictures(place), kinds):
            with partial_file(file) as partial:
                picture.save(partial, **kind)
        line = dict(photo=photo, stamp=stamp, shares=[f'{share:.4f}' for share in shares])
        self.lines.append(line)
        with (self.path / UNFINISHED).open('a', encoding='utf-8') as file:
            file.write(f'{json.dumps(line)}\n')

    def finish(self, photos: Sequence[str], classes: Sequence[str]) -> int:
        """Write the table of the photos that are done, in their order; their number."""
        shares = {line['photo']: line['shares'] for line in self.lines[1:]}
        text = io.StringIO(newline='')
        table = csv.writer(text)
        table.writerow(['photo', *classes])
        rows = [[photo, *shares[photo]] for photo in photos if photo in shares]
        table.writerows(rows)
        content = text.getvalue().encode(errors='backslashreplace')
        write_atomically(self.path / SHARES, content)
        (self.path / UNFINISHED).unlink()
        return len(rows)

    def _lines(self) -> list[dict[str, Any]]:
        """What was asked for and the photos done; none where nothing was begun."""
        file = self.path / UNFINISHED
        lines = []
        for text in file.read_text(encoding='utf-8').splitlines() if file.is_file() else ():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                # It was killed within the last line.
                break
        return lines

    def _pictures(self, place: Path) -> tuple[Path, Path]:
        """Files of a photo's map and overlay."""
        map_, overlay = (place.with_name(f'{place.name}{suffix}') for suffix in ('.png', '.jpg'))
        return self.path / MAPS / map_, self.path / OVERLAYS / overlay
