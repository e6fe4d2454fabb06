"""Pretraining: Eq. 3 on two branches, one of them through the bottleneck of [CLS]."""

import math

import pytest
import torch
from mmpretrain.structures import DataSample
from torch.testing import assert_close

from mmbeitv2.errors import InputError
from mmbeitv2.models import BEiTV2, PatchAggregationNeck
from mmbeitv2.models.masks import masked_positions


@pytest.fixture
def views(images):
    """Student's and tokenizer's view."""
    return [torch.randn(2, 3, 64, 64), images]


def total(losses):
    return sum(value for name, value in losses.items() if name.startswith('loss'))


def gradients(model):
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def block_gradients(model):
    """Largest gradient of every backbone layer."""
    return [
        max(0.0 if p.grad is None else p.grad.abs().max().item() for p in block.parameters())
        for block in model.backbone.blocks
    ]


@pytest.mark.parametrize('rates', [0.3, (0.2, 0.3)])
def test_aggregation_layers_drop_at_their_own_rate(beitv2_config, rates):
    beitv2_config['neck']['drop_path'] = rates
    found = [block.drop_path.drop_prob for block in BEiTV2(**beitv2_config).neck.cls_pt_layers]
    assert found == ([0.3, 0.3] if rates == 0.3 else [0.2, 0.3])


def test_a_rate_for_every_aggregation_layer(beitv2_config):
    beitv2_config['neck']['drop_path'] = (0.1, 0.1, 0.1)
    with pytest.raises(ValueError, match='drop_path has 3 values but the neck 2 layers'):
        BEiTV2(**beitv2_config)


def test_losses_and_accuracies(beitv2, views, masked_samples):
    losses = beitv2(views, masked_samples, mode='loss')
    assert set(losses) == {'loss_mim', 'loss_cls', 'acc_mim', 'acc_cls'}
    assert losses['loss_mim'].item() == pytest.approx(math.log(64), rel=0.1)
    assert 0 <= losses['acc_mim'] <= 1


def test_one_masked_patch_is_enough(beitv2, views):
    samples = [DataSample(), DataSample()]
    for position, sample in enumerate(samples):
        sample.set_field((torch.arange(16) == position).view(4, 4), 'mask')
    losses = beitv2(views, samples, mode='loss')
    total(losses).backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(gradient.isfinite().all() for gradient in gradients(beitv2).values())


def test_without_neck_there_is_one_loss(beitv2_config, views, masked_samples):
    beitv2_config['neck'] = None
    model = BEiTV2(**beitv2_config)
    model.init_weights()
    losses = model(views, masked_samples, mode='loss')
    assert set(losses) == {'loss_mim', 'acc_mim'}
    total(losses).backward()
    assert all(p.grad is not None for p in model.backbone.parameters())


class TestBottleneck:
    def test_layers_after_l_learn_from_loss_cls(self, beitv2, views, masked_samples):
        beitv2.loss(views, masked_samples)['loss_cls'].backward()
        assert min(block_gradients(beitv2)) > 0

    def test_only_through_cls(self, beitv2, views, masked_samples):
        def without_cls_gradient(neck, args):
            return (args[0].detach(), *args[1:])

        beitv2.neck.register_forward_pre_hook(without_cls_gradient)
        beitv2.loss(views, masked_samples)['loss_cls'].backward()
        found = block_gradients(beitv2)
        assert min(found[: beitv2.neck.layer]) > 0
        assert found[beitv2.neck.layer :] == [0.0, 0.0]

    def test_last_patches_get_no_gradient_of_loss_cls(self, beitv2, views, masked_samples):
        outputs = []

        def keep(block, args, output):
            output.retain_grad()
            outputs.append(output)

        beitv2.backbone.blocks[-1].register_forward_hook(keep)
        losses = beitv2.loss(views, masked_samples)
        losses['loss_cls'].backward(retain_graph=True)
        (tokens,) = outputs
        assert tokens.grad[:, 0].abs().min() > 0
        assert torch.equal(tokens.grad[:, 1:], torch.zeros_like(tokens.grad[:, 1:]))
        losses['loss_mim'].backward()
        assert tokens.grad[:, 1:].abs().max() > 0


