"""Photos on which an export is compared, or its int8 ranges are found."""

from pathlib import Path

import torch
from torch import Tensor

from mmbeitv2.datasets import LoadCenterCrop
from mmbeitv2.datasets.photo_list import list_photos
from mmbeitv2.errors import InputError
from mmbeitv2.exchange.deployment.checks import BATCHES
from mmbeitv2.exchange.deployment.graphs import INPUTS
from mmbeitv2.exchange.deployment.options import Options


class Photos:
    """Photos of a folder, evenly chosen.

    Args:
        source: folder, photo or list.
        count: at most so many.
        options: kind of pixels, and how photos are read.
        classes: names; photos that lie in folders of these names are labelled.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: too few photos.
    """

    def __init__(
        self,
        source: str | Path,
        count: int,
        options: Options,
        classes: list[str] | None = None,
    ) -> None:
        found = list_photos(source, options.image_column)
        if len(found.names) < max(BATCHES):
            raise InputError(
                f'{source} has {len(found.names)} photos, but {max(BATCHES)} or more are compared '
                'with the file: give a folder of more'
            )
        count = min(count, len(found.names))
        chosen = [i * len(found.names) // count for i in range(count)]
        self.paths = [found.paths[i] for i in chosen]
        self.options = options
        folders = [found.names[i].split('/')[0] for i in chosen]
        known = {name: label for label, name in enumerate(classes or ())}
        # All or none: an accuracy of some photos would be taken for that of all.
        self.labels = [known[name] for name in folders] if known.keys() >= set(folders) else []

    def pixels(self, size: tuple[int, int]) -> Tensor:
        """RGB ``(N, 3, H, W)`` of the photos' centres, uint8, or float32 in [0, 1].

        Args:
            size: H and W in pixels.

        Raises:
            OSError: a photo that cannot be read, by its name.
        """
        load = LoadCenterCrop(max(size), value_range=self.options.value_range)
        top, left = ((max(size) - side) // 2 for side in size)
        photos = torch.stack([load.transform(dict(img_path=str(p)))['img'] for p in self.paths])
        photos = photos[:, :, top : top + size[0], left : left + size[1]].contiguous()
        return photos if self.options.input == 'uint8' else photos.float() / INPUTS['uint8']
