import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import ColorJitter

from mmbeitv2.datasets import JitterCrop


def jittered(pixels, photo=None, seed=0, **jitter):
    """Jittered uint8 pixels (H, W, 3) of a photo, by default their own."""
    torch.manual_seed(seed)
    results = dict(img=torch.from_numpy(pixels).permute(2, 0, 1))
    results['photo'] = pixels if photo is None else photo
    return JitterCrop(**jitter)(results)['img'].permute(1, 2, 0).numpy()


@pytest.fixture
def pixels(photo):
    return np.array(Image.open(photo).resize((120, 90)))


@pytest.mark.parametrize('kinds', [['brightness'], ['contrast'], ['saturation'], 'all'])
def test_whole_photo_is_jittered_as_by_torchvision(pixels, kinds):
    """With the same factors in the same order."""
    kinds = ['brightness', 'contrast', 'saturation'] if kinds == 'all' else kinds
    jitter = dict.fromkeys(kinds, 0.4)
    for seed in range(20):
        found = jittered(pixels, seed=seed, **jitter).astype(int)
        torch.manual_seed(seed)
        expected = np.asarray(ColorJitter(**jitter)(Image.fromarray(pixels))).astype(int)
        assert np.abs(found - expected).max() <= len(kinds) + 1
        assert abs((found - expected).mean()) < 0.4


def test_no_jitter_changes_nothing(pixels):
    np.testing.assert_array_equal(jittered(pixels), pixels)
    ones = dict.fromkeys(('brightness', 'contrast', 'saturation'), (1, 1))
    np.testing.assert_array_equal(jittered(pixels, **ones), pixels)


def test_contrast_is_taken_about_the_mean_of_the_whole_photo():
    """The dark half of a photo, which would stay at 40 about its own mean."""
    photo = np.full((100, 200, 3), 40, np.uint8)
    photo[:, 100:] = 200
    found = jittered(photo[:, :100].copy(), photo, contrast=(0.5, 0.5))
    assert np.abs(found.astype(int) - (40 + 120) / 2).max() <= 1


def test_negative_jitter_is_refused():
    with pytest.raises(ValueError, match='non negative'):
        JitterCrop(brightness=-1)
