"""Same weights, same numbers as the official implementation (golden values in tests/data)."""

import pytest
import torch
from torch import nn

from mmbeitv2.models import VQKD, BEiTV2, BEiTViT
from mmbeitv2.models.position import resize_relative_position_bias

pytestmark = pytest.mark.equality
OFFICIAL = 'official'


def state_of(values):
    return {
        name: value
        for name, value in under(values, 'state/').items()
        if not name.endswith('relative_position_index')
    }


def under(values, prefix):
    return {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)}


def gradients(model):
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


class TestVQKD:
    @pytest.fixture
    def values(self, golden):
        return golden('vqkd_tiny')

    @pytest.fixture
    def model(self, values, vqkd_config):
        model = VQKD(**vqkd_config)
        incompatible = model.load_state_dict(state_of(values), strict=False)
        assert not incompatible.missing_keys
        # The official quantizer keeps these two and reads neither.
        assert incompatible.unexpected_keys == [
            'quantize.cluster_size',
            'quantize.embedding.embed_avg',
        ]
        model.teacher.features = values['teacher_features']
        return model

    @torch.no_grad()
    def test_evaluation(self, model, values, assert_equal_within):
        model.eval()
        images, expected = values['images'], under(values, 'eval/')
        head, grid = model.encode(images)
        quantized, codes, commitment = model.quantized(images)
        decoded = model.decode(quantized)
        assert grid == (4, 4)
        assert_equal_within(
            'VQ-KD, head output', OFFICIAL, head, expected['encoder_head'], rtol=1e-5
        )
        assert_equal_within('VQ-KD, codes', OFFICIAL, codes, expected['codes'], atol=0)
        assert_equal_within(
            'VQ-KD, quantized vectors', OFFICIAL, quantized, expected['quantized'], rtol=1e-5
        )
        assert_equal_within(
            'VQ-KD, commitment loss, evaluation',
            OFFICIAL,
            commitment.view(1),
            expected['commitment_loss'],
            atol=1e-6,
        )
        assert_equal_within(
            'VQ-KD, decoder output', OFFICIAL, decoded, expected['decoded'], rtol=1e-5
        )

    def test_three_moving_average_steps(self, model, values, assert_equal_within):
        model.train()
        found, expected = [], []
        for step in range(3):
            wanted = under(values, f'train/{step}/')
            # The loss moves the codebook too, so the codes come first.
            codes = model.eval()(wanted['images'], mode='tensor')
            losses = model.train()(wanted['images'], mode='loss')
            expected.append(wanted)
            found.append({**losses, 'codes': codes, 'codebook': model.quantize.codebook.clone()})
        for what, ours, theirs, tolerance in (
            ('codes', 'codes', 'codes', dict(atol=0)),
            ('commitment loss', 'loss_commit', 'commitment_loss', dict(atol=1e-6)),
            ('reconstruction loss', 'loss_rec', 'reconstruction_loss', dict(atol=1e-6)),
            ('codebook', 'codebook', 'codebook_after', dict(rtol=1e-5)),
        ):
            assert_equal_within(
                f'VQ-KD, {what}, each of three steps',
                OFFICIAL,
                {step: f[ours].flatten() for step, f in enumerate(found)},
                {step: e[theirs].flatten() for step, e in enumerate(expected)},
                **tolerance,
            )

    def test_every_gradient(self, model, values, assert_equal_within):
        losses = model.train()(values['train/0/images'], mode='loss')
        (losses['loss_rec'] + losses['loss_commit']).backward()
        assert_equal_within(
            'VQ-KD, every gradient',
            OFFICIAL,
            gradients(model),
            under(values, 'train/0/grad/'),
            rtol=1e-5,
        )


def our_name(official):
    """Name of an official pretraining parameter in :class:`BEiTV2`."""
    if 'lm_head' in official:
        return f'head.{official}'
    return f'neck.{official}' if official.startswith('cls_pt') else f'backbone.{official}'


@pytest.mark.parametrize(
    ('name', 'shared'), [('pretrain_tiny', True), ('pretrain_tiny_unshared_head', False)]
)
def test_pretraining(name, shared, golden, beitv2_config, assert_equal_within):
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
    tokens = model.masked_tokens(values['images'], mask, positions)
    losses = {
        branch: model.head.loss_of_tokens(tokens[branch], codes, aggregated=branch == 'cls')[0]
        for branch in tokens
    }
    sum(losses.values()).backward()

    head = 'shared head' if shared else 'separate heads'
    assert_equal_within(
        f'pretraining, logits at masked positions, {head}',
        OFFICIAL,
        {branch: logits[branch].flatten(0, 1) for branch in logits},
        under(values, 'logits_'),
        rtol=1e-5,
    )
    assert_equal_within(
        f'pretraining, both losses, {head}',
        OFFICIAL,
        {branch: losses[branch].view(1) for branch in losses},
        under(values, 'loss_'),
        atol=1e-6,
    )
    assert_equal_within(
        f'pretraining, every gradient, {head}',
        OFFICIAL,
        gradients(model),
        {our_name(n): v for n, v in under(values, 'grad/').items()},
        rtol=1e-5,
    )


@torch.no_grad()
def test_classifier(golden, assert_equal_within):
    values = golden('classifier_tiny')
    state = state_of(values)
    backbone = BEiTViT(
        arch=dict(embed_dim=48, depth=4, num_heads=4),
        img_size=64,
        init_values=0.1,
        use_abs_pos_emb=False,
        use_rel_pos_bias=True,
        final_norm='fc_norm',
        out_type='avg_featmap',
    ).eval()
    head = nn.Linear(48, 10)
    head.load_state_dict({n: state.pop(f'head.{n}') for n in ('weight', 'bias')})
    backbone.load_state_dict(state, strict=True)
    (feature,) = backbone(values['images'])
    assert_equal_within('classifier, logits', OFFICIAL, head(feature), values['logits'], rtol=1e-5)


@pytest.mark.parametrize(('case', 'side'), [('27to47', 24), ('27to63', 32)])
def test_relative_bias_resize(case, side, golden, assert_equal_within):
    values = golden('relative_bias_resize')
    resized = resize_relative_position_bias(values[f'{case}/table'], (14, 14), (side, side))
    assert_equal_within(
        f'relative position bias, 14×14 to {side}×{side}',
        OFFICIAL,
        resized,
        values[f'{case}/resized'],
        atol=1e-4,
    )
