"""Crops of photos with the teacher's features of them, computed once for all tokenizers."""

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from mmengine.config import Config
from torch import Tensor

from mmbeitv2.apis import for_tokenizer, read_photos
from mmbeitv2.datasets.sampling import SampleIndex
from mmbeitv2.launch.config import load_config
from mmbeitv2.models.teachers.view import build_teacher
from mmbeitv2.registry import DATASETS

from .settings import ROOT, TOKENIZER, Settings

BATCH = 64
# Of the weights of the teacher that has learned nothing.
RANDOM_SEED = 0


class Crops(NamedTuple):
    """Views and what the teacher says of them; memory-mapped.

    Attributes:
        pixels: uint8 RGB ``(N, 3, H, W)``.
        features: float16 ``(N, patches, C)``.
    """

    pixels: np.ndarray
    features: np.ndarray


def training_crops(settings: Settings, photos: int, teacher: str) -> Crops:
    """Random crops of the first photos, as the demo's tokenizer config draws them.

    A crop is seen several times in a run, and all tokenizers see the same ones, so that the
    teacher, whose share of a step is half, works once: ``settings.fewest_crops`` of them are
    different, from all photos alike; no more than a run sees.

    Args:
        settings: of the study.
        photos: how many.
        teacher: key of ``TEACHERS``.
    """
    folder = settings.work_dir / 'crops' / f'{photos}-{teacher}-{settings.digest}'
    if not folder.is_dir():
        pixels = _draw(settings, photos)
        _write(folder, pixels, _features(settings, pixels, teacher))
    return _read(folder)


def held_out_crops(settings: Settings, teacher: str) -> Crops:
    """The held-out photos, whole, with a teacher's features."""
    folder = settings.work_dir / 'crops' / f'held-out-{teacher}-{settings.digest}'
    if not folder.is_dir():
        pixels = read_photos(settings.held_out_photos(), tokenizer_config().image_size)
        _write(folder, pixels, _features(settings, pixels, teacher))
    return _read(folder)


def tokenizer_config() -> Config:
    """The demo's."""
    return load_config(str(ROOT / TOKENIZER))


def teacher_config(settings: Settings, teacher: str) -> dict[str, Any]:
    """Config of a teacher; the weights of a random one are written at first use."""
    config = dict(tokenizer_config().model.teacher)
    if teacher == 'low':
        config['out_index'] = 2
    if teacher == 'random':
        config['checkpoint'] = str(_random_weights(settings, config['model']))
    return config


def _random_weights(settings: Settings, model: str) -> Path:
    path = settings.work_dir / 'random_teacher.pth'
    if not path.is_file():
        torch.manual_seed(RANDOM_SEED)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(timm.create_model(model).state_dict(), path)
    return path


def _draw(settings: Settings, photos: int) -> Tensor:
    """Every photo as often as is needed, uint8 ``(N, 3, H, W)``."""
    config = tokenizer_config().train_dataloader.dataset
    names = settings.list_of(photos)
    config.update(data_root=str(settings.data), data_prefix='', ann_file=str(names))
    dataset = DATASETS.build(config)
    passes = max(1, -(-settings.fewest_crops // photos))
    wanted = min(passes * photos, settings.steps * settings.batch)
    places = [divmod(number, photos) for number in range(wanted)]
    return torch.stack(
        [dataset[SampleIndex(i, settings.photos_seed, epoch)]['inputs'] for epoch, i in places]
    )


@torch.no_grad()
def _features(settings: Settings, pixels: Tensor, teacher: str) -> np.ndarray:
    network = build_teacher(teacher_config(settings, teacher), 3)
    grid = pixels.shape[-1] // 16
    parts = [network(for_tokenizer(part), grid).half() for part in pixels.split(BATCH)]
    return torch.cat(parts).numpy()


def _write(folder: Path, pixels: Tensor, features: np.ndarray) -> None:
    """All or nothing: a stopped tool leaves no half of it under this name.

    Another process may have made the same meanwhile; then that stays.
    """
    new = folder.with_name(f'{folder.name}.new{os.getpid()}')
    new.mkdir(parents=True)
    np.save(new / 'pixels.npy', pixels.numpy())
    np.save(new / 'features.npy', features)
    try:
        os.replace(new, folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(new)


def _read(folder: Path) -> Crops:
    return Crops(*(np.load(folder / f'{n}.npy', mmap_mode='r') for n in Crops._fields))
