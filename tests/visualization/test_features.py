"""Colours of features mean the same in every photo; a photo's like are the nearest by cosine."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmbeitv2.errors import InputError
from mmbeitv2.visualization.features import (
    draw_attention,
    draw_features,
    draw_neighbours,
    feature_colours,
    nearest_photos,
)


def test_equal_features_have_equal_colours_in_all_photos():
    kinds = torch.randn(5, 12)
    features = kinds[torch.randint(5, (3, 4, 6))]
    colours = feature_colours(features)
    assert colours.shape == (3, 4, 6, 3)
    assert colours.dtype == np.uint8
    flat, patches = colours.reshape(-1, 3), features.flatten(0, 2)
    same = (patches[:, None] == patches).all(-1).numpy()
    assert ((flat[:, None] == flat).all(-1) == same).all()
    # One analysis of all: alone, a photo of two kinds would be stretched to both ends.
    assert not np.array_equal(feature_colours(features[:1]), colours[:1])


def test_the_first_channel_is_the_direction_of_most_variance():
    features = torch.randn(2, 8, 8, 5) * torch.tensor([0.1, 9.0, 0.1, 3.0, 1.0])
    red, green, blue = feature_colours(features).reshape(-1, 3).T
    flat = features.flatten(0, 2).numpy().T
    for channel, direction in ((red, flat[1]), (green, flat[3]), (blue, flat[4])):
        assert abs(np.corrcoef(channel, direction)[0, 1]) > 0.95


def test_too_few_patches_or_channels_are_refused():
    with pytest.raises(InputError, match=r'shape \(1, 1, 2, 8\): three patches'):
        feature_colours(torch.randn(1, 1, 2, 8))


def test_neighbours_are_the_nearest_without_the_photo_itself():
    angles = torch.tensor([0.0, 0.2, 0.5, 3.0])
    features = torch.stack([angles.cos(), angles.sin()], dim=1) * torch.tensor([[1], [9], [2], [3]])
    photos, cosines = nearest_photos(features, [0, 2], 2)
    assert photos.tolist() == [[1, 2], [1, 0]]
    assert cosines[0].tolist() == pytest.approx(np.cos([0.2, 0.5]).tolist())
    assert nearest_photos(features, [1], 9)[0].shape == (1, 3)


def test_figures_are_drawn(photos, tmp_path):
    photos = photos[:2]
    paths = [
        draw_features(photos, torch.randn(2, 4, 4, 8), tmp_path / 'features.png'),
        draw_attention(photos, torch.rand(2, 3, 4, 4), tmp_path / 'attention.png'),
        draw_neighbours(photos, [[(p, 0.5)] * 3 for p in photos], tmp_path / 'neighbours.png'),
    ]
    for path in paths:
        pixels = np.asarray(Image.open(path), np.float32)
        assert min(pixels.shape[:2]) > 200
        assert pixels.std() > 20
    wider = draw_attention(photos, torch.rand(2, 5, 4, 4), tmp_path / 'more.png')
    assert Image.open(wider).width > Image.open(paths[1]).width


def test_attention_is_bright_where_it_is(tmp_path):
    grey = Image.new('RGB', (64, 64), (90, 90, 90))
    attention = torch.zeros(1, 1, 2, 2)
    attention[0, 0, 0, 1] = 0.4
    pixels = np.asarray(Image.open(draw_attention([grey], attention, tmp_path / 'a.png')))
    # Of three pictures in a row the last is the head's.
    brightness = pixels.mean(-1)
    head = brightness[60:140, -140:-10]
    assert head[:, 80:].mean() > head[:, :50].mean() + 80
