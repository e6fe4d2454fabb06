"""Fine-tuning on few labelled demo photos, from pretrained and from random weights.

The labelled photos of a seed are the same for both, and those of fewer labels a class are some of
those of more.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from demo_runs import ROOT, DemoJob, evaluation_job
from labelled_photos import shown_by
from mmengine.config import Config

from mmbeitv2.errors import MissingFileError
from mmbeitv2.evaluation.labelled import draw_labelled
from mmbeitv2.launch.config import load_config
from mmbeitv2.registry import DATASETS

CONFIG = 'finetune'
# Epochs by number of labelled photos a class: 60 steps each, of all photos or of BATCH.
EPOCHS = {1: 60, 4: 60, 16: 30}
BATCH = 64
# Of the epochs, as in the config's own schedule.
WARM_UP = 0.25
SOURCES = Path('data/demo/sources.csv')


def few_label_jobs(folder: Path, seed: int, starts: Mapping[str, str]) -> Iterator[DemoJob]:
    """Runs of each number of labels and each start.

    Args:
        folder: of the seed.
        seed: of the labelled photos and of the training.
        starts: by name, the option that sets what training starts from.
    """
    config = load_config(ROOT / f'configs/demo/{CONFIG}_demo.py')
    labels, groups = labelled_photos(config)
    full = config.train_cfg.max_epochs
    for count, epochs in EPOCHS.items():
        options = few_label_options(draw_labelled(labels, count, seed, groups).tolist(), epochs)
        for name, start in starts.items():
            place = folder / f'labels_{count}_{name}'
            yield evaluation_job(CONFIG, place, seed, *options, start, length=epochs / full)


def labelled_photos(config: Config) -> tuple[list[int], list[str]]:
    """Classes of the training photos and what they show, at the positions that training counts."""
    dataset = config.train_dataloader.dataset
    folder = Path(dataset.data_root, dataset.data_prefix)
    if not folder.is_dir():
        raise MissingFileError(f"no photos in {folder}: run the stage 'data' first")
    photos = DATASETS.build({**dataset, 'pipeline': []})
    samples = [photos.get_data_info(i) for i in range(len(photos))]
    shown = shown_by([Path(sample['img_path']) for sample in samples], SOURCES)
    return [sample['gt_label'] for sample in samples], shown


def few_label_options(positions: list[int], epochs: int) -> list[str]:
    """What differs from fine-tuning on all labels, as ``--cfg-options``."""
    warm_up = round(WARM_UP * epochs)
    return [
        f'train_dataloader.dataset.indices={positions}'.replace(' ', ''),
        f'train_dataloader.batch_size={min(BATCH, len(positions))}',
        f'param_scheduler.0.end={warm_up}',
        f'param_scheduler.1.begin={warm_up}',
        f'train_cfg.val_interval={epochs}',
        'default_hooks.checkpoint.interval=-1',
    ]