class TestNeck:
    def test_refuses_weights_of_another_l(self, beitv2_config):
        state = BEiTV2(**beitv2_config).state_dict()
        assert state['neck._extra_state'] == 3
        beitv2_config['neck']['layer'] = 2
        with pytest.raises(ValueError, match=r'layer 3 but this neck.*layer 2: set layer=3'):
            BEiTV2(**beitv2_config).load_state_dict(state)

    def test_drop_path_reaches_its_layers(self):
        neck = PatchAggregationNeck(48, 4, layer=3, depth=2, drop_path=0.4)
        assert [block.drop_path.drop_prob for block in neck.cls_pt_layers] == [0.4, 0.4]

    def test_own_norm_starts_neutral(self):
        neck = PatchAggregationNeck(48, 4, layer=3, shared_norm=False)
        neck.init_weights()
        assert torch.equal(neck.cls_pt_norm.weight, torch.ones(48))

    def test_depth_zero_is_refused(self):
        with pytest.raises(ValueError, match=r'depth is 0, allowed: 1 or more.*neck=None'):
            PatchAggregationNeck(depth=0)


def test_separate_head_and_norm_learn_from_their_branch_alone(beitv2_config, views, masked_samples):
    beitv2_config['neck']['shared_norm'] = False
    beitv2_config['head']['shared'] = False
    model = BEiTV2(**beitv2_config)
    model.init_weights()
    model.loss(views, masked_samples)['loss_cls'].backward()
    assert model.head.lm_head.weight.grad is None
    assert model.backbone.norm.weight.grad is None
    assert model.head.cls_pt_lm_head.weight.grad.abs().max() > 0
    assert model.neck.cls_pt_norm.weight.grad.abs().max() > 0


def test_tokenizer_stays_as_it_is_over_training(beitv2, views, masked_samples):
    beitv2.train()
    assert not any(module.training for module in beitv2.target_generator.modules())
    before = {n: v.clone() for n, v in beitv2.target_generator.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in beitv2.parameters() if p.requires_grad], 1e-2)
    first = beitv2(views, masked_samples, mode='loss')
    losses = first
    for _ in range(3):
        optimizer.zero_grad()
        total(losses).backward()
        optimizer.step()
        losses = beitv2(views, masked_samples, mode='loss')
    assert total(losses) < total(first)
    after = beitv2.target_generator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_init_weights_leaves_a_loaded_tokenizer(beitv2_config, vqkd, tmp_path):
    torch.save(vqkd.state_dict(), tmp_path / 'vqkd.pth')
    beitv2_config['target_generator']['init_cfg'] = dict(
        type='Pretrained', checkpoint=str(tmp_path / 'vqkd.pth')
    )
    model = BEiTV2(**beitv2_config)
    model.init_weights()
    wanted = vqkd.state_dict()
    for name, value in model.target_generator.state_dict().items():
        assert torch.equal(value, wanted[name])


def test_predict_fills_every_sample(beitv2, views, masked_samples, mask):
    beitv2.eval()
    samples = beitv2(views, masked_samples, mode='predict')
    codes = beitv2.target_generator.tokenize(views[1]).flatten(1)
    losses = beitv2(views, masked_samples, mode='loss')
    assert torch.equal(torch.stack([s.masked_codes for s in samples]), codes[mask].view(2, 6))
    for name in ('mim', 'cls'):
        predicted = torch.stack([s.get(f'pred_codes_{name}') for s in samples])
        accuracy = (predicted == codes[mask].view(2, 6)).float().mean()
        assert_close(accuracy, losses[f'acc_{name}'])


