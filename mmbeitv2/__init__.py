"""BEiT v2 for OpenMMLab: tokenizer training, masked image modelling, evaluation."""

import importlib.metadata
import importlib.util
import re

from mmbeitv2.moved import announce_moved_modules
from mmbeitv2.version import __version__

__all__ = ['__version__']

# Module: (names of the distributions that provide it, the fork first; lowest version; required).
_OPENMMLAB = {
    'mmengine': (('onedl-mmengine', 'mmengine'), '0.10.7', True),
    'mmcv': (('onedl-mmcv', 'mmcv', 'mmcv-lite'), '2.1.0', True),
    'mmpretrain': (('onedl-mmpretrain', 'mmpretrain'), '1.2.0', True),
    'mmseg': (('onedl-mmsegmentation', 'mmsegmentation'), '1.2.2', False),
}
_CURE = (
    "run `pip install 'mmbeitv2[onedl]'` for the maintained forks (recommended), or "
    "`pip install 'mmbeitv2[openmmlab]'` for upstream, and never both in one environment"
)


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r'\d+', version)[:3])


def _import_error(message: str) -> ImportError:
    # By the name `python -m mmbeitv2` knows that its package is meant, and prints one line.
    return ImportError(message, name=__name__)


def _check_openmmlab() -> None:
    """Raise ImportError if a module of the OpenMMLab stack is missing or too old.

    Versions are read from the installed metadata: importing the modules themselves takes seconds,
    and some of them assert on each other's versions without naming a cure.
    """
    for module, (distributions, floor, required) in _OPENMMLAB.items():
        if importlib.util.find_spec(module) is None:
            if required:
                raise _import_error(f'mmbeitv2 needs {module}>={floor}, not installed: {_CURE}')
            continue
        for distribution in distributions:
            try:
                version = importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                continue
            if _release(version) < _release(floor):
                raise _import_error(
                    f'mmbeitv2 needs {module}>={floor}, but {distribution} {version} is '
                    f'installed: {_CURE}'
                )
            break


_check_openmmlab()
announce_moved_modules()
