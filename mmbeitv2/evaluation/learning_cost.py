"""What looks at a run cost of its time, at how many photos they are, and how often there is one."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Cost:
    """Seconds of a run, and those that looks have taken of them."""

    def __init__(self) -> None:
        self.start()
        self._before = 0.0
        self.spent = 0.0
        self.last = 0.0

    def start(self) -> None:
        """Begin to count."""
        self._began = time.perf_counter()

    @contextmanager
    def of_a_look(self) -> Iterator[None]:
        """Count what happens within."""
        self._look_began = time.perf_counter()
        try:
            yield
        finally:
            self.last = self.so_far
            self.spent += self.last

    @property
    def so_far(self) -> float:
        """Seconds of the look that goes on."""
        return time.perf_counter() - self._look_began

    def go_on_from(self, record: dict[str, float]) -> None:
        """Add the seconds of a run that is resumed."""
        self._before += record['elapsed']
        self.spent += record['spent']

    @property
    def elapsed(self) -> float:
        """Seconds of the run, looks included."""
        return self._before + time.perf_counter() - self._began

    @property
    def share(self) -> float:
        """Of the seconds, those spent, 0 to 1."""
        return self.spent / self.elapsed

    def record(self) -> dict[str, float]:
        """For the record of a look: seconds of it, of all looks, of the run, and the share."""
        return dict(
            seconds=round(self.last, 3),
            spent=round(self.spent, 3),
            elapsed=round(self.elapsed, 3),
            share=round(self.share, 4),
        )


class Times(NamedTuple):
    """What looks and training take, as measured before the first look; seconds.

    Attributes:
        photo: of a look, for each held-out photo and what is looked at beside it.
        once: likewise, but of the first look alone: photos are read, and targets computed.
        training: of all steps of the run.
    """

    photo: float
    once: float
    training: float


class Fit(NamedTuple):
    """Held-out photos that are looked at, and the share of the run that looks at them then take."""

    photos: int
    share: float


def photos_that_fit(
    times: Times, spent: float, looks: int, least: int, most: int, cost: float
) -> Fit:
    """At how many photos looks cost no more than a share of the run's time.

    Args:
        times: measured.
        spent: seconds that came before the first look, for measuring.
        looks: that are to fit, 1 or more.
        least: photos, of which fewer give no verdict, 1 or more.
        most: photos that there are, or that were asked for, 1 or more.
        cost: share of the run's time, in (0, 1].

    Returns:
        ``most`` photos or fewer; ``least`` of them, if there are, also where they cost more.
    """
    budget = _allowed(times.training, cost) - spent
    a_photo = times.once + looks * times.photo
    photos = most if budget >= most * a_photo else max(int(budget / a_photo), min(least, most))
    seconds = spent + photos * a_photo
    return Fit(photos, seconds / (seconds + times.training))


def _allowed(training: float, most: float) -> float:
    """Seconds of looks, of so many of training: most · (training + looks) = looks."""
    return training * most / (1 - most) if most < 1 else math.inf


def next_interval(cost: Cost, epoch: int, epochs: int, wanted: int, most: float) -> int:
    """Epochs between looks, so that they cost no more than a share of the whole run's time.

    Looks before the first step, after the first epoch and after the last are made in any case, and
    come out of the same budget.

    Args:
        cost: so far, right after a look.
        epoch: epochs made, 1 or more.
        epochs: of the run.
        wanted: that the user asked for.
        most: share of the run's time, in (0, 1].

    Returns:
        ``wanted`` or more; at most ``epochs``.
    """
    left = epochs - epoch
    training = (cost.elapsed - cost.spent) / epoch * epochs
    affordable = (_allowed(training, most) - cost.spent) / max(cost.last, 1e-9)
    if affordable <= 1 or left == 0:
        return max(wanted, epochs)
    return max(wanted, min(epochs, math.ceil(left / affordable)))
