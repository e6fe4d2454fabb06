"""Linear segmentation in closed form, against least squares and mmsegmentation's own metric."""

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from mmbeitv2.errors import InputError
from mmbeitv2.evaluation.bootstrap import Outcomes, score
from mmbeitv2.evaluation.dense_probe import IGNORED, class_shares, fit_dense_probe
from mmbeitv2.evaluation.outcomes import class_areas

PHOTOS, WIDTH, CLASSES, GRID, PATCH = 6, 5, 3, (4, 3), 8
SIZE = tuple(PATCH * side for side in GRID)


@pytest.fixture
def labels():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(CLASSES, (PHOTOS, *GRID), generator=generator)
    return coarse.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)


@pytest.fixture
def features():
    return torch.randn(PHOTOS, WIDTH, *GRID, generator=torch.Generator().manual_seed(1)) * 3 + 2


def test_shares_are_of_pixels_and_leave_ignored_ones_out(labels):
    labels[0, : PATCH // 2, :PATCH] = IGNORED
    labels[0, PATCH // 2 : PATCH, :PATCH] = 2
    shares = class_shares(labels, GRID, CLASSES)
    assert shares.shape == (PHOTOS, CLASSES, *GRID)
    assert shares[0, :, 0, 0].tolist() == [0, 0, 0.5]
    assert torch.equal(shares[1].sum(0), torch.ones(GRID, dtype=torch.double))
    assert torch.equal(shares[1].argmax(0), labels[1, ::PATCH, ::PATCH])


def test_it_is_the_weighted_least_squares_of_the_patches(features, labels):
    shares = class_shares(labels, GRID, CLASSES)
    probe = fit_dense_probe(features, shares, penalty=1e-9)
    tokens = features.movedim(1, -1).reshape(-1, WIDTH).double()
    targets = shares.movedim(1, -1).reshape(-1, CLASSES)
    # Each class as much as each other.
    root = (1 / targets.sum(0))[targets.argmax(1)].sqrt()[:, None]
    with_one = torch.cat([tokens, torch.ones(len(tokens), 1)], 1)
    expected = torch.linalg.lstsq(root * with_one, root * targets).solution
    torch.testing.assert_close(probe.weights, expected[:-1], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(probe.bias, expected[-1], rtol=1e-6, atol=1e-7)


def test_features_that_hold_the_class_find_it_whatever_it_covers():
    """One patch in a hundred is of class 1, and hardly told from the others by its features."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(50, 10, 10, generator=generator) < 0.01).long()
    features = (labels + torch.randn(50, 10, 10, generator=generator) / 2)[:, None]
    found = fit_dense_probe(features, class_shares(labels, (10, 10), 2)).class_map(
        features, (10, 10)
    )
    right = [(found[labels == number] == number).float().mean() for number in (0, 1)]
    assert min(right) > 0.75


def test_scale_and_offset_of_features_do_not_matter(features, labels):
    shares = class_shares(labels, GRID, CLASSES)
    maps = [fit_dense_probe(f, shares).class_map(f, SIZE) for f in (features, 100 * features - 7)]
    assert maps[0].shape == (PHOTOS, *SIZE)
    assert torch.equal(*maps)


def test_a_class_that_no_labelled_photo_shows_is_never_the_answer(features, labels):
    labels[labels == 1] = 0
    probe = fit_dense_probe(features, class_shares(labels, GRID, CLASSES))
    assert set(probe.class_map(features, SIZE).unique().tolist()) <= {0, 2}


def test_photos_without_a_labelled_pixel_are_refused(features, labels):
    shares = class_shares(torch.full_like(labels, IGNORED), GRID, CLASSES)
    with pytest.raises(InputError, match='no pixel of the 6 labelled photos has a class'):
        fit_dense_probe(features, shares)


def test_areas_give_the_miou_of_mmsegmentation(labels):
    found = torch.randint(CLASSES, labels.shape, generator=torch.Generator().manual_seed(2))
    labels[0, :3] = IGNORED
    areas = [class_areas(*both, CLASSES) for both in zip(found, labels)]
    ours = score(Outcomes(*(np.stack(side) for side in zip(*areas))))[0]
    theirs = [IoUMetric.intersect_and_union(*both, CLASSES, IGNORED) for both in zip(found, labels)]
    totals = [sum(side) for side in zip(*theirs)]
    expected = IoUMetric.total_area_to_metrics(*totals, metrics=['mIoU'])['IoU'].mean()
    assert ours == pytest.approx(expected)
