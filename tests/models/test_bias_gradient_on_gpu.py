"""On a GPU: the bias gradient of our own gives plain attention's numbers, compiled layers too."""

import pytest
import torch
from numpy.testing import assert_allclose

from mmbeitv2.models.bias_gradient import choose_kernels, learned_bias_attention
from mmbeitv2.models.layers import Block

pytest.importorskip('triton')
interpreted = pytest.importorskip('interpreted')
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')


@pytest.mark.parametrize('count', [None, 76])
@pytest.mark.parametrize(
    ('dtype', 'bound'), [('float32', 1e-4), ('float16', 0.02), ('bfloat16', 0.1)]
)
def test_on_a_gpu_the_numbers_are_those_of_plain_attention(dtype, bound, count):
    tensors = [t.detach().cuda().requires_grad_() for t in interpreted.inputs(8, 3, 197, 64, dtype)]
    queries = None if count is None else interpreted.positions(8, 197, count).cuda()
    exact = [t.detach().double().requires_grad_() for t in tensors]
    first, second = (
        interpreted.results(learned_bias_attention, tensors, queries) for _ in range(2)
    )
    *expected, _ = interpreted.results(interpreted.by_softmax, exact, queries)
    for a, b in zip(first[:-1], expected, strict=True):
        assert_allclose(a, b, atol=bound, rtol=bound)
    assert first[4].tobytes() == second[4].tobytes()
    assert first[5] == 'torch.float32'


def layer_gradients(block, x, bias):
    """Of a bias and of the layer's input, in bfloat16's forward pass."""
    with torch.autocast('cuda', torch.bfloat16):
        out = block(x, (14, 14), bias)
    return torch.autograd.grad(out.float().square().mean(), (x, bias))


@pytest.mark.parametrize('compiled', [False, True])
def test_a_layer_that_learns_its_bias_takes_the_kernel(monkeypatch, compiled):
    from mmbeitv2.models import bias_gradient_launch

    summed, sum_over_batch = [], bias_gradient_launch.sum_over_batch
    monkeypatch.setattr(
        bias_gradient_launch, 'sum_over_batch', lambda *a: summed.append(1) or sum_over_batch(*a)
    )
    torch.manual_seed(0)
    block = Block(128, 2, init_values=0.1).cuda().train()
    x = torch.randn(4, 197, 128, device='cuda', requires_grad=True)
    bias = torch.randn(2, 197, 197, device='cuda', requires_grad=True)
    expected = layer_gradients(block, x, bias)
    choose_kernels(True)
    try:
        if compiled:
            block.compile()
        found = layer_gradients(block, x, bias)
    finally:
        choose_kernels(False)
    assert len(summed) == 1
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() < 0.02 * b.norm()
