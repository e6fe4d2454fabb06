"""Damaged photos are refused, named, by every reader alike: whatever Pillow refuses or reads."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import mmbeitv2
from mmbeitv2.datasets import LoadCenterCrop, LoadImage, LoadRandomCrop

PHOTO = Path(mmbeitv2.__file__).parents[1] / 'demo/assets/backgrounds/train/path.jpg'
SIZE = (120, 90)
WHOLE = dict(scale=(1, 1), ratio=(4 / 3, 4 / 3))


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Bytes with one fault that leaves the first and last two, by which JPEG is known, intact."""
    data = bytearray(content)
    start = rng.randrange(2, len(data) - 2)
    stop = min(len(data) - 2, start + rng.randrange(1, 2000))
    fault = rng.choice(['marker', 'zeros', 'cut', 'flips'])
    if fault == 'marker':
        data[start : start + 2] = bytes([0xFF, rng.choice([0xC4, 0xD5, 0xD8, 0xD9, 0xDA])])
    elif fault == 'zeros':
        data[start:stop] = bytes(stop - start)
    elif fault == 'cut':
        del data[start:stop]
    else:
        for _ in range(4):
            data[rng.randrange(2, len(data) - 2)] = rng.randrange(256)
    return bytes(data[:-2]) + content[-2:]


@pytest.mark.parametrize('progressive', [False, True])
def test_photo_decoded_at_its_size_is_what_pillow_makes_of_the_file(tmp_path, progressive):
    file, path, rng = io.BytesIO(), tmp_path / 'photo.jpg', random.Random(0)
    ImageOps.fit(Image.open(PHOTO), SIZE).save(file, 'JPEG', progressive=progressive)
    refused = 0
    for _ in range(150):
        path.write_bytes(damaged(file.getvalue(), rng))
        try:
            expected = LoadImage()(dict(img_path=str(path)))['img']
        except OSError:
            refused += 1
            with pytest.raises(OSError, match=r'cannot be read: .*Restore') as error:
                LoadRandomCrop(64, **WHOLE)(dict(img_path=str(path)))
            assert str(path) in str(error.value)
        else:
            found = LoadRandomCrop(64, **WHOLE)(dict(img_path=str(path)))['photo']
            np.testing.assert_array_equal(found, np.asarray(expected))
    assert 10 < refused < 140


@pytest.mark.parametrize('reader', [LoadRandomCrop(64, **WHOLE), LoadCenterCrop(64)])
def test_photo_that_starts_again_in_its_middle_is_refused(tmp_path, reader):
    file, path = io.BytesIO(), tmp_path / 'photo.jpg'
    ImageOps.fit(Image.open(PHOTO), SIZE).save(file, 'JPEG')
    content = bytearray(file.getvalue())
    content[-2000:-1998] = b'\xff\xd8'
    path.write_bytes(content)
    with pytest.raises(OSError, match=r'photo\.jpg'):
        reader(dict(img_path=str(path)))
