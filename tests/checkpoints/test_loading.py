"""Loading is all or nothing, and says what does not fit."""

import pytest
import torch
from torch import nn

from mmbeitv2.checkpoints.loading import load_exactly


@pytest.fixture
def model():
    return nn.ModuleDict(dict(body=nn.Linear(3, 2), fc_norm=nn.LayerNorm(2)))


def state_like(model):
    return {name: torch.full_like(value, 7.0) for name, value in model.state_dict().items()}


def test_every_tensor_is_set_and_the_rest_left_over(model):
    state = dict(state_like(model), other=torch.zeros(1))
    load_exactly(model, state, 'file')
    assert all((value == 7).all() for value in model.state_dict().values())


def test_declared_parts_may_be_missing(model):
    state = {n: v for n, v in state_like(model).items() if not n.startswith('fc_norm')}
    load_exactly(model, state, 'file', may_be_missing=('fc_norm.',))
    assert (model['body'].weight == 7).all()
    assert (model['fc_norm'].weight == 1).all()


def assert_refused(model, state, message):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_exactly(model, state, 'file.pth')
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())


def test_missing_tensor_is_named_with_its_shape(model):
    state = state_like(model)
    del state['body.bias']
    assert_refused(model, state, r'file\.pth .* no tensor body\.bias of shape \(2,\)')


def test_tensor_without_a_place_in_a_part_of_the_model_is_named(model):
    state = dict(state_like(model), **{'body.gamma': torch.zeros(4)})
    assert_refused(model, state, r'ModuleDict has no place for body\.gamma of shape \(4,\)')


def test_official_buffers_are_left_over(model):
    state = dict(state_like(model), **{'body.relative_position_index': torch.zeros(4)})
    load_exactly(model, state, 'file')
    assert (model['body'].weight == 7).all()


def test_differing_tensor_is_named_with_both_shapes(model):
    state = dict(state_like(model), **{'fc_norm.bias': torch.zeros(5)})
    assert_refused(model, state, r'fc_norm\.bias has shape \(5,\) in the file but \(2,\)')
