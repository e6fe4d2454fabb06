"""Batch norm over ranks: PyTorch's own, in every precision (on two ranks: tests/distributed)."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mmbeitv2.models import batch_norm
from mmbeitv2.models.batch_norm import AnyDeviceSyncBN


@pytest.fixture
def over_ranks(monkeypatch):
    """Take the way of several ranks; sums over this one process's ranks are its own."""
    monkeypatch.setattr(batch_norm, 'get_world_size', lambda: 2)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize('momentum', [0.1, None])
@pytest.mark.parametrize('affine', [True, False])
def test_a_converted_model_is_normalised_in_its_precision(over_ranks, dtype, momentum, affine):
    options = dict(momentum=momentum, affine=affine)
    ours, plain = (kind(4, **options).to(dtype) for kind in (AnyDeviceSyncBN, nn.BatchNorm1d))
    x = (torch.randn(9, 4, dtype=torch.float64) * 3 + 7).to(dtype)
    for _ in range(2):
        found, expected = ours(x), plain(x)
    # PyTorch rounds otherwise within half precision.
    close = dict(atol=0.03, rtol=0.01) if dtype == torch.bfloat16 else {}
    assert_close(found, expected, **close)
    assert_close(ours.state_dict(), plain.state_dict(), **close)
