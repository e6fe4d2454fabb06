"""Initial weights: mean, spread and truncation of every parameter after ``init_weights()``.

A normal of spread 0.02, in pretraining cut at one standard deviation, divided by √(2i) for the
output weights of layer i. Sampling errors follow from the number of weights.
"""

import math
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS as ROOT_MODELS

from mmbeitv2.launch.config import load_config

pytestmark = [pytest.mark.equality, pytest.mark.usefixtures('mmpretrain_scope')]
CONFIGS = Path(__file__).parents[2] / 'configs'
STD = 0.02
# Spread of a standard normal, and of one that is cut at ±1; √(E x⁴ / (E x²)² − 1) of both, which is
# the relative standard error of an estimated variance times √n.
DENSITY, MASS = math.exp(-0.5) / math.sqrt(2 * math.pi), math.erf(1 / math.sqrt(2))
CUT_VARIANCE = 1 - 2 * DENSITY / MASS
CUT_FOURTH_MOMENT = 3 * CUT_VARIANCE - 2 * DENSITY / MASS
SHAPES = {
    'cut': (math.sqrt(CUT_VARIANCE), math.sqrt(CUT_FOURTH_MOMENT / CUT_VARIANCE**2 - 1)),
    'normal': (1.0, math.sqrt(2)),
}
NARROW = dict(embed_dim=192, num_heads=3)


def layer_number(name, neck_layer):
    """Number i of a layer of backbone or neck whose output weight this is, from 1; or None."""
    parts = name.split('.')
    if not name.endswith(('attn.proj.weight', 'mlp.fc2.weight')):
        return None
    index = int(parts[parts.index('blocks' if 'blocks' in parts else 'cls_pt_layers') + 1])
    return index + 1 + (neck_layer if 'cls_pt_layers' in parts else 0)


def constant_of(name, layer_scale):
    """Value that a parameter starts at, or None for random ones."""
    last = name.split('.')[-1]
    if last in ('gamma_1', 'gamma_2'):
        return layer_scale
    if 'norm' in name and last == 'weight':
        return 1.0
    if last in ('bias', 'q_bias', 'v_bias', 'relative_position_bias_table'):
        return 0.0
    return None


def check(
    model, shape, title, peer, assert_equal_within, neck_layer=0, layer_scale=None, default=()
):
    """Compare every trained parameter with its law; ``default`` are left to PyTorch."""
    spread, kurtosis = SHAPES[shape]
    constants, means, spreads, extremes = {}, {}, {}, {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or name in default:
            continue
        value = constant_of(name, layer_scale)
        if value is not None:
            constants[name] = (parameter.detach(), torch.full_like(parameter, value))
            continue
        i = layer_number(name, neck_layer)
        std = STD if i is None else STD / math.sqrt(2 * i)
        weights, n = parameter.detach().double() / std, parameter.numel()
        means[name] = weights.mean() * math.sqrt(n) / spread
        spreads[name] = (weights.var() / spread**2 - 1) * math.sqrt(n) / kurtosis
        if shape == 'cut':
            extremes[name] = weights.abs().max()

    def compare(what, found, expected, **tolerance):
        expected = {name: torch.full_like(value, expected) for name, value in found.items()}
        assert_equal_within(f'{title}, {what}', peer, found, expected, **tolerance)

    # Of a few hundred normal deviates the largest is rarely above 4.5.
    compare('mean of every weight, in standard errors', means, 0.0, atol=4.5)
    compare('variance of every weight, in standard errors', spreads, 0.0, atol=4.5)
    if extremes:
        assert max(extremes.values()) <= 1 + 1e-6
        large = {n: v for n, v in extremes.items() if model.get_parameter(n).numel() > 10_000}
        compare('largest of every weight over the cut', large, 1.0, atol=1e-3)
    assert_equal_within(
        f'{title}, biases, norms and layer scales',
        peer,
        {name: value for name, (value, _) in constants.items()},
        {name: value for name, (_, value) in constants.items()},
        atol=0,
    )


@pytest.mark.parametrize('shared', [True, False], ids=['shared head', 'separate heads'])
def test_pretraining(shared, assert_equal_within):
    """The paper's config, narrowed: depths, codes and layer scale are its own."""
    cfg = load_config(
        CONFIGS / 'beitv2_vit-b16_300e.py',
        {
            'model.backbone.arch': dict(_delete_=True, depth=12, **NARROW),
            'model.neck': dict(shared_norm=shared, **NARROW),
            'model.head': dict(embed_dim=192, shared=shared),
            'model.target_generator.init_cfg': None,
            'model.target_generator.encoder': dict(depth=1),
        },
    )
    model = ROOT_MODELS.build(cfg.model)
    model.init_weights()
    check(
        model,
        'cut',
        'initial pretraining',
        'recipe',
        assert_equal_within,
        neck_layer=9,
        layer_scale=0.1,
    )


def test_tokenizer(assert_equal_within):
    cfg = load_config(
        CONFIGS / 'vqkd/vqkd_encoder-b16_decoder-3x768x12_clip-b16_100e.py',
        {'model.encoder': NARROW, 'model.decoder': NARROW},
    )
    cfg.model.teacher = dict(type='mmengine.FixedTeacher', embed_dim=512)
    model = ROOT_MODELS.build(cfg.model)
    model.init_weights()
    patch_embeddings = [
        f'{part}.patch_embed.proj.{kind}'
        for part in ('encoder', 'decoder')
        for kind in ('weight', 'bias')
    ]
    check(
        model, 'normal', 'initial VQ-KD', 'official', assert_equal_within, default=patch_embeddings
    )
    # PyTorch's default: uniform up to 1 / √(inputs of a patch).
    bounds = dict(encoder=1 / math.sqrt(3 * 16 * 16), decoder=1 / math.sqrt(32))
    assert_equal_within(
        'initial VQ-KD, largest patch embedding over its bound',
        'official',
        {
            part: model.get_parameter(f'{part}.patch_embed.proj.weight').abs().max() / bound
            for part, bound in bounds.items()
        },
        dict.fromkeys(bounds, torch.tensor(1.0)),
        atol=1e-2,
    )
