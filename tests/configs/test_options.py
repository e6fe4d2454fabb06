"""Every option of docs/options.md, as it stands there, trains on the CPU."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch
from torch.distributed import tensor as dtensor

from mmbeitv2.evaluation.learning_record import read_learning
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.runner import build_runner
from mmbeitv2.torch_releases import autocast_dtype

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs/options.md').read_text()
# But for the first, which is where one begins.
BLOCKS = re.findall(r'```python\n(?!_base_)(.+?)```', PAGE, re.DOTALL)
SMALL = dict(embed_dim=32, depth=2, num_heads=2)
NEEDS = {'TensorboardVisBackend': 'tensorboard', 'WandbVisBackend': 'wandb'}


def small_pretraining(data_root):
    """The base run with a small model, four photos and two images a step."""
    cfg = load_config(ROOT / 'configs/beitv2_vit-b16_300e.py')
    model = cfg.model
    model.backbone.arch = dict(SMALL)
    model.neck.update(embed_dim=32, num_heads=2, layer=1)
    model.head.update(embed_dim=32, num_codes=32)
    model.target_generator.update(init_cfg=None)
    model.target_generator.encoder.update(SMALL)
    model.target_generator.quantizer.update(num_codes=32, kmeans_init=False)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=0, persistent_workers=False, pin_memory=False, batch_size=2)
        loader.dataset.update(data_root=str(data_root), indices=4)
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.default_hooks.logger.interval = 1
    return cfg


def description(block):
    return ' '.join(re.findall(r"\w+=(?:'\w+'|\w+)|\w+VisBackend", block))[-40:]


@pytest.fixture
def process_group(tmp_path):
    """Group of this process alone; several are tested in tests/distributed."""
    store = f'file://{tmp_path}/store'
    torch.distributed.init_process_group('gloo', init_method=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def parameter(block):
    needs = {'ShardedStrategy': ('2.7', 'sharding'), 'compile=dict': ('2.4', 'compiled layers')}
    marks = [pytest.mark.needs_torch(*needs[name]) for name in needs if name in block]
    return pytest.param(block, marks=marks, id=description(block))


@pytest.mark.parametrize('block', [parameter(block) for block in BLOCKS])
def test_option_trains_and_validates(block, demo_data, tmp_path, monkeypatch, request):
    for name, package in NEEDS.items():
        if name in block and importlib.util.find_spec(package) is None:
            pytest.skip(f'{package} is not installed')
    monkeypatch.setenv('WANDB_SILENT', 'true')
    small_pretraining(demo_data / 'imagenet').dump(tmp_path / 'base.py')
    (tmp_path / 'mine.py').write_text(f"_base_ = 'base.py'\n{block}")
    cfg = load_config(tmp_path / 'mine.py')
    cfg.work_dir = str(tmp_path / 'run')
    cfg.experiment_name = tmp_path.name
    if 'ShardedStrategy' in block:
        request.getfixturevalue('process_group')
        cfg.launcher = 'pytorch'
    runner = build_runner(cfg)
    runner.train()
    assert runner.iter == 2
    assert (tmp_path / 'run/epoch_1.pth').is_file()
    EFFECTS[next(name for name in EFFECTS if name in block)](runner)


def accumulates(runner):
    steps = [state['step'] for state in runner.optim_wrapper.optimizer.state.values()]
    assert {float(step) for step in steps} == {1.0}


def watches_input(runner):
    (hook,) = [h for h in runner.hooks if type(h).__name__ == 'DataWaitHook']
    assert hook.warn_above == 0.2


def looks(runner):
    assert [look['epoch'] for look in read_learning(runner.work_dir)] == [0, 1]
    assert (Path(runner.work_dir) / 'learning.html').is_file()


def averages(runner):
    (hook,) = [h for h in runner.hooks if type(h).__name__ == 'EMAHook']
    assert hook.ema_model.steps == 2


def saves_by_clock_and_interval(runner):
    (hook,) = [h for h in runner.hooks if type(h).__name__ == 'CheckpointHook']
    assert (hook.minutes, hook.interval, hook.max_keep_ckpts) == (10, 20, -1)


def recomputes(runner):
    assert runner.model.backbone.with_cp


def keeps_activations(runner):
    blocks = [*runner.model.backbone.blocks, *runner.model.neck.cls_pt_layers]
    assert not any(block.attn.recompute or block.mlp.recompute for block in blocks)


def compiles(runner):
    assert all(block._compiled_call_impl for block in runner.model.backbone.blocks)


def in_float32(runner):
    assert runner.val_loop.precision.dtype is torch.float32
    with runner.optim_wrapper.optim_context(runner.model):
        assert autocast_dtype('cpu') is None


def tokenizes_in_bfloat16(runner):
    assert runner.model.target_generator.mixed_precision is torch.bfloat16


def shards(runner):
    groups = runner.optim_wrapper.optimizer.param_groups
    assert all(isinstance(p, dtensor.DTensor) for group in groups for p in group['params'])


EFFECTS = {
    'ShardedStrategy': shards,
    'optim_wrapper = dict(precision': in_float32,
    'mixed_precision': tokenizes_in_bfloat16,
    'accumulative_counts': accumulates,
    'with_cp': recomputes,
    'compile=dict': compiles,
    'recompute': keeps_activations,
    'EMAHook': averages,
    'max_keep_ckpts': saves_by_clock_and_interval,
    'DataWaitHook': watches_input,
    'LearningHook': looks,
    'TensorboardVisBackend': lambda r: next(Path(r.work_dir).rglob('events.out.tfevents*')),
    'WandbVisBackend': lambda r: next(Path(r.work_dir).rglob('*.wandb')),
}
