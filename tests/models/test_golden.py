"""Equality with the official implementation on random weights (tests/data, float32, CPU)."""

import pytest
import torch
from torch.testing import assert_close

from mmbeitv2.models import VQKD, BEiTV2, BEiTViT
from mmbeitv2.models.position import resize_relative_position_bias


def state_of(values):
    return {
        name.removeprefix('state/'): value
        for name, value in values.items()
        if name.startswith('state/') and 'relative_position_index' not in name
    }


def assert_gradients_equal(model, golden_gradients):
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert golden_gradients
    for name, expected in golden_gradients.items():
        scale = expected.abs().max().clamp(min=1e-8)
        assert_close(gradients[name] / scale, expected / scale, atol=1e-4, rtol=0, msg=name)


@pytest.fixture
def golden_vqkd(golden, vqkd_config):
    values = golden('vqkd_tiny')
    model = VQKD(**vqkd_config)
    incompatible = model.load_state_dict(state_of(values), strict=False)
    assert not incompatible.missing_keys
    # The official quantizer keeps these two and reads neither.
    assert incompatible.unexpected_keys == ['quantize.cluster_size', 'quantize.embedding.embed_avg']
    model.teacher.features = values['teacher_features']
    return model, values


def test_vqkd_evaluation(golden_vqkd):
    model, values = golden_vqkd
    model.eval()
    with torch.no_grad():
        head, grid = model.encode(values['images'])
        quantized, codes, commitment = model.quantized(values['images'])
        decoded = model.decode(quantized)
    assert grid == (4, 4)
    assert_close(head, values['eval/encoder_head'], atol=1e-5, rtol=1e-5)
    assert torch.equal(codes.flatten(), values['eval/codes'].flatten())
    assert_close(quantized, values['eval/quantized'], atol=1e-6, rtol=1e-6)
    assert_close(commitment, values['eval/commitment_loss'].view(()), atol=1e-6, rtol=1e-5)
    assert_close(decoded, values['eval/decoded'], atol=1e-5, rtol=1e-5)


def test_vqkd_three_moving_average_steps(golden_vqkd):
    model, values = golden_vqkd
    model.train()
    for step in range(3):
        results = model.loss(values[f'train/{step}/images'])
        assert_close(
            results['loss_rec'],
            values[f'train/{step}/reconstruction_loss'].view(()),
            atol=1e-6,
            rtol=1e-5,
        )
        assert_close(
            results['loss_commit'],
            values[f'train/{step}/commitment_loss'].view(()),
            atol=1e-6,
            rtol=1e-5,
        )
        assert_close(
            model.quantize.codebook, values[f'train/{step}/codebook_after'], atol=1e-6, rtol=1e-5
        )


def test_vqkd_gradients(golden_vqkd):
    model, values = golden_vqkd
    model.train()
    results = model.loss(values['train/0/images'])
    (results['loss_rec'] + results['loss_commit']).backward()
    prefix = 'train/0/grad/'
    assert_gradients_equal(
        model, {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)}
    )


def our_name(official):
    if 'lm_head' in official:
        return f'head.{official}'
    return f'neck.{official}' if official.startswith('cls_pt') else f'backbone.{official}'


@pytest.mark.parametrize(
    ('name', 'shared'), [('pretrain_tiny', True), ('pretrain_tiny_unshared_head', False)]
)
def test_pretraining(name, shared, golden, beitv2_config):
    values = golden(name)
    beitv2_config['neck']['shared_norm'] = shared
    beitv2_config['head']['shared'] = shared
    model = BEiTV2(**beitv2_config)
    incompatible = model.load_state_dict(
        {our_name(n): v for n, v in state_of(values).items()}, strict=False
    )
    assert not incompatible.unexpected_keys
    assert all(
        key.startswith('target_generator.') or key == 'neck._extra_state'
        for key in incompatible.missing_keys
    )
    mask = values['mask'].flatten(1)
    positions = mask.nonzero()[:, 1].view(mask.shape[0], -1)
    codes = values['codes'].flatten(1).gather(1, positions)

    logits = model.predict_codes(values['images'], mask, positions)
    loss_mim, _ = model.head.loss(logits['mim'], codes)
    loss_cls, _ = model.head.loss(logits['cls'], codes)
    (loss_mim + loss_cls).backward()

    assert_close(logits['mim'].flatten(0, 1), values['logits_mim'], atol=1e-5, rtol=1e-5)
    assert_close(logits['cls'].flatten(0, 1), values['logits_cls'], atol=1e-5, rtol=1e-5)
    assert_close(loss_mim, values['loss_mim'].view(()), atol=1e-5, rtol=1e-5)
    assert_close(loss_cls, values['loss_cls'].view(()), atol=1e-5, rtol=1e-5)
    assert_gradients_equal(
        model,
        {our_name(n[5:]): v for n, v in values.items() if n.startswith('grad/')},
    )


def test_classifier(golden):
    values = golden('classifier_tiny')
    state = state_of(values)
    weight, bias = state.pop('head.weight'), state.pop('head.bias')
    model = BEiTViT(
        arch=dict(embed_dim=48, depth=4, num_heads=4),
        img_size=64,
        init_values=0.1,
        use_abs_pos_emb=False,
        use_rel_pos_bias=True,
        final_norm='fc_norm',
        out_type='avg_featmap',
    ).eval()
    model.load_state_dict(state, strict=True)
    (feature,) = model(values['images'])
    assert_close(feature @ weight.T + bias, values['logits'], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(('case', 'side'), [('27to47', 24), ('27to63', 32)])
def test_relative_bias_resize(case, side, golden):
    values = golden('relative_bias_resize')
    resized = resize_relative_position_bias(values[f'{case}/table'], (14, 14), (side, side))
    assert_close(resized, values[f'{case}/resized'], atol=1e-4, rtol=0)
