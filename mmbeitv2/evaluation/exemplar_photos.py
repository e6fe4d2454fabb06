"""Which photos to show, so that every code that occurs has its examples in them."""

import numpy as np
from torch import Tensor


def choose_photos(best_photo: Tensor, wanted: int, examples: int) -> list[int]:
    """Choose few photos that hold examples of all codes.

    Greedy: the next photo is the one with the most codes that still lack an example; when all have
    one, that still lack a second, and so on. All codes get their first, however many photos that
    takes.

    Args:
        best_photo: int64 ``(K, R)``, photos with the patches nearest to each code, the nearest
            first and none twice, −1 where there are fewer.
        wanted: photos to choose, unless the first examples need more or there are fewer with any.
        examples: of each code that are enough.

    Returns:
        Photos, the most useful first.
    """
    code, rank = np.nonzero(best_photo.numpy() >= 0)
    photos, photo = np.unique(best_photo.numpy()[code, rank], return_inverse=True)
    held = _grouped(photo, code, len(photos))
    shows = _grouped(code, photo, len(best_photo))
    count, taken = np.zeros(len(best_photo), int), np.zeros(len(photos), bool)
    chosen: list[int] = []
    for level in range(1, examples + 1):
        lacking = np.array([count[c] < level <= len(shows[c]) for c in range(len(count))])
        use = np.array([lacking[codes].sum() for codes in held])
        use[taken] = 0
        while use.max(initial=0) > 0 and (level == 1 or len(chosen) < wanted):
            best = int(use.argmax())
            chosen.append(int(photos[best]))
            taken[best], use[best] = True, 0
            count[held[best]] += 1
            for served in held[best][lacking[held[best]] & (count[held[best]] >= level)]:
                lacking[served] = False
                others = shows[served]
                use[others[~taken[others]]] -= 1
    return chosen


def _grouped(keys: np.ndarray, values: np.ndarray, size: int) -> list[np.ndarray]:
    """Values of each key 0 … size − 1."""
    order = keys.argsort(kind='stable')
    return np.split(values[order], keys[order].searchsorted(np.arange(1, size)))
