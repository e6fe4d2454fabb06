"""Download a checkpoint once, whole and checked, into a folder that its address cannot leave."""

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import Request, build_opener

import torch
from mmengine.logging import print_log

from mmbeitv2.checkpoints.atomic import PARTIAL_SUFFIX, partial_file
from mmbeitv2.checkpoints.hashes import BLOCK, HashMemory, sha256
from mmbeitv2.checkpoints.kinds import fault
from mmbeitv2.checkpoints.turns import turn
from mmbeitv2.errors import InputError, MissingFileError, UnreadableFileError, UserError

# The end of a file name of torch.hub's convention: NAME-<beginning of its SHA-256>.EXT.
HASH_IN_NAME = re.compile(r'-([a-f0-9]{8,64})\.')
# Without an answer, or within one.
MOST_SECONDS_OF_SILENCE = 60
# A file that no download has written to for as long is what a killed one has left.
SECONDS_UNTIL_ABANDONED = 3600


class TransferError(Exception):
    """Why an address did not give a file.

    Attributes:
        answered: whether a file came, which was another one; ``str`` is then the end of a sentence
            about it, else what the network said.
    """

    def __init__(self, reason: str, answered: bool) -> None:
        super().__init__(reason)
        self.answered = answered


def download(url: str) -> Path:
    """Download a file once into torch.hub's folder of checkpoints and check it.

    Args:
        url: ``https://…`` or ``http://…``. The expected SHA-256 is its fragment, ``#sha256=<64 hex
            digits>``, or the end of the file's name by torch.hub's convention, ``-<8 or more hex
            digits>.pth``. Without either only its length and kind are checked, and the log says so.

    Returns:
        The file, ``<torch.hub.get_dir()>/checkpoints/<of address and hash>/<name in the URL>``; one
        that is there already is used, after the same check. So is one of the expected hash that
        lies in ``checkpoints`` itself, where torch.hub puts it.

    Raises:
        FileNotFoundError: the download failed.
        OSError: the file cannot be written.
        ValueError: the name or the fragment is none, or the file another than the one asked for; it
            is deleted.
    """
    address, _, fragment = url.partition('#')
    name = _file_name(url, address)
    expected = _expected_hash(url, name, fragment)
    folder = Path(torch.hub.get_dir(), 'checkpoints')
    if expected is not None and (folder / name).is_file():
        if _wrong(folder / name, expected) is None:
            return folder / name
        print_log(f'{folder / name} is not the file that {url} asks for', logger='current')
    path = folder / hashlib.sha256(f'{address}#{expected or ""}'.encode()).hexdigest()[:16] / name
    if not path.is_file():
        # Processes of a run that starts want it at once.
        with turn(path):
            if not path.is_file():
                _fetch(address, path, expected)
                return path
    wrong = _wrong(path, expected)
    if wrong is not None:
        path.unlink(missing_ok=True)
        raise InputError(
            f'{path}, kept from {url}, is damaged: it {wrong}. It has been deleted: run again to '
            'download it.'
        )
    return path


def _fetch(address: str, path: Path, expected: str | None) -> None:
    try:
        transfer(address, path, expected)
    except TransferError as error:
        raise _failed(address, path, error) from error
    if expected is None:
        print_log(
            f'{path} comes from {address}, unchecked; to have it checked write {address}'
            f'#sha256={HashMemory(path).recall() or sha256(path)}',
            logger='current',
        )


