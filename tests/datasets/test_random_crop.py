import io

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS
from PIL import Image, ImageOps
from torchvision.datasets.folder import default_loader
from torchvision.transforms import RandomResizedCrop

from mmbeitv2.datasets import LoadRandomCrop
from mmbeitv2.datasets.random_crop import OVERSAMPLING, decode, draw_box, reduce_decoding

WHOLE = dict(scale=(1, 1), ratio=(5 / 3, 5 / 3))  # of a photo of 20 × 12


def whole_photo(path):
    """An image file of 20 × 12 through ``LoadRandomCrop``, uint8 (12, 20, 3)."""
    return LoadRandomCrop((12, 20), **WHOLE)(dict(img_path=str(path)))['img'].permute(1, 2, 0)


@pytest.fixture
def large_photo(photo, tmp_path):
    """A photo of 1500 × 1000, JPEG."""
    path = tmp_path / 'large.jpg'
    ImageOps.fit(Image.open(photo), (1500, 1000)).save(path, quality=90)
    return path


def pillow_crop(path, box, size):
    top, left, height, width = box
    crop = default_loader(path).crop((left, top, left + width, top + height))
    return np.asarray(crop.resize((size, size), Image.Resampling.BICUBIC)).astype(int)


def crop_and_box(path, size, seed):
    """Result and the box that is drawn with the same seed."""
    np.random.seed(seed)
    results = LoadRandomCrop(size, scale=(0.2, 1))(dict(img_path=str(path)))
    np.random.seed(seed)
    box = draw_box(default_loader(path).size[::-1], (0.2, 1), (3 / 4, 4 / 3))
    return results, box


@pytest.mark.parametrize('scale', [(0.08, 1), (0.2, 1)])
@pytest.mark.parametrize('shape', [(375, 500), (1000, 1500), (40, 33), (200, 900), (900, 30)])
def test_boxes_are_distributed_as_torchvisions(shape, scale):
    """Mean and spread of every number, and how often it is as large or small as it can be."""
    np.random.seed(0)
    torch.manual_seed(0)
    photo = torch.empty(3, *shape)
    ratio = (3 / 4, 4 / 3)
    ours = np.array([draw_box(shape, scale, ratio) for _ in range(4000)], float)
    theirs = np.array(
        [RandomResizedCrop.get_params(photo, scale, ratio) for _ in range(4000)], float
    )
    for moment in (lambda x: x, lambda x: (x - theirs.mean(axis=0)) ** 2):
        difference = moment(ours).mean(axis=0) - moment(theirs).mean(axis=0)
        deviation = np.sqrt((moment(ours).var(axis=0) + moment(theirs).var(axis=0)) / 4000)
        assert (np.abs(difference) <= 4.5 * deviation + 1e-9).all()
    for extreme in (np.min, np.max):
        found, expected = (boxes == extreme(theirs, axis=0) for boxes in (ours, theirs))
        share = (found.mean(axis=0) + expected.mean(axis=0)) / 2
        difference = found.mean(axis=0) - expected.mean(axis=0)
        # An extreme that was met once or twice may well be missed the next time.
        allowed = 4.5 * np.sqrt(2 * np.maximum(share, 1 / 4000) / 4000)
        assert (np.abs(difference) <= allowed).all()


def test_flipped_crop_is_mirrored_as_often_as_asked(photo):
    np.random.seed(0)
    whole = dict(scale=(1, 1), ratio=(4 / 3, 4 / 3))
    transform = LoadRandomCrop((96, 128), **whole, flip_prob=0.3)
    straight = LoadRandomCrop((96, 128), **whole)(dict(img_path=str(photo)))['img'].int()
    flipped = 0
    for _ in range(200):
        found = transform(dict(img_path=str(photo)))['img'].int()
        distances = [(found - view).abs().max() for view in (straight, straight.flip(-1))]
        assert min(distances) <= 1
        flipped += bool(distances[1] < distances[0])
    assert 40 <= flipped <= 80


def test_crop_is_that_of_pillow(photo):
    for seed in range(10):
        results, box = crop_and_box(photo, 224, seed)
        expected = pillow_crop(photo, box, 224)
        found = results['img'].permute(1, 2, 0).numpy().astype(int)
        assert results['img'].dtype == torch.uint8
        # Where the two passes of the resize are rounded in another order, a quarter of the values
        # is a level away; else a thousandth.
        assert np.abs(found - expected).mean() < 0.3
        assert np.abs(found - expected).max() <= 5


def test_results_name_shapes_and_hold_the_photo(photo):
    results, _ = crop_and_box(photo, (200, 240), 0)
    expected = default_loader(photo)
    assert results['img'].shape == (3, 200, 240)
    assert results['img_shape'] == (200, 240)
    assert results['ori_shape'] == (expected.height, expected.width)
    np.testing.assert_array_equal(results['photo'], np.asarray(expected))


