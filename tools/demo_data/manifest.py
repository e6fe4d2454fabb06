"""The manifest: how a folder of demo data is recognised and found complete."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from .assets import CLASSES
from .collage import SEG_CLASSES
from .errors import DemoDataError

MANIFEST = 'demo_data.json'
# Part of the manifest: raise it when the same parameters would give other pictures.
RECIPE = 1


def make_manifest(parameters: dict[str, int | str], files: Iterable[str]) -> dict:
    """Describe a data set.

    Args:
        parameters: what decides the content of its files, by name.
        files: its pictures and annotations, relative to its folder.

    Returns:
        The content of ``MANIFEST``, ready for JSON.
    """
    return {
        'parameters': {'recipe': RECIPE, **parameters},
        'counts': _count_files(files),
        'classes': CLASSES,
        'annotation_values': {
            'unlabelled': 0,
            **{name: value for value, name in enumerate(SEG_CLASSES, start=1)},
        },
    }


def is_made(out: Path, manifest: dict, overwrite: bool) -> bool:
    """Find out whether a folder already holds a data set.

    Args:
        out: folder that holds it or is to hold it.
        manifest: result of ``make_manifest``.
        overwrite: whether demo data with other parameters may be replaced.

    Returns:
        True if nothing is left to do, False if ``out`` is free to be written.

    Raises:
        DemoDataError: ``out`` holds something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not (out / MANIFEST).is_file():
        raise DemoDataError(
            f'{out} exists and was not made by this script (it has no {MANIFEST}), so it is left '
            f'alone, with --overwrite too. Name another folder with --out.'
        )
    if overwrite:
        return False
    try:
        found = json.loads((out / MANIFEST).read_text())
        old = dict(found['parameters'])
    except (ValueError, KeyError, TypeError) as error:
        raise DemoDataError(
            f'{out / MANIFEST} is damaged ({error!r}). Make the data again with --overwrite, or '
            f'name another folder with --out.'
        ) from error
    new = manifest['parameters']
    changed = [
        f'{key} {old.get(key)} → {new.get(key)}'
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]
    if changed:
        raise DemoDataError(
            f'{out} holds demo data with other parameters ({"; ".join(changed)}). Replace it with '
            f'--overwrite, or name another folder with --out.'
        )
    counts = _count_files(_files_on_disk(out))
    if counts != manifest['counts']:
        raise DemoDataError(
            f'{out} is incomplete: it holds {counts}, but should hold {manifest["counts"]}. '
            f'Make it again with --overwrite.'
        )
    return True


def _count_files(names: Iterable[str]) -> dict[str, int]:
    """Count files by set, the first three parts of ``ade/...`` and two of ``imagenet/...``."""
    depth = {'imagenet': 2, 'ade': 3}
    parts = (name.split('/') for name in names)
    return dict(sorted(Counter('/'.join(part[: depth[part[0]]]) for part in parts).items()))


def _files_on_disk(out: Path) -> list[str]:
    return [
        path.relative_to(out).as_posix()
        for folder, suffix in (('imagenet', 'jpg'), ('ade', 'jpg'), ('ade', 'png'))
        for path in (out / folder).rglob(f'*.{suffix}')
    ]
