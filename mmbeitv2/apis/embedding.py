"""Embed a folder of photos: from paths and a checkpoint to one file of features."""

import hashlib
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from mmbeitv2.apis.embedding_making import DTYPES, complete_parts, stamps_of
from mmbeitv2.apis.embedding_parts import PHOTOS, EmbeddingParts, LazyParts, differing
from mmbeitv2.apis.encoder import PhotoEncoder, load_encoder
from mmbeitv2.checkpoints.atomic import check_writable, free_bytes, remove_partial_files
from mmbeitv2.checkpoints.digests import digest
from mmbeitv2.checkpoints.turns import alone
from mmbeitv2.datasets.data_preprocessor import IMAGENET_MEAN, IMAGENET_STD
from mmbeitv2.datasets.listing import is_text
from mmbeitv2.datasets.photo_batches import check_unread
from mmbeitv2.datasets.photo_list import PhotoList, list_photos
from mmbeitv2.datasets.photo_sources import Source
from mmbeitv2.datasets.photo_stamps import agree, same_changes
from mmbeitv2.errors import ExistingFileError, InputError, UnreadableFileError
from mmbeitv2.exchange.embeddings import check_suffix, read_meta, write_embeddings

# Width of a head where nothing else is noted.
USUAL_HEAD = 64
ALWAYS, OPTIONAL = ('cls', 'mean'), ('patches', 'codes')
# What a file notes of the photos as they were read.
STAMPS = 'stamps'


class Embedded(NamedTuple):
    """What a run of :func:`embed` has done.

    Attributes:
        path: of the file.
        photos: how many are in it.
        unread: name and reason of those that could not be read and are left out.
        resumed: photos whose features a stopped run had made already.
    """

    path: Path
    photos: int
    unread: list[tuple[str, str]]
    resumed: int


def embed(
    checkpoint: str | Path,
    photos: Source,
    out: str | Path,
    with_: Sequence[str] = (),
    tokenizer: str | Path | None = None,
    size: int | None = None,
    batch_size: int = 32,
    workers: int = 0,
    device: str | None = None,
    precision: str = 'auto',
    num_heads: int | None = None,
    max_unreadable: float = 0.01,
    overwrite: bool = False,
    trust: bool = False,
    value_range: Sequence[float] | None = None,
    image_column: str | None = None,
    progress: bool = False,
) -> Embedded:
    """Write one file with the features of all photos: ``paths``, ``cls``, ``mean``.

    A run that was stopped goes on when it is called again; the file is then the same as if it had
    not been. Photos whose files have changed since are read again.
    :func:`mmbeitv2.exchange.embeddings.read_embeddings` reads the file, and so does NumPy, or
    anything that knows Parquet.

    Args:
        checkpoint: see :func:`mmbeitv2.apis.load_encoder`.
        photos: see :func:`mmbeitv2.datasets.photo_list.list_photos`.
        out: ``.npz`` or ``.parquet``.
        with_: of a photo ``'patches'``, float16 ``(N, C)``; ``'codes'``, int32 ``(rows, columns)``.
        tokenizer: of the codes, see :func:`mmbeitv2.apis.load_encoder`.
        size: side in pixels at which photos are seen; the one of training unless given.
        batch_size: photos a step.
        workers: processes that read photos.
        device: such as ``'cuda'``; the CPU unless given.
        precision: of the matrix products.
        num_heads: of the encoder, where the file does not note them.
        max_unreadable: share of photos that may be unreadable; they are left out and named.
        overwrite: replace a file of another run.
        trust: open a checkpoint that holds Python objects beside weights, which can run any code.
        value_range: see :func:`mmbeitv2.apis.load_encoder`.
        image_column: of tables; None for their only column of image files.
        progress: show a bar with the rate.

    Raises:
        UserError: what the user can mend; before any photo is read where it can be seen.
    """
    out = Path(out)
    _check_arguments(out, with_, batch_size, workers, max_unreadable)
    found = list_photos(photos, image_column)
    _check_names(out, found.names)
    encoder = load_encoder(
        checkpoint, tokenizer, size, num_heads, device, precision, trust, value_range
    )
    names = _features(with_, encoder, checkpoint)
    meta = describe(encoder, found, names)
    if out.exists() and not overwrite:
        return _finished(out, meta, found)
    check_writable(out)
    _check_space(out, _bytes_a_photo(encoder, names) * len(found.names))
    how = (batch_size, workers)
    out.parent.mkdir(parents=True, exist_ok=True)
    with alone(out.with_name(f'.{out.name}.lock')):
        parts = EmbeddingParts(out, meta, overwrite)
        resumed = complete_parts(parts, encoder, found, names, how, max_unreadable, progress)
        return _finish(out, parts, found, names, meta, resumed)


def _features(with_: Sequence[str], encoder: PhotoEncoder, checkpoint: str | Path) -> list[str]:
    if 'codes' in with_ and encoder.tokenizer is None:
        raise InputError(
            f'{checkpoint} holds no tokenizer, whose codes are asked for: give one with --tokenizer'
        )
    return [*ALWAYS, *(name for name in OPTIONAL if name in with_)]


