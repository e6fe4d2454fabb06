"""Each rule of CUDA's kernels is noticed when it is broken, and no other call is refused."""

import pytest
import torch
import torch.nn.functional as F
from cuda_autocast import CudaAutocast, cuda_autocast
from cuda_rules import RuleBroken
from fake_gpu import GPU, fake_gpu
from torch import nn

pytestmark = pytest.mark.needs_torch('2.14', 'tensors on a GPU that is not there')

aten = torch.ops.aten
HALF, BFLOAT = torch.float16, torch.bfloat16


def gpu(*shape, dtype=torch.float32):
    return torch.empty(*shape, dtype=dtype, device=GPU)


def integers(*shape, dtype=torch.int64, device=GPU):
    return torch.zeros(*shape, dtype=dtype, device=device)


def heads(*shape, dtype=BFLOAT):
    return [gpu(*shape, dtype=dtype) for _ in range(3)]


def efficient(bias, *qkv):
    return aten._scaled_dot_product_efficient_attention(*qkv, bias, True)


def convolution(x, weight):
    return aten.convolution(x, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1)


def batch_norm(dtype, statistics):
    return aten.native_batch_norm(
        gpu(2, 3, 4, 4, dtype=dtype),
        *(gpu(3, dtype=t) for t in (torch.float32, torch.float32, statistics, statistics)),
        True,
        0.1,
        1e-5,
    )


# What a kernel takes, and the same call with one thing that it does not.
RULES = {
    'layer norm': (
        lambda: F.layer_norm(gpu(2, 8), [8], gpu(8), gpu(8)),
        lambda: F.layer_norm(gpu(2, 8, dtype=BFLOAT), [8], gpu(8), gpu(8)),
    ),
    'layer norm backward': (
        lambda: aten.native_layer_norm_backward(
            gpu(2, 8), gpu(2, 8), [8], gpu(2, 1), gpu(2, 1), gpu(8), gpu(8), [True] * 3
        ),
        lambda: aten.native_layer_norm_backward(
            gpu(2, 8, dtype=HALF), gpu(2, 8), [8], gpu(2, 1), gpu(2, 1), gpu(8), gpu(8), [True] * 3
        ),
    ),
    'group norm': (
        lambda: F.group_norm(gpu(2, 8, 4), 2, gpu(8), gpu(8)),
        lambda: F.group_norm(gpu(2, 8, 4, dtype=HALF), 2, gpu(8), gpu(8)),
    ),
    'batch norm with statistics in float32': (
        lambda: batch_norm(HALF, torch.float32),
        lambda: batch_norm(HALF, HALF),
    ),
    'matrix product': (
        lambda: gpu(2, 8) @ gpu(8, 3),
        lambda: gpu(2, 8, dtype=BFLOAT) @ gpu(8, 3),
    ),
    'batched matrix product': (
        lambda: torch.bmm(gpu(2, 4, 8), gpu(2, 8, 3)),
        lambda: torch.bmm(gpu(2, 4, 8), gpu(2, 8, 3, dtype=HALF)),
    ),
    'linear layer': (
        lambda: F.linear(gpu(2, 8), gpu(3, 8), gpu(3)),
        lambda: F.linear(gpu(2, 8), gpu(3, 8), gpu(3, dtype=HALF)),
    ),
    'convolution': (
        lambda: convolution(gpu(1, 3, 8, 8), gpu(4, 3, 2, 2)),
        lambda: convolution(gpu(1, 3, 8, 8), gpu(4, 3, 2, 2, dtype=HALF)),
    ),
    'cross-entropy, target': (
        lambda: F.cross_entropy(gpu(4, 10), integers(4)),
        lambda: F.cross_entropy(gpu(4, 10), integers(4, dtype=torch.int32)),
    ),
    'cross-entropy of pixels, target': (
        lambda: F.cross_entropy(gpu(2, 10, 4, 4), integers(2, 4, 4)),
        lambda: F.cross_entropy(gpu(2, 10, 4, 4), integers(2, 4, 4, dtype=torch.uint8)),
    ),
    'cross-entropy, class weights': (
        lambda: F.cross_entropy(gpu(4, 10), integers(4), weight=gpu(10)),
        lambda: F.cross_entropy(gpu(4, 10, dtype=HALF), integers(4), weight=gpu(10)),
    ),
    'softmax to float32': (
        lambda: aten._softmax(gpu(4, 10, dtype=HALF), 1, True),
        lambda: aten._softmax(gpu(4, 10), 1, True),
    ),
    'softmax backward': (
        lambda: aten._softmax_backward_data(gpu(4, 10), gpu(4, 10), 1, torch.float32),
        lambda: aten._softmax_backward_data(gpu(4, 10), gpu(4, 10, dtype=HALF), 1, HALF),
    ),
    'index_add': (
        lambda: gpu(5, 3).index_add_(0, integers(4), gpu(4, 3)),
        lambda: gpu(5, 3).index_add_(0, integers(4), gpu(4, 3, dtype=BFLOAT)),
    ),
    'scatter_add': (
        lambda: gpu(5, 3).scatter_add_(0, integers(4, 3), gpu(4, 3)),
        lambda: gpu(5, 3).scatter_add_(0, integers(4, 3), gpu(4, 3, dtype=HALF)),
    ),
    'scatter, positions': (
        lambda: gpu(5, 3).scatter_(0, integers(4, 3), gpu(4, 3)),
        lambda: gpu(5, 3).scatter_(0, integers(4, 3, dtype=torch.int32), gpu(4, 3)),
    ),
    'gather, positions': (
        lambda: gpu(5, 3).gather(0, integers(4, 3)),
        lambda: aten.gather(gpu(5, 3), 0, integers(4, 3, dtype=torch.int32)),
    ),
    'index_put': (
        lambda: aten.index_put(gpu(5, 3), [integers(4)], gpu(4, 3)),
        lambda: aten.index_put(gpu(5, 3), [integers(4)], gpu(4, 3, dtype=HALF)),
    ),
    'lerp': (
        lambda: gpu(5).lerp(gpu(5), 0.1),
        lambda: gpu(5).lerp(gpu(5, dtype=HALF), 0.1),
    ),
    'flash attention, precision': (
        lambda: aten._scaled_dot_product_flash_attention(*heads(2, 4, 9, 16)),
        lambda: aten._scaled_dot_product_flash_attention(*heads(2, 4, 9, 16, dtype=torch.float32)),
    ),
    'attention, one precision': (
        lambda: efficient(None, *heads(2, 4, 16, 16)),
        lambda: efficient(None, *heads(2, 4, 16, 16)[:2], gpu(2, 4, 16, 16)),
    ),
    "attention bias, the query's precision": (
        lambda: efficient(gpu(2, 4, 16, 16, dtype=BFLOAT), *heads(2, 4, 16, 16)),
        lambda: efficient(gpu(2, 4, 16, 16), *heads(2, 4, 16, 16)),
    ),
    'attention bias, rows of 16 bytes': (
        lambda: efficient(gpu(2, 4, 9, 16, dtype=BFLOAT)[..., :9], *heads(2, 4, 9, 16)),
        lambda: efficient(gpu(2, 4, 9, 9, dtype=BFLOAT), *heads(2, 4, 9, 16)),
    ),
}


