"""Which photos and labels a plan was made of, to notice others where a run goes on."""

import hashlib
import json
import os
from argparse import Namespace
from dataclasses import asdict, dataclass
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from mmbeitv2.checkpoints.atomic import write_atomically
from mmbeitv2.datasets.listing import photo_path
from mmbeitv2.datasets.photo_folder import FOLDERS
from mmbeitv2.datasets.photo_sources import PhotoSources, find_sources
from mmbeitv2.datasets.photo_stamps import stamp

SEEN = 'seen.json'


@dataclass(frozen=True)
class Seen:
    """What a run is made of.

    Args:
        photos: how many.
        names: checksum of their names.
        content: stamp of their files.
        labels: checksum of a table of labels, or of the photos that labels come with.
    """

    photos: int
    names: str
    content: str
    labels: str


def look(args: Namespace) -> Seen:
    """List the photos and labels that are there now, without reading them."""
    sources = find_sources(args.photos, args.image_column)
    names, content = _names(sources), _content(sources)
    if args.labels in (None, FOLDERS):
        labels = f'{names} {content}'
    elif Path(args.labels).expanduser().is_dir():
        others = find_sources(args.labels)
        labels = f'{_names(others)} {_content(others)}'
    else:
        table = Path(args.labels).expanduser()
        # One that is not there is refused by who reads it.
        content_of_table = table.read_bytes() if table.is_file() else b''
        labels = f'{hashlib.sha256(content_of_table).hexdigest()} {names}'
    return Seen(len(sources.names), names, content, labels)


def note(args: Namespace, seen: Seen) -> None:
    """Keep it in the folder of the run."""
    write_atomically(args.out / SEEN, json.dumps(asdict(seen), indent=1).encode())


def noted(out: Path) -> Seen | None:
    """What a plan was made of; None of earlier versions."""
    path = out / SEEN
    return Seen(**json.loads(path.read_text())) if path.is_file() else None


def in_words(before: Seen, now: Seen, out: Path) -> str:
    """What is to be said of photos that are others than those of the plan; empty if none is."""
    if before.names != now.names:
        return (
            f'note: {now.photos:,} photos are there, and not those {before.photos:,} of the plan, '
            f'which {out}/train.txt and held_out.txt name and this run goes on with: for the '
            'others name another --out'
        )
    if before.content != now.content:
        return (
            'note: photos of the plan have changed since (size or time of a file); the run goes on '
            'with what they are now'
        )
    return ''


def _names(sources: PhotoSources) -> str:
    return hashlib.sha256('\0'.join(sources.names).encode(errors='surrogateescape')).hexdigest()


def _content(sources: PhotoSources) -> str:
    return stamp(photo_path(os.fspath(sources.folder or ''), name) for name in sources.names)
