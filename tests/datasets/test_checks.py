"""Arguments of transforms that cannot be meant are refused when they are built."""

import pytest
import torch

from mmbeitv2.datasets import (
    BEiTV2DataPreprocessor,
    BlockMask,
    LoadCenterCrop,
    LoadRandomCrop,
    RandAugment,
    RandomErasing,
    RandomMask,
)


def erasing(erase_prob=0.25, smallest=0.02, largest=1 / 3, **options):
    return RandomErasing(erase_prob, smallest, largest, (124, 116, 104), (58, 57, 57), **options)


def augment(policies=2, level=9, deviation=0.5, pad_val=(124, 116, 104), **options):
    return RandAugment(policies, level, deviation, pad_val, **options)


def block(grid_size=14, num_masked=75, **options):
    return BlockMask(grid_size, num_masked, **options)


def crop(size=224, scale=(0.2, 1), **options):
    return LoadRandomCrop(size, scale, **options)


@pytest.mark.parametrize(
    ('build', 'options', 'message'),
    [
        (crop, dict(size=0), 'size is 0, but must be a whole number of pixels from 1 on'),
        (crop, dict(size=(224, -1)), r'size is \(224, -1\)'),
        (crop, dict(size=224.0), r'size is 224\.0'),
        (crop, dict(scale=(1, 0.2)), r'scale is \(1, 0\.2\), .* the smaller first'),
        (crop, dict(scale=(0, 1)), r'two numbers in \(0, 1\]'),
        (crop, dict(scale=(20, 100)), r'two numbers in \(0, 1\]'),
        (crop, dict(scale=0.2), 'scale is 0.2'),
        (crop, dict(ratio=(4 / 3, 3 / 4)), 'ratio is .* the smaller first'),
        (crop, dict(ratio=(float('nan'), 1)), 'ratio is .* above 0'),
        (crop, dict(flip_prob=50), r'flip_prob is 50, but must be in \[0, 1\]'),
        (crop, dict(interpolation='nearest'), "is 'nearest', but must be 'bicubic' or 'bilinear'"),
        (LoadCenterCrop, dict(size=-1), 'LoadCenterCrop: size is -1'),
        (LoadCenterCrop, dict(size=224, short_side=256.5), r'short_side is 256\.5'),
        (LoadCenterCrop, dict(size=224, interpolation='area'), "interpolation is 'area'"),
        (erasing, dict(erase_prob=25), 'erase_prob is 25'),
        (erasing, dict(smallest=0.5), r'area ratios is \(0\.5, 0\.333'),
        (erasing, dict(aspect_range=(0, 1)), 'aspect_range is'),
        (augment, dict(policies='a'), "num_policies is 'a', but must be a whole number from 1 on"),
        (augment, dict(policies=1.5), r'num_policies is 1\.5'),
        (augment, dict(level='a'), "magnitude_level is 'a'"),
        (augment, dict(level=11), r'magnitude_level is 11, but must be in \[0, 10\]'),
        (augment, dict(deviation=float('inf')), 'magnitude_std is inf'),
        (augment, dict(pad_val=(300, 0, 0)), r'pad_val is .* three numbers in \[0, 255\]'),
        (augment, dict(pad_val=(1, 2)), r'pad_val is \(1, 2\)'),
        (augment, dict(interpolation='cubic'), "interpolation is 'cubic', but must be one of"),
        (block, dict(grid_size=14.0), r'grid_size=\(14\.0|grid_size=14\.0'),
        (block, dict(grid_size=None), 'grid_size=None'),
        (block, dict(num_masked=True), 'num_masked=True'),
        (block, dict(min_block='a'), 'min_block=a must be from 1 to 75'),
        (block, dict(min_block=1.5), r'min_block=1\.5'),
        (block, dict(max_block='a'), 'max_block=a'),
        (block, dict(aspect=3), 'aspect is 3'),
        (block, dict(aspect=('a', 'b')), 'two numbers above 0'),
        (block, dict(tries=None), 'tries is None'),
        (RandomMask, dict(grid_size='14', num_masked=5), "grid_size='14'"),
    ],
)
def test_what_cannot_be_meant_is_refused(build, options, message):
    with pytest.raises(ValueError, match=message) as error:
        build(**options)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize('fill', [3, (1, 2), ('a', 'a', 'a'), (-1, 1, 1), (float('nan'),) * 3])
@pytest.mark.parametrize('name', ['fill_color', 'fill_std'])
def test_what_is_no_colour_is_refused(name, fill):
    colours = dict(fill_color=(124, 116, 104), fill_std=(58, 57, 57)) | {name: fill}
    with pytest.raises(ValueError, match=f'{name} is .* but must be three numbers'):
        RandomErasing(0.25, 0.02, 1 / 3, **colours)


def test_lists_of_configs_are_as_good_as_tuples():
    assert crop(size=[96, 128], scale=[0.2, 1], ratio=[0.75, 1.5]).size == (96, 128)


def test_a_batch_without_images_is_refused():
    with pytest.raises(ValueError, match='A batch has no images'):
        BEiTV2DataPreprocessor()(dict(inputs=torch.zeros(0, 3, 8, 8, dtype=torch.uint8)))
