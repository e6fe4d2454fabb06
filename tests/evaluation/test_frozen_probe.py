"""Probes by leaving photos out: each is asked about by those that it has not taught."""

import pytest
import torch

from mmbeitv2.evaluation.frozen_probe import fold_of, neighbours_right, ridge_right

LABELS = torch.tensor([0, 1, 2]).repeat(10)


@pytest.fixture
def features():
    """Three clusters, far apart."""
    centres = 10 * torch.eye(3, 8)
    return centres[LABELS] + torch.randn(30, 8) * 0.1


@pytest.mark.parametrize('probe', [neighbours_right, ridge_right])
class TestBoth:
    def test_clusters_are_told_apart(self, probe, features):
        assert probe(features, LABELS).all()

    def test_features_of_chance_are_right_by_chance(self, probe):
        right = [probe(torch.randn(300, 4), LABELS.repeat(10)).double().mean() for _ in range(3)]
        assert 0.2 < sum(right) / 3 < 0.47

    def test_a_photo_does_not_teach_about_itself(self, probe, features):
        """One photo lies in another class's cluster; only its own label says otherwise."""
        wrong = LABELS.clone()
        wrong[0] = 1
        assert not probe(features, wrong)[0]


def test_between_classes_that_occur_equally_often_the_nearer_wins():
    features = torch.tensor([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.5], [-1.0, -0.6]])
    right = neighbours_right(features, torch.tensor([0, 0, 1, 1]), count=2)
    assert right.tolist() == [True, True, True, True]


def test_classes_are_spread_over_the_folds():
    assert fold_of(torch.tensor([0, 0, 1, 0, 1]), 2).tolist() == [0, 1, 0, 0, 1]
