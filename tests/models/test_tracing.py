"""Who follows the operators: exports do, compilations do not."""

import pytest
import torch
from torch import nn

from mmbeitv2.models.shortcuts import is_traced


class Asks(nn.Module):
    """Adds 1 where its operators are followed."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if is_traced() else x


def test_a_compilation_is_no_export():
    """Within what they compile torch 2.7 to 2.13 say otherwise, and layers lost their shortcuts."""
    compiled = torch.compile(Asks(), backend='eager', fullgraph=True)
    assert compiled(torch.zeros(1)).item() == 0


@pytest.mark.needs_torch('2.7', 'exports that say so')
def test_an_export_is_one():
    x = torch.zeros(1)
    for strict in (False, True):
        assert torch.export.export(Asks(), (x,), strict=strict).module()(x).item() == 1


def test_traces_and_function_transforms_are_ones():
    x = torch.zeros(1)
    assert torch.jit.trace(Asks(), x)(x).item() == 1
    assert torch.func.vmap(Asks())(torch.zeros(2, 1)).tolist() == [[1], [1]]
