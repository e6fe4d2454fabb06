"""Training steps of every config on a GPU, as far as a machine without one can see.

Forward pass, loss, backward pass, unscaling, clipping and the optimiser's step run in mixed
precision on tensors that have shapes, types and CUDA as their device, but no values: under torch's
own checks for CUDA and the rules of its kernels. Numbers and speed need a GPU.
"""

import json
from typing import NamedTuple

import open_clip
import pytest
import timm
import torch
from cuda_autocast import CudaAutocast, cuda_autocast
from cuda_rules import RuleBroken
from fake_gpu import GPU, fake_gpu
from recipes import ALL_CONFIGS, BATCH, Recipe
from torch.nn import functional as F

from mmbeitv2.models import VisionTransformer, attention, layers, recomputation
from mmbeitv2.models.quantizer import NormEMAQuantizer

# Earlier releases ask the driver for some operators.
pytestmark = pytest.mark.needs_torch('2.14', 'tensors on a GPU that is not there')

PRECISIONS = (torch.bfloat16, torch.float16)
TINY_CLIP = {
    'embed_dim': 24,
    'vision_cfg': {'image_size': 32, 'layers': 2, 'width': 64, 'head_width': 32, 'patch_size': 8},
    'text_cfg': {'context_length': 8, 'vocab_size': 64, 'width': 32, 'heads': 2, 'layers': 1},
}


class Step(NamedTuple):
    """What a training step has left: names of parameters, and what the rules noticed."""

    without_gradient: list[str]
    not_float32: list[str]
    waits: dict[str, int]
    operators: set[str]


@pytest.fixture(autouse=True)
def driverless_autocast(monkeypatch):
    """Autocast on a GPU is not switched off where there is none."""
    monkeypatch.setattr(torch, 'autocast', CudaAutocast)


@pytest.fixture(scope='module')
def teachers(tmp_path_factory):
    """A small network with random weights in a file for each type of teacher."""
    folder = tmp_path_factory.mktemp('teachers')
    vit, cnn, clip = (str(folder / name) for name in ('vit.pth', 'cnn.pth', 'clip.pt'))
    (folder / 'tiny-clip-gpu.json').write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(folder / 'tiny-clip-gpu.json')
    torch.save(timm.create_model('test_vit', num_classes=0).state_dict(), vit)
    torch.save(timm.create_model('test_efficientnet').state_dict(), cnn)
    torch.save(open_clip.create_model('tiny-clip-gpu').state_dict(), clip)
    return dict(
        CLIPTeacher=dict(type='mmbeitv2.CLIPTeacher', model='tiny-clip-gpu', pretrained=clip),
        DINOTeacher=dict(type='mmbeitv2.DINOTeacher', model='test_vit', checkpoint=vit),
        TimmTeacher=dict(type='mmbeitv2.TimmTeacher', model='test_efficientnet', checkpoint=cnn),
    )


@pytest.fixture(scope='module')
def take_step(teachers):
    """Train by one batch; configs whose steps are the same share one."""
    steps = {}

    def take(name: str, precision: torch.dtype) -> Step:
        recipe = Recipe(name, teachers)
        key = recipe.same_step(), precision
        if key not in steps:
            steps[key] = _take_step(recipe, precision)
        return steps[key]

    return take


def _take_step(recipe: Recipe, precision: torch.dtype) -> Step:
    with fake_gpu() as rules:
        model = recipe.build_model()
        wrapper = recipe.build_optim_wrapper(model, precision)
        rules.waits.clear()
        model.train_step(recipe.batch(), wrapper)
        if waits_of_this_package(rules.waits):
            # Some values are looked at in the first step alone.
            rules.waits.clear()
            model.train_step(recipe.batch(), wrapper)
    return Step(
        wrapper.without_gradient,
        [name for name, p in model.named_parameters() if p.dtype is not torch.float32],
        waits_of_this_package(rules.waits),
        set(rules.seen),
    )


def waits_of_this_package(waits):
    return {place: count for place, count in waits.items() if place.startswith('mmbeitv2')}


@pytest.mark.parametrize('precision', PRECISIONS, ids=str)
@pytest.mark.parametrize('config', ALL_CONFIGS)
def test_step_obeys_cudas_rules(config, precision, take_step):
    assert take_step(config, precision).not_float32 == []


