"""The cut-outs and backgrounds: which there are, their pixels, and their identity."""

import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from .errors import DemoDataError

CLASSES = ('bird', 'fish', 'flower', 'food', 'insect', 'mammal', 'tree', 'vehicle')


class Assets(NamedTuple):
    """Sorted asset files: cut-outs by split and class, backgrounds by split."""

    stamps: dict[str, dict[str, list[Path]]]
    backgrounds: dict[str, list[Path]]


def find_assets(root: Path) -> Assets:
    """List the asset files.

    Args:
        root: folder with ``stamps/{train,val}/<class>/*.webp`` and
            ``backgrounds/{train,val}/*.jpg``.

    Returns:
        The files, sorted by name.

    Raises:
        DemoDataError: a folder is missing or empty.
    """
    splits = ('train', 'val')
    return Assets(
        stamps={
            split: {
                name: _list_files(root, root / 'stamps' / split / name, '*.webp')
                for name in CLASSES
            }
            for split in splits
        },
        backgrounds={
            split: _list_files(root, root / 'backgrounds' / split, '*.jpg') for split in splits
        },
    )


def _list_files(root: Path, folder: Path, pattern: str) -> list[Path]:
    files = sorted(folder.glob(pattern))
    if not files:
        raise DemoDataError(
            f'no {pattern} files in {folder}. The demo assets come with the repository in '
            f'demo/assets: restore them with "git checkout -- demo/assets", or name their place '
            f'with --assets (now {root}).'
        )
    return files


@cache
def load(path: Path, mode: str) -> Image.Image:
    """Read a picture once per process.

    Args:
        path: file of a cut-out or a background.
        mode: ``RGBA`` for a cut-out, ``RGB`` for a background.

    Returns:
        The whole picture in that mode; shared between calls, so not to be changed.

    Raises:
        DemoDataError: the file is unreadable, or a cut-out without alpha channel.
    """
    try:
        with Image.open(path) as image:
            has_alpha = 'A' in image.getbands()
            loaded = image.convert(mode)
    except OSError as error:
        raise DemoDataError(
            f'cannot read {path}: {error}. Restore it with "git checkout -- {path}".'
        ) from error
    if mode == 'RGBA' and not has_alpha:
        raise DemoDataError(f'{path} has no alpha channel: a cut-out needs one to give its mask.')
    return loaded


def assets_digest(assets: Assets) -> str:
    """Identify the assets by content, so that a copy elsewhere counts as the same."""
    digest = hashlib.sha256()
    files = [path for paths in assets.backgrounds.values() for path in paths]
    files += [
        path for split in assets.stamps.values() for paths in split.values() for path in paths
    ]
    for path in files:
        digest.update(path.name.encode() + b'\0' + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
