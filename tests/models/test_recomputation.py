"""Linear layers that keep what their input was computed from: the same numbers, less memory."""

import pytest
import torch
import torch.nn.functional as F
from cuda_autocast import cuda_autocast
from fake_gpu import GPU, fake_gpu
from torch import nn
from torch.testing import assert_close

from mmbeitv2.models.layers import Block
from mmbeitv2.models.recomputation import linear_of_gelu, linear_of_norm

WIDTH, OUT = 12, 20


def of_norm(x, norm, linear):
    return linear_of_norm(x, norm, linear.weight, linear.bias)


def of_gelu(x, norm, linear):
    return linear_of_gelu(x, linear.weight, linear.bias)


PLAIN = {
    of_norm: lambda x, norm, linear: linear(norm(x)),
    of_gelu: lambda x, norm, linear: linear(F.gelu(x)),
}


@pytest.fixture
def parts():
    """Input, norm and linear layer, none of them trivial."""
    norm, linear = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, OUT)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return torch.randn(2, 5, WIDTH, requires_grad=True), norm, linear


def results(function, parts, precision=None):
    x, norm, linear = parts
    with torch.autocast('cpu', torch.bfloat16, enabled=precision is not None):
        out = function(*parts)
        inputs = [x, *linear.parameters()]
        if function is not of_gelu and function is not PLAIN[of_gelu]:
            inputs += norm.parameters()
        loss = (out.float() * torch.arange(float(out.numel())).view_as(out).sin()).sum()
    return out, *torch.autograd.grad(loss, inputs)


@pytest.mark.parametrize('function', PLAIN)
def test_output_and_gradients_are_the_plain_ones(function, parts):
    for a, b in zip(results(function, parts), results(PLAIN[function], parts), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize('function', PLAIN)
def test_under_autocast_too(function, parts):
    found = results(function, parts, torch.bfloat16)
    expected = results(PLAIN[function], parts, torch.bfloat16)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert_close(a, b, atol=0.02 * b.abs().max().item(), rtol=0)


@pytest.mark.parametrize('precision', [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_tokens_of_less_precision_than_the_norm(precision, parts):
    x, norm, linear = parts
    x = x.detach().to(precision).requires_grad_()

    def plain(x, norm, linear):
        return linear(norm(x.to(norm.weight.dtype)))

    for a, b in zip(results(of_norm, (x, norm, linear)), results(plain, (x, norm, linear))):
        assert a.dtype == b.dtype
        assert_close(a, b)


@pytest.mark.needs_torch('2.14', 'tensors on a GPU that is not there')
@pytest.mark.parametrize('function', PLAIN)
@pytest.mark.parametrize('precision', [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize('stream', [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_backward_pass_obeys_cudas_rules(function, precision, stream):
    """It runs outside of autocast, as backward passes do."""
    with fake_gpu() as rules, GPU:
        norm, linear = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, OUT)
        x = torch.randn(2, 5, WIDTH, dtype=stream, requires_grad=True)
        with cuda_autocast(precision):
            out = function(x, norm, linear)
        out.float().sum().backward()
    assert out.dtype == precision
    assert x.grad.dtype == stream
    assert linear.weight.grad.dtype == torch.float32
    assert rules.seen['mm'] == 2


@pytest.mark.parametrize('function', PLAIN)
def test_nothing_is_kept_but_the_input_and_the_weights(function, parts):
    x, norm, linear = parts
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        function(*parts)
    known = {t.data_ptr() for t in (x, *norm.parameters(), *linear.parameters())}
    assert {t.data_ptr() for t in kept} <= known


def test_frozen_layers_get_no_gradient(parts):
    x, norm, linear = parts
    linear.requires_grad_(False)
    norm.requires_grad_(False)
    of_norm(*parts).sum().backward()
    assert x.grad is not None
    assert linear.weight.grad is None
    assert norm.weight.grad is None


def test_layers_that_took_anothers_place_are_called():
    class Adapted(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 1

    block, x = Block(WIDTH, 2), torch.randn(2, 5, WIDTH)
    before = block(x, (2, 2))
    adapted = Adapted(4 * WIDTH, WIDTH)
    adapted.load_state_dict(block.mlp.fc2.state_dict())
    block.mlp.fc2 = adapted
    assert_close(block(x, (2, 2)), before + 1)


@torch.no_grad()
def test_hooks_see_every_layer_where_no_gradient_is_recorded():
    block, seen = Block(WIDTH, 2), []
    for name in ('norm1', 'norm2', 'mlp.fc1', 'mlp.fc2', 'attn.proj'):
        block.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.append(name))
    block(torch.randn(2, 5, WIDTH), (2, 2))
    assert seen == ['norm1', 'attn.proj', 'norm2', 'mlp.fc1', 'mlp.fc2']
