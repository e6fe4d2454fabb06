"""Where the configs of this package lie, in a checkout and in an installed wheel."""

from pathlib import Path

from mmbeitv2.errors import MissingFileError

SCOPE_PREFIX = 'mmbeitv2::'


def find_config(name: str) -> Path:
    """Return the path of one of this package's configs.

    An installed wheel has them in ``mmbeitv2/.mim/configs``, a checkout (also one installed with
    ``pip install -e``) in the folder ``configs`` beside the package.

    Args:
        name: path below ``configs``, for instance ``'beitv2_vit-b16_300e.py'``; the prefix
            ``'mmbeitv2::'`` may stand before it.

    Raises:
        FileNotFoundError: if there is no such config; the message lists those of its folder.
    """
    package = Path(__file__).resolve().parent
    root = package / '.mim' / 'configs'
    if not root.is_dir():
        root = package.parent / 'configs'
    relative = name.removeprefix(SCOPE_PREFIX)
    path = root / relative
    if not path.is_file():
        inside = path.parent.is_dir() and path.parent.is_relative_to(root)
        folder = path.parent if inside else root
        known = sorted(str(p.relative_to(root)) for p in folder.glob('*.py'))
        raise MissingFileError(
            f'mmbeitv2 has no config {relative!r}; near it in {root} there are: '
            f'{", ".join(known) or "none"}'
        )
    return path
