"""What a page about a codebook is made of."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from mmbeitv2.evaluation.code_census import CodeCensus


@dataclass
class CodebookSurvey:
    """A codebook over photos: numbers of all of them, and the codes of some to be shown.

    Args:
        codebook: float32 ``(K, D)``, unit vectors.
        census: of all photos.
        grid: rows and columns of patches.
        side: side in pixels at which photos were coded: their centre, the short side resized to it.
        photos: paths, or addresses in files, of the photos shown.
        names: of these, relative to their folder.
        labels: of these; None for a photo without.
        codes: int64 ``(photos shown, rows, columns)``.
        exemplars: for each code the photo shown and the cell of the patches nearest to it, at most
            one from a photo, the nearest first.
        classes: in the order of the census's columns.
        value_range: black and white of photos of float or 32-bit numbers.
        unread: name and reason of photos that could not be read and are left out.
    """

    codebook: Tensor
    census: CodeCensus
    grid: tuple[int, int]
    side: int
    photos: Sequence[str]
    names: Sequence[str]
    labels: Sequence[str | None]
    codes: Tensor
    exemplars: Sequence[Sequence[tuple[int, int]]]
    classes: Sequence[str]
    value_range: Sequence[float] | None = None
    unread: Sequence[tuple[str, str]] = ()

    @property
    def used(self) -> Tensor:
        """Codes that occur, bool ``(K,)``."""
        return self.census.patches > 0
