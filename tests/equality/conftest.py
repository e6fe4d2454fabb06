"""Comparison with reference implementations: one function asserts, and its differences are listed.

``bash tools/run_tests.sh -m equality`` prints the table of ``docs/equality.md``.
"""

from collections.abc import Callable

import pytest
import torch
from mmengine.registry import DefaultScope
from torch import Tensor, nn

RECORD = 'equality'


def largest_difference(ours: Tensor, theirs: Tensor, relative: bool) -> float:
    """Largest |ours − theirs|; if relative, over the largest |theirs|: rounding scales with it."""
    assert ours.shape == theirs.shape, f'shapes {tuple(ours.shape)} and {tuple(theirs.shape)}'
    ours, theirs = ours.detach().double(), theirs.detach().double()
    difference = (ours - theirs).abs().max().item()
    return difference / theirs.abs().max().item() if relative and difference else difference


@pytest.fixture
def assert_equal_within(record_property) -> Callable:
    """``assert_equal_within(what, peer, ours, theirs, rtol=… or atol=…)`` records and asserts.

    ``ours`` and ``theirs`` are tensors, or dictionaries of tensors by name: then every tensor must
    hold on its own, and the largest of the differences is recorded.
    """

    def check(what, peer, ours, theirs, *, rtol=None, atol=None):
        assert (rtol is None) != (atol is None)
        if isinstance(theirs, Tensor):
            ours, theirs = {what: ours}, {what: theirs}
        assert theirs
        assert ours.keys() == theirs.keys()
        tolerance = f'{atol:g} absolute' if rtol is None else f'{rtol:g} relative'
        found = {
            name: largest_difference(ours[name], theirs[name], relative=rtol is not None)
            for name in theirs
        }
        worst = max(found, key=found.get)
        record_property(
            RECORD, dict(what=what, peer=peer, tolerance=tolerance, largest=found[worst])
        )
        limit = atol if rtol is None else rtol
        # Written so that NaN fails.
        assert all(value <= limit for value in found.values()), (
            f'{what} against {peer}: {worst} differs by {found[worst]:.3g}, allowed is {tolerance}'
        )

    return check


@pytest.fixture
def randomise() -> Callable[[nn.Module], nn.Module]:
    """Set every parameter at random: what starts at 0 or 1 would hide its absence."""

    def fill(model: nn.Module) -> nn.Module:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith('bias_table') or parameter.ndim == 3:  # tokens, positions
                    parameter.normal_(std=0.5)
                elif parameter.ndim > 1:
                    parameter.normal_(std=parameter[0].numel() ** -0.5)  # keeps the variance
                else:
                    # Norms and layer scales near 1/2, biases near 0.
                    parameter.normal_(0.0 if name.endswith('bias') else 0.5, 0.1)
        model.eval()
        return model

    return fill


@pytest.fixture
def mmpretrain_scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def pytest_terminal_summary(terminalreporter, config):
    """Print the table after ``-m equality``."""
    if 'equality' not in config.option.markexpr:
        return
    # A comparison made several times, with other options of a test, is one row.
    largest = {}
    for kind in ('passed', 'failed'):
        for report in terminalreporter.getreports(kind):
            for name, value in report.user_properties:
                if name == RECORD:
                    row = value['what'], value['peer'], value['tolerance']
                    largest[row] = max(value['largest'], largest.get(row, 0.0))
    if not largest:
        return
    terminalreporter.section('equality')
    lines = [('what', 'peer', 'tolerance', 'largest difference')]
    lines += [(*row, f'{value:.2g}') for row, value in largest.items()]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths))
        terminalreporter.write_line(' | '.join(cells).rstrip())
