"""Photos read in batches for use, not training: in order, and what cannot be read is told."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset

from mmbeitv2.errors import InputError, MissingFileError, UnreadableFileError

from .decoding import reason_of
from .replacement import bearable

NAMED = 3


class PhotoBatch(NamedTuple):
    """What was read of some photos that follow one another.

    Attributes:
        positions: of those that could be read, among all photos.
        items: what the pipeline made of them.
        unread: position and reason of the others.
    """

    positions: list[int]
    items: list[Any]
    unread: list[tuple[int, str]]


class _Photos(Dataset[Any]):
    def __init__(self, paths: Sequence[str], pipeline: Callable[[dict[str, Any]], Any]) -> None:
        self.paths = paths
        self.pipeline = pipeline

    def __getitem__(self, index: int) -> tuple[int, Any, str | None]:
        try:
            return index, self.pipeline(dict(img_path=self.paths[index])), None
        except (UnreadableFileError, MissingFileError) as error:
            return index, None, reason_of(error)


def read_batches(
    paths: Sequence[str],
    pipeline: Callable[[dict[str, Any]], Any],
    batches: Sequence[Sequence[int]],
    workers: int = 0,
) -> Iterator[PhotoBatch]:
    """Read photos in order.

    Args:
        paths: of all photos, or addresses of those in files.
        pipeline: from ``dict(img_path=...)`` to what a photo becomes.
        batches: positions of the photos of each batch.
        workers: processes that read; 0 for this one.

    Raises:
        ValueError: a photo whose numbers need a ``value_range``, see ``LoadImage``.
    """
    loader = DataLoader(
        _Photos(paths, pipeline),
        batch_sampler=[list(b) for b in batches],
        num_workers=workers,
        collate_fn=_parted,
    )
    yield from loader


def _parted(read: Sequence[tuple[int, Any, str | None]]) -> PhotoBatch:
    good = [(index, item) for index, item, reason in read if reason is None]
    unread = [(index, reason) for index, _, reason in read if reason is not None]
    return PhotoBatch([index for index, _ in good], [item for _, item in good], unread)


def check_unread(names: Sequence[str], unread: Sequence[tuple[int, str]], share: float) -> None:
    """Refuse to go on where more photos cannot be read than the data sets would bear.

    Args:
        names: of all photos.
        unread: position and reason of those that could not be read.
        share: that is borne, in [0, 1]; one photo always is.

    Raises:
        OSError: more cannot be read, or none can; names the first.
        ValueError: the share is none.
    """
    if not 0 <= share <= 1:
        raise InputError(f'max_unreadable is {share}, but must be a share in [0, 1]')
    limit = bearable(len(names), share)
    first = ', '.join(f'{names[i]} ({reason})' for i, reason in unread[:NAMED])
    if 0 < len(names) == len(unread):
        raise UnreadableFileError(f'none of {len(names)} photos can be read, the first are {first}')
    if len(unread) > limit:
        raise UnreadableFileError(
            f'{len(unread)} of {len(names)} photos cannot be read so far, borne are {limit}; the '
            f'first are {first}: remove or restore what `mmbeitv2 check-images` lists, or raise '
            'the share that is borne (--max-unreadable)'
        )
