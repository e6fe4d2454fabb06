"""Where in its data a resumed run goes on."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mmbeitv2.errors import InputError


class RunShape(NamedTuple):
    """How a run that counts epochs walks through its data.

    Attributes:
        processes: that share the data.
        batch_size: images of one process and iteration.
        epoch_length: iterations of an epoch.
    """

    processes: int
    batch_size: int
    epoch_length: int

    @property
    def images(self) -> int:
        """Images of one iteration, of all processes."""
        return self.processes * self.batch_size

    def __str__(self) -> str:
        return f'{self.processes} processes × {self.batch_size} images'


class Position(NamedTuple):
    """Epochs and iterations completed, and iterations completed in the epoch under way."""

    epoch: int
    iteration: int
    into_epoch: int


def resumed_position(meta: Mapping[str, Any], saved: RunShape | None, now: RunShape) -> Position:
    """Translate the position of a checkpoint into this run's iterations.

    A run of another total batch has another number of iterations an epoch. It goes on behind the
    images that have been seen in the epoch under way, whose order depends on neither.

    Args:
        meta: ``epoch`` and ``iter`` of the checkpoint.
        saved: shape of the run that saved it; None if it did not say, then as this run's.
        now: shape of this run.

    Raises:
        ValueError: this run's iterations cannot begin behind those images.
    """
    before = saved or now
    into = meta['iter'] - meta['epoch'] * before.epoch_length
    if not 0 <= into <= before.epoch_length:
        raise InputError(
            f'the checkpoint was saved after {meta["iter"]} iterations and {meta["epoch"]} epochs, '
            f'but this run has {now.epoch_length} iterations an epoch ({now}): resume with the '
            'number of processes, the batch size and the images of the run that saved it'
        )
    if into == before.epoch_length:
        return Position(meta['epoch'] + 1, (meta['epoch'] + 1) * now.epoch_length, 0)
    images = into * before.images
    if images % now.images:
        raise InputError(
            f'the checkpoint was saved within an epoch, behind {images} images, which the {now} of '
            f'this run do not divide: resume with {before}, or from the end of an epoch'
        )
    into = images // now.images
    if into >= now.epoch_length:
        return Position(meta['epoch'] + 1, (meta['epoch'] + 1) * now.epoch_length, 0)
    return Position(meta['epoch'], meta['epoch'] * now.epoch_length + into, into)
