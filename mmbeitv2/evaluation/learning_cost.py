"""What looks at a run cost of its time, and how often there may be one."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager


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
        began = time.perf_counter()
        try:
            yield
        finally:
            self.last = time.perf_counter() - began
            self.spent += self.last

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
    # Of the whole with looks, the share most: most · (training + looks) = looks.
    budget = training * most / (1 - most) if most < 1 else math.inf
    affordable = (budget - cost.spent) / max(cost.last, 1e-9)
    if affordable <= 1 or left == 0:
        return max(wanted, epochs)
    return max(wanted, min(epochs, math.ceil(left / affordable)))