@pytest.mark.parametrize('rule', RULES)
def test_kernels_take_this(rule):
    takes, _ = RULES[rule]
    with fake_gpu():
        takes()


@pytest.mark.parametrize('rule', RULES)
def test_kernels_refuse_this(rule):
    _, refuses = RULES[rule]
    with fake_gpu(), pytest.raises(RuleBroken):
        refuses()


def test_tensors_of_two_devices_are_refused():
    with fake_gpu(), pytest.raises(RuntimeError, match='on the same device'):
        gpu(3) + torch.zeros(3)


def test_numbers_on_the_cpu_go_with_tensors_on_the_gpu():
    with fake_gpu() as rules:
        assert (gpu(3) * torch.tensor(2.0)).is_cuda
    assert not rules.waits


def fused_step(counter):
    tensors = [[gpu(3)] for _ in range(4)]
    rates = dict(lr=1e-3, beta1=0.9, beta2=0.98, weight_decay=0.0, eps=1e-8)
    aten._fused_adamw_(*tensors, [], [counter], **rates, amsgrad=False, maximize=False)


def test_fused_optimizer_refuses_step_counters_on_the_cpu():
    with fake_gpu():
        fused_step(torch.zeros((), device=GPU))
        with pytest.raises(RuleBroken, match='step counter'):
            fused_step(torch.zeros(()))


WAITS = {
    'a value': lambda: gpu(3).sum().item(),
    'a comparison': lambda: bool((gpu(3) > 0).all()),
    'a mask': lambda: gpu(3)[gpu(3) > 0],
    'the size of a list': lambda: gpu(3).nonzero(),
    'a copy to the host': lambda: gpu(3).cpu(),
    'a copy from the host': lambda: torch.zeros(3).to(GPU),
    'positions on the host': lambda: gpu(3)[torch.zeros(2, dtype=torch.int64)],
}
NO_WAITS = {
    'a sum': lambda: gpu(3).sum(),
    'a copy in the background': lambda: torch.zeros(3).to(GPU, non_blocking=True),
    'positions on the device': lambda: gpu(3)[integers(2)],
    'a value on the host': lambda: torch.zeros(3).sum().item(),
}


@pytest.mark.parametrize('what', WAITS)
def test_waits_are_counted_where_they_happen(what):
    with fake_gpu() as rules:
        WAITS[what]()
    assert set(rules.waits) == {f'{__name__}:<lambda>'}


@pytest.mark.parametrize('what', NO_WAITS)
def test_nothing_else_is_counted(what):
    with fake_gpu() as rules:
        NO_WAITS[what]()
    assert not rules.waits


@pytest.fixture
def driverless_autocast(monkeypatch):
    monkeypatch.setattr(torch, 'autocast', CudaAutocast)


@pytest.mark.parametrize('precision', [BFLOAT, HALF], ids=str)
def test_autocast_is_cudas(precision, driverless_autocast):
    with fake_gpu(), GPU, cuda_autocast(precision):
        product = nn.Linear(8, 8)(gpu(2, 8))
        assert product.dtype is precision
        # On CUDA, not on CPUs, autocast computes norms in float32.
        assert nn.LayerNorm(8)(product).dtype is torch.float32
        with torch.autocast('cuda', enabled=False):
            assert (gpu(2, 8) @ gpu(8, 8)).dtype is torch.float32
    assert not torch.is_autocast_enabled('cuda')


def test_attention_of_a_bias_whose_rows_are_not_aligned_is_padded():
    with fake_gpu() as rules:
        q, k, v = heads(2, 4, 9, 16)
        bias = gpu(1, 4, 9, 9, dtype=BFLOAT).requires_grad_()
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        out.sum().backward()
    assert bias.grad.shape == bias.shape
    assert rules.seen['_scaled_dot_product_efficient_attention_backward'] == 1
