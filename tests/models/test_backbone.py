"""BEiTViT: the features that mmpretrain and mmsegmentation ask for, from any pretraining."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mmbeitv2.models import BEiTViT
from mmbeitv2.registry import MODELS

ARCH = dict(embed_dim=48, depth=4, num_heads=4)


def make_backbone(**kwargs):
    model = BEiTViT(**{**dict(arch=ARCH, img_size=64, init_values=0.1), **kwargs})
    model.init_weights()
    return model


@pytest.fixture
def pretraining_file(tmp_path):
    """Checkpoint of a pretraining model: shared bias, names under ``backbone.``."""
    backbone = make_backbone(
        use_abs_pos_emb=False, use_shared_rel_pos_bias=True, use_mask_token=True
    )
    nn.init.normal_(backbone.rel_pos_bias.relative_position_bias_table)
    state = {f'backbone.{name}': value for name, value in backbone.state_dict().items()}
    state['head.lm_head.weight'] = torch.zeros(64, 48)
    path = tmp_path / 'pretrained.pth'
    torch.save(dict(state_dict=state, meta={}), path)
    return backbone, path


@pytest.mark.parametrize(
    ('out_type', 'shape'),
    [('raw', (2, 17, 48)), ('cls_token', (2, 48)), ('avg_featmap', (2, 48))]
    + [('featmap', (2, 48, 4, 4))],
)
def test_shape_of_every_output(out_type, shape, images):
    features = make_backbone(out_type=out_type, out_indices=(0, 1, -1))(images)
    assert isinstance(features, tuple)
    assert [feature.shape for feature in features] == [shape] * 3


@pytest.mark.parametrize('out_indices', [[2, 0], [2, 2, 2], [-1, 1, -1], (3,), 0])
def test_features_come_in_the_order_asked_for_as_often_as_asked_for(out_indices, images):
    backbone = make_backbone(out_type='raw', out_indices=range(4))
    features = backbone(images)
    indices = [out_indices] if isinstance(out_indices, int) else list(out_indices)
    chosen = make_backbone(out_type='raw', out_indices=out_indices)
    chosen.load_state_dict(backbone.state_dict())
    found = chosen(images)
    assert len(found) == len(indices)
    for feature, index in zip(found, indices):
        assert torch.equal(feature, features[index])


def test_outputs_are_views_of_the_same_tokens(images):
    backbone = make_backbone(out_type='raw', out_indices=(1, 3))
    raw = backbone(images)
    results = {}
    for out_type in ('cls_token', 'avg_featmap', 'featmap', 'cls_and_avg'):
        backbone.out_type = out_type
        results[out_type] = backbone(images)
    for i, tokens in enumerate(raw):
        assert_close(results['cls_token'][i], tokens[:, 0])
        assert_close(results['avg_featmap'][i], tokens[:, 1:].mean(dim=1))
        assert_close(results['featmap'][i].flatten(2).transpose(1, 2), tokens[:, 1:])
        cls_token, mean = results['cls_and_avg'][i]
        assert_close(cls_token, results['cls_token'][i])
        assert_close(mean, results['avg_featmap'][i])


def test_only_the_last_layer_is_normalised(images):
    backbone = make_backbone(out_type='raw', out_indices=(2, 3))
    middle, last = backbone(images)
    x, grid = backbone.embed(images)
    x = backbone.layers(x, grid, stop=3)
    assert_close(middle, x)
    assert_close(last, backbone.norm(backbone.layers(x, grid, start=3)))


def test_fc_norm_normalises_the_mean(images):
    backbone = make_backbone(out_type='avg_featmap', final_norm='fc_norm')
    x, grid = backbone.embed(images)
    x = backbone.layers(x, grid)
    assert_close(backbone(images)[0], backbone.fc_norm(x[:, 1:].mean(dim=1)))


@pytest.mark.parametrize('size', [(64, 64), (96, 32), (70, 50)])
def test_feature_maps_of_any_image_size(size):
    backbone = make_backbone(out_type='featmap', use_rel_pos_bias=True, use_abs_pos_emb=False)
    (features,) = backbone(torch.randn(1, 3, *size))
    assert features.shape == (1, 48, -(-size[0] // 16), -(-size[1] // 16))


def test_frozen_backbone_never_trains(images):
    backbone = make_backbone(frozen=True, drop_path_rate=0.9)
    assert not backbone.training
    backbone.train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    images.requires_grad_()
    first, second = backbone(images)[0], backbone(images)[0]
    assert not first.requires_grad
    assert torch.equal(first, second)
    assert torch.is_grad_enabled()


def test_gradient_checkpointing_gives_equal_gradients(images):
    gradients = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        backbone = make_backbone(with_cp=with_cp, out_indices=(1, 3), out_type='raw').train()
        sum(f.square().mean() for f in backbone(images)).backward()
        gradients.append({n: p.grad for n, p in backbone.named_parameters()})
    for name, expected in gradients[0].items():
        assert_close(gradients[1][name], expected, msg=name)


def test_pretraining_checkpoint_expands_the_shared_bias(pretraining_file, images):
    pretrained, path = pretraining_file
    backbone = make_backbone(
        use_abs_pos_emb=False,
        use_rel_pos_bias=True,
        init_cfg=dict(type='Pretrained', checkpoint=str(path)),
    )
    table = pretrained.rel_pos_bias.relative_position_bias_table
    for block in backbone.blocks:
        assert torch.equal(block.attn.relative_position_bias_table, table)
    assert_close(backbone(images)[0], pretrained(images)[0], atol=1e-5, rtol=1e-5)


def test_fine_tuning_starts_a_fresh_fc_norm(pretraining_file):
    pretrained, path = pretraining_file
    backbone = make_backbone(
        use_abs_pos_emb=False,
        use_rel_pos_bias=True,
        final_norm='fc_norm',
        out_type='avg_featmap',
        init_cfg=dict(type='Pretrained', checkpoint=str(path)),
    )
    assert torch.equal(backbone.fc_norm.weight, torch.ones(48))
    assert torch.equal(backbone.blocks[3].mlp.fc2.weight, pretrained.blocks[3].mlp.fc2.weight)


def test_weights_without_the_prefix_load_too(pretraining_file, tmp_path, images):
    pretrained, _ = pretraining_file
    torch.save(dict(model=pretrained.state_dict()), tmp_path / 'official.pth')
    backbone = make_backbone(use_abs_pos_emb=False, use_shared_rel_pos_bias=True)
    backbone.load_checkpoint(str(tmp_path / 'official.pth'))
    assert_close(backbone(images)[0], pretrained(images)[0])


def test_prefix_names_the_model_within_a_larger_one(pretraining_file, tmp_path, images):
    pretrained, _ = pretraining_file
    state = {f'student.{name}': value for name, value in pretrained.state_dict().items()}
    torch.save(state, tmp_path / 'student.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'student.pth'), prefix='student.')
    backbone = make_backbone(use_abs_pos_emb=False, use_shared_rel_pos_bias=True, init_cfg=init_cfg)
    assert_close(backbone(images)[0], pretrained(images)[0])


def test_file_with_code_needs_trust(pretraining_file, tmp_path, images):
    pretrained, _ = pretraining_file
    torch.save(dict(model=pretrained.state_dict(), hook=print), tmp_path / 'code.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'code.pth'))
    options = dict(use_abs_pos_emb=False, use_shared_rel_pos_bias=True)
    with pytest.raises(ValueError, match='refused'):
        make_backbone(init_cfg=init_cfg, **options)
    backbone = make_backbone(init_cfg=dict(init_cfg, trust=True), **options)
    assert_close(backbone(images)[0], pretrained(images)[0])


def test_positions_are_resized_at_load(pretraining_file):
    pretrained, path = pretraining_file
    backbone = make_backbone(img_size=96, use_abs_pos_emb=False, use_shared_rel_pos_bias=True)
    backbone.load_checkpoint(str(path))
    images = torch.randn(1, 3, 96, 96)
    assert_close(backbone(images)[0], pretrained(images)[0], atol=1e-5, rtol=1e-5)


def test_checkpoint_of_another_width_names_tensor_and_both_shapes(pretraining_file):
    _, path = pretraining_file
    backbone = make_backbone(
        arch=dict(embed_dim=64, depth=4, num_heads=4),
        use_abs_pos_emb=False,
        use_shared_rel_pos_bias=True,
    )
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(ValueError, match=r'cls_token has shape \(1, 1, 48\).*\(1, 1, 64\)'):
        backbone.load_checkpoint(str(path))
    assert all(torch.equal(before[n], v) for n, v in backbone.state_dict().items())


def test_checkpoint_of_fewer_layers_names_the_missing_tensor(pretraining_file):
    _, path = pretraining_file
    backbone = make_backbone(
        arch=dict(embed_dim=48, depth=6, num_heads=4),
        use_abs_pos_emb=False,
        use_shared_rel_pos_bias=True,
    )
    with pytest.raises(ValueError, match=r'no tensor blocks\.4\.gamma_1 of shape \(48,\)'):
        backbone.load_checkpoint(str(path))


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(arch=dict(ARCH, depth=3)), r'no place for blocks\.3\.\S+ of shape'),
        (dict(init_values=None), r'no place for blocks\.0\.gamma_1 of shape \(48,\)'),
        (dict(use_shared_rel_pos_bias=False), r'holds relative_position_bias_table.*would drop'),
    ],
    ids=['layers', 'layer scale', 'positions'],
)
def test_checkpoint_with_more_than_the_model_is_refused(kwargs, message, pretraining_file):
    """A model that leaves a part of the network out computes something else."""
    _, path = pretraining_file
    options = {**dict(use_abs_pos_emb=False, use_shared_rel_pos_bias=True), **kwargs}
    with pytest.raises(ValueError, match=message):
        make_backbone(**options).load_checkpoint(str(path))


def test_layer_scale_is_set_from_the_start():
    block = BEiTViT(arch=ARCH, img_size=64, init_values=0.1).blocks[0]
    assert torch.equal(block.gamma_1, torch.full((48,), 0.1))


def test_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no checkpoint at .*nowhere\.pth'):
        make_backbone().load_checkpoint(str(tmp_path / 'nowhere.pth'))


@pytest.mark.parametrize(
    ('name', 'depth'),
    [
        ('backbone.cls_token', 0),
        ('backbone.mask_token', 0),
        ('backbone.pos_embed', 0),
        ('backbone.patch_embed.proj.weight', 0),
        ('backbone.blocks.0.attn.q_bias', 1),
        ('backbone.blocks.3.mlp.fc2.weight', 4),
        ('backbone.rel_pos_bias.relative_position_bias_table', 5),
        ('backbone.fc_norm.weight', 5),
        ('head.fc.weight', 5),
        ('decode_head.blocks.0.weight', 5),
    ],
)
def test_layer_depth(name, depth):
    assert make_backbone().get_layer_depth(name, 'backbone.') == (depth, 6)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(arch='huge'), r"arch is 'huge', allowed"),
        (dict(out_type='tokens'), r"out_type is 'tokens', allowed"),
        (dict(out_indices=(1, 4)), r'out_indices \(1, 4\) reach outside the 4 layers'),
        (dict(out_indices=-5), r'allowed are whole numbers from -4 to 3'),
        (dict(final_norm='fc_norm'), r"out_type='cls_token' does not return: set"),
    ],
)
def test_wrong_arguments_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_backbone(**kwargs)


@pytest.mark.parametrize(('arch', 'millions'), [('base', 85.8), ('large', 303.3)])
def test_sizes_of_the_paper(arch, millions):
    with torch.device('meta'):
        backbone = BEiTViT(arch=arch)
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmseg'])
def test_built_from_either_default_scope(scope):
    from mmengine.registry import MODELS as ROOT
    from mmengine.registry import DefaultScope

    assert MODELS.get('BEiTViT') is BEiTViT
    with DefaultScope.overwrite_default_scope(scope):
        backbone = ROOT.build(dict(type='mmbeitv2.BEiTViT', arch=ARCH, img_size=64))
    assert isinstance(backbone, BEiTViT)