# DistributedDataParallel stops at a parameter without a gradient.
@pytest.mark.parametrize('config', ALL_CONFIGS)
def test_every_parameter_gets_a_gradient(config, take_step):
    assert take_step(config, torch.bfloat16).without_gradient == []


@pytest.mark.parametrize('config', ALL_CONFIGS)
def test_host_waits_for_nothing_of_this_package_after_the_first_step(config, take_step):
    assert take_step(config, torch.bfloat16).waits == {}


KERNELS = {
    'beitv2_vit-b16_300e.py': {
        '_fused_adamw_',
        '_scaled_dot_product_efficient_attention_backward',
        '_scaled_dot_product_flash_attention',
        'addmm',
        'gather',
        'native_layer_norm_backward',
    },
    'linear_probe/beitv2_vit-b16_300e_cls.py': {'_log_softmax_backward_data', 'nll_loss_backward'},
    'segmentation/upernet_beitv2-b16_1600e_160k_ade20k-512x512.py': {
        'convolution_backward',
        'nll_loss2d_backward',
    },
    'demo/vqkd_demo.py': {'_scaled_dot_product_flash_attention_backward', 'index_add_', 'lerp_'},
}


@pytest.mark.parametrize('config', KERNELS)
def test_step_runs_kernels_that_have_rules(config, take_step):
    assert take_step(config, torch.bfloat16).operators >= KERNELS[config]


@pytest.mark.parametrize('precision', PRECISIONS, ids=str)
@pytest.mark.parametrize(
    'config',
    [
        'beitv2_vit-b16_300e.py',
        'vqkd/vqkd_encoder-b16_decoder-3x768x12_clip-b16_100e.py',
        'demo/vqkd_demo.py',
        'finetune/beitv2_vit-b16_300e_in1k-224.py',
        'linear_probe/beitv2_vit-b16_300e_sweep.py',
        'robustness/beitv2_vit-l16_imagenet-r.py',
        'demo/upernet_demo.py',
    ],
)
def test_validation_obeys_cudas_rules(config, precision, teachers):
    recipe = Recipe(config, teachers)
    with fake_gpu() as rules, torch.no_grad(), cuda_autocast(precision):
        model = recipe.build_model().eval()
        predictions = model.val_step(recipe.batch())
    assert len(predictions) == BATCH
    assert rules.seen['native_layer_norm'] > 0


def test_codebook_is_set_and_revived_without_waiting_for_the_device():
    with fake_gpu() as rules, GPU:
        quantizer = NormEMAQuantizer(num_codes=64, code_dim=8, revive_below=0.5).train()
        rules.waits.clear()
        z = torch.randn(2, 8, 14, 14, dtype=torch.bfloat16, requires_grad=True)
        with cuda_autocast(torch.bfloat16):
            z_q, codes, loss = quantizer(z)
        (z_q.sum() + loss).backward()
    assert quantizer.initted
    assert (z_q.dtype, codes.dtype, loss.dtype) == (torch.float32, torch.int64, torch.float32)
    assert z.grad.dtype == torch.bfloat16
    assert not rules.waits


def test_a_norm_of_less_precision_than_its_weights_is_noticed(monkeypatch):
    def embed(self, images, mask=None):
        x, grid = whole(self, images, mask)
        return x.to(torch.bfloat16), grid

    # As before tokens were kept in float32, and without the cast in front of the recomputed norm.
    whole = VisionTransformer.embed
    monkeypatch.setattr(VisionTransformer, 'embed', embed)
    recipe = Recipe('finetune/beitv2_vit-b16_300e_in1k-224.py', {})
    for place in (attention, layers):
        monkeypatch.setattr(place, 'linear_of_norm', linear_of_uncast_norm)
    with pytest.raises(RuleBroken, match='native_layer_norm: CUDA takes one dtype'):
        _take_step(recipe, torch.bfloat16)


def linear_of_uncast_norm(x, norm, weight, bias):
    def normalize(x, gain, shift):
        return F.layer_norm(x, norm.normalized_shape, gain, shift, norm.eps)

    return recomputation._LinearOf.apply(normalize, weight, bias, x, norm.weight, norm.bias)
