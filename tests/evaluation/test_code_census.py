"""What is counted of a codebook does not depend on how photos are batched."""

import math

import pytest
import torch
from torch.testing import assert_close

from mmbeitv2.errors import InputError
from mmbeitv2.evaluation.code_census import CodeCensus, region_codes
from mmbeitv2.evaluation.codebook_geometry import codebook_plane, nearest_codes
from mmbeitv2.evaluation.exemplar_photos import choose_photos

K = 7


@pytest.fixture
def coded():
    """Codes, similarity, colours and labels of nine photos of 3 × 4 patches; code 6 is unused."""
    return (
        torch.randint(K - 1, (9, 3, 4)),
        torch.rand(9, 3, 4),
        torch.rand(9, 3, 3, 4) * 255,
        torch.tensor([0, 1, 2, 0, -1, 0, 2, 1, -1]),
    )


def census_of(coded, batch, keep=4):
    census = CodeCensus(K, num_classes=3, keep=keep)
    for parts in zip(*(column.split(batch) for column in coded)):
        census.add(*parts)
    return census


def test_counts_are_those_of_a_plain_loop(coded):
    census = census_of(coded, 4)
    codes, similarity, colours, labels = coded
    for code in range(K):
        hit = codes == code
        assert census.patches[code] == hit.sum()
        assert census.photos[code] == hit.flatten(1).any(1).sum()
        shown = hit.flatten(1).any(1)
        for label in range(3):
            assert census.class_photos[code, label] == (shown & (labels == label)).sum()
        if code < K - 1:
            assert_close(census.colours[code].float(), colours.movedim(1, -1)[hit].mean(0))
        best = sorted(
            ((similarity[i][hit[i]].max().item(), i) for i in range(9) if hit[i].any()),
            reverse=True,
        )[:4]
        assert census.best_photo[code].tolist() == ([i for _, i in best] + [-1] * 4)[:4]
        for (value, photo), cell in zip(best, census.best_cell[code].tolist()):
            assert similarity[photo].flatten()[cell] == pytest.approx(value)
    assert census.labelled.tolist() == [3, 2, 2]
    assert census.seen == 9


@pytest.mark.parametrize('batch', [1, 2, 9])
def test_batches_change_nothing(coded, batch):
    found, expected = census_of(coded, batch), census_of(coded, 4)
    for name, value in vars(expected).items():
        if isinstance(value, torch.Tensor):
            assert_close(getattr(found, name), value)


def test_regions_are_joined_by_edges_not_by_corners_nor_photos():
    codes = torch.tensor([[[0, 0, 1], [1, 0, 0], [1, 2, 1]], [[1, 1, 1], [2, 1, 2], [1, 1, 1]]])
    assert region_codes(codes).sort().values.tolist() == [0, 1, 1, 1, 1, 2, 2, 2]
    census = CodeCensus(3)
    census.add(codes, torch.ones(2, 3, 3), torch.zeros(2, 3, 3, 3))
    # Code 1: eleven patches in four regions, of 1, 2, 1 and 7.
    assert census.area.tolist() == [4, 11 / 4, 1]


def test_purity_of_few_photos_is_not_sure():
    census = CodeCensus(4, num_classes=2)
    for number in range(20):
        # Code 0 in one photo of class 0; code 1 in all those of class 1, code 2 in every photo.
        first = 0 if number == 0 else 1 if number % 2 else 2
        codes = torch.tensor([[[first, 2]]])
        census.add(codes, torch.ones(1, 1, 2), torch.zeros(1, 3, 1, 2), torch.tensor([number % 2]))
    assert census.purity[:3].tolist() == [1, 1, 0.5]
    assert math.isnan(census.purity[3])
    assert census.sure_purity[1] > 0.7 > census.sure_purity[0] > 0.2
    assert census.sure_purity[3] == 0


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r'shape \(1, 2, 2\) but similarity \(1, 2, 3\)'):
        CodeCensus(3).add(
            torch.zeros(1, 2, 2).long(), torch.zeros(1, 2, 3), torch.zeros(1, 3, 2, 2)
        )


class TestChoosePhotos:
    def test_every_code_gets_its_first_example_whatever_is_wanted(self):
        best = torch.tensor([[5, 1], [5, 2], [3, -1], [-1, -1]])
        assert sorted(choose_photos(best, wanted=1, examples=2)) == [3, 5]

    def test_the_photo_with_most_codes_comes_first(self):
        best = torch.tensor([[7, 9], [8, 9], [6, 9]])
        assert choose_photos(best, wanted=1, examples=2) == [9]
        assert choose_photos(best, wanted=3, examples=2)[0] == 9
        assert sorted(choose_photos(best, wanted=9, examples=2)) == [6, 7, 8, 9]

    def test_many_codes_are_covered(self):
        best = torch.rand(900, 400).argsort(dim=1)[:, :8]
        chosen = choose_photos(best, wanted=10, examples=3)
        assert len(set(chosen)) == len(chosen) < 400
        assert torch.isin(best, torch.tensor(chosen)).any(1).all()
        more = torch.tensor(choose_photos(best, wanted=10**6, examples=3))
        assert (torch.isin(best, more).sum(1) >= 3).all()


class TestGeometry:
    def test_nearest_codes_leave_out_the_code_itself(self):
        angles = torch.tensor([0.0, 0.1, 0.3, 3.0])
        codebook = torch.stack([angles.cos(), angles.sin()], dim=1)
        codes, cosines = nearest_codes(codebook, 2)
        assert codes.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
        assert cosines[0].tolist() == pytest.approx([math.cos(0.1), math.cos(0.3)])
        assert nearest_codes(codebook, 9)[0].shape == (4, 3)

    def test_the_plane_keeps_the_distances_that_lie_in_it(self):
        flat = torch.randn(30, 2) * torch.tensor([3.0, 1.0])
        turned = flat @ torch.linalg.qr(torch.randn(6, 6)).Q[:2]
        place, shown = codebook_plane(turned, torch.ones(30, dtype=torch.bool))
        assert shown == pytest.approx(1)
        assert_close(torch.pdist(place), torch.pdist(flat), atol=1e-4, rtol=1e-4)

    def test_unused_codes_do_not_turn_the_plane(self):
        codebook = torch.randn(20, 5)
        used = torch.arange(20) < 12
        moved = codebook.clone()
        moved[15] *= 100
        place, shown = codebook_plane(codebook, used)
        again, same = codebook_plane(moved, used)
        assert_close(place[:12], again[:12])
        assert shown == same < 1
