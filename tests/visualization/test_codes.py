import pytest
import torch
from PIL import Image

from mmbeitv2.visualization.code_maps import code_colours, code_maps, paint_codes
from mmbeitv2.visualization.codes import (
    CodedImages,
    choose_codes,
    code_mosaic,
    encode_images,
    explained_looks,
    group_by_code,
)
from mmbeitv2.visualization.style import to_pixels


def test_codes_equal_those_of_the_tokenizer(tokenizer, photos, coded):
    pixels = to_pixels(photos, (64, 64))
    assert torch.equal(coded.codes, tokenizer.tokenize(pixels / 127.5 - 1))
    assert len(coded.codes.unique()) > 1
    assert coded.similarity.max() <= 1 + 1e-5


def test_no_images_are_refused(tokenizer):
    with pytest.raises(ValueError, match='0 images'):
        encode_images(tokenizer, [])


def test_groups_hold_patches_of_their_code_only_each_from_another_image(coded):
    groups = group_by_code(coded, coded.codes.unique().tolist(), 4)
    for code, patches in groups.items():
        assert patches
        assert all(int(coded.codes[patch]) == code for patch in patches)
        assert len({patch.image for patch in patches}) == len(patches) <= 4


def test_patches_nearest_to_the_code_come_first(coded):
    for patches in group_by_code(coded, coded.codes.unique().tolist(), 8).values():
        nearness = [float(coded.similarity[patch]) for patch in patches]
        assert nearness == sorted(nearness, reverse=True)


def test_chosen_codes_are_the_interesting_ones_among_frequent_ones():
    # Codes 0 to 3 fill a row each of every image; code 4 occurs once.
    codes = torch.arange(4).repeat_interleave(4).view(1, 4, 4).repeat(6, 1, 1)
    codes[0, 0, 0] = 4
    grey = Image.new('RGB', (64, 64), 'grey')
    coded = CodedImages([grey] * 6, codes, torch.ones(6, 4, 4), torch.eye(5))
    interest = (codes == 1).float() + (codes == 3).float() + 2 * (codes == 4).float()
    assert sorted(choose_codes(coded, 2, 6, interest)) == [1, 3]


def test_codes_that_follow_the_pixels_explain_them_and_constant_codes_do_not():
    shades = [Image.new('RGB', (64, 64), (v, v, v)) for v in (0, 80, 160, 240)]
    codes = torch.arange(4).view(4, 1, 1).expand(4, 4, 4).contiguous()
    ones = torch.ones(4, 4, 4)
    assert explained_looks(CodedImages(shades, codes, ones, torch.eye(4))) == pytest.approx(1)
    same = CodedImages(shades, codes * 0, ones, torch.eye(4))
    assert explained_looks(same) == pytest.approx(0, abs=1e-5)


def test_mosaic_draws_the_rows_it_returns(coded, tmp_path):
    groups = code_mosaic(coded, tmp_path / 'mosaic.png', num_codes=3, patches_per_code=4)
    assert 1 <= len(groups) <= 3
    with Image.open(tmp_path / 'mosaic.png') as picture:
        assert picture.height == pytest.approx(62 * len(groups), abs=2)
    assert (tmp_path / 'mosaic.png').stat().st_size < 500_000


def test_maps_fit_the_size_limit(coded, tmp_path):
    path = code_maps(coded, tmp_path / 'maps.png', count=4)
    assert 1000 < path.stat().st_size < 500_000


def test_every_code_has_a_colour_and_a_patch_is_painted_with_its_own():
    colours = code_colours(torch.randn(20, 8, generator=torch.Generator().manual_seed(0)))
    assert colours.shape == (20, 3)
    assert colours.min() >= 0
    assert colours.max() <= 1
    codes = torch.tensor([[3, 7], [7, 3]])
    painted = paint_codes(Image.new('RGB', (32, 32)), codes, colours, share=1.0)
    assert painted.getpixel((8, 8)) == painted.getpixel((24, 24))
    assert painted.getpixel((8, 8)) != painted.getpixel((24, 8))
