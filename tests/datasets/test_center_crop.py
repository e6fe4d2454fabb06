"""The centre of a photo is that of the recipe's test pipeline."""

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmpretrain.apis import ImageClassificationInferencer
from PIL import Image, ImageOps
from torchvision.datasets.folder import default_loader

from mmbeitv2.datasets import LoadCenterCrop
from mmbeitv2.launch.config import load_config

# What the configs named before: Pillow's resize of the whole photo, then the cut.
PILLOW = [
    dict(
        type='LoadImageFromFile', imdecode_backend='pillow', color_type='color_ignore_orientation'
    ),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]


def difference(path, size=224, short_side=256):
    """Grey levels between our centre and that of mmpretrain's transforms, (size, size, 3)."""
    peer = [dict(transform) for transform in PILLOW]
    peer[1]['scale'], peer[2]['crop_size'] = short_side, size
    found = LoadCenterCrop(size, short_side)(dict(img_path=str(path)))['img']
    expected = Compose(peer)(dict(img_path=str(path)))['inputs'].flip(0)
    return (found.int() - expected.int()).abs().float()


def resized(photo, tmp_path, size):
    path = tmp_path / 'photo.jpg'
    ImageOps.fit(Image.open(photo).convert('RGB'), size).save(path, quality=90)
    return path


@pytest.mark.parametrize(('size', 'short_side'), [(224, 256), (224, 224), (384, 384)])
@pytest.mark.parametrize('shape', [(500, 375), (375, 500), (333, 501), (120, 90), (1000, 700)])
def test_centre_is_that_of_mmpretrain_and_pillow(
    photo, tmp_path, mmpretrain_scope, shape, size, short_side
):
    off = difference(resized(photo, tmp_path, shape), size, short_side)
    assert off.max() <= 1
    assert off.mean() < 0.02


@pytest.mark.parametrize('shape', [(1500, 1024), (1501, 1025), (4000, 3000)])
def test_reduced_centre_is_faithful(photo, tmp_path, mmpretrain_scope, shape):
    """Decoded at a half or a quarter, as no smaller photo is."""
    off = difference(resized(photo, tmp_path, shape))
    assert 0 < off.mean() < 0.6
    assert off.max() <= 32


def test_every_photo_of_the_demo_is_within_rounding(photos, mmpretrain_scope):
    off = torch.stack([difference(path) for path in sorted(photos.glob('*.jpg'))])
    assert off.max() <= 1
    assert off.mean() < 0.02


def test_results_are_packed_as_they_are(photo):
    results = LoadCenterCrop(224, 256)(dict(img_path=str(photo)))
    whole = default_loader(photo)
    assert results['img'].dtype == torch.uint8
    assert results['img'].is_contiguous()
    assert results['img'].shape == (3, 224, 224)
    assert results['img_shape'] == (224, 224)
    assert results['ori_shape'] == (whole.height, whole.width)


def test_validation_reads_grey_and_transparent_files(photo, tmp_path):
    for mode in ('L', 'RGBA', 'P'):
        path = tmp_path / f'{mode}.png'
        Image.open(photo).resize((32, 32)).convert(mode).save(path)
        found = LoadCenterCrop(32)(dict(img_path=str(path)))['img'].permute(1, 2, 0)
        np.testing.assert_array_equal(found, np.asarray(default_loader(path)))


def test_centre_that_is_larger_than_the_photo_is_refused():
    with pytest.raises(ValueError, match=r'short_side is 200, but must be at least .* 224'):
        LoadCenterCrop(224, 200)


def test_unreadable_file_is_named(tmp_path):
    path = tmp_path / 'text.jpg'
    path.write_text('no image')
    with pytest.raises(OSError, match=r'text\.jpg. cannot be read: .*Restore'):
        LoadCenterCrop(224)(dict(img_path=str(path)))


def test_mmpretrains_inferencer_takes_the_pipeline(photo, mmpretrain_scope):
    """It reads the photo itself, as BGR."""
    cfg = load_config('mmbeitv2::demo/finetune_demo.py')
    cfg.model.backbone.init_cfg = None
    inferencer = ImageClassificationInferencer(cfg, pretrained=False, device='cpu')
    (batch,) = inferencer.preprocess([str(photo)])
    (found,) = batch['inputs']
    expected = LoadCenterCrop(96)(dict(img_path=str(photo)))['img']
    # Ours is decoded at a reduced size; swapped channels would be 20 levels away.
    assert (found.int() - expected.int()).abs().float().mean() < 1
    (prediction,) = inferencer(str(photo))
    assert prediction['pred_scores'].shape == (8,)
