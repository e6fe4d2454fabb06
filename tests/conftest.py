"""Tiny models of the golden values' sizes, and the golden values themselves."""

import copy
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')

import pytest
import timm
import torch
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import RUNNERS, DefaultScope
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from mmengine.utils import digit_version
from safetensors.torch import load_file
from torch import nn

from mmbeitv2.models import VQKD, BEiTV2, VQKDTokenizer

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(__file__).parent / 'data'
CAN_SHARD = digit_version(torch.__version__) >= digit_version('2.7')
ENCODER = dict(img_size=64, patch_size=16, embed_dim=48, depth=3, num_heads=4)
VQKD_CONFIG = dict(
    encoder=ENCODER,
    decoder=dict(embed_dim=48, depth=2, num_heads=4),
    quantizer=dict(num_codes=64, code_dim=8),
    teacher=dict(type='mmengine.FixedTeacher'),
)
TOKENIZER_CONFIG = dict(
    encoder=ENCODER, quantizer=dict(num_codes=64, code_dim=8, kmeans_init=False)
)
BEITV2_CONFIG = dict(
    backbone=dict(
        type='mmbeitv2.BEiTViT',
        arch=dict(embed_dim=48, depth=5, num_heads=4),
        img_size=64,
        patch_size=16,
        init_values=0.1,
        use_abs_pos_emb=False,
        use_shared_rel_pos_bias=True,
        use_mask_token=True,
    ),
    neck=dict(
        type='mmbeitv2.PatchAggregationNeck',
        embed_dim=48,
        num_heads=4,
        layer=3,
        depth=2,
        init_values=0.1,
    ),
    head=dict(type='mmbeitv2.MIMHead', embed_dim=48, num_codes=64),
    target_generator=dict(type='mmbeitv2.VQKDTokenizer', **TOKENIZER_CONFIG),
)


