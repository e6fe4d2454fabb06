"""How a codebook is used, counted batch by batch: memory depends on the codes, not the photos."""

import math

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from mmbeitv2.errors import InputError
from mmbeitv2.models.quantizer import count_codes, perplexity

UNLABELLED = -1


class CodeCensus:
    """Usage, places, colours and classes of every code over photos that come in batches.

    Attributes:
        seen: photos so far.
        patches: int64 ``(K,)``, patches that have a code.
        photos: int64 ``(K,)``, photos in which it occurs.
        regions: int64 ``(K,)``, connected regions of it, see :func:`region_codes`.
        class_photos: int64 ``(K, C)``, labelled photos of each class in which it occurs.
        labelled: int64 ``(C,)``, labelled photos of each class.
        best_similarity: float32 ``(K, keep)``, of the patches nearest to a code, at most one from a
            photo, the nearest first; −inf where there are fewer.
        best_photo: int64 ``(K, keep)``, their photos, counted from 0 in the order of :meth:`add`.
        best_cell: int64 ``(K, keep)``, their places in the grid, row-major.

    Args:
        num_codes: K.
        num_classes: C, 0 without labels.
        keep: patches remembered for each code.
    """

    def __init__(self, num_codes: int, num_classes: int = 0, keep: int = 24) -> None:
        self.num_codes = num_codes
        self.seen = 0
        self.patches = torch.zeros(num_codes, dtype=torch.long)
        self.photos = torch.zeros(num_codes, dtype=torch.long)
        self.regions = torch.zeros(num_codes, dtype=torch.long)
        self.class_photos = torch.zeros(num_codes, num_classes, dtype=torch.long)
        self.labelled = torch.zeros(num_classes, dtype=torch.long)
        self.best_similarity = torch.full((num_codes, keep), -math.inf)
        self.best_photo = torch.full((num_codes, keep), -1)
        self.best_cell = torch.full((num_codes, keep), -1)
        self._colours = torch.zeros(num_codes, 3, dtype=torch.double)

    def add(
        self, codes: Tensor, similarity: Tensor, colours: Tensor, labels: Tensor | None = None
    ) -> None:
        """Count the patches of some photos.

        Args:
            codes: int64 ``(B, rows, columns)``, 0 … K − 1.
            similarity: float ``(B, rows, columns)``, cosine of a patch's vector and its code.
            colours: float ``(B, 3, rows, columns)``, mean colour of a patch, 0 to 255.
            labels: int64 ``(B,)``, class of each photo, −1 for none.

        Raises:
            ValueError: shapes that do not fit one another.
        """
        if similarity.shape != codes.shape or colours.shape != (len(codes), 3, *codes.shape[1:]):
            raise InputError(
                f'codes have shape {tuple(codes.shape)} but similarity {tuple(similarity.shape)} '
                f'and colours {tuple(colours.shape)}, expected (B, rows, columns) of both and '
                '(B, 3, rows, columns).'
            )
        flat = codes.flatten()
        self.patches += count_codes(flat, self.num_codes).long()
        self.regions += count_codes(region_codes(codes), self.num_codes).long()
        self._colours.index_add_(0, flat, colours.movedim(1, -1).flatten(0, 2).double())
        photo, cell = _best_of_each_photo(codes, similarity)
        code = codes.flatten(1)[photo, cell]
        self.photos += count_codes(code, self.num_codes).long()
        if labels is not None:
            self._count_classes(code, labels[photo], labels)
        self._keep_best(code, similarity.flatten(1)[photo, cell].float(), photo + self.seen, cell)
        self.seen += len(codes)

    @property
    def perplexity(self) -> float:
        """Codes that would serve as well if all were used alike, 1 to K."""
        return float(perplexity(self.patches.double()))

    @property
    def area(self) -> Tensor:
        """Mean size of a connected region in patches, float64 ``(K,)``; 0 for unused codes."""
        return self.patches.double() / self.regions.clamp(min=1)

    @property
    def colours(self) -> Tensor:
        """Mean colour of a code's patches, float64 ``(K, 3)`` in 0 to 255."""
        return self._colours / self.patches.clamp(min=1)[:, None]

    @property
    def purity(self) -> Tensor:
        """Share of the commonest class among the labelled photos that show a code, 0 to 1.

        Photos are counted, not patches: those of one photo say the same thing many times. float64
        ``(K,)``, NaN for codes in no labelled photo.
        """
        total = self.class_photos.sum(1).double()
        return torch.where(total > 0, self._commonest() / total.clamp(min=1), math.nan)

    @property
    def sure_purity(self) -> Tensor:
        """Lower end of purity's 95 % interval (Wilson), by which codes of few photos rank last.

        float64 ``(K,)``, 0 for codes in no labelled photo.
        """
        n, z = self.class_photos.sum(1).double().clamp(min=1e-9), 1.96
        share = self._commonest() / n
        spread = z * (share * (1 - share) / n + z**2 / (4 * n**2)).sqrt()
        return ((share + z**2 / (2 * n) - spread) / (1 + z**2 / n)).clamp(min=0)

    def _commonest(self) -> Tensor:
        if not self.class_photos.shape[1]:
            return torch.zeros(self.num_codes, dtype=torch.double)
        return self.class_photos.amax(1).double()

    def _count_classes(self, code: Tensor, label: Tensor, labels: Tensor) -> None:
        known = label != UNLABELLED
        places = code[known], label[known]
        self.class_photos.index_put_(places, torch.ones_like(places[0]), accumulate=True)
        classes = len(self.labelled)
        self.labelled += labels[labels != UNLABELLED].bincount(minlength=classes)

    def _keep_best(self, code: Tensor, similarity: Tensor, photo: Tensor, cell: Tensor) -> None:
        """Merge patches, one of a code and photo, with those that are remembered."""
        touched = code.unique()
        keep = self.best_photo.shape[1]
        codes = torch.cat([touched.repeat_interleave(keep), code])
        columns = [
            torch.cat([held[touched].flatten(), new])
            for held, new in (
                (self.best_similarity, similarity),
                (self.best_photo, photo),
                (self.best_cell, cell),
            )
        ]
        # Stable: of patches equally near the first seen stays, whatever the batches.
        order = columns[0].argsort(descending=True, stable=True)
        order = order[codes[order].argsort(stable=True)]
        codes = codes[order]
        rank = torch.arange(len(codes)) - torch.searchsorted(codes, codes)
        kept = rank < keep
        for held, column in zip((self.best_similarity, self.best_photo, self.best_cell), columns):
            held[codes[kept], rank[kept]] = column[order][kept]


