"""Steps on a GPU, as far as a machine without one can see: no tensor is on another device.

The tensors have shapes and a device but no values, so that an operator that mixes devices, or reads
a value back, is an error. Backward passes and autocast need a GPU.
"""

from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample
from torch._subclasses.fake_tensor import FakeTensorMode

from mmbeitv2.launch.config import load_config
from mmbeitv2.registry import MODELS

# Earlier releases ask the driver for some operators.
pytestmark = pytest.mark.needs_torch('2.14')

CONFIGS = Path(__file__).parents[2] / 'configs'
GPU = torch.device('cuda')


@pytest.fixture
def on_gpu():
    """Builds a config's model on a GPU of which nothing is there but the name."""
    mode = FakeTensorMode()

    def build(name, scope='mmpretrain', **changes):
        cfg = load_config(CONFIGS / name)
        cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
        with GPU, DefaultScope.overwrite_default_scope(scope):
            return MODELS.build(cfg.model).train()

    with mode:
        yield build


def everything_on_gpu(*tensors):
    return all(tensor.device.type == 'cuda' for tensor in tensors)


def test_pretraining(on_gpu):
    tokenizer = {'target_generator.init_cfg': None, 'target_generator.quantizer.kmeans_init': False}
    model = on_gpu('beitv2_vit-b16_300e.py', **tokenizer)
    images = torch.randn(2, 3, 224, 224, device=GPU)
    mask = torch.zeros(2, 196, dtype=torch.bool, device=GPU)
    positions = torch.zeros(2, 75, dtype=torch.int64, device=GPU)
    codes = model._codes(images, positions)
    logits = model.predict_codes(images, mask, positions)
    losses = [value for branch in logits.values() for value in model.head.loss(branch, codes)]
    assert everything_on_gpu(*losses)


def test_tokenizer_training(on_gpu):
    name = 'vqkd/vqkd_encoder-b16_decoder-3x768x12_clip-b16_100e.py'
    teacher = dict(_delete_=True, type='mmengine.FixedTeacher', embed_dim=510)
    model = on_gpu(name, **{'teacher': teacher, 'quantizer.kmeans_init': False})
    losses = model.loss(torch.randn(2, 3, 224, 224, device=GPU))
    assert everything_on_gpu(*losses.values(), *model.quantize.buffers())


def test_fine_tuning(on_gpu):
    model = on_gpu('finetune/beitv2_vit-b16_300e_in1k-224.py', **{'backbone.init_cfg': None})
    samples = [DataSample(gt_score=torch.rand(1000, device=GPU)) for _ in range(2)]
    losses = model.loss(torch.randn(2, 3, 224, 224, device=GPU), samples)
    assert everything_on_gpu(*losses.values())


def test_segmentation(on_gpu):
    name = 'segmentation/upernet_beitv2-b16_1600e_160k_ade20k-512x512.py'
    model = on_gpu(name, scope='mmseg', **{'backbone.init_cfg': None})
    assert everything_on_gpu(
        model.decode_head(model.extract_feat(torch.randn(2, 3, 512, 512, device=GPU)))
    )


def test_mixed_devices_are_noticed(on_gpu):
    model = on_gpu('beitv2_vit-b16_300e.py', **{'target_generator.init_cfg': None})
    with pytest.raises(RuntimeError, match='on the same device'):
        model.backbone(torch.randn(2, 3, 224, 224))
