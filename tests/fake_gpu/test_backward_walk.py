"""Backward passes node by node give the gradients of autograd's engine, bit for bit."""

import copy

import pytest
import torch
from backward_walk import WalkedBackward
from fake_gpu import GPU, fake_gpu
from torch import nn

from mmbeitv2.models import BEiTViT

pytestmark = pytest.mark.needs_torch('2.14', 'tensors on a GPU that is not there')


def gradients(model, loss, walked):
    model.zero_grad()
    value = loss()
    if walked:
        with WalkedBackward():
            value.backward()
    else:
        value.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_the_same(model, loss):
    expected, found = gradients(model, loss, walked=False), gradients(model, loss, walked=True)
    assert expected.keys() == found.keys() != set()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.fixture
def loss_of_pretraining(beitv2, images, mask):
    positions = mask.nonzero()[:, 1].view(len(mask), -1)
    codes = torch.arange(positions.numel()).view_as(positions) % 64

    def loss():
        logits = beitv2.train().predict_codes(images, mask, positions)
        return sum(beitv2.head.loss(branch, codes)[0] for branch in logits.values())

    return loss


@pytest.mark.parametrize('with_cp', [False, True])
def test_pretraining_with_and_without_recomputed_layers(beitv2, loss_of_pretraining, with_cp):
    beitv2.backbone.with_cp = with_cp
    assert_the_same(beitv2, loss_of_pretraining)


def test_under_autocast(beitv2, loss_of_pretraining):
    def loss():
        with torch.autocast('cpu', torch.bfloat16):
            return loss_of_pretraining()

    assert_the_same(beitv2, loss)


def test_tokenizer_training(vqkd, images):
    vqkd.train()

    def loss():
        model = copy.deepcopy(vqkd.quantize)
        z, grid = vqkd.encode(images)
        z_q, _, commitment = model(z.transpose(1, 2).unflatten(2, grid))
        return vqkd.decode(z_q).square().mean() + commitment

    assert_the_same(vqkd, loss)


def test_relative_positions_in_every_layer(images):
    model = BEiTViT(
        arch=dict(embed_dim=24, depth=2, num_heads=2),
        img_size=64,
        use_abs_pos_emb=False,
        use_rel_pos_bias=True,
        out_type='avg_featmap',
        final_norm='fc_norm',
    )
    model.init_weights()
    assert_the_same(model, lambda: model(images)[0].square().sum())


def test_tensor_used_twice_and_branches_without_gradient():
    x = nn.Parameter(torch.randn(4, 3))
    model = nn.ParameterList([x])
    assert_the_same(model, lambda: (x.split(1)[2] * x.detach() + x * x + x.mean(dim=0)).sum())


def test_frozen_layers_get_no_gradient():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[0].requires_grad_(False)
    with WalkedBackward():
        model(torch.ones(2, 3)).sum().backward()
    assert model[0].weight.grad is None
    assert model[1].weight.grad is not None


def test_gradients_accumulate():
    x = nn.Parameter(torch.ones(3))
    with WalkedBackward():
        for _ in range(2):
            (2 * x).sum().backward()
    assert torch.equal(x.grad, torch.full((3,), 4.0))


def test_gradient_of_another_device_is_refused():
    class Away(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad_out):
            return torch.ones(3)

    with fake_gpu():
        x = torch.ones(3, device=GPU).requires_grad_()
        with pytest.raises(RuntimeError, match='got a gradient on cpu'):
            Away.apply(x).sum().backward()
