"""What codes know, on codes whose knowledge is known."""

import pytest
import torch

from mmbeitv2.evaluation.code_meaning import colour_codes, neighbour_accuracy, told_by_code


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
    codes = torch.zeros(1, 4, 4, dtype=torch.int64)
    codes[..., 2:] = 1
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, :, 0] = True
    assert neighbour_accuracy(codes, mask) == 1
    mask[0, :, 1] = True
    assert neighbour_accuracy(codes, mask) == 0


def test_of_equally_near_neighbours_each_counts_its_share():
    codes = torch.tensor([[[0, 0, 1]]])
    mask = torch.tensor([[[False, True, False]]])
    assert neighbour_accuracy(codes, mask) == 0.5
