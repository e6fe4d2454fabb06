"""Effective rank counts the directions that features use."""

import math

import pytest
import torch

from mmbeitv2.evaluation.feature_rank import centred_rank, effective_rank, varied_share


def test_orthogonal_directions_used_alike_count_one_each():
    assert effective_rank(torch.eye(5, 8)) == pytest.approx(5)


def test_features_along_one_line_have_rank_1():
    line = torch.arange(1.0, 9)[:, None] * torch.tensor([[1.0, -2.0, 0.5]])
    assert effective_rank(line) == pytest.approx(1)


def test_directions_count_by_their_singular_values():
    """RankMe, equation 1, of the singular values 3 and 1."""
    p = (0.75, 0.25)
    expected = math.exp(-sum(share * math.log(share) for share in p))
    assert effective_rank(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(expected)


def test_zeros_have_rank_1_and_nothing_varies():
    assert effective_rank(torch.zeros(4, 3)) == centred_rank(torch.zeros(4, 3)) == 1
    assert varied_share(torch.zeros(4, 3)) == 0


def test_what_all_photos_share_hides_directions_unless_it_is_taken_away():
    features = torch.randn(200, 6) + 1000
    assert effective_rank(features) < 1.2
    assert centred_rank(features) > 5.5
    assert varied_share(features) == pytest.approx(1e-6, rel=0.2)