def describe(encoder: PhotoEncoder, photos: PhotoList, names: Sequence[str]) -> dict[str, Any]:
    """What features are made of, so that a run can tell its own from another's.

    Args:
        encoder: of the features.
        photos: all of them.
        names: of the features.
    """
    models = dict(checkpoint=encoder.vit, tokenizer=encoder.tokenizer if 'codes' in names else None)
    digests = {name: digest_of(model) for name, model in models.items() if model is not None}
    listed = hashlib.sha256('\0'.join(photos.names).encode(errors='surrogateescape')).hexdigest()
    return dict(
        **digests,
        kind=encoder.kind,
        photos=listed,
        folder='' if photos.folder is None else str(photos.folder.resolve()),
        size=encoder.size,
        features=list(names),
        precision=str(encoder.precision.dtype).removeprefix('torch.'),
        **unusual_views(encoder, 'codes' in names),
    )


def unusual_views(encoder: PhotoEncoder, codes: bool) -> dict[str, Any]:
    """What no weight shows and features depend on; noted where it is not as usual.

    Args:
        encoder: of the features.
        codes: whether they have codes, too.
    """
    mean, std = encoder.normalization or (IMAGENET_MEAN, IMAGENET_STD)
    found: dict[str, Any] = {}
    if encoder.value_range is not None:
        found['value_range'] = list(encoder.value_range)
    vits = dict(num_heads=encoder.vit)
    if codes and encoder.tokenizer is not None:
        vits['heads_of_codes'] = encoder.tokenizer.encoder
    for name, vit in vits.items():
        if vit.num_heads != vit.embed_dim // USUAL_HEAD:
            found[name] = vit.num_heads
    if encoder.kind != 'tokenizer' and (*mean, *std) != (*IMAGENET_MEAN, *IMAGENET_STD):
        found['normalization'] = [list(mean), list(std)]
    return found


def digest_of(model: nn.Module) -> str:
    """Checksum of a model's weights, the same on every device and in every file."""
    state = model.state_dict()
    return digest({name: v.cpu() for name, v in state.items() if isinstance(v, Tensor)})


def _finish(
    out: Path,
    parts: EmbeddingParts,
    photos: PhotoList,
    names: Sequence[str],
    meta: dict[str, Any],
    resumed: int,
) -> Embedded:
    numbers = range(len(range(0, len(photos.names), PHOTOS)))
    kept = [photos.names[i] for number in numbers for i in parts.positions(number)]
    unread = [(photos.names[i], reason) for number in numbers for i, reason in parts.unread(number)]
    lazy = LazyParts(parts, names, len(numbers))
    stamps = [parts.stamp(number) for number in numbers]
    remove_partial_files(out.parent, out.name)
    write_embeddings(out, kept, lazy, {**meta, 'unread': unread, STAMPS: stamps})
    parts.remove()
    return Embedded(out, len(kept), unread, resumed)


def _finished(out: Path, meta: dict[str, Any], photos: PhotoList) -> Embedded:
    """What is there already, if it is what was asked for."""
    found = read_meta(out)
    # Files of earlier versions do not have them.
    stamps = found.pop(STAMPS, None)
    unread = [(name, reason) for name, reason in found.pop('unread', [])]
    if found != meta:
        raise ExistingFileError(
            f'{out} is there already and of another run ({differing(found, meta)}): give another '
            '--out, or replace it with --overwrite'
        )
    if stamps is not None:
        _check_stamps(out, stamps, stamps_of(photos))
    count = len(photos.names) - len(unread)
    return Embedded(out, count, unread, count)


def _check_stamps(out: Path, noted: Sequence[str], found: Sequence[str]) -> None:
    pairs = zip_longest(noted, found, fillvalue='')
    changed = [(old, new) for old, new in pairs if not agree(old, new)]
    if not changed:
        return
    if all(same_changes(old, new) for old, new in changed):
        what = (
            'photos may be others now (of the same sizes and times, but the files were swapped, '
            'copied, renamed or given other rights since, or a network drive numbers them anew)'
        )
    else:
        what = 'photos have changed since (size or time of a file)'
    raise ExistingFileError(
        f'{out} is there already, but {what}: make it anew with --overwrite, or give another --out'
    )


def _check_arguments(
    out: Path, with_: Sequence[str], batch_size: int, workers: int, max_unreadable: float
) -> None:
    check_suffix(out)
    for name in with_:
        if name not in OPTIONAL:
            raise InputError(f'{name!r} is asked for, allowed: {", ".join(OPTIONAL)}')
    for name, value, least in (('batch_size', batch_size, 1), ('workers', workers, 0)):
        if value < least:
            raise InputError(f'{name} is {value}, but must be {least} or more')
    check_unread((), (), max_unreadable)


def _check_names(out: Path, names: Sequence[str]) -> None:
    other = [name for name in names if not is_text(name)]
    if out.suffix == '.parquet' and other:
        raise InputError(
            f'{len(other)} photos have names that are no UTF-8 text, which Parquet cannot hold, '
            f'the first is {other[0]!r}: rename them, or give a file that ends in .npz'
        )


def _bytes_a_photo(encoder: PhotoEncoder, names: Sequence[str]) -> int:
    width = encoder.vit.embed_dim
    numbers = dict.fromkeys(ALWAYS, width)
    numbers |= {name: int(np.prod(grid)) for name, grid in encoder.grids.items()}
    numbers['patches'] *= width
    return sum(numbers[name] * np.dtype(DTYPES[name]).itemsize for name in names)


def _check_space(out: Path, needed: int) -> None:
    """Refuse features that do not fit: twice, since their parts stay until the file is whole."""
    free = free_bytes(out)
    if 2 * needed > free:
        raise UnreadableFileError(
            f'{out.parent} has {free:,} bytes free, but the features and their parts need about '
            f'{2 * needed:,}: free some, choose another folder, or leave patches out'
        )
