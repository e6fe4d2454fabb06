"""One setting of precision, right by default on every device."""

import pytest
import torch

from mmbeitv2.engine.precision import choose_precision
from mmbeitv2.torch_releases import autocast_dtype


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that this machine has GPUs of some compute capabilities."""

    def pretend(*capabilities):
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: len(capabilities))
        monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda i: capabilities[i])
        monkeypatch.setattr(torch.cuda, 'get_device_name', lambda i: f'GPU {i}')

    return pretend


@pytest.fixture
def cpu_with(monkeypatch):
    """Pretend that this CPU has some of the instructions that torch reports."""

    def pretend(*features):
        monkeypatch.setattr(
            torch.cpu, 'get_capabilities', lambda: dict.fromkeys(features, True), raising=False
        )

    return pretend


@pytest.mark.parametrize(
    ('capabilities', 'expected'),
    [
        ([(7, 0)], torch.float16),
        ([(7, 5)], torch.float16),
        ([(8, 0)], torch.bfloat16),
        ([(8, 9)], torch.bfloat16),
        ([(9, 0), (9, 0)], torch.bfloat16),
        ([(9, 0), (7, 0)], torch.float16),
        ([(7, 0), (9, 0)], torch.float16),
    ],
)
def test_auto_is_bfloat16_on_gpus_that_all_multiply_it_and_float16_on_older(
    gpus, capabilities, expected
):
    gpus(*capabilities)
    assert choose_precision('auto', 'cuda').dtype == expected


@pytest.mark.parametrize(
    ('features', 'expected'),
    [
        (['avx2'], torch.float32),
        (['avx2', 'avx512_bf16'], torch.bfloat16),
        (['amx_bf16'], torch.bfloat16),
    ],
)
def test_auto_is_bfloat16_on_cpus_that_multiply_it(cpu_with, features, expected):
    cpu_with(*features)
    assert choose_precision('auto', 'cpu').dtype == expected


def test_auto_is_float32_where_torch_tells_nothing_of_the_cpu(monkeypatch):
    monkeypatch.delattr(torch.cpu, 'get_capabilities', raising=False)
    assert choose_precision('auto', 'cpu').dtype == torch.float32


def test_auto_is_float32_on_other_devices():
    assert choose_precision('auto', 'mps').dtype == torch.float32


def test_what_was_chosen_is_said_with_its_reason(gpus, cpu_with):
    gpus((7, 0))
    expected = 'float16 (auto: GPU 0 (compute capability 7.0) does not multiply bfloat16'
    assert str(choose_precision('auto', 'cuda')).startswith(expected)
    cpu_with('amx_bf16')
    assert 'amx_bf16' in str(choose_precision('auto', 'cpu'))
    cpu_with()
    assert str(choose_precision('bfloat16', 'cpu')) == 'bfloat16 (as set; this CPU emulates it)'


@pytest.mark.parametrize(
    ('name', 'device', 'message'),
    [
        ('bf16', 'cpu', "precision is 'bf16', allowed: auto, bfloat16, float16, float32"),
        ('float16', 'cpu', 'float16, which needs a GPU; this CPU has bfloat16 and float32'),
        ('float16', 'mps', 'float16, which needs a GPU'),
        ('bfloat16', 'cuda', r'bfloat16, which GPU 0 \(compute capability 7\.5\) only emulates'),
    ],
)
def test_a_precision_that_the_device_lacks_is_refused(gpus, cpu_with, name, device, message):
    gpus((7, 5))
    cpu_with()
    with pytest.raises(ValueError, match=message):
        choose_precision(name, device)


def test_float32_leaves_everything_alone():
    with choose_precision('float32', 'cpu').autocast():
        assert autocast_dtype('cpu') is None


def test_bfloat16_casts_products():
    x = torch.randn(2, 2)
    with choose_precision('bfloat16', 'cpu').autocast():
        assert (x @ x).dtype == torch.bfloat16
