from pathlib import Path

import lmdb
import numpy as np
import pytest
from mmengine.registry import DATASETS, TRANSFORMS
from PIL import Image
from torchvision.datasets.folder import default_loader

from mmbeitv2.datasets import LoadImage


def load(path):
    return LoadImage()({'img_path': str(path)})


def test_photo_equals_torchvisions_loader(photo):
    results = load(photo)
    expected = default_loader(photo)
    assert results['img'].mode == 'RGB'
    np.testing.assert_array_equal(np.asarray(results['img']), np.asarray(expected))
    assert results['ori_shape'] == results['img_shape'] == (expected.height, expected.width)


@pytest.mark.parametrize(
    ('mode', 'suffix'),
    [('L', 'png'), ('P', 'png'), ('RGBA', 'png'), ('LA', 'png'), ('1', 'png'), ('CMYK', 'jpg')],
)
def test_every_colour_mode_becomes_rgb(photo, tmp_path, mode, suffix):
    path = tmp_path / f'image.{suffix}'
    Image.open(photo).resize((20, 12)).convert(mode).save(path)
    assert Image.open(path).mode == mode
    image = load(path)['img']
    assert (image.mode, image.size) == ('RGB', (20, 12))
    np.testing.assert_array_equal(np.asarray(image), np.asarray(default_loader(path)))


def test_exif_orientation_is_left_alone(photo, tmp_path):
    path = tmp_path / 'rotated.jpg'
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(photo).resize((20, 12)).save(path, exif=exif)
    assert load(path)['img'].size == (20, 12)


def test_image_is_decoded_before_the_file_goes_away(photo, tmp_path):
    path = tmp_path / 'image.jpg'
    path.write_bytes(photo.read_bytes())
    image = load(path)['img']
    path.unlink()
    assert np.asarray(image).std() > 0


@pytest.mark.parametrize('content', ['missing', 'empty', 'text', 'truncated'])
def test_unreadable_file_is_named_with_reason_and_cure(photo, tmp_path, content):
    path = tmp_path / f'{content}.jpg'
    if content == 'empty':
        path.touch()
    elif content == 'text':
        path.write_text('no image')
    elif content == 'truncated':
        path.write_bytes(photo.read_bytes()[:5000])
    with pytest.raises(OSError, match=r'cannot be read: .*Error: .*Restore') as error:
        load(path)
    assert str(path) in str(error.value)
    assert error.value.__cause__ is not None


def test_backend_arguments_reach_mmengine(photo):
    transform = LoadImage(backend_args={'backend': 'local'})
    assert transform({'img_path': str(photo)})['img'].mode == 'RGB'


def build(name, **kwargs):
    return TRANSFORMS.build({'type': f'torchvision/{name}', **kwargs})


def test_torchvision_transforms_stay_pil_and_pack_as_uint8(mmpretrain_scope, photo):
    results = load(photo)
    for transform in (
        build('ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4),
        build('RandomHorizontalFlip', p=1.0),
        build('RandomResizedCrop', size=64, scale=(0.2, 1.0), interpolation='bicubic'),
    ):
        results = transform(results)
        assert isinstance(results['img'], Image.Image)
    packed = TRANSFORMS.build({'type': 'PackInputs'})(results)
    assert packed['inputs'].shape == (3, 64, 64)
    assert str(packed['inputs'].dtype) == 'torch.uint8'


def test_bicubic_resize_is_anti_aliased(mmpretrain_scope):
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    crop = build('RandomResizedCrop', size=8, scale=(1, 1), ratio=(1, 1), interpolation='bicubic')
    image = np.asarray(crop({'img': Image.fromarray(stripes)})['img'])
    # Without anti-aliasing a stripe pattern aliases to single stripes instead of their mean.
    assert np.abs(image.astype(int) - 127).max() < 12


def test_random_crop_reaches_every_row_and_column_evenly(mmpretrain_scope):
    """Mmpretrain's own crop never reaches the last row and column."""
    rows, columns = np.mgrid[:12, :12].astype(np.uint8)
    image = Image.fromarray(np.stack([rows, columns, rows], axis=-1))
    crop = build(
        'RandomResizedCrop', size=8, scale=(4 / 9, 4 / 9), ratio=(1, 1), interpolation='nearest'
    )
    starts = np.zeros((2, 5), dtype=int)
    for _ in range(1000):
        pixels = np.asarray(crop({'img': image})['img'])
        assert np.ptp(pixels[..., 0]) == np.ptp(pixels[..., 1]) == 7
        starts[0, pixels[0, 0, 0]] += 1
        starts[1, pixels[0, 0, 1]] += 1
    assert starts.min() > 140


def test_photos_are_read_from_a_database(photo, tmp_path, mmpretrain_scope):
    """A list of keys and an LMDB file instead of a tree of millions of files."""
    content = photo.read_bytes()
    with (
        lmdb.open(str(tmp_path / 'photos.lmdb'), map_size=2**24) as database,
        database.begin(write=True) as transaction,
    ):
        transaction.put(b'a/photo.jpg', content)
    (tmp_path / 'keys.txt').write_text('a/photo.jpg\n')
    backend = dict(backend='lmdb', db_path=str(tmp_path / 'photos.lmdb'))
    dataset = DATASETS.build(
        dict(
            type='CustomDataset',
            ann_file=str(tmp_path / 'keys.txt'),
            with_label=False,
            pipeline=[dict(type='mmbeitv2.LoadImage', backend_args=backend)],
        )
    )
    np.testing.assert_array_equal(np.asarray(dataset[0]['img']), np.asarray(default_loader(photo)))


def test_a_list_names_unlabelled_photos(photo, mmpretrain_scope, tmp_path):
    (tmp_path / 'list.txt').write_text(f'{photo.name}\n')
    dataset = DATASETS.build(
        dict(
            type='CustomDataset',
            data_prefix=str(photo.parent),
            ann_file=str(tmp_path / 'list.txt'),
            with_label=False,
            pipeline=[dict(type='mmbeitv2.LoadImage')],
        )
    )
    assert [Path(info['img_path']) for info in dataset] == [photo]
