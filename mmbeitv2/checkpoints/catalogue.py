"""The published weights of BEiT v2 by name: ``catalogue.json`` beside this file is the table.

A name stands wherever a path of a checkpoint may. What is there under such a path wins: a file or
folder of the working folder that is called like published weights is read, and not those.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from mmbeitv2.checkpoints.downloads import HASH_IN_NAME
from mmbeitv2.errors import InputError

TABLE = Path(__file__).with_name('catalogue.json')
# What weights of a kind can be read as; any model has the backbone that heads are trained on.
SERVES = {
    'tokenizer': ('tokenizer',),
    'pretraining': ('pretraining', 'backbone'),
    'classifier': ('classifier', 'backbone'),
    'segmentation': ('segmentation', 'backbone'),
}
MOST_NEAREST = 3


@dataclass(frozen=True)
class Published:
    """Published weights.

    Attributes:
        name: by which they are asked for.
        kind: what the file holds, a key of ``SERVES``.
        what: architecture and training, in words.
        publisher: who publishes the file.
        licence: of the weights, as the publisher says; ``'unknown'`` where it was not read.
        addresses: where the file is, the first that answers is taken.
        file: its name, also below a mirror.
        config: of this project which trains such weights, below ``configs``.
        published: the result that was published with them, empty where there is none.
        same_as: name of the weights that these are in another layout; empty without.
        measured: top-1 in percent by data set (``'imagenet'``, ``'imagenet-a'``, …), as timm's
            results list them; empty where they do not.
    """

    name: str
    kind: str
    what: str
    publisher: str
    licence: str
    addresses: tuple[str, ...]
    file: str
    config: str
    published: str
    same_as: str = ''
    measured: Mapping[str, float] = field(default_factory=dict)

    @property
    def hash_prefix(self) -> str:
        """Beginning of the file's SHA-256 by torch.hub's convention, empty where it says none."""
        found = HASH_IN_NAME.search(self.file)
        return found[1] if found else ''


@lru_cache
def catalogue() -> dict[str, Published]:
    """All published weights by name, in the table's order."""
    rows = json.loads(TABLE.read_text(encoding='utf-8'))
    entries = {}
    for row in rows:
        file = row.pop('file', row['addresses'][0].rpartition('/')[2])
        addresses = tuple(row.pop('addresses'))
        entries[row['name']] = Published(file=file, addresses=addresses, **row)
    return entries


def published(source: str | Path) -> Published | None:
    """Published weights of this name; None for anything else, and where such a path exists.

    Args:
        source: of a checkpoint.
    """
    entry = catalogue().get(str(source))
    return None if entry is None or Path(source).exists() else entry


def described(source: str | Path) -> Published | None:
    """Published weights of this name, or at this address; None for anything else.

    Args:
        source: of a checkpoint.
    """
    at = (entry for entry in catalogue().values() if str(source) in entry.addresses)
    return published(source) or next(at, None)


def nearest_names(name: str) -> list[str]:
    """Names of the catalogue that look like ``name``, the most alike first.

    Args:
        name: as it was given. Of a path there is at most the one whose published file is called so.
    """
    file = Path(name).name
    if same := [entry.name for entry in catalogue().values() if entry.file == file]:
        return same
    if '/' in name or Path(name).suffix:
        return []
    return get_close_matches(name.lower(), catalogue(), MOST_NEAREST)


def named(name: str) -> Published:
    """Published weights of a name.

    Raises:
        ValueError: there are none; names those that are nearest.
    """
    try:
        return catalogue()[name]
    except KeyError:
        near = nearest_names(name)
        known = f'nearest: {", ".join(near)}' if near else f'allowed: {", ".join(catalogue())}'
        raise InputError(
            f'there are no published weights {name!r}, {known}; `mmbeitv2 weights` lists all'
        ) from None


def check_kind(source: str | Path, wanted: str) -> None:
    """Refuse published weights of the wrong kind before they are downloaded.

    Files of other sources are judged by their tensors, once they are read.

    Args:
        source: of a checkpoint.
        wanted: ``'tokenizer'``, ``'pretraining'``, ``'classifier'``, ``'segmentation'`` or
            ``'backbone'``.

    Raises:
        ValueError: names those that would serve.
    """
    entry = published(source)
    if entry is None or wanted in SERVES[entry.kind]:
        return
    raise InputError(
        f'{entry.name} holds weights of kind {entry.kind}, but a {wanted} is wanted here: choose '
        f'one of {", ".join(names_serving(wanted))}'
    )


def names_serving(wanted: str) -> Sequence[str]:
    """Names of the weights that can be read as ``wanted``, see :func:`check_kind`."""
    return [name for name, entry in catalogue().items() if wanted in SERVES[entry.kind]]
