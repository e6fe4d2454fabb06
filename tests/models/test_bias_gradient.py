"""A bias gradient of its own: the same numbers as plain attention's, summed without atomics.

The kernels are run by Triton's interpreter on the CPU, compiled for cards that are not there, and
compared on a card where there is one.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import interpreted
import pytest
import torch
from numpy.testing import assert_allclose
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from mmbeitv2.models import bias_gradient
from mmbeitv2.models.layers import Attention

pytest.importorskip('triton')
EXACT = partial(assert_allclose, atol=1e-5, rtol=1e-5)

# Images, heads, tokens, width of a head; the tiles are of 128 × 64 at most.
SHAPES = [(1, 2, 37, 16), (5, 3, 21, 32), (2, 1, 197, 64), (2, 2, 10, 128)]


@pytest.fixture(scope='module')
def run():
    """Calls a function of ``interpreted`` in a process whose Triton interprets its kernels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('TRITON_INTERPRET', '1')
        spawn = multiprocessing.get_context('spawn')
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            yield lambda name, *args: pool.submit(getattr(interpreted, name), *args).result()


@pytest.mark.parametrize('other', ['by_softmax', 'by_heads'])
@pytest.mark.parametrize('shape', SHAPES)
def test_output_and_gradients_are_those_of_plain_attention(run, shape, other):
    (*found, dtype), (*expected, _) = run('compared', shape, other)
    for a, b in zip(found, expected, strict=True):
        EXACT(a, b)
    assert dtype == 'torch.float32'


@pytest.mark.parametrize('programs', [1, 2, 3, 5])
def test_images_may_be_shared_out_among_programs(run, programs):
    found, expected = run('compared', (5, 1, 21, 16), 'by_softmax', None, programs)
    EXACT(found[4], expected[4])


@pytest.mark.parametrize('count', [1, 7, 130])
def test_queries_of_each_image_add_to_their_rows_of_the_bias(run, count):
    shape = (3, 2, 140, 16)
    (*found, _), (*expected, _) = run('compared', shape, 'by_softmax', count)
    for a, b in zip(found, expected, strict=True):
        EXACT(a, b)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_gradient_keeps_the_precision_of_the_bias(run, dtype):
    (*found, found_dtype), (*expected, _) = run('compared', (5, 3, 37, 64, dtype), 'by_softmax')
    for a, b in zip(found, expected, strict=True):
        assert_allclose(a, b, atol=0.05, rtol=0.05)
    assert found_dtype == 'torch.float32'


def test_gradient_of_the_output_may_be_one_number_for_all(run):
    for found, expected in zip(*run('of_a_sum', (2, 2, 21, 16)), strict=True):
        EXACT(found, expected)


@pytest.mark.parametrize('programs', [1, 4])
def test_same_tensors_give_the_same_bits(run, programs):
    assert run('equal_bits_twice', (4, 2, 21, 16), programs)


@pytest.mark.parametrize('count', [None, 5])
@pytest.mark.parametrize('backend', ['eager', 'aot_eager'])
def test_compiled_attention_is_one_graph_with_the_same_numbers(run, backend, count):
    (*found, _), (*expected, _) = run('compiled', (2, 2, 21, 16), backend, count)
    for a, b in zip(found, expected, strict=True):
        EXACT(a, b)


@pytest.mark.parametrize('count', [None, 4])
def test_layer_learns_its_own_bias_and_the_shared_one_as_before(run, count):
    found, expected = run('layer', count)
    for a, b in zip(found, expected, strict=True):
        EXACT(a, b)


def test_second_gradient_is_refused(run):
    assert 'no autograd formula was registered' in run('second_gradient', (2, 2, 9, 16))


@pytest.mark.needs_torch('2.14')  # what is checked grows from version to version
def test_operator_passes_torchs_checks(run):
    run('check_operator', (2, 2, 9, 16))


@pytest.fixture
def on_gpu(monkeypatch):
    """A layer on a GPU of which nothing is there but the name, with tokens and a shared bias."""
    # As on a machine whose torch prefers its own kernel for a constant bias.
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    bias_gradient._obstacle.cache_clear()
    with FakeTensorMode(), torch.device('cuda'):
        attention = Attention(128, 2, (3, 3))
        x = torch.randn(2, 10, 128, dtype=torch.bfloat16, requires_grad=True)
        yield attention.bfloat16(), x, torch.randn(2, 10, 10, requires_grad=True)
    bias_gradient._obstacle.cache_clear()


def has_own_gradient(out):
    """Whether a backward pass from ``out`` would reach the kernels."""
    seen, nodes = set(), [out.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes += [function for function, _ in node.next_functions]
    return '_BiasGradientBackward' in {node.name() for node in seen}


on_fake_gpu = pytest.mark.needs_torch('2.14')  # earlier releases ask the driver


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
    assert not has_own_gradient(attention.float()(x.float(), (3, 3)))
    narrow = Attention(48, 2, (3, 3)).bfloat16()
    assert not has_own_gradient(narrow(x[..., :48], (3, 3)))


@on_fake_gpu
def test_without_triton_torchs_gradient_is_taken_and_that_is_said_once(on_gpu, monkeypatch, caplog):
    said = []
    monkeypatch.setattr(bias_gradient, 'find_spec', lambda name: None)
    monkeypatch.setattr(bias_gradient, 'print_log', lambda message, **kwargs: said.append(message))
    attention, x, shared = on_gpu
    for _ in range(2):
        out = attention(x, (3, 3), shared)
        assert out.requires_grad
        assert not has_own_gradient(out)
    assert len(said) == 1
    assert 'pip install triton' in said[0]


@on_fake_gpu
@pytest.mark.parametrize(
    ('capability', 'cudnn', 'pays'),
    [
        ((8, 0), 92400, False),
        ((9, 0), 91002, False),
        ((9, 0), 92400, True),
        ((12, 0), 92400, False),
    ],
)
def test_cards_without_a_faster_attention_take_torchs_gradient(
    on_gpu, monkeypatch, capability, cudnn, pays
):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda: capability)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda: 'a card')
    monkeypatch.setattr(torch.backends.cudnn, 'version', lambda: cudnn)
    attention, x, _ = on_gpu
    assert has_own_gradient(attention(x, (3, 3))) == pays


def test_operations_are_counted():
    q, k = torch.empty(2, 3, 5, 16, device='meta'), torch.empty(2, 3, 7, 16, device='meta')
    with FlopCounterMode(display=False) as counter:
        bias = torch.empty(3, 7, 7, device='meta')
        torch.ops.mmbeitv2.bias_gradient(q, k, k, bias, q, q, None)
    assert counter.get_total_flops() == 3 * (2 * 2 * 3 * 5 * 7 * 16)
