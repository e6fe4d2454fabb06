"""Parameter groups: few, decayed by a rule, learning by depth."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as ROOT_CONSTRUCTORS
from torch import nn

from mmbeitv2.models import BEiTV2, BEiTViT

LR, WEIGHT_DECAY = 1e-3, 0.05


def groups_of(model, **paramwise):
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=LR, weight_decay=WEIGHT_DECAY),
            constructor='mmbeitv2.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=paramwise,
        ),
    )
    return wrapper.optimizer.param_groups


def by_name(model, groups):
    """Learning rate and weight decay of every parameter in the optimiser."""
    name_of = {id(p): n for n, p in model.named_parameters()}
    return {
        name_of[id(p)]: (group['lr'], group['weight_decay'])
        for group in groups
        for p in group['params']
    }


class Classifier(nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
        self.backbone = BEiTViT(
            use_abs_pos_emb=False,
            use_rel_pos_bias=True,
            init_values=0.1,
            final_norm='fc_norm',
            out_type='avg_featmap',
            **kwargs,
        )
        self.head = nn.Linear(self.backbone.embed_dim, 10)


@pytest.fixture
def classifier():
    return Classifier(arch=dict(embed_dim=48, depth=4, num_heads=4), img_size=64)


def our_name(official):
    """Name of an official parameter in BEiTV2."""
    if official.startswith('lm_head'):
        return f'head.{official}'
    return f'neck.{official}' if official.startswith('cls_pt') else f'backbone.{official}'


def test_decayed_set_of_pretraining_is_the_official_one(schedules):
    with torch.device('meta'):
        model = BEiTV2(
            backbone=dict(
                type='mmbeitv2.BEiTViT',
                init_values=0.1,
                use_abs_pos_emb=False,
                use_shared_rel_pos_bias=True,
                use_mask_token=True,
            ),
            neck=dict(type='mmbeitv2.PatchAggregationNeck'),
            head=dict(type='mmbeitv2.MIMHead'),
            target_generator=dict(
                type='mmbeitv2.VQKDTokenizer',
                encoder=dict(depth=1),
                quantizer=dict(kmeans_init=False),
            ),
        )
    groups = groups_of(model)
    assert len(groups) == 2
    found = by_name(model, groups)
    decayed = schedules['pretraining parameters with weight decay']
    free = schedules['pretraining parameters without weight decay']
    assert found == {
        **{our_name(name): (LR, WEIGHT_DECAY) for name in decayed},
        **{our_name(name): (LR, 0.0) for name in free},
    }


def test_layer_decay_scales_are_the_official_ones(schedules):
    scales = schedules['layer-decay scale, ViT-B/16 classifier, decay 0.65']
    with torch.device('meta'):
        model = Classifier(arch='base')
    groups = groups_of(model, layer_decay_rate=0.65)
    assert len(groups) == 2 * 14  # decayed or not, in 14 depths
    found = {
        name.removeprefix('backbone.'): lr / LR for name, (lr, _) in by_name(model, groups).items()
    }
    assert scales.keys() <= found.keys()
    for name, scale in scales.items():
        assert found[name] == pytest.approx(scale), name
    for name in found.keys() - scales.keys():
        assert name.endswith(('q_bias', 'v_bias')), name


def test_every_parameter_is_in_exactly_one_group(classifier):
    groups = groups_of(classifier, layer_decay_rate=0.5)
    members = [id(p) for group in groups for p in group['params']]
    assert sorted(members) == sorted(id(p) for p in classifier.parameters())


def test_frozen_parameters_are_left_out(beitv2):
    names = by_name(beitv2, groups_of(beitv2))
    assert not [name for name in names if name.startswith('target_generator')]
    assert names.keys() == {n for n, p in beitv2.named_parameters() if p.requires_grad}


def test_rule_on_dimensions_with_declared_exceptions(classifier):
    for name, (_, decay) in by_name(classifier, groups_of(classifier)).items():
        matrix = dict(classifier.named_parameters())[name].ndim > 1
        assert decay == (WEIGHT_DECAY if matrix and not name.endswith('cls_token') else 0), name


def test_exceptions_can_be_declared(classifier):
    names = by_name(classifier, groups_of(classifier, no_decay=['relative_position_bias_table']))
    assert names['backbone.blocks.0.attn.relative_position_bias_table'][1] == 0
    assert names['backbone.cls_token'][1] == WEIGHT_DECAY


def test_unknown_option_is_refused(classifier):
    with pytest.raises(ValueError, match=r"\['custom_keys'\], allowed: layer_decay_rate and"):
        groups_of(classifier, custom_keys={})


def test_found_from_mmengines_root():
    assert ROOT_CONSTRUCTORS.get('mmbeitv2.LayerDecayOptimWrapperConstructor') is not None
