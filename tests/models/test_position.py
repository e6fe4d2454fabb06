"""Positions: the bias depends on offsets only, and is resized for any grid."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing import assert_close

from mmbeitv2.models.position import (
    RelativePositionBias,
    expand_relative_position_bias,
    num_relative_positions,
    resize_absolute_position,
    resize_relative_position_bias,
    table_grid,
)


def bias_rows(grid):
    """Row of the table that every pair (query, key) reads."""
    rows = torch.arange(num_relative_positions(grid), dtype=torch.float32)
    return expand_relative_position_bias(torch.stack([rows, -rows], dim=1), grid)


@pytest.mark.parametrize('grid', [(4, 4), (3, 5), (1, 3)])
def test_same_offset_reads_same_row(grid):
    rows, columns = grid
    index, negative = bias_rows(grid)
    assert torch.equal(negative, -index)
    assert index.shape == (1 + rows * columns, 1 + rows * columns)
    row_of_offset = {}
    for query in range(rows * columns):
        for key in range(rows * columns):
            offset = (query // columns - key // columns, query % columns - key % columns)
            found = index[1 + query, 1 + key].item()
            assert row_of_offset.setdefault(offset, found) == found
    # In the order of the official table: by rows, then columns, of query minus key.
    assert [row_of_offset[offset] for offset in sorted(row_of_offset)] == list(
        range(num_relative_positions(grid) - 3)
    )


def test_cls_has_three_rows_of_its_own():
    index = bias_rows((3, 5))[0]
    total = num_relative_positions((3, 5))
    assert index[0, 1:].unique().tolist() == [total - 3]
    assert index[1:, 0].unique().tolist() == [total - 2]
    assert index[0, 0] == total - 1
    assert index[1:, 1:].max() < total - 3


def test_table_tells_its_square_grid():
    assert table_grid(torch.zeros(num_relative_positions((14, 14)), 1)) == (14, 14)
    with pytest.raises(ValueError, match=r'100 rows .* say the size'):
        table_grid(torch.zeros(100, 1))


def test_resize_keeps_small_offsets_and_cls_rows():
    table = torch.randn(num_relative_positions((8, 8)), 2)
    resized = resize_relative_position_bias(table, (8, 8), (12, 10))
    assert resized.shape == (num_relative_positions((12, 10)), 2)
    assert torch.equal(resized[-3:], table[-3:])
    before = table[:-3].view(15, 15, 2)
    after = resized[:-3].view(23, 19, 2)
    assert_close(after[11, 9], before[7, 7])
    assert_close(after[10, 9], before[6, 7], atol=1e-5, rtol=1e-5)


def test_smaller_grid_takes_a_subset_of_the_offsets():
    table = torch.randn(num_relative_positions((6, 6)), 2)
    resized = resize_relative_position_bias(table, (6, 6), (4, 3))
    expected = table[:-3].view(11, 11, 2)[2:9, 3:8]
    assert_close(resized[:-3].view(7, 5, 2), expected, atol=1e-5, rtol=1e-5)


def test_resize_to_the_same_grid_changes_nothing():
    table = torch.randn(num_relative_positions((5, 5)), 2)
    assert resize_relative_position_bias(table, (5, 5), (5, 5)) is table


def test_gradient_passes_through_the_resize():
    bias = RelativePositionBias((4, 4), 2)
    bias((6, 5)).square().sum().backward()
    assert bias.relative_position_bias_table.grad.shape == (num_relative_positions((4, 4)), 2)
    bias.relative_position_bias_table.data.normal_()
    bias((6, 5)).square().sum().backward()
    assert bias.relative_position_bias_table.grad.abs().min() > 0


def test_training_works_after_a_first_use_in_inference_mode():
    table = torch.randn(num_relative_positions((7, 7)), 2, requires_grad=True)
    with torch.inference_mode():
        resize_relative_position_bias(table, (7, 7), (9, 11))
    resize_relative_position_bias(table, (7, 7), (9, 11)).sum().backward()
    assert table.grad is not None


def test_use_on_one_device_leaves_others_alone():
    table = torch.randn(num_relative_positions((5, 7)), 2)
    with torch.device('meta'):
        assert resize_relative_position_bias(table.to('meta'), (5, 7), (6, 8)).is_meta
    assert resize_relative_position_bias(table, (5, 7), (6, 8)).isfinite().all()


def test_absolute_positions_keep_cls_and_follow_the_grid():
    embedding = torch.randn(1, 1 + 16, 6)
    resized = resize_absolute_position(embedding, (4, 4), (6, 5))
    assert resized.shape == (1, 1 + 30, 6)
    assert torch.equal(resized[:, :1], embedding[:, :1])
    constant = torch.cat([embedding[:, :1], torch.full((1, 16, 6), 0.25)], dim=1)
    assert_close(
        resize_absolute_position(constant, (4, 4), (6, 5))[:, 1:], torch.full((1, 30, 6), 0.25)
    )
    assert resize_absolute_position(embedding, (4, 4), (4, 4)) is embedding


def test_a_size_that_was_traced_first_has_values_afterwards():
    """An export at another size left its map without values to the model that ran behind it."""
    grid, wanted = (3, 5), (4, 7)
    with FakeTensorMode():
        traced = RelativePositionBias(grid, 2)(wanted)
    assert type(traced) is not torch.Tensor
    bias = RelativePositionBias(grid, 2)
    torch.nn.init.normal_(bias.relative_position_bias_table)
    found = bias(wanted)
    assert type(found) is torch.Tensor
    assert found.detach().numpy().std() > 0.1
