"""Which layers get a bias gradient of its own: those that learn, once it was chosen.

The layers are on a GPU of which nothing is there but the name.
"""

import pytest
import torch
from cuda_autocast import cuda_autocast
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from mmbeitv2.models.attention import Attention
from mmbeitv2.models.bias_gradient import choose_kernels


@pytest.fixture
def on_gpu():
    """A layer on a GPU of which nothing is there but the name, with tokens and a shared bias."""
    choose_kernels(True)
    with FakeTensorMode(), torch.device('cuda'), cuda_autocast(torch.bfloat16):
        x = torch.randn(2, 10, 128, requires_grad=True)
        yield Attention(128, 2, (3, 3)), x, torch.randn(2, 10, 10, requires_grad=True)
    choose_kernels(False)


def has_own_gradient(out):
    """Whether a backward pass from ``out`` would reach the kernels."""
    seen, nodes = set(), [out.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes += [function for function, _ in node.next_functions]
    return '_BiasGradientBackward' in {node.name() for node in seen}


# Earlier releases ask the driver.
on_fake_gpu = pytest.mark.needs_torch('2.14', 'tensors on a GPU that is not there')


@on_fake_gpu
@pytest.mark.parametrize('count', [None, 4])
def test_layer_on_a_gpu_takes_it_while_it_learns(on_gpu, count):
    attention, x, shared = on_gpu
    queries = None if count is None else torch.zeros(2, count, dtype=torch.int64)
    assert has_own_gradient(attention(x, (3, 3), shared, queries))
    assert has_own_gradient(attention(x, (3, 3), None, queries))


@on_fake_gpu
def test_bias_that_does_not_learn_costs_nothing(on_gpu):
    attention, x, shared = on_gpu
    attention.requires_grad_(False)
    assert not has_own_gradient(attention(x, (3, 3), shared.detach()))
    with torch.no_grad():
        assert not attention(x, (3, 3), shared).requires_grad


@on_fake_gpu
def test_other_precisions_and_widths_take_torchs_gradient(on_gpu):
    attention, x, _ = on_gpu
    assert not has_own_gradient(Attention(48, 2, (3, 3))(x[..., :48], (3, 3)))
    with cuda_autocast(torch.float32):
        assert not has_own_gradient(attention(x, (3, 3)))


@on_fake_gpu
def test_unless_chosen_torchs_gradient_is_taken(on_gpu):
    choose_kernels(False)
    attention, x, shared = on_gpu
    out = attention(x, (3, 3), shared)
    assert out.requires_grad
    assert not has_own_gradient(out)


@pytest.mark.needs_torch('2.5', 'operations counted of operators of our own')
def test_operations_are_counted():
    q, k = torch.empty(2, 3, 5, 16, device='meta'), torch.empty(2, 3, 7, 16, device='meta')
    with FlopCounterMode(display=False) as counter:
        bias = torch.empty(3, 7, 7, device='meta')
        torch.ops.mmbeitv2.bias_gradient(q, k, k, bias, q, q, None)
    assert counter.get_total_flops() == 2 * (2 * 2 * 3 * 5 * 7 * 16)
