"""A bias gradient of its own: the same numbers as plain attention's, summed without atomics.

The kernels are run by Triton's interpreter on the CPU and compiled for a card that is not there.
"""

import multiprocessing
import re
import subprocess
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from numpy.testing import assert_allclose

triton = pytest.importorskip('triton')
interpreted = pytest.importorskip('interpreted')
EXACT = partial(assert_allclose, atol=1e-5, rtol=1e-5)

# Images, heads, tokens, width of a head; the tiles are of 128 × 64 at most.
SHAPES = [(1, 2, 37, 16), (5, 3, 21, 32), (2, 1, 197, 64), (2, 2, 10, 128)]


# Triton 3.0's interpreter, that of torch 2.4, writes nothing with NumPy 2.
pytestmark = pytest.mark.needs_torch('2.14', "Triton's interpreter with NumPy 2")


@pytest.fixture(scope='module')
def run():
    """Calls a function of ``interpreted`` in a process whose Triton interprets its kernels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('TRITON_INTERPRET', '1')
        spawn = multiprocessing.get_context('spawn')
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            yield lambda name, *args: pool.submit(getattr(interpreted, name), *args).result()


@pytest.fixture(params=[True, False], ids=['whole rows', 'tiles'])
def whole(request):
    """Which of the two ways to sum."""
    return request.param


@pytest.mark.parametrize('other', ['by_softmax', 'by_heads'])
@pytest.mark.parametrize('shape', SHAPES)
def test_output_and_gradients_are_those_of_plain_attention(run, whole, shape, other):
    (*found, dtype), (*expected, _) = run('compared', whole, shape, other)
    for a, b in zip(found, expected, strict=True):
        EXACT(a, b)
    assert dtype == 'torch.float32'


def test_a_trial_finds_the_kernels_right(run):
    (ours, theirs), right = run('tried', False)
    assert right
    assert 0 < ours < 0.05
    assert 0 < theirs < 0.05


def test_a_trial_finds_a_broken_kernel_out(run):
    (ours, theirs), right = run('tried', True)
    assert not right
    assert ours > 10 * theirs


@pytest.mark.parametrize('programs', [1, 2, 3, 5])
def test_images_may_be_shared_out_among_programs(run, whole, programs):
    found, expected = run('compared', whole, (5, 1, 21, 16), 'by_softmax', None, programs)
    EXACT(found[4], expected[4])


@pytest.mark.parametrize('count', [1, 7, 130])
def test_queries_of_each_image_add_to_their_rows_of_the_bias(run, whole, count):
    shape = (3, 2, 140, 16)
    (*found, _), (*expected, _) = run('compared', whole, shape, 'by_softmax', count)
    for a, b in zip(found, expected, strict=True):
        EXACT(a, b)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_gradient_keeps_the_precision_of_the_bias(run, whole, dtype):
    (*found, found_dtype), (*expected, _) = run(
        'compared', whole, (5, 3, 37, 64, dtype), 'by_softmax'
    )
    for a, b in zip(found, expected, strict=True):
        assert_allclose(a, b, atol=0.05, rtol=0.05)
    assert found_dtype == 'torch.float32'


def test_no_images_give_a_gradient_of_zero(run, whole):
    found, _ = run('compared', whole, (0, 2, 9, 16), 'by_softmax')
    assert not found[4].any()


def test_gradient_of_the_output_may_be_one_number_for_all(run, whole):
    EXACT(*run('of_a_sum', whole, (2, 2, 21, 16)))


@pytest.mark.parametrize('programs', [1, 4])
def test_same_tensors_give_the_same_bits(run, whole, programs):
    assert run('equal_bits_twice', whole, (4, 2, 21, 16), programs)


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


def test_operator_passes_torchs_checks(run):
    run('check_operator', (2, 2, 9, 16))


@pytest.mark.parametrize(('kibibytes', 'stages'), [(227, 3), (163, 2), (99, 2), (None, 2)])
def test_stages_are_as_many_as_the_card_has_shared_memory_for(monkeypatch, kibibytes, stages):
    from mmbeitv2.models import bias_gradient_launch as launch

    told = {} if kibibytes is None else dict(shared_memory_per_block_optin=kibibytes * 1024)
    card = SimpleNamespace(**told)
    monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda device: card)
    assert launch._stages(torch.device('cuda')) == stages
    assert launch._stages(torch.device('cpu')) == 2


def test_rows_of_pretraining_are_whole_and_long_ones_are_not():
    from mmbeitv2.models.bias_gradient_launch import tile_size

    assert tile_size(197, 64, 2) == (True, 32, 256)
    assert tile_size(1025, 64, 2) == (False, 128, 64)
    assert tile_size(197, 64, 4) == (False, 64, 32)


@pytest.mark.parametrize('gathered', [False, True])
@pytest.mark.parametrize('kernel', ['sum_whole_rows', 'row_statistics', 'sum_tiles'])
@pytest.mark.parametrize(
    ('generation', 'assembler', 'product'),
    [(90, 'ptxas', 'wgmma.mma_async'), (100, 'ptxas-blackwell', 'tcgen05.mma')],
)
def test_kernels_fit_cards_and_use_their_matrix_units(
    tmp_path, monkeypatch, generation, assembler, product, kernel, gathered
):
    """Compiled for a card that is not there: nothing is kept outside of registers."""
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    binary = compiled_for(generation, kernel, gathered)
    assert binary.metadata.shared <= 227 * 1024
    text = binary.asm['ptx']
    assert product in text
    assert not re.search(r'\b(atom|red)\.', text)
    (tmp_path / 'kernel.ptx').write_text(text)
    programs = Path(triton.__file__).parent / 'backends' / 'nvidia' / 'bin'
    command = [programs / assembler, '-v', f'-arch=sm_{generation}a', 'kernel.ptx']
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stderr
    assert '0 bytes spill stores, 0 bytes spill loads' in said


def compiled_for(generation, name, gathered):
    """A kernel as Triton compiles it for a generation of cards, for heads of 64 in bfloat16."""
    from triton.backends.compiler import GPUTarget

    from mmbeitv2.models import bias_gradient_kernels as kernels
    from mmbeitv2.models.bias_gradient_launch import FEW_STAGES, STAGES, WHOLE_ROWS

    kernel = getattr(kernels, name)
    rows, keys = (WHOLE_ROWS, 256) if name == 'sum_whole_rows' else (128, 64)
    constants = dict(WIDTH=64, ROWS=rows, KEYS=keys, GATHERED=gathered)
    pointers = dict(queries_ptr='*i64', slots_ptr='*i64', partial_ptr='*fp32')
    pointers |= dict(log_sums_ptr='*fp32', weighted_ptr='*fp32')
    types, aligned = {}, {}
    for i, argument in enumerate(kernel.arg_names):
        if argument in constants:
            types[argument] = 'constexpr'
            continue
        types[argument] = 'fp32' if argument == 'scale' else 'i32'
        if argument.endswith('_ptr'):
            types[argument] = pointers.get(argument, '*bf16')
        if argument.endswith(('_ptr', '_image', '_head', '_token')):
            aligned[(i,)] = [['tt.divisibility', 16]]
    source = triton.compiler.ASTSource(kernel, types, constexprs=constants, attrs=aligned)
    options = dict(num_warps=8, num_stages=STAGES if name == 'sum_whole_rows' else FEW_STAGES)
    return triton.compile(source, target=GPUTarget('cuda', generation, 32), options=options)
