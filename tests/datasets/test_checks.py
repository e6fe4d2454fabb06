"""Arguments of transforms that cannot be meant are refused when they are built."""

import pytest
import torch

from mmbeitv2.datasets import (
    BEiTV2DataPreprocessor,
    LoadCenterCrop,
    LoadRandomCrop,
    RandomErasing,
)


def erasing(erase_prob=0.25, smallest=0.02, largest=1 / 3, **options):
    return RandomErasing(erase_prob, smallest, largest, (124, 116, 104), (58, 57, 57), **options)


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
    ],
)
def test_what_cannot_be_meant_is_refused(build, options, message):
    with pytest.raises(ValueError, match=message) as error:
        build(**options)
    assert len(str(error.value).splitlines()) == 1


def test_lists_of_configs_are_as_good_as_tuples():
    assert crop(size=[96, 128], scale=[0.2, 1], ratio=[0.75, 1.5]).size == (96, 128)


def test_a_batch_without_images_is_refused():
    with pytest.raises(ValueError, match='A batch has no images'):
        BEiTV2DataPreprocessor()(dict(inputs=torch.zeros(0, 3, 8, 8, dtype=torch.uint8)))
