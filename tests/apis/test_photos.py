"""A photo's file becomes what the models take."""

import numpy as np
import torch
from PIL import Image

from mmbeitv2.apis import for_backbone, for_tokenizer, read_photos
from mmbeitv2.datasets.data_preprocessor import IMAGENET_MEAN, IMAGENET_STD


def test_photos_are_read_as_validation_does(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (50, 80, 3), np.uint8)
    for name in 'ab':
        Image.fromarray(pixels).save(tmp_path / f'{name}.png')
    found = read_photos([tmp_path / 'a.png', str(tmp_path / 'b.png')], 50)
    assert found.dtype == torch.uint8
    centre = torch.from_numpy(pixels[:, 15:65]).permute(2, 0, 1)
    assert torch.equal(found, torch.stack([centre, centre]))


def test_views_have_the_ranges_of_their_models():
    pixels = torch.tensor([0, 124, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    assert np.allclose(for_tokenizer(pixels).flatten(), [-1, 124 / 127.5 - 1, 1])
    channels = zip((0, 124, 255), IMAGENET_MEAN, IMAGENET_STD)
    expected = [(value / 255 - mean) / std for value, mean, std in channels]
    assert np.allclose(for_backbone(pixels).flatten(), expected, atol=1e-6)
