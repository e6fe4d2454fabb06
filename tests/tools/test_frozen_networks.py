"""Networks whose frozen features are compared stand on the device that is asked for."""

from pathlib import Path

import pytest
import torch
from cuda_autocast import CudaAutocast
from fake_gpu import GPU, fake_gpu
from recipes import teacher_on_fake_gpu

from mmbeitv2.models.teachers.view import build_teacher
from mmbeitv2.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    import frozen_networks

    return frozen_networks


@pytest.mark.needs_torch('2.14', 'tensors on a GPU that is not there')
def test_features_are_computed_on_a_gpu_and_come_back(tool, timm_teacher_config, monkeypatch):
    monkeypatch.setattr(torch, 'autocast', CudaAutocast)
    arch = dict(embed_dim=48, depth=2, num_heads=4)
    backbone = dict(type='mmbeitv2.BEiTViT', arch=arch, img_size=32, use_mask_token=True)
    head = dict(type='mmbeitv2.MIMHead', embed_dim=48, num_codes=8)
    teacher = build_teacher(timm_teacher_config, 3)
    with fake_gpu() as rules:
        with GPU:
            model = MODELS.build(dict(type='mmbeitv2.BEiTV2', backbone=backbone, head=head)).eval()
        teacher_on_fake_gpu(teacher)
        found = tool.Networks({tool.PRETRAINED: model, tool.RANDOM: model}, teacher)
        tokens = dict(tool.tokens_of(found, torch.zeros(2, 3, 32, 32, dtype=torch.uint8)))
    assert rules.seen['native_layer_norm'] > 0
    assert list(tokens) == [tool.PRETRAINED, tool.RANDOM, tool.TEACHER]
    for features in tokens.values():
        assert features.patches.device.type == 'cpu'
        assert features.patches.shape[:2] == (2, 4)