def region_codes(codes: Tensor) -> Tensor:
    """The code of every connected region: patches side by side, or one above the other, are joined.

    Args:
        codes: int64 ``(B, rows, columns)``.

    Returns:
        int64 ``(number of regions in all photos,)``.
    """
    places = np.arange(codes.numel()).reshape(codes.shape)
    values = codes.numpy()
    right = values[:, :, :-1] == values[:, :, 1:]
    below = values[:, :-1] == values[:, 1:]
    start = np.concatenate([places[:, :, :-1][right], places[:, :-1][below]])
    end = np.concatenate([places[:, :, 1:][right], places[:, 1:][below]])
    links = coo_array((np.ones(len(start), bool), (start, end)), shape=(places.size,) * 2)
    _, region = connected_components(links, directed=False)
    _, first = np.unique(region, return_index=True)
    return codes.flatten()[torch.from_numpy(first)]


def _best_of_each_photo(codes: Tensor, similarity: Tensor) -> tuple[Tensor, Tensor]:
    """Photo and cell of the patch that is nearest to each code of each photo, int64 ``(n,)``."""
    cells = codes[0].numel()
    photo = torch.arange(len(codes)).repeat_interleave(cells)
    key = photo * (int(codes.max()) + 1) + codes.flatten()
    order = similarity.flatten().argsort(descending=True, stable=True)
    order = order[key[order].argsort(stable=True)]
    first = torch.ones(len(order), dtype=torch.bool)
    first[1:] = key[order][1:] != key[order][:-1]
    chosen = order[first]
    return photo[chosen], chosen % cells
