"""Parameter groups: few, decayed by a rule, learning by depth."""

import pytest
from mmengine.optim import build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as ROOT_CONSTRUCTORS
from torch import nn

from mmbeitv2.engine import optim
from mmbeitv2.models import BEiTViT

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


@pytest.fixture(params=['OptimWrapperConstructor', 'LayerDecayOptimWrapperConstructor'])
def build_fused(request, classifier):
    """Builds the optimiser of a recipe that asks for a fused one."""

    def build():
        optimizer = dict(type='AdamW', lr=LR, fused=True)
        constructor = f'mmbeitv2.{request.param}'
        config = dict(type='OptimWrapper', optimizer=optimizer, constructor=constructor)
        return build_optim_wrapper(classifier, config).optimizer

    return build


@pytest.mark.needs_torch('2.4', 'fused AdamW on CPUs')
def test_recipes_are_fused_on_cpus(build_fused):
    assert build_fused().defaults['fused'] is True


def test_an_old_torch_has_recipes_unfused_on_cpus_and_says_so(build_fused, monkeypatch):
    monkeypatch.setattr(optim, 'HAS_FUSED_ON_CPU', False)
    monkeypatch.setattr(optim, 'print_log', lambda message, **_: messages.append(message))
    messages = []
    assert build_fused().defaults['fused'] is False
    assert [m for m in messages if 'not fused' in m and 'needs torch 2.4 or later' in m]


def test_mmengines_options_are_those_of_the_plain_constructor(classifier):
    config = dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=LR, weight_decay=WEIGHT_DECAY),
        constructor='mmbeitv2.OptimWrapperConstructor',
        paramwise_cfg=dict(custom_keys={'head': dict(lr_mult=10.0)}),
    )
    groups = build_optim_wrapper(classifier, config).optimizer.param_groups
    names = by_name(classifier, groups)
    assert names['head.weight'] == (pytest.approx(10 * LR), WEIGHT_DECAY)
    assert names['backbone.cls_token'] == (LR, WEIGHT_DECAY)


def test_unknown_option_is_refused(classifier):
    with pytest.raises(ValueError, match=r"\['custom_keys'\], allowed: layer_decay_rate and"):
        groups_of(classifier, custom_keys={})


def test_found_from_mmengines_root():
    for name in ('OptimWrapperConstructor', 'LayerDecayOptimWrapperConstructor'):
        assert ROOT_CONSTRUCTORS.get(f'mmbeitv2.{name}') is not None
