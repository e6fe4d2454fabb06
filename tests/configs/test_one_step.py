"""Every config trains and validates on photos: its own pipelines and optimiser, a small model."""

import inspect
import os
from pathlib import Path

import pytest
from mmengine.runner import Runner
from paper_values import PAPER_VALUES, ROBUSTNESS_CLASSES
from timm.data import ImageNetInfo

from mmbeitv2.launch.config import load_config

CONFIGS = Path(__file__).parents[2] / 'configs'
SMALL = dict(embed_dim=32, depth=3, num_heads=2)
NUM_CODES = 32
IMAGES = 4
# Without the config itself, whose text a Runner formats several times for longer than a step takes.
RUNNER_ARGUMENTS = set(inspect.signature(Runner).parameters) - {'cfg'}


@pytest.fixture(scope='module')
def data(demo_data, tmp_path_factory):
    """The demo's photos in the folders, and with the lists, of the real data sets."""
    root = tmp_path_factory.mktemp('data')
    (root / 'imagenet' / 'meta').mkdir(parents=True)
    for split in ('train', 'val'):
        photos = demo_data / 'imagenet' / split
        (root / 'imagenet' / split).symlink_to(photos)
        classes = sorted(folder.name for folder in photos.iterdir())
        lines = [
            f'{file.relative_to(photos)} {classes.index(file.parent.name)}'
            for file in sorted(photos.glob('*/*'))
        ]
        (root / 'imagenet' / 'meta' / f'{split}.txt').write_text('\n'.join(lines))
    photo = next((demo_data / 'imagenet' / 'val').glob('*/*')).resolve()
    for variant, number in ROBUSTNESS_CLASSES.items():
        synsets = ImageNetInfo().label_names()[:number]
        for synset in map(str, range(number)) if variant == 'v2' else synsets:
            folder = root / f'imagenet-{variant}' / synset
            folder.mkdir(parents=True)
            os.symlink(photo, folder / photo.name)
    (root / 'imagenet-real/val').mkdir(parents=True)
    for i in range(1, IMAGES + 1):
        os.symlink(photo, root / f'imagenet-real/val/ILSVRC2012_val_{i:08d}.JPEG')
    return root


def shorten(cfg, data):
    """One batch an epoch, in this process."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if loader is None:
            continue
        loader.update(num_workers=0, batch_size=IMAGES, persistent_workers=False, pin_memory=False)
        folder = Path(loader.dataset.data_root).name
        folder = folder if folder.startswith('imagenet-') else 'imagenet'
        if loader.dataset.get('data_prefix') == 'val' and cfg.test_dataloader is loader:
            # Found by their names.
            folder = 'imagenet-real'
        loader.dataset.update(data_root=str(data / folder), indices=IMAGES, serialize_data=False)
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.default_hooks.checkpoint.update(interval=-1, save_last=False)


def shrink_vqkd(model, cfg, teacher):
    for part in ('encoder', 'decoder'):
        model[part].update({**SMALL, 'depth': min(3, model[part].depth)})
    model.quantizer.num_codes = cfg.val_evaluator.num_codes = NUM_CODES
    model.teacher = teacher


def shrink_pretraining(model, cfg, teacher):
    model.backbone.arch = dict(SMALL)
    if model.neck is not None:
        model.neck.update(embed_dim=32, num_heads=2, layer=2)
    model.head.update(embed_dim=32, num_codes=NUM_CODES)
    model.target_generator.encoder.update(SMALL)
    model.target_generator.quantizer.update(num_codes=NUM_CODES, kmeans_init=False)
    model.target_generator.init_cfg = None


def shrink_classifier(model, cfg, teacher):
    if model.backbone.type == 'mmbeitv2.TimmViT':
        model.backbone.update(model='test_vit', pretrained=False)
        model.head.in_channels = 64
        return
    model.backbone.update(arch=dict(SMALL), init_cfg=None)
    if 'out_indices' in model.backbone:
        model.backbone.out_indices = (0, 1, 2)
    model.head.in_channels = 32


SHRINK = dict(
    vqkd=shrink_vqkd,
    pretraining=shrink_pretraining,
    finetuning=shrink_classifier,
    linear_probe=shrink_classifier,
)
METRICS = dict(
    vqkd='tokenizer/reconstruction',
    pretraining='masked_codes/acc_mim',
    finetuning='accuracy/top1',
    linear_probe='probe/top1_',
)


@pytest.mark.parametrize('config', sorted(PAPER_VALUES))
def test_config_trains_and_validates(config, data, timm_teacher_config, tmp_path):
    kind, _ = PAPER_VALUES[config]
    cfg = load_config(CONFIGS / config)
    SHRINK[kind](cfg.model, cfg, timm_teacher_config)
    shorten(cfg, data)
    cfg.work_dir = str(tmp_path)
    cfg.experiment_name = tmp_path.name
    runner = Runner(**{key: value for key, value in cfg.items() if key in RUNNER_ARGUMENTS})
    runner.train()
    assert runner.iter == 1
    assert runner.message_hub.get_scalar('train/images_per_second').current() > 0
    if cfg.get('val_dataloader') is None:
        return
    metrics = runner.val_loop.run()
    assert [name for name in metrics if name.startswith(METRICS[kind])]
    assert all(0 <= value <= 100 for value in metrics.values())
    if config.startswith('robustness'):
        assert set(runner.test()) == {'accuracy/top1', 'accuracy/top5'}
