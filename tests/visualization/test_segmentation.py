import numpy as np
import pytest
from PIL import Image

from mmbeitv2.visualization.segmentation import overlay, segmentation_overlays

GREY = Image.new('RGB', (6, 4), (100, 100, 100))


def test_classes_get_colours_and_background_and_ignored_pixels_stay_grey():
    labels = np.zeros((4, 6), np.uint8)
    labels[0, 0], labels[1, 1], labels[2, 2] = 1, 2, 255
    pixels = np.asarray(overlay(GREY, labels)).astype(int)

    def saturation(place):
        return np.ptp(pixels[place])

    assert saturation((0, 0)) > 60
    assert saturation((1, 1)) > 60
    assert (pixels[0, 0] != pixels[1, 1]).any()
    assert saturation((2, 2)) == saturation((3, 3)) == 0


def test_labels_of_another_size_or_class_are_refused():
    with pytest.raises(ValueError, match='must be equal'):
        overlay(GREY, np.zeros((3, 3), np.uint8))
    with pytest.raises(ValueError, match='a label is 77'):
        overlay(GREY, np.full((4, 6), 77, np.uint8))


@pytest.mark.parametrize('count', [1, 5])
def test_picture_is_written(photos, tmp_path, count):
    labels = [np.full((80, 80), i % 3, np.uint8) for i in range(count)]
    path = segmentation_overlays(
        photos[:count], {'truth': labels, 'ours': labels}, ('background', 'a', 'b'),
        tmp_path / 'overlays.png',
    )  # fmt: skip
    assert 5_000 < path.stat().st_size < 500_000
