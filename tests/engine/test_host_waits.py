"""The host waits for the GPU where a log is written, and nowhere else.

Whole training runs of the demo's configs, with all their hooks, on a CPU: tensors that would lie on
a GPU are followed from the weights and the transferred batch.
"""

from pathlib import Path

import pytest
from host_waits import HostWaits
from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.models import ClsDataPreprocessor

from mmbeitv2.launch.config import load_config

DEMO = Path(__file__).parents[2] / 'configs' / 'demo'
KINDS = dict(
    vqkd='vqkd_demo.py',
    pretraining='beitv2_demo.py',
    finetuning='finetune_demo.py',
    linear_probe='linear_probe_demo.py',
    segmentation='upernet_demo.py',
)
ITERATIONS, INTERVAL = 20, 10
# Of their own models: mmsegmentation's accuracy leaves out pixels without a label by a mask, and
# mmpretrain's label smoothing asks for the largest label (not where labels are mixed).
KNOWN = dict(
    segmentation={'mmseg/models/losses/accuracy.py:accuracy'},
    finetuning={'mmpretrain/models/losses/utils.py:convert_to_one_hot'},
)
# The demo's 32 photos are an epoch of 16 iterations, at whose end scalars are read too.
READ_AFTER = dict(segmentation=(0, 10, 16, 20))


class Watch(Hook):
    """Marks what would be on the GPU; notes, after each iteration, waits and numbers logged."""

    priority = 'LOWEST'

    def __init__(self, waits):
        self.waits, self.seen = waits, []

    def before_train(self, runner):
        self.waits.mark(list(runner.model.parameters()), list(runner.model.buffers()))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        scalars = runner.message_hub.log_scalars
        logged = {
            name: len(scalars[f'train/{name}'].data[0]) if f'train/{name}' in scalars else 0
            for name in ('loss', 'grad_norm')
        }
        self.seen.append((set(self.waits.places), logged))
        self.waits.places.clear()


@pytest.fixture
def watched(demo_data, timm_teacher_config, tmp_path, monkeypatch):
    """Trains 20 iterations; gives for each the places that wait and the numbers logged so far."""
    waits = HostWaits()

    def cast_data(self, data, cast=BaseDataPreprocessor.cast_data):
        data = cast(self, data)
        waits.mark(data)
        return data

    def forward(self, data, training=False, forward=ClsDataPreprocessor.forward):
        # Moves labels to the device by itself.
        data = forward(self, data, training)
        waits.mark(data)
        return data

    monkeypatch.setattr(BaseDataPreprocessor, 'cast_data', cast_data)
    monkeypatch.setattr(ClsDataPreprocessor, 'forward', forward)

    def train(kind, **changes):
        cfg = load_config(DEMO / KINDS[kind])
        held_out = {key: cfg[key] for key in ('val_dataloader', 'val_cfg', 'val_evaluator')}
        shorten(cfg, kind, demo_data, timm_teacher_config)
        if 'default_hooks.learning.type' in changes:
            cfg.update(held_out)
            cfg.val_dataloader.update(num_workers=0, persistent_workers=False)
            cfg.val_dataloader.dataset.data_root = str(demo_data / 'imagenet')
            cfg.train_cfg.val_begin = 2
        cfg.merge_from_dict({'optim_wrapper.type': 'mmbeitv2.BFloat16OptimWrapper', **changes})
        cfg.work_dir, cfg.experiment_name = str(tmp_path), f'{tmp_path.name}_{len(changes)}'
        watch = Watch(waits)
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            runner = Runner.from_cfg(cfg)
            runner.register_hook(watch)
            with waits:
                runner.train()
        return watch.seen

    return train


def shorten(cfg, kind, demo_data, teacher):
    cfg.train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
    dataset = cfg.train_dataloader.dataset
    dataset.update(data_root=str(demo_data / Path(dataset.data_root).name), indices=2 * ITERATIONS)
    for part in ('val', 'test'):
        cfg.update({f'{part}_{key}': None for key in ('dataloader', 'cfg', 'evaluator')})
    cfg.optim_wrapper.clip_grad = dict(max_norm=3.0)
    cfg.default_hooks.logger.interval = INTERVAL
    cfg.default_hooks.checkpoint.update(interval=-1, save_last=False)
    if kind == 'segmentation':
        cfg.train_cfg.update(max_iters=ITERATIONS)
    else:
        cfg.train_cfg.update(max_epochs=1)
    if kind == 'vqkd':
        cfg.model.teacher = teacher
        cfg.model.quantizer.num_codes = 32
    elif kind == 'pretraining':
        cfg.model.target_generator.init_cfg = None
        cfg.model.target_generator.quantizer.kmeans_init = False
    else:
        cfg.model.backbone.init_cfg = None


@pytest.mark.parametrize('kind', KINDS)
def test_nothing_waits_between_logs(kind, watched):
    seen = watched(kind)
    assert len(seen) == ITERATIONS
    for iteration, (places, logged) in enumerate(seen, 1):
        # What the first batch is checked for is read once.
        if iteration > 1:
            assert places == KNOWN.get(kind, set())
        read = max(n for n in READ_AFTER.get(kind, (0, 10, 20)) if n <= iteration)
        assert logged == dict(loss=read, grad_norm=read)


@pytest.mark.parametrize('kind', ['vqkd', 'pretraining'])
def test_looks_let_nothing_wait_between_them(kind, watched):
    seen = watched(kind, **{'default_hooks.learning.type': 'mmbeitv2.LearningHook'})
    assert len(seen) == ITERATIONS
    # The first batch is checked once.
    assert set().union(*(places for places, _ in seen[1:])) == set()


def test_waits_of_mmengine_are_noticed(watched):
    """Of its hook, for each value in each iteration, and of its wrapper, for the norm."""
    plain = {
        'default_hooks.runtime_info.type': 'RuntimeInfoHook',
        'optim_wrapper.type': 'OptimWrapper',
    }
    for iteration, (places, logged) in enumerate(watched('pretraining', **plain), 1):
        assert places == {
            'mmengine/logging/message_hub.py:_get_valid_value',
            'mmengine/optim/optimizer/optimizer_wrapper.py:_clip_grad',
        }
        assert logged == dict(loss=iteration, grad_norm=iteration)
