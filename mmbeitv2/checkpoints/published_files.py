"""The files of published weights: where they lie here, downloaded once, the same ever after."""

import os
from logging import DEBUG
from pathlib import Path

import torch
from mmengine.logging import print_log

from mmbeitv2.checkpoints.atomic import write_atomically
from mmbeitv2.checkpoints.catalogue import Published
from mmbeitv2.checkpoints.downloads import TransferError, transfer
from mmbeitv2.checkpoints.hashes import HashMemory, sha256
from mmbeitv2.checkpoints.hub import HUB_SCHEME, kept_from_hub, weights_from_hub
from mmbeitv2.checkpoints.kinds import fault
from mmbeitv2.checkpoints.turns import turn
from mmbeitv2.errors import InputError, MissingFileError, UnreadableFileError, UserError

# A folder, or the address under which the files lie by their names.
MIRROR = 'MMBEITV2_MIRROR'
RECORD_SUFFIX = '.sha256'
# Less than of other downloads: there may be several addresses to try.
MOST_SECONDS_OF_SILENCE = 15


def kept_in() -> Path:
    """Folder of downloaded weights: torch.hub's."""
    return Path(torch.hub.get_dir(), 'checkpoints')


def file_here(entry: Published) -> Path | None:
    """The file of published weights on this machine, unchecked; None where it is not here.

    Args:
        entry: of the catalogue.
    """
    places = [kept_in() / entry.file]
    mirror = os.environ.get(MIRROR, '')
    if mirror and not _is_address(mirror):
        places.append(Path(mirror).expanduser() / entry.file)
    for place in places:
        if place.is_file():
            return place
    for address in entry.addresses:
        if address.startswith(HUB_SCHEME):
            return kept_from_hub(address)
    return None


def file_of(entry: Published) -> Path:
    """The file of published weights, downloaded if it is not here, and checked.

    The beginning of its SHA-256 must be the one in its name, where that has one; the whole of it
    the one that was recorded when it was first read here, in ``FILE.sha256`` of torch.hub's folder.

    Args:
        entry: of the catalogue.

    Raises:
        FileNotFoundError: no address gives it; names file, addresses and folder.
        ValueError: it is another file.
        OSError: it cannot be written.
    """
    path = file_here(entry)
    if path is None:
        # Processes of a run that starts want it at once.
        with turn(kept_in() / entry.file):
            path = file_here(entry) or _fetched(entry)
    _check(entry, path)
    return path


def recorded_hash(entry: Published) -> str | None:
    """SHA-256 of the file as it was first read here, 64 hex digits; None where it never was."""
    try:
        words = _record(entry).read_text(encoding='utf-8').split()
    except OSError:
        return None
    return words[0] if words else None


def _fetched(entry: Published) -> Path:
    place = kept_in() / entry.file
    reasons = []
    for address in _addresses(entry):
        try:
            if address.startswith(HUB_SCHEME):
                return weights_from_hub(address)
            transfer(address, place, entry.hash_prefix or None, MOST_SECONDS_OF_SILENCE)
            return place
        except TransferError as error:
            reasons.append(f'{address} {error}' if error.answered else f'{address}: {error}')
        except (MissingFileError, InputError) as error:
            reasons.append(str(error))
        print_log(
            f'{entry.name} is not to be had from {reasons[-1]}', logger='current', level=DEBUG
        )
    other = f'; {entry.same_as} has the same weights elsewhere' if entry.same_as else ''
    raise MissingFileError(
        f'{entry.name} could not be downloaded ({"; ".join(reasons)}): put {entry.file} into '
        f'{kept_in()} yourself, or name a folder or address that has it with {MIRROR}{other}'
    )


def _addresses(entry: Published) -> list[str]:
    mirror = os.environ.get(MIRROR, '')
    if not mirror:
        return list(entry.addresses)
    if not _is_address(mirror):
        folder = Path(mirror).expanduser()
        if not folder.is_dir():
            raise InputError(
                f'{MIRROR} is {mirror!r}, allowed: a folder that exists, or an address that begins '
                'with https:// or http://'
            )
        return list(entry.addresses)
    return [f'{mirror.rstrip("/")}/{entry.file}', *entry.addresses]


def _is_address(mirror: str) -> bool:
    return mirror.startswith(('https://', 'http://'))


def _check(entry: Published, path: Path) -> None:
    """Compare a file with what is said of it; the first time there is only its name."""
    wrong = None
    try:
        memory = HashMemory(path)
        found = remembered = memory.recall()
        if found is None:
            found, wrong = sha256(path), fault(path)
    except OSError as error:
        raise UnreadableFileError(f'{path} cannot be read: {error.strerror or error}.') from error
    recorded = recorded_hash(entry)
    cure = f'delete it, and run again to download {entry.name} anew'
    if not found.startswith(entry.hash_prefix):
        raise InputError(
            f'{path} is not the published {entry.name}: its SHA-256 is {found}, but its name says '
            f'{entry.hash_prefix}: {cure}'
        )
    if recorded is not None and found != recorded:
        raise InputError(
            f'{path} is not what it was: its SHA-256 is {found}, but {recorded} in {_record(entry)}'
            f', as it was first read: {cure}; delete the record too if its publisher replaced it'
        )
    if wrong is not None:
        raise InputError(f'{path}, kept as {entry.name}, {wrong}: {cure}')
    if remembered is None:
        memory.keep(found)
    if recorded is None:
        _write_record(entry, found)


def _record(entry: Published) -> Path:
    return kept_in() / f'{entry.file}{RECORD_SUFFIX}'


def _write_record(entry: Published, digest: str) -> None:
    try:
        # As sha256sum -c reads it.
        write_atomically(_record(entry), f'{digest}  {entry.file}\n'.encode())
    except UserError as error:
        # Somebody else's folder: the file in it can be used all the same.
        print_log(f'the SHA-256 of {entry.name} is not recorded: {error}', logger='current')
