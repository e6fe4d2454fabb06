"""Who follows the operators: exports do, compilations do not."""

import pytest
import torch
from torch import nn

from mmbeitv2.models.position import resize_absolute_position
from mmbeitv2.models.quantizer import nearest_codes
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


def test_a_traced_lookup_of_codes_serves_every_batch():
    """Untraced, it goes by chunks, whose number follows from the batch."""
    z, codebook = (nn.functional.normalize(torch.randn(n, 8), dim=-1) for n in (5000, 2048))
    traced = torch.jit.trace(nearest_codes, (z[:3], codebook))
    for count in (1, 3, 5000):
        assert torch.equal(traced(z[:count], codebook), nearest_codes(z[:count], codebook))


@pytest.mark.needs_torch('2.7', 'exports of free sides')
def test_free_positions_are_the_learned_ones_at_the_learned_size():
    class Positions(nn.Module):
        def forward(self, image, positions):
            grid = (image.shape[0], image.shape[1])
            return resize_absolute_position(positions, (4, 6), grid)

    positions = torch.randn(1, 25, 8)
    sides = {0: torch.export.Dim('rows', min=1), 1: torch.export.Dim('columns', min=1)}
    program = torch.export.export(
        Positions(), (torch.zeros(5, 9), positions), dynamic_shapes=(sides, None)
    ).module()
    assert torch.equal(program(torch.zeros(4, 6), positions), positions)
    for grid in ((3, 11), (8, 6)):
        expected = resize_absolute_position(positions, (4, 6), grid)
        torch.testing.assert_close(program(torch.zeros(grid), positions), expected)
