"""Looks at runs of the hosts' parts: mmpretrain's data sets and loaders, AMP, float16."""

import copy
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from half_on_cpu import half_on_cpu
from learned_photos import MASK, SIZE, loaders, write_both, write_photos
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.registry import DATASETS
from PIL import Image

from mmbeitv2.engine import optim_wrapper
from mmbeitv2.engine.precision import Precision
from mmbeitv2.evaluation.learning_record import read_learning
from mmbeitv2.models import VQKD, BEiTV2

HOOK = dict(type='mmbeitv2.LearningHook')
OPTIMISER = dict(
    optimizer=dict(type='AdamW', lr=1e-3),
    constructor='mmbeitv2.LayerDecayOptimWrapperConstructor',
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_both(tmp_path_factory.mktemp('photos'))


@pytest.fixture
def train(beitv2_config, vqkd_config, make_runner, tmp_path):
    """Train for an epoch; gives the runner."""

    def train(kind, data, *hooks, work_dir='work', **override):
        torch.manual_seed(0)
        model = BEiTV2(**copy.deepcopy(beitv2_config))
        if kind == 'tokenizer':
            config = dict(copy.deepcopy(vqkd_config), quantizer=dict(num_codes=32, code_dim=8))
            model = VQKD(**config)
            hooks = (dict(type='mmbeitv2.CodebookInitHook', vectors_per_code=2), *hooks)
        model.init_weights()
        never = dict(by_epoch=True, max_epochs=1, val_interval=99)
        override = {**data, 'train_cfg': never, **override}
        runner = make_runner(model, work_dir=tmp_path / work_dir, hooks=hooks, override=override)
        runner.train()
        return runner

    return train


@pytest.fixture
def float16(monkeypatch):
    """float16 with scaled losses: torch has it on CPUs too, where it is slow and so refused."""
    precision = Precision(torch.float16, 'cpu', 'for the test')
    monkeypatch.setattr(optim_wrapper, 'choose_precision', lambda name: precision)
    return dict(type='mmbeitv2.MixedPrecisionOptimWrapper', **OPTIMISER)


@pytest.fixture
def amp(monkeypatch):
    """mmengine's wrapper, which refuses CPUs; it has bfloat16 for them, and no scale."""
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    return dict(type='AmpOptimWrapper', dtype='bfloat16', **OPTIMISER)


@pytest.mark.parametrize('kind', ['pretraining', 'tokenizer'])
@pytest.mark.parametrize('name', [pytest.param('float16', marks=half_on_cpu), 'amp'])
def test_training_with_a_scaled_loss_does_not_notice_looks(kind, name, train, folder, request):
    wrapper = request.getfixturevalue(name)
    data = loaders(folder, kind == 'pretraining')
    runners = [
        train(
            kind, data, *hooks, work_dir=f'work{len(hooks)}', optim_wrapper=copy.deepcopy(wrapper)
        )
        for hooks in ((), (HOOK,))
    ]
    plain, watched = ({**dict(r.model.named_parameters())} for r in runners)
    assert [key for key in plain if not torch.equal(plain[key], watched[key])] == []
    scales = [r.optim_wrapper.loss_scaler.state_dict() for r in runners]
    assert scales[0] == scales[1]
    assert scales[0].get('scale', 0) > 1 or name == 'amp'


@pytest.mark.parametrize('kind', ['pretraining', 'tokenizer'])
@half_on_cpu
def test_what_is_seen_in_float16_is_what_is_seen_in_float32(kind, train, folder, request):
    data = loaders(folder, kind == 'pretraining')
    looks = []
    for number, wrapper in enumerate((None, request.getfixturevalue('float16'))):
        override = {} if wrapper is None else dict(optim_wrapper=wrapper)
        runner = train(kind, data, HOOK, work_dir=f'work{number}', **override)
        looks.append(read_learning(runner.work_dir)[0]['measures'])
    full, half = looks
    assert half.keys() == full.keys()
    for name in ('loss_held_out', 'loss_training', 'rank_mean', 'varied_mean'):
        assert half[name] == pytest.approx(full[name], rel=0.02)


def hosts(folder, kind, masked, **dataset):
    """Loaders of mmpretrain's own parts, which know no seeds of samples."""
    mask = [MASK] if masked else []
    pack = dict(type='PackInputs', algorithm_keys=['mask'] if masked else [])
    load = [] if kind == 'Held' else [dict(type='LoadImageFromFile')]
    crop = dict(type='RandomResizedCrop', scale=SIZE, crop_ratio_range=(0.5, 1.0))
    edge = [dict(type='ResizeEdge', scale=SIZE), dict(type='CenterCrop', crop_size=SIZE)]
    flip = dict(type='RandomFlip', prob=0.5)
    pipelines = dict(train=[*load, crop, flip, *mask, pack], val=[*load, *edge, *mask, pack])
    found = loaders(folder, masked)
    for split, pipeline in pipelines.items():
        loader = found[f'{split}_dataloader']
        loader.update(sampler=dict(type='DefaultSampler', shuffle=split == 'train'))
        place = dict(data_root=str(folder), data_prefix=split)
        loader['dataset'] = dict(type=kind, pipeline=pipeline, **place, **dataset)
    return found


class Draw(Hook):
    """Another state of the generators before the first look, as in a run that is resumed."""

    priority = 'VERY_HIGH'

    def before_train(self, runner):
        random.random()
        np.random.rand()


@DATASETS.register_module()
class Held(BaseDataset):
    """Photos in memory, as mmpretrain's CIFAR has them."""

    def __init__(self, data_root, data_prefix, **options):
        self.files = sorted(Path(data_root, data_prefix).rglob('*.png'))
        super().__init__(**options)

    def load_data_list(self):
        return [dict(img=np.array(Image.open(file)), gt_label=0) for file in self.files]


@pytest.mark.parametrize('kind', ['pretraining', 'tokenizer'])
@pytest.mark.parametrize('dataset', ['CustomDataset', 'ImageNet', 'mmengine.Held'])
def test_data_sets_of_hosts_are_looked_at_alike_every_time(kind, dataset, train, folder):
    """Masks too, which such a pipeline draws from the generators of the process."""
    if dataset == 'ImageNet':
        options = dict(metainfo=dict(classes=['class_0', 'class_1']), split='')
    else:
        options = {}
    data = hosts(folder, dataset.removeprefix('mmengine.'), kind == 'pretraining', **options)
    for split in ('train', 'val'):
        data[f'{split}_dataloader']['dataset']['type'] = dataset
    # A tokenizer's codebook is drawn too, and has no masks.
    hooks = (HOOK,) if kind == 'tokenizer' else (HOOK, Draw())
    first, second = (
        read_learning(train(kind, data, *some, work_dir=f'work{number}').work_dir)
        for number, some in enumerate(((HOOK,), hooks))
    )
    assert first[0]['photos'] == second[0]['photos']
    assert first[0]['photos']['held_out'] == 12
    assert first[0]['measures'] == second[0]['measures']


def test_a_photo_that_a_loader_of_hosts_cannot_read_is_left_out(train, folder, tmp_path, log_of):
    photos = write_photos(tmp_path / 'photos', 12, seed=1)
    (photos / 'class_0/0.png').write_bytes(b'no image')
    data = hosts(folder, 'CustomDataset', True)
    runner = train('pretraining', data, dict(HOOK, photos=str(photos)))
    assert read_learning(runner.work_dir)[-1]['photos']['held_out'] == 11
    assert "class_0/0.png' (AssertionError: failed to load" in log_of(runner)
