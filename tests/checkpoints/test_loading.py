"""Loading is all or nothing, and says what was done and what does not fit."""

import pytest
import torch
from torch import nn

from mmbeitv2.checkpoints import loading
from mmbeitv2.checkpoints.loading import load_exactly
from mmbeitv2.checkpoints.translation import Checkpoint
from mmbeitv2.models import BEiTViT


@pytest.fixture
def model():
    return nn.ModuleDict(dict(body=nn.Linear(3, 2), fc_norm=nn.LayerNorm(2)))


@pytest.fixture
def logged(monkeypatch):
    """Messages that loading logs."""
    messages = []
    monkeypatch.setattr(loading, 'print_log', lambda message, logger: messages.append(message))
    return messages


def checkpoint_of(state):
    return Checkpoint('file.pth', 'mmbeitv2', 'backbone', state)


def state_like(model):
    return {name: torch.full_like(value, 7.0) for name, value in model.state_dict().items()}


def test_every_tensor_is_set_and_the_rest_left_over(model):
    state = dict(state_like(model), other=torch.zeros(1))
    load_exactly(model, checkpoint_of(state))
    assert all((value == 7).all() for value in model.state_dict().values())


def test_declared_parts_may_be_missing(model):
    state = {n: v for n, v in state_like(model).items() if not n.startswith('fc_norm')}
    load_exactly(model, checkpoint_of(state), may_be_missing=('fc_norm.',))
    assert (model['body'].weight == 7).all()
    assert (model['fc_norm'].weight == 1).all()


def assert_refused(model, state, message):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_exactly(model, checkpoint_of(state))
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())


def test_missing_tensor_is_named_with_its_shape(model):
    state = state_like(model)
    del state['body.bias']
    assert_refused(model, state, r'file\.pth .* no tensor body\.bias of shape \(2,\)')


def test_tensor_without_a_place_in_a_part_of_the_model_is_named(model):
    state = dict(state_like(model), **{'body.gamma': torch.zeros(4)})
    assert_refused(model, state, r'ModuleDict has no place for body\.gamma of shape \(4,\)')


def test_differing_tensor_is_named_with_both_shapes(model):
    state = dict(state_like(model), **{'fc_norm.bias': torch.zeros(5)})
    assert_refused(model, state, r'fc_norm\.bias has shape \(5,\) in the file but \(2,\)')


def test_table_says_what_was_done(logged):
    arch = dict(embed_dim=24, depth=2, num_heads=2)
    options = dict(arch=arch, init_values=0.1, use_abs_pos_emb=False)
    source = BEiTViT(img_size=32, use_shared_rel_pos_bias=True, use_mask_token=True, **options)
    state = {f'backbone.{name}': value for name, value in source.state_dict().items()}
    state['head.lm_head.weight'] = torch.zeros(3, 24)
    model = BEiTViT(
        img_size=48, use_rel_pos_bias=True, final_norm='fc_norm', out_type='avg_featmap', **options
    )
    load_exactly(model, checkpoint_of(state), 'backbone.', may_be_missing=('fc_norm.',))
    (message,) = logged
    lines = [' '.join(line.split()) for line in message.splitlines()]
    assert lines == [
        'BEiTViT from file.pth (mmbeitv2 backbone)',
        f'loaded {len(model.state_dict()) - 2} cls_token, patch_embed.proj.weight, '
        'patch_embed.proj.bias, blocks.*.gamma_1, …',
        'of these expanded 2 blocks.*.attn.relative_position_bias_table',
        'of these resized 2 blocks.*.attn.relative_position_bias_table (12, 2) → (28, 2)',
        'missing, initial value kept 2 fc_norm.weight, fc_norm.bias',
        'left over 4 mask_token, norm.weight, norm.bias, head.lm_head.weight',
    ]


def test_table_names_implied_tensors_and_may_be_left_out(logged, as_checkpoint):
    model = BEiTViT(arch=dict(embed_dim=24, depth=1, num_heads=2), img_size=32)
    state = {n: v for n, v in model.state_dict().items() if not n.endswith('q_bias')}
    load_exactly(model, as_checkpoint(state), 'backbone.', report=False)
    assert not logged
    load_exactly(model, as_checkpoint(state), 'backbone.')
    assert 'of these implied                1  blocks.*.attn.q_bias' in logged[0]
