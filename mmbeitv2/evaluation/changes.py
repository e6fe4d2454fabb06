"""How a figure has changed from look to look, photo by photo, and whether beyond noise."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

# A change counts beyond so many standard errors of the paired differences over photos: one look in
# forty is then called a gain by chance.
NOISE = 2.0


class Change(NamedTuple):
    """Mean paired difference of two looks, later minus earlier, and its standard error."""

    mean: float
    error: float

    def below(self, noise: float = NOISE) -> bool:
        """Whether it has fallen beyond the noise."""
        return self.mean < -noise * self.error

    def above(self, noise: float = NOISE) -> bool:
        """Whether it has risen beyond the noise."""
        return self.mean > noise * self.error


def change(earlier: Mapping[str, Any], later: Mapping[str, Any], name: str) -> Change | None:
    """How a figure of every photo has changed, None where a look lacks it, or of other photos.

    Args:
        earlier: record of a look.
        later: of another at the same photos.
        name: in ``by_photo``, where what was no number is None.
    """
    pair = [look['by_photo'].get(name) for look in (earlier, later)]
    if None in pair or len(pair[0]) != len(pair[1]) or any(None in values for values in pair):
        return None
    differences = np.subtract(pair[1], pair[0], dtype=float)
    return _over_photos(differences)


def trend(looks: Sequence[Mapping[str, Any]], name: str) -> Change:
    """How a figure has changed from the first of some looks to the last, by a line through all.

    The more looks, the less the noise of each counts. All photos of a look may be off together, as
    the weights waver: the error is that over photos, or that over looks where it is larger.

    Args:
        looks: in order, three or more, at the same photos.
        name: in ``by_photo``.
    """
    times = np.array([look['iter'] for look in looks], dtype=float)
    times = (times - times.mean()) / (times[-1] - times[0])
    values = np.array([look['by_photo'][name] for look in looks], dtype=float)
    found = _over_photos(times @ values / (times @ times))
    off = values.mean(1) - values.mean() - times * found.mean
    over_looks = math.sqrt(off @ off / (len(looks) - 2) / (times @ times))
    return Change(found.mean, max(found.error, over_looks))


def _over_photos(differences: np.ndarray) -> Change:
    if len(differences) < 2:
        return Change(float(differences.mean()), math.inf)
    error = float(differences.std(ddof=1)) / len(differences) ** 0.5
    return Change(float(differences.mean()), error)