@torch.no_grad()
def test_predicted_codes_are_compared_in_float32_under_autocast(beitv2, views, mask):
    positions = mask.nonzero()[:, 1].view(2, -1)
    beitv2.eval()
    with torch.autocast('cpu', torch.bfloat16):
        tokens = beitv2.masked_tokens(views[0], mask, positions)
        logits = beitv2.predict_codes(views[0], mask, positions)
    for name, found in logits.items():
        assert torch.equal(found, beitv2.head(tokens[name].float(), aggregated=name == 'cls'))


def test_positions_of_masks(masked_samples, mask):
    found, positions = masked_positions(masked_samples)
    assert torch.equal(found, mask)
    assert positions.shape == (2, 6)
    assert torch.equal(positions[1], mask[1].nonzero().flatten())


def test_unequal_masks_are_refused(masked_samples):
    more = DataSample()
    more.set_field(torch.ones(4, 4, dtype=torch.bool), 'mask')
    with pytest.raises(ValueError, match=r'got \[6, 16\]: use BlockMask or RandomMask'):
        masked_positions([masked_samples[0], more])


def test_masks_of_another_shape_with_as_many_patches_are_refused(beitv2, masked_samples, views):
    for sample in masked_samples:
        sample.set_field(sample.mask.reshape(2, 8), 'mask')
    with pytest.raises(ValueError, match=r'\(2, 8\) but the images \(4, 4\).*to \(4, 4\)'):
        beitv2(views, masked_samples, mode='loss')
    with pytest.raises(ValueError, match=r'\(2, 8\)'):
        beitv2(views, masked_samples, mode='predict')


def test_masks_of_different_shapes_are_refused(masked_samples):
    masked_samples[1].set_field(masked_samples[1].mask.reshape(2, 8), 'mask')
    with pytest.raises(ValueError, match=r'\(2, 8\).*to \(4, 4\)'):
        masked_positions(masked_samples)


def test_masks_of_nothing_are_refused(masked_samples):
    for sample in masked_samples:
        sample.set_field(torch.zeros(4, 4, dtype=torch.bool), 'mask')
    with pytest.raises(ValueError, match=r'no patch is masked.*1 or more'):
        masked_positions(masked_samples)


@pytest.mark.parametrize('mode', ['loss', 'predict'])
def test_images_without_samples_are_refused(mode, beitv2, views):
    with pytest.raises(InputError, match=f'data_samples is None, but mode={mode!r} needs one'):
        beitv2(views, mode=mode)


def test_views_of_different_sizes_are_refused(beitv2, masked_samples, views):
    with pytest.raises(ValueError, match=r'sees \(4, 4\) patches but the tokenizer \(2, 2\)'):
        beitv2([views[0], views[1][..., :32, :32]], masked_samples, mode='loss')


def test_image_size_other_than_the_masks_is_refused(beitv2, masked_samples):
    views = [torch.randn(2, 3, 96, 96), torch.rand(2, 3, 96, 96)]
    with pytest.raises(ValueError, match=r'\(4, 4\).*\(6, 6\).*mask generator to \(6, 6\)'):
        beitv2.loss(views, masked_samples)


@pytest.mark.parametrize(
    ('part', 'change', 'message'),
    [
        ('head', dict(num_codes=32), 'head predicts 32 codes but the tokenizer has 64'),
        ('backbone', dict(patch_size=32), 'patch_size 32 but the tokenizer 16'),
        ('backbone', dict(use_mask_token=False), 'use_mask_token=True'),
        ('backbone', dict(final_norm='fc_norm'), "final_norm='norm'"),
        ('neck', dict(layer=5), r'layer 5, allowed: 1 to 4'),
        ('neck', dict(layer=0), r'layer is 0, but must be a whole number from 1 on'),
    ],
)
def test_parts_that_do_not_fit_are_refused(part, change, message, beitv2_config):
    beitv2_config[part].update(change)
    with pytest.raises(ValueError, match=message):
        BEiTV2(**beitv2_config)
