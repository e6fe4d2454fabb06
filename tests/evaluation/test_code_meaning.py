"""What codes know, on codes whose knowledge is known."""

import pytest
import torch

from mmbeitv2.evaluation.code_meaning import colour_codes, copied_right, told_by_code


@pytest.fixture
def labels():
    return torch.randint(4, (4000,), generator=torch.Generator().manual_seed(0))


def test_codes_that_are_the_labels_tell_all(labels):
    assert told_by_code(labels, labels) == pytest.approx(1, abs=0.01)
    # Two codes for each label tell no less.
    half = torch.randint(2, labels.shape, generator=torch.Generator().manual_seed(1))
    assert told_by_code(labels + 4 * half, labels) == pytest.approx(1, abs=0.01)


def test_codes_at_random_tell_nothing_however_many_they_are(labels):
    codes = torch.randint(500, labels.shape, generator=torch.Generator().manual_seed(1))
    assert told_by_code(codes, labels) == pytest.approx(0, abs=0.02)


def test_codes_that_join_labels_tell_half(labels):
    assert told_by_code(labels // 2, labels) == pytest.approx(0.5, abs=0.01)


def test_a_single_label_leaves_nothing_to_tell(labels):
    assert told_by_code(labels, torch.zeros_like(labels)) == 0


def test_colour_codes_are_clusters():
    centres = torch.tensor([[0.0, 0, 0], [255, 0, 0], [0, 0, 255]])
    labels = torch.arange(3).repeat(50)
    noise = torch.randn(150, 3, generator=torch.Generator().manual_seed(0))
    codes = colour_codes(centres[labels] + noise, 3)
    assert codes.dtype == torch.int64
    assert told_by_code(codes, labels) == pytest.approx(1, abs=0.03)


def test_a_neighbours_copy_is_right_where_things_are_large():
    codes = torch.zeros(4, 4, dtype=torch.int64)
    codes[:, 2:] = 1
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[:, 0] = True
    assert copied_right(codes, mask).tolist() == [1] * 4
    mask[:, 1] = True
    assert copied_right(codes, mask).tolist() == [0] * 8


def test_of_equally_near_neighbours_each_counts_its_share():
    codes = torch.tensor([[0, 0, 1]])
    assert copied_right(codes, torch.tensor([[False, True, False]])).tolist() == [0.5]


def test_where_nothing_is_visible_nothing_is_copied():
    codes = torch.zeros(2, 2, dtype=torch.int64)
    assert copied_right(codes, torch.ones(2, 2, dtype=torch.bool)).tolist() == [0] * 4
