"""The whole data set, all or nothing."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .assets import CLASSES, assets_digest, find_assets
from .errors import DemoDataError
from .jobs import Job, plan
from .manifest import MANIFEST, is_made, make_manifest
from .write import write_pictures, write_sources

SOURCES = 'sources.csv'
# Smallest values; classification and validation sets need a picture of every class.
LEAST = {
    'image_size': 32,
    'train': len(CLASSES),
    'seg_train': 1,
    'val': len(CLASSES),
    'seed': 0,
    'workers': 1,
}


def make_demo_data(
    out: Path,
    assets_root: Path,
    *,
    image_size: int,
    train: int,
    seg_train: int,
    val: int,
    seed: int = 0,
    workers: int = 1,
    overwrite: bool = False,
) -> bool:
    """Write the demo data, all or nothing: a stopped run leaves no half-made folder.

    Args:
        out: folder to make.
        assets_root: folder of the cut-outs and backgrounds.
        image_size: side of the pictures in pixels, at least 32.
        train: training pictures for classification, at least one per class.
        seg_train: training pictures for segmentation, at least 1.
        val: pictures in each of the four validation sets, at least one per class.
        seed: non-negative; the same seed gives the same files whatever ``workers`` is.
        workers: processes that compose pictures.
        overwrite: replace ``out`` if this function made it.

    Returns:
        True if the data was written, False if ``out`` already held the same data.

    Raises:
        DemoDataError: bad parameter, missing assets, or ``out`` holds something else.
    """
    _check_least(
        image_size=image_size, train=train, seg_train=seg_train, val=val, seed=seed, workers=workers
    )
    # A link to a larger disk stays a link: its target is replaced.
    out = out.resolve()
    assets = find_assets(assets_root)
    jobs = plan(assets, train=train, seg_train=seg_train, val=val, seed=seed)
    parameters = {
        'image_size': image_size,
        'train': train,
        'seg_train': seg_train,
        'val': val,
        'seed': seed,
        'assets_sha256': assets_digest(assets),
    }
    manifest = make_manifest(parameters, [name for job in jobs for name in job.files])
    if is_made(out, manifest, overwrite):
        return False
    _write(out, jobs, manifest, image_size, workers)
    return True


def _check_least(**values: int) -> None:
    for name, value in values.items():
        if value < LEAST[name]:
            raise DemoDataError(
                f'--{name.replace("_", "-")} {value} is too small: '
                f'it must be at least {LEAST[name]}.'
            )


def _write(out: Path, jobs: Sequence[Job], manifest: dict, image_size: int, workers: int) -> None:
    """Write into a scratch folder beside ``out``, which takes its place once complete."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{out.name}.', dir=out.parent) as scratch:
        fresh = Path(scratch, 'new')
        fresh.mkdir()
        write_pictures(jobs, fresh, image_size, workers)
        write_sources(jobs, fresh / SOURCES)
        (fresh / MANIFEST).write_text(json.dumps(manifest, indent=2) + '\n')
        if out.exists():
            out.rename(Path(scratch, 'old'))
        fresh.rename(out)