@pytest.mark.parametrize('subsampling', ['4:4:4', '4:2:2', '4:2:0'])
@pytest.mark.parametrize('progressive', [False, True])
def test_pixels_are_pillows(photo, subsampling, progressive):
    file = io.BytesIO()
    options = dict(subsampling=subsampling, progressive=progressive)
    Image.open(photo).resize((301, 201)).save(file, 'JPEG', **options)
    image = Image.open(file)
    found = decode(image, file.getvalue(), 1)
    np.testing.assert_array_equal(found, np.asarray(image.convert('RGB')))


@pytest.mark.parametrize(
    ('mode', 'suffix'),
    [
        *(('L', 'png'), ('P', 'png'), ('RGBA', 'png'), ('LA', 'png'), ('1', 'png')),
        *(('RGB', 'jpg'), ('L', 'jpg'), ('CMYK', 'jpg')),
    ],
)
def test_every_colour_mode_becomes_rgb(photo, tmp_path, mode, suffix):
    path = tmp_path / f'image.{suffix}'
    Image.open(photo).resize((20, 12)).convert(mode).save(path)
    assert Image.open(path).mode == mode
    np.testing.assert_array_equal(whole_photo(path), np.asarray(default_loader(path)))


def test_exif_orientation_is_left_alone(photo, tmp_path):
    path = tmp_path / 'rotated.jpg'
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(photo).resize((20, 12)).save(path, exif=exif)
    np.testing.assert_array_equal(whole_photo(path), np.asarray(default_loader(path)))


@pytest.mark.parametrize('content', ['missing', 'empty', 'text', 'truncated', 'nearly whole'])
@pytest.mark.parametrize('size', [224, 16])
def test_unreadable_file_is_named_with_reason_and_cure(photo, tmp_path, content, size):
    """Whether the photo is decoded at its size or reduced."""
    path = tmp_path / f'{content}.jpg'
    if content == 'empty':
        path.touch()
    elif content == 'text':
        path.write_text('no image')
    elif content != 'missing':
        path.write_bytes(photo.read_bytes()[: 5000 if content == 'truncated' else -100])
    with pytest.raises(OSError, match=r'cannot be read: .*Error: .*Restore') as error:
        LoadRandomCrop(size, scale=(0.2, 1))(dict(img_path=str(path)))
    assert str(path) in str(error.value)
    assert error.value.__cause__ is not None


def test_backend_arguments_reach_mmengine(photo):
    transform = LoadRandomCrop(32, scale=(0.2, 1), backend_args={'backend': 'local'})
    assert transform({'img_path': str(photo)})['img'].shape == (3, 32, 32)


@pytest.mark.parametrize(
    ('crop', 'reduction'),
    [((448, 448), 1), ((895, 1000), 1), ((896, 1400), 2), ((1000, 1500), 2)],
)
def test_photo_is_reduced_when_the_crop_remains_large_enough(large_photo, crop, reduction):
    image = Image.open(large_photo)
    assert reduce_decoding(image, crop, (224, 224)) == reduction
    assert image.size == (1500 // reduction, 1000 // reduction)
    assert min(crop) / reduction >= OVERSAMPLING * 224 or reduction == 1


def test_only_jpeg_is_reduced(large_photo, tmp_path):
    path = tmp_path / 'large.png'
    Image.open(large_photo).save(path)
    assert reduce_decoding(Image.open(path), (1000, 1500), (224, 224)) == 1


def test_reduced_crop_is_faithful(large_photo):
    reduced = 0
    for seed in range(10):
        results, box = crop_and_box(large_photo, 224, seed)
        if results['photo'].shape == (1000, 1500, 3):
            continue
        reduced += 1
        # The box on whole pixels of the reduced photo.
        edges = [2 * round(edge / 2) for edge in (*box[:2], box[0] + box[2], box[1] + box[3])]
        top, left, bottom, right = edges
        expected = pillow_crop(large_photo, (top, left, bottom - top, right - left), 224)
        found = results['img'].permute(1, 2, 0).numpy().astype(int)
        assert np.abs(found - expected).mean() < 0.6
        assert abs(found.std() - expected.std()) < 0.2
        assert results['ori_shape'] == (1000, 1500)
    assert reduced


def test_crop_flips_and_packs_as_uint8(mmpretrain_scope, photo):
    results = LoadRandomCrop(64, scale=(0.2, 1))(dict(img_path=str(photo)))
    expected = results['img'].flip(-1)
    for config in (
        {'type': 'torchvision/RandomHorizontalFlip', 'p': 1.0},
        {'type': 'PackInputs'},
    ):
        results = TRANSFORMS.build(config)(results)
    assert torch.equal(results['inputs'], expected)
    assert results['inputs'].dtype == torch.uint8
