"""How long the study's runs are, and where it keeps what it makes."""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from demo_data import make_demo_data

from mmbeitv2.launch.config import load_config

from .cells import PHOTOS

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER, PRETRAINING = (f'configs/demo/{name}_demo.py' for name in ('vqkd', 'beitv2'))
WARM_UP = 0.05


@dataclass(frozen=True)
class Settings:
    """Lengths and places.

    Args:
        work_dir: of photos, teacher features and tokenizers.
        most_photos: that are composed to train on; fewer are the first of them.
        most_held_out: photos of other cut-outs and backgrounds, for the probe of backbones and as
            many for codes.
        held_out: of the latter, those that codes are looked at on.
        photos_seed: of the composites.
        steps: of a tokenizer.
        batch: photos a step of it.
        fewest_crops: that the teacher sees of a set of photos; several of a photo if it is small.
        pretraining_steps: of a backbone.
        pretraining_batch: photos a step of it.
    """

    work_dir: Path
    most_photos: int = max(PHOTOS)
    most_held_out: int = 1000
    held_out: int = 500
    photos_seed: int = 1
    steps: int = 200
    batch: int = 64
    fewest_crops: int = 3200
    pretraining_steps: int = 300
    pretraining_batch: int = 32

    @property
    def data(self) -> Path:
        """Folder of the composites."""
        return self.work_dir / 'photos'

    @cached_property
    def digest(self) -> str:
        """Short hash of both configs and of all numbers: runs of equal ones can be compared."""
        numbers = {k: v for k, v in vars(self).items() if k not in ('work_dir', 'digest')}
        configs = [load_config(str(ROOT / c)).to_dict() for c in (TOKENIZER, PRETRAINING)]
        text = json.dumps([numbers, configs], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def make_photos(self, processes: int) -> None:
        """Compose the photos, if they are not there yet."""
        make_demo_data(
            self.data,
            ROOT / 'demo/assets',
            image_size=128,
            train=self.most_photos,
            seg_train=1,
            val=self.most_held_out,
            seed=self.photos_seed,
            workers=processes,
        )

    def training_photos(self, count: int) -> list[Path]:
        """The first so many, all classes alike."""
        found = self.data.glob('imagenet/train/*/*.jpg')
        return sorted(found, key=lambda path: path.stem.rpartition('_')[2])[:count]

    def list_of(self, count: int) -> Path:
        """File with the names of the first so many photos, as the configs take it."""
        path = self.work_dir / 'lists' / f'{count}.txt'
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            names = [photo.relative_to(self.data) for photo in self.training_photos(count)]
            new = path.with_name(f'{path.name}.new{os.getpid()}')
            new.write_text(''.join(f'{name}\n' for name in names), encoding='utf-8')
            os.replace(new, path)
        return path

    def held_out_photos(self) -> list[Path]:
        """Photos of other cut-outs before other backgrounds, with the class of every pixel."""
        return sorted(self.data.glob('ade/images/validation_unseen/*.jpg'))[: self.held_out]