def transfer(address: str, path: Path, expected: str | None, silence: float | None = None) -> None:
    """Bring the file of one address to ``path``, whole and checked, or leave nothing there.

    Args:
        address: ``https://…`` or ``http://…``.
        path: where it is wanted; its folder is made if need be.
        expected: beginning of its SHA-256; without one its length and kind are checked.
        silence: seconds without a byte that end it; ``MOST_SECONDS_OF_SILENCE`` unless given.

    Raises:
        TransferError: the address does not give that file.
        OSError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    with partial_file(path) as partial, _answer(address, silence) as answer:
        length = answer.headers.get('Content-Length')
        print_log(f'downloading {address}, {length or "?"} bytes, to {path}', logger='current')
        received = _copy(answer, partial, path)
        found = sha256(partial)
        wrong = fault(partial) if expected is None else _another(found, expected)
        if length is not None and received != int(length):
            wrong = f'has {received} of {length} bytes'
        kind = answer.headers.get_content_type()
        if expected is None and kind in ('text/html', 'application/xhtml+xml'):
            wrong = f'is a web page ({kind})'
        if wrong is not None:
            raise TransferError(wrong, answered=True)
    HashMemory(path).keep(found)


def _file_name(url: str, address: str) -> str:
    """The last part of an address; what it stands for must be a name, not a way to elsewhere."""
    try:
        name = unquote(urlsplit(address).path.rpartition('/')[2])
    except ValueError as error:
        raise InputError(f'{url} is no address ({error}): correct it.') from error
    if not name.strip('. ') or re.search(r'[/\\:\x00-\x1f\x7f]', name) or len(name.encode()) > 200:
        raise InputError(
            f'{url} ends in {name!r}, allowed is the name of a file, of 200 bytes at most and '
            'without slashes.'
        )
    return name


def _expected_hash(url: str, name: str, fragment: str) -> str | None:
    if not fragment:
        found = HASH_IN_NAME.search(name)
        return found and found[1]
    found = re.fullmatch(r'sha256=([0-9a-fA-F]{64})', fragment)
    if not found:
        raise InputError(f'{url} ends in #{fragment}, allowed is #sha256=<64 hex digits>.')
    return found[1].lower()


def _failed(address: str, path: Path, error: TransferError) -> UserError:
    if error.answered:
        return InputError(
            f'{address} is not the file that was asked for, or damaged: it {error}. It was not '
            'kept. Correct the address or the hash, or try again.'
        )
    return MissingFileError(
        f'{address} could not be downloaded ({error}): check the address and the network, or '
        f'put the file at {path} yourself.'
    )


@contextmanager
def _answer(address: str, silence: float | None) -> Iterator[HTTPResponse]:
    request = Request(address, headers={'User-Agent': 'mmbeitv2'})
    try:
        # urlopen would keep the proxies of its first use.
        with build_opener().open(request, timeout=silence or MOST_SECONDS_OF_SILENCE) as answer:
            yield answer
    except (UserError, TransferError):
        raise
    except (OSError, HTTPException, ValueError) as error:
        raise TransferError(str(error), answered=False) from error


def _copy(answer: HTTPResponse, partial: Path, path: Path) -> int:
    """Write an answer into a file; the number of bytes received."""
    received = 0
    try:
        file = open(partial, 'xb')  # noqa: SIM115 only writing may raise what is caught here
    except OSError as error:
        raise _unwritable(path, error) from error
    with file:
        while block := answer.read(BLOCK):
            received += len(block)
            try:
                file.write(block)
            except OSError as error:
                raise _unwritable(path, error) from error
    return received


def _wrong(path: Path, expected: str | None) -> str | None:
    """What is wrong with a file that was kept, as the end of a sentence."""
    memory = HashMemory(path)
    found = memory.recall()
    if found is None:
        found = sha256(path)
        wrong = fault(path) if expected is None else _another(found, expected)
        if wrong is not None:
            return wrong
        memory.keep(found)
    return None if expected is None else _another(found, expected)


def _another(found: str, expected: str) -> str | None:
    if found.startswith(expected):
        return None
    return f'has the SHA-256 {found}, but the address asks for {expected}'


def _remove_abandoned(folder: Path) -> None:
    for partial in folder.glob(f'.*{PARTIAL_SUFFIX}'):
        if time.time() - partial.stat().st_mtime > SECONDS_UNTIL_ABANDONED:
            partial.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> UnreadableFileError:
    return UnreadableFileError(
        f'cannot write {path}: {error.strerror or error}; free space, or choose another folder for '
        'downloads with the environment variable TORCH_HOME.'
    )
