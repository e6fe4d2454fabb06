"""What older torch lacks is made up for, with the same numbers."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmbeitv2 import torch_releases
from mmbeitv2.torch_releases import aminmax, attention_in_parts, autocast_dtype


@pytest.fixture(params=[False, True], ids=['old torch', 'this torch'])
def release(request, monkeypatch):
    """Take the way of torch 2.1, and that of the torch which is here."""
    if not request.param:
        monkeypatch.setattr(torch_releases, 'HAS_OPERATORS', False)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_ends_are_those_of_the_values_in_their_type(release, dtype):
    low, high = aminmax(torch.tensor([[3.5, -2.25], [0.5, 1.0]], dtype=dtype))
    assert (low.item(), high.item()) == (-2.25, 3.5)
    assert low.dtype == high.dtype == dtype


def test_ends_are_no_number_where_a_value_is_none(release):
    values = torch.tensor([1.0, float('nan'), 2.0], dtype=torch.float16)
    assert all(end.isnan() for end in aminmax(values))


def test_attention_in_parts_is_counted():
    q = torch.randn(2, 3, 5, 16)
    with attention_in_parts(), FlopCounterMode(display=False) as counter:
        torch.nn.functional.scaled_dot_product_attention(q, q, q)
    assert counter.get_total_flops() == 2 * (2 * 2 * 3 * 5 * 5 * 16)


def test_autocasts_type_is_told_where_it_is_on():
    assert autocast_dtype('cpu') is None
    with torch.autocast('cpu', torch.bfloat16):
        assert autocast_dtype('cpu') == torch.bfloat16
        assert autocast_dtype('meta') is None
        with torch.autocast('cpu', enabled=False):
            assert autocast_dtype('cpu') is None
