"""Fashion-MNIST as folders of PNG photos, one for each class, from its four IDX files.

    photos/
      fashion_mnist.json                  source, licence and counts
      {train,val,test}/CLASS/NUMBER.png   28 × 28 grey; NUMBER: place in the IDX file, from 0

``val`` is held out of the training file, so that nothing is chosen on the test photos.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from example_options import LICENCE, ORIGIN, PACKAGE
from idx_files import read_idx
from PIL import Image
from tqdm import tqdm

from mmbeitv2.errors import ExistingFileError, InputError, MissingFileError

CLASSES = (
    't-shirt',
    'trouser',
    'pullover',
    'dress',
    'coat',
    'sandal',
    'shirt',
    'sneaker',
    'bag',
    'ankle-boot',
)
SIDE = 28
MANIFEST = 'fashion_mnist.json'
# Name of the half of the files, and from which end of each class photos are taken.
SPLITS = {'train': ('train', False), 'val': ('train', True), 'test': ('t10k', False)}


def make_photos(source: Path, out: Path, counts: Mapping[str, int]) -> bool:
    """Write the photos, all or nothing: a stopped run leaves no half-made ``out``.

    Args:
        source: folder with the four IDX files, packed or not.
        out: folder to make.
        counts: photos of each split, a multiple of 10, as many of each class.

    Returns:
        True if they were written, False if ``out`` already held the same.

    Raises:
        UserError: files of the source are missing, damaged or too few; or ``out`` holds something
            else, which is left alone.
    """
    parameters = {'source': str(source.resolve()), **counts}
    if is_made(out, parameters):
        return False
    data = {half: read_half(source, half) for half in ('train', 't10k')}
    chosen = {split: choose(split, data[SPLITS[split][0]][1], counts[split]) for split in SPLITS}
    _check_apart(chosen)
    scratch = out.with_name(f'.{out.name}.partial')
    if scratch.exists():
        # Of a start that was killed: only this function gives the name.
        shutil.rmtree(scratch)
    scratch.mkdir(parents=True)
    try:
        _write(scratch, data, chosen)
        manifest = dict(origin=ORIGIN, licence=LICENCE, parameters=parameters)
        (scratch / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + '\n')
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return True


def is_made(out: Path, parameters: Mapping[str, str | int]) -> bool:
    """Whether a folder holds these photos; False if it is free to be written.

    Args:
        out: the folder.
        parameters: source and counts.

    Raises:
        ExistingFileError: it holds something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    manifest = out / MANIFEST
    if not manifest.is_file():
        raise ExistingFileError(
            f'{out} exists and was not made by this example (it has no {MANIFEST}), so it is left '
            'alone: name another WORK_DIR.'
        )
    try:
        made = dict(json.loads(manifest.read_text())['parameters'])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'{manifest} is damaged ({error!r}): name another WORK_DIR, or remove {out}.'
        ) from error
    changed = [f'{k} {made.get(k)} → {v}' for k, v in parameters.items() if made.get(k) != v]
    if changed:
        raise ExistingFileError(
            f'{out} holds other photos ({"; ".join(changed)}): name another WORK_DIR, for what '
            'this one has learned belongs to them.'
        )
    found = Counter(path.parts[-3] for path in out.glob('*/*/*.png'))
    lacking = [f'{found[s]} of {parameters[s]} in {s}' for s in SPLITS if found[s] != parameters[s]]
    if lacking:
        raise InputError(f'{out} is incomplete ({", ".join(lacking)}): remove it to make it again.')
    return True


def read_half(source: Path, half: str) -> tuple[np.ndarray, np.ndarray]:
    """Photos uint8 ``(N, 28, 28)`` and their labels uint8 ``(N,)``, 0 to 9.

    Args:
        source: folder with the files.
        half: ``'train'`` or ``'t10k'``.

    Raises:
        UserError: a file is missing, damaged or no part of Fashion-MNIST.
    """
    files = [find_file(source, f'{half}-{name}') for name in ('images-idx3', 'labels-idx1')]
    photos, labels = read_idx(files[0], 3), read_idx(files[1], 1)
    if photos.shape[1:] != (SIDE, SIDE):
        height, width = photos.shape[1:]
        raise InputError(f'{files[0]} has photos of {height}×{width} pixels, wanted {SIDE}×{SIDE}.')
    if len(photos) != len(labels):
        raise InputError(
            f'{files[1]} has {len(labels):,} labels for {len(photos):,} photos in {files[0].name}: '
            'fetch both again.'
        )
    if labels.max(initial=0) >= len(CLASSES):
        raise InputError(f'{files[1]} has the label {labels.max()}, allowed are 0 to 9.')
    return photos, labels


def find_file(source: Path, name: str) -> Path:
    """An IDX file of the data set, packed or not.

    Raises:
        MissingFileError: it is not there; with the command to get it.
    """
    for file in (source / f'{name}-ubyte.gz', source / f'{name}-ubyte'):
        if file.is_file():
            return file
    raise MissingFileError(
        f'no {name}-ubyte.gz in {source}: `sudo apt-get install {PACKAGE}` (Debian, Ubuntu) brings '
        'it, or name the folder of the four IDX files of Fashion-MNIST with --source FOLDER.'
    )


def choose(split: str, labels: np.ndarray, count: int) -> np.ndarray:
    """Places of a split's photos in their file, int64 ``(count,)``: equally many of each class.

    Args:
        split: a name in ``SPLITS``.
        labels: of its file.
        count: of the split.

    Raises:
        InputError: ``count`` is no multiple of 10, or more than there are.
    """
    each, rest = divmod(count, len(CLASSES))
    most = len(CLASSES) * int(np.bincount(labels, minlength=len(CLASSES)).min())
    if each < 1 or rest or count > most:
        raise InputError(
            f'{count} photos for {split}: allowed are 10 to {most:,}, in tens, as many of each of '
            'the 10 classes.'
        )
    from_end = SPLITS[split][1]
    places = [np.flatnonzero(labels == label) for label in range(len(CLASSES))]
    return np.concatenate([p[-each:] if from_end else p[:each] for p in places])


def _check_apart(chosen: Mapping[str, np.ndarray]) -> None:
    shared = np.intersect1d(chosen['train'], chosen['val'])
    if len(shared):
        counts = {name: len(chosen[name]) for name in ('train', 'val')}
        raise InputError(
            f'{counts["train"]} photos for train leave fewer than the {counts["val"]} for val in '
            'the training file: ask for fewer.'
        )


def _write(
    out: Path,
    data: Mapping[str, tuple[np.ndarray, np.ndarray]],
    chosen: Mapping[str, np.ndarray],
) -> None:
    def files() -> Iterator[tuple[Path, np.ndarray]]:
        for split, places in chosen.items():
            photos, labels = data[SPLITS[split][0]]
            for place in places:
                yield out / split / CLASSES[labels[place]] / f'{place:05d}.png', photos[place]

    for split in chosen:
        for name in CLASSES:
            (out / split / name).mkdir(parents=True)
    total = sum(map(len, chosen.values()))
    for path, pixels in tqdm(files(), total=total, desc='  photos', unit=' photos', leave=False):
        Image.fromarray(pixels).save(path)
