"""Masks that do not fit are found, with the file's name and the cure."""

import re

import numpy as np
import pytest
from PIL import Image

from mmbeitv2.datasets import CheckSegmentation
from mmbeitv2.datasets.segmentation import mask_error
from mmbeitv2.datasets.segmentation_check import check_pair

SHAPE = (4, 6)


def mask_of(*values):
    mask = np.ones(SHAPE, np.uint8)
    mask.flat[: len(values)] = values
    return mask


@pytest.mark.parametrize(
    ('values', 'reduce_zero_label'),
    [((0, 1, 9, 255), False), ((0, 1, 10, 255), True)],
)
def test_every_class_and_unlabelled_pixels_are_allowed(values, reduce_zero_label):
    assert mask_error(mask_of(*values), SHAPE, 10, reduce_zero_label) is None


@pytest.mark.parametrize(
    ('mask', 'reduce_zero_label', 'message'),
    [
        (mask_of(10), False, 'has values 10; allowed for 10 classes'),
        (mask_of(11, 254), True, r'has values 11, 254; .* are 0 to 10 and 255'),
        (np.ones((4, 5), np.uint8), False, r'has 4×5 pixels \(H×W\), its image 4×6'),
        (np.ones((4, 6, 3), np.uint8), False, r'has shape \(4, 6, 3\), expected one value'),
    ],
    ids=['value', 'value, zero unlabelled', 'size', 'colours'],
)
def test_errors_name_values_and_allowed_range(mask, reduce_zero_label, message):
    assert re.search(message, mask_error(mask, SHAPE, 10, reduce_zero_label))


@pytest.fixture
def pair(tmp_path):
    image, mask = tmp_path / 'photo.jpg', tmp_path / 'photo.png'
    Image.new('RGB', SHAPE[::-1]).save(image)
    Image.fromarray(mask_of(0, 2, 2)).save(mask)
    return image, mask


def test_pixels_of_every_class_are_counted(pair):
    checked = check_pair(*pair, num_classes=3, reduce_zero_label=True)
    assert checked.error is None
    assert checked.pixels.tolist() == [21, 2, 0]


def test_damaged_and_missing_files_are_named(pair):
    image, mask = pair
    mask.write_bytes(mask.read_bytes()[:40])
    assert f"Image '{mask}' cannot be read" in check_pair(image, mask, 3, True)[0]
    mask.unlink()
    assert f'{mask} does not exist' in check_pair(image, mask, 3, True)[0]


@pytest.mark.parametrize('reduced', [False, True])
def test_transform_names_the_file_and_its_value(reduced):
    """LoadAnnotations has moved the classes down by one where 0 is unlabelled."""
    check = CheckSegmentation(num_classes=3)
    results = dict(
        gt_seg_map=mask_of(2, 255),
        ori_shape=SHAPE,
        reduce_zero_label=reduced,
        seg_map_path='masks/photo.png',
    )
    assert check(dict(results)).keys() == results.keys()
    results['gt_seg_map'] = mask_of(3)
    value = 4 if reduced else 3
    with pytest.raises(ValueError, match=rf'the mask masks/photo\.png has values {value}; '):
        check(results)
    results['gt_seg_map'] = mask_of(2)
    results['ori_shape'] = (8, 6)
    with pytest.raises(ValueError, match=r'photo\.png has 4×6 pixels'):
        check(results)


def test_image_without_a_mask_passes():
    results = dict(img_path='photo.jpg', ori_shape=SHAPE)
    assert CheckSegmentation(num_classes=3)(results) is results
