"""Let mmengine, and so every library built on it, read checkpoints weights-only."""

from pathlib import Path
from typing import Any

from mmengine.runner import CheckpointLoader

from mmbeitv2.checkpoints.reading import read_training_checkpoint
from mmbeitv2.checkpoints.sources import PACKAGE_SCHEME, URL_SCHEMES, checked_source

# Of mmengine's own, and of paths (the empty one); it matches them as regular expressions.
SCHEMES = (
    '',
    *URL_SCHEMES,
    PACKAGE_SCHEME,
    'modelzoo://',
    'torchvision://',
    'open-mmlab://',
    'openmmlab://',
    'mmcls://',
    'pavi://',
    r'(\S+\:)?s3://',
    r'(\S+\:)?petrel://',
)


def refuse_code_in_checkpoints() -> None:
    """Make mmengine refuse checkpoints with code, in this process from now on.

    By itself mmengine opens a file that is not of weights alone a second time, and then runs what
    is in it. This holds for all that reads through its ``CheckpointLoader``: ``Runner`` with
    ``load_from`` and ``resume``, ``init_cfg``, mmpretrain's ``get_model``, mmsegmentation's
    ``init_model``. ``tools/train.py`` and ``tools/test.py`` call it; a program of your own does
    before it loads.
    """
    CheckpointLoader.register_scheme(SCHEMES, load_from_file_without_code, force=True)


def load_from_file_without_code(filename: str | Path, map_location: Any = None) -> dict[str, Any]:
    """Read a checkpoint for mmengine; its log shows this name from the eleventh letter on.

    Args:
        filename: see :func:`mmbeitv2.checkpoints.sources.local_file`.
        map_location: as of ``torch.load``.

    Raises:
        UserError: see :func:`mmbeitv2.checkpoints.reading.read_training_checkpoint`.
    """
    return read_training_checkpoint(checked_source(filename), map_location or 'cpu')
