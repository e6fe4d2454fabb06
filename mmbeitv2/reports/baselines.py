"""What predictions that ignore the image reach, computed from a data set's files."""

from pathlib import Path

import numpy as np
from PIL import Image

from mmbeitv2.errors import MissingFileError


def majority_share(folder: str | Path) -> float:
    """Accuracy (0 to 1) of always guessing the most frequent class.

    Args:
        folder: in ImageNet's layout, one sub-folder of images for each class.

    Raises:
        FileNotFoundError: no images there.
    """
    counts = [
        sum(1 for _ in classes.iterdir()) for classes in _existing(folder) if classes.is_dir()
    ]
    if not sum(counts):
        raise MissingFileError(f'{folder} holds no class folders with images.')
    return max(counts) / sum(counts)


def background_miou(folder: str | Path) -> float:
    """MIoU (0 to 1) of predicting background everywhere.

    The mean is over the classes that occur, as mmsegmentation's ``IoUMetric`` takes it: that of the
    background is its share of the labelled pixels, that of every other class 0.

    Args:
        folder: of annotation PNGs; 0 unlabelled, 1 background, other classes above.

    Raises:
        FileNotFoundError: no annotations there.
    """
    counts = np.zeros(256, np.int64)
    for file in _existing(folder):
        with Image.open(file) as annotation:
            counts += np.bincount(np.asarray(annotation).ravel(), minlength=256)
    labelled = counts[1:]
    if not labelled.sum():
        raise MissingFileError(f'{folder} holds no labelled annotation PNGs.')
    return float(labelled[0] / labelled.sum() / (labelled > 0).sum())


def _existing(folder: str | Path) -> list[Path]:
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(
            f'no folder {folder}: write the demo data with `python tools/make_demo_data.py` or '
            'give their place with --data-root.'
        )
    return sorted(folder.iterdir())
