"""What a folder of photos holds, before anything is trained on it."""

import numpy as np
import pytest
from PIL import Image

from mmbeitv2.datasets.survey import Photo, hold_out, survey


@pytest.fixture
def photos(tmp_path):
    """Eight photos of noise, four of them grey, and what else lies in such folders."""
    random = np.random.default_rng(0)
    for i in range(8):
        pixels = random.integers(0, 255, (5, 6, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((90 + 10 * i, 80), Image.Resampling.BICUBIC)
        image = image.convert('L') if i % 2 else image
        image.save(tmp_path / f'{i}.png')
    (tmp_path / 'clip.mp4').write_bytes(b'video')
    return tmp_path


@pytest.mark.parametrize('workers', [1, 2])
def test_photos_are_counted_by_kind_and_size(photos, workers):
    found = survey(photos, workers)
    assert [photo.name for photo in found.photos] == [f'{i}.png' for i in range(8)]
    assert found.short_side == 80
    assert found.different == 8
    assert '8 photos (4 RGB, 4 L), short side 80 to 80' in str(found)
    assert 'clip.mp4' in str(found)


def test_a_copy_of_another_size_looks_the_same(photos):
    with Image.open(photos / '0.png') as image:
        image.resize((180, 160), Image.Resampling.BICUBIC).save(photos / 'larger.jpg', quality=90)
    found = survey(photos)
    assert (len(found.photos), found.different) == (9, 8)
    assert '1 look like an earlier one' in str(found)


def test_what_cannot_be_read_is_named_with_its_reason(photos):
    whole = (photos / '3.png').read_bytes()
    (photos / '3.png').write_bytes(whole[: len(whole) // 2])
    found = survey(photos)
    assert list(found.unreadable) == ['3.png']
    assert len(found.photos) == 7
    assert '1 cannot be read, such as 3.png' in str(found)


def test_a_folder_without_photos_is_one_line(tmp_path):
    (tmp_path / 'notes.txt').write_text('none')
    with pytest.raises(ValueError, match=r'has no photo; 1 left out.*notes\.txt.*such as \.jpg'):
        survey(tmp_path)
    with pytest.raises(FileNotFoundError, match='is no folder'):
        survey(tmp_path / 'absent')


def test_photos_of_one_look_are_on_one_side():
    photos = [Photo(f'{i:03d}.jpg', 100, 'RGB', i // 2) for i in range(100)]
    train, held_out = hold_out(photos, 10)
    assert sorted(train + held_out) == [photo.name for photo in photos]
    assert len(held_out) == 10
    assert all(f'{int(n[:3]) ^ 1:03d}.jpg' in held_out for n in held_out)
    assert hold_out(photos, 10) == (train, held_out)
    assert hold_out(photos, 10, seed=1)[1] != held_out
