"""No recipe trains a layer whose running statistics are those of one process's images."""

from pathlib import Path

import mmseg.models  # noqa: F401  registers its models
import pytest
import torch
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmbeitv2.launch.config import load_config
from mmbeitv2.models import AnyDeviceSyncBN

CONFIGS = Path(__file__).parents[2] / 'configs'
# One for each model and head; the rest of the configs change sizes, data and schedules.
NAMES = [
    'beitv2_vit-b16_300e.py',
    'vqkd/vqkd_encoder-b16_decoder-3x768x12_clip-b16_100e.py',
    'finetune/beitv2_vit-b16_300e_in1k-224.py',
    'linear_probe/beitv2_vit-b16_300e_sweep.py',
    'segmentation/upernet_beitv2-b16_1600e_160k_ade20k-512x512.py',
    'demo/upernet_demo.py',
    'demo/linear_probe_demo.py',
]
HAVE_BATCH_NORM = [name for name in NAMES if 'upernet' in name or 'probe' in name]


def batch_norms(name: str) -> list[nn.Module]:
    cfg = load_config(CONFIGS / name)
    if 'teacher' in cfg.model:
        # A teacher stays in eval mode whatever its layers are.
        cfg.model.teacher = dict(type='mmengine.FixedTeacher', embed_dim=512)
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device('meta'):
        model = ROOT_MODELS.build(cfg.model)
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


@pytest.mark.parametrize('name', NAMES)
def test_batch_norms_are_of_all_ranks(name):
    norms = batch_norms(name)
    assert bool(norms) == (name in HAVE_BATCH_NORM)
    assert all(isinstance(norm, AnyDeviceSyncBN | nn.SyncBatchNorm) for norm in norms)
