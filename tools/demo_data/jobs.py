"""The plan: what every picture of every set is made of."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .assets import CLASSES, Assets


class Job(NamedTuple):
    """One picture: where it goes, what it is made of, and the key of its random numbers."""

    image: str
    annotation: str | None
    background: Path
    stamps: tuple[tuple[Path, str], ...]
    seed: tuple[int, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """The picture and, for segmentation, its annotation."""
        return (self.image,) if self.annotation is None else (self.image, self.annotation)


def plan(assets: Assets, *, train: int, seg_train: int, val: int, seed: int) -> list[Job]:
    """Decide what every picture is made of.

    Args:
        assets: result of ``find_assets``.
        train: training pictures for classification.
        seg_train: training pictures for segmentation.
        val: pictures in each of the four validation sets.
        seed: the same seed gives the same pictures.

    Returns:
        One job per picture.
    """
    # The place of a set in this list is part of the key of its random numbers: another order
    # gives other pictures.
    sets = [
        (_one_object, 'train', 'train', 'train', train),
        (_one_object, 'val', 'train', 'val', val),
        (_one_object, 'val_unseen', 'val', 'val', val),
        (_several_objects, 'training', 'train', 'train', seg_train),
        (_several_objects, 'validation', 'train', 'val', val),
        (_several_objects, 'validation_unseen', 'val', 'val', val),
    ]
    return [
        make_job(
            folder,
            assets.stamps[stamp_split],
            assets.backgrounds[background_split],
            (seed, number, index),
        )
        for number, (make_job, folder, stamp_split, background_split, count) in enumerate(sets)
        for index in range(count)
    ]


def _one_object(
    folder: str, stamps: dict[str, list[Path]], backgrounds: list[Path], key: tuple[int, int, int]
) -> Job:
    """Choose background and object of picture ``key[2]`` of a classification set."""
    index = key[2]
    rng = np.random.default_rng((*key, 0))
    # Cycling keeps classes balanced and uses every cut-out of a class equally often.
    name = CLASSES[index % len(CLASSES)]
    stamp = stamps[name][index // len(CLASSES) % len(stamps[name])]
    return Job(
        image=f'imagenet/{folder}/{name}/{name}_{index:06d}.jpg',
        annotation=None,
        background=_choose(backgrounds, rng),
        stamps=((stamp, name),),
        seed=(*key, 1),
    )


def _several_objects(
    folder: str, stamps: dict[str, list[Path]], backgrounds: list[Path], key: tuple[int, int, int]
) -> Job:
    """Choose background and 1 to 3 objects of picture ``key[2]`` of a segmentation set."""
    rng = np.random.default_rng((*key, 0))
    names = [CLASSES[choice] for choice in rng.integers(len(CLASSES), size=rng.integers(1, 4))]
    file_name = f'demo_{folder}_{key[2]:06d}'
    return Job(
        image=f'ade/images/{folder}/{file_name}.jpg',
        annotation=f'ade/annotations/{folder}/{file_name}.png',
        background=_choose(backgrounds, rng),
        stamps=tuple((_choose(stamps[name], rng), name) for name in names),
        seed=(*key, 1),
    )


def _choose(files: Sequence[Path], rng: np.random.Generator) -> Path:
    return files[rng.integers(len(files))]