@ROOT_MODELS.register_module(name='FixedTeacher')
class FixedTeacher(nn.Module):
    """Teacher whose features are given: the golden values hold features, not a teacher."""

    def __init__(self, embed_dim: int = 24) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.features = None

    def forward(self, images, grid_size):
        if self.features is not None:
            return self.features
        rows, columns = grid_size
        pooled = nn.functional.adaptive_avg_pool2d(images, (rows, columns)).flatten(2)
        return pooled.transpose(1, 2).repeat(1, 1, self.embed_dim // 3)


class RandomPhotos(torch.utils.data.Dataset):
    """Photos of noise, uint8 64 × 64, with a mask of six patches each."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(1)
        self.pixels = torch.randint(256, (count, 3, 64, 64), dtype=torch.uint8, generator=generator)
        order = torch.rand(count, 16, generator=generator).argsort(dim=1)
        self.masks = (order < 6).view(count, 4, 4)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> dict:
        sample = BaseDataElement(metainfo=dict(img_path=f'photo_{int(index)}.jpg'))
        sample.set_field(self.masks[index], 'mask')
        return dict(inputs=self.pixels[index], data_samples=sample)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers('needs_torch'):
        release, what = mark.args
        if digit_version(torch.__version__) < digit_version(release):
            pytest.skip(f'{what}: with torch {release} or later, this is {torch.__version__}')


@pytest.fixture(scope='session')
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with 64 + 32 training photos and validation sets of 16, composed once."""
    out = tmp_path_factory.mktemp('data') / 'demo'
    counts = ['--train', '64', '--seg-train', '32', '--val', '16', '--workers', '1']
    command = [sys.executable, 'tools/make_demo_data.py', '--out', str(out), *counts]
    subprocess.run(command, cwd=ROOT, check=True)
    return out


def golden_values(name: str) -> dict:
    return load_file(DATA / f'{name}.safetensors')


@pytest.fixture(scope='session')
def golden():
    """Tensors of a golden file by name; ``.safetensors`` is added."""
    return golden_values


@pytest.fixture(scope='session')
def schedules():
    return json.loads((DATA / 'schedules.json').read_text())


@pytest.fixture(scope='session')
def official_layouts():
    return json.loads((DATA / 'official_layouts.json').read_text())


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def own_scope():
    """Default scope of mmengine: a Runner of another test must not change what a name means."""
    with DefaultScope.overwrite_default_scope('mmengine'):
        yield


@pytest.fixture
def vqkd_config():
    return copy.deepcopy(VQKD_CONFIG)


@pytest.fixture(scope='session')
def timm_teacher_config(tmp_path_factory):
    """A real teacher: a small timm network with random weights in a local file."""
    path = tmp_path_factory.mktemp('teacher') / 'cnn.pth'
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(timm.create_model('test_efficientnet').state_dict(), path)
    return dict(type='mmbeitv2.TimmTeacher', model='test_efficientnet', checkpoint=str(path))


@pytest.fixture
def vqkd(vqkd_config):
    """VQ-KD model whose codebook is set."""
    model = VQKD(**vqkd_config)
    model.init_weights()
    model.quantize.init_codebook(
        nn.functional.normalize(torch.randn(256, model.quantize.code_dim), dim=-1)
    )
    return model


@pytest.fixture
def tokenizer_config():
    return copy.deepcopy(TOKENIZER_CONFIG)


@pytest.fixture
def tokenizer(tokenizer_config):
    return VQKDTokenizer(**tokenizer_config)


@pytest.fixture
def beitv2_config():
    return copy.deepcopy(BEITV2_CONFIG)


@pytest.fixture
def beitv2(beitv2_config):
    model = BEiTV2(**beitv2_config)
    model.init_weights()
    return model


@pytest.fixture
def images():
    """Two images of the tokenizer's range, float (2, 3, 64, 64) in [−1, 1]."""
    return torch.rand(2, 3, 64, 64) * 2 - 1


@pytest.fixture
def mask():
    """Six of 16 patches masked in each of two images, bool (2, 16)."""
    order = torch.rand(2, 16).argsort(dim=1)
    return torch.zeros(2, 16, dtype=torch.bool).scatter_(1, order[:, :6], True)


@pytest.fixture
def masked_samples(mask):
    from mmpretrain.structures import DataSample

    samples = []
    for row in mask:
        sample = DataSample()
        sample.set_field(row.view(4, 4), 'mask')
        samples.append(sample)
    return samples


def build_runner(
    model,
    work_dir,
    name,
    num_images=8,
    hooks=(),
    epochs=1,
    runner_type='Runner',
    default_hooks=(),
    override=(),
    **kwargs,
) -> Runner:
    """Runner that trains ``model`` on noise, two images a step and process."""
    arguments = dict(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=RandomPhotos(num_images),
            sampler=dict(type='DefaultSampler', shuffle=True),
            batch_size=2,
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(
            optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
            constructor='mmbeitv2.LayerDecayOptimWrapperConstructor',
        ),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            plain_checkpoint=dict(type='mmbeitv2.PlainCheckpointHook'),
        )
        | dict(default_hooks),
        custom_hooks=list(hooks),
        randomness=dict(seed=0),
        experiment_name=name,
        default_scope='mmpretrain',
        **kwargs,
    )
    return RUNNERS.get(runner_type)(**arguments | dict(override))


@pytest.fixture
def make_runner(tmp_path):
    """``build_runner`` with a name of its own for every run, in ``tmp_path / 'work'``."""
    names = (f'{tmp_path.name}_{i}' for i in itertools.count())

    def make(model, work_dir=tmp_path / 'work', **kwargs):
        return build_runner(model, work_dir, next(names), **kwargs)

    return make


@pytest.fixture
def log_of():
    """Everything that a runner has logged, as text."""

    def read(runner):
        return '\n'.join(p.read_text() for p in Path(runner.work_dir).rglob('*.log'))

    return read
