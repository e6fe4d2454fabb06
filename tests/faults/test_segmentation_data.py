"""Images and masks of segmentation: one reader, in training, evaluation and the check."""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import TRANSFORMS, DefaultScope
from mmengine.structures import BaseDataElement
from PIL import Image

import mmbeitv2
from mmbeitv2.datasets import CheckSegmentation, LoadSegmentationImage, LoadSegmentationMask
from mmbeitv2.engine import SegmentationPictureHook
from mmbeitv2.errors import UserError
from mmbeitv2.launch import preflight

ROOT = Path(mmbeitv2.__file__).resolve().parents[1]
SHAPE = (20, 30)
OWN = [dict(type='mmbeitv2.LoadSegmentationImage'), dict(type='mmbeitv2.LoadSegmentationMask')]
MMSEGS = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]


def mask_of(value=1, dtype=np.uint8):
    mask = np.zeros(SHAPE, dtype)
    mask[2:8, 3:15] = value
    return mask


@pytest.fixture
def root(tmp_path):
    """Three pairs each for training and validation, right as they are."""
    for split in ('training', 'validation'):
        for index in range(3):
            write_pair(tmp_path, split, index, mask_of())
    return tmp_path


def write_pair(root, split, index, mask, orientation=1):
    for name, folder in (('image', 'images'), ('mask', 'annotations')):
        path = root / folder / split / f'{index}.{"jpg" if name == "image" else "png"}'
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == 'mask':
            Image.fromarray(mask).save(path)
            continue
        exif = Image.Exif()
        exif[0x0112] = orientation
        pixels = np.where(mask == 0, 40, 220).astype(np.uint8)[..., None].repeat(3, axis=2)
        Image.fromarray(pixels).save(path, quality=100, exif=exif)


def config(root, pipeline=OWN, classes=('ground', 'object'), **options):
    dataset = dict(
        type='BaseSegDataset',
        data_root=str(root),
        metainfo=dict(classes=classes, palette=[[i, i, i] for i in range(len(classes))]),
        pipeline=pipeline,
    )
    cfg = Config(dict(default_scope='mmseg'))
    cfg.model = dict(decode_head=dict(num_classes=len(classes)))
    for phase, split in (('train', 'training'), ('val', 'validation')):
        prefix = dict(img_path=f'images/{split}', seg_map_path=f'annotations/{split}')
        cfg[f'{phase}_dataloader'] = dict(dataset={**dataset, 'data_prefix': prefix, **options})
    return cfg


@pytest.fixture
def check(monkeypatch, tmp_path, capsys):
    """Run the check tool on a config; return how it ended, None if all was well, and its text."""

    def run(cfg):
        path = tmp_path / 'config.json'  # formatting one in Python takes seconds
        cfg.dump(path)
        monkeypatch.setattr(sys, 'argv', ['check', str(path), '--workers', '1'])
        end = None
        try:
            with DefaultScope.overwrite_default_scope('mmseg'):
                runpy.run_path(str(ROOT / 'tools/check_segmentation_data.py'), run_name='__main__')
        except SystemExit as error:
            end = error.code
        return end, ''.join(capsys.readouterr())

    return run


def refused(cfg, check, message):
    """Both the check tool and the checks before training end with the message."""
    with pytest.raises(UserError, match=message) as error:
        preflight.check(cfg)
    assert '\n' not in str(error.value)
    end, text = check(cfg)
    assert end
    assert str(error.value).partition(': ')[2].partition(' (')[0][:60] in text


def test_good_data_pass(root, check):
    preflight.check(config(root))
    assert check(config(root))[0] is None


@pytest.mark.parametrize('orientation', [3, 6])
def test_orientation_turns_neither_image_nor_mask(root, check, orientation):
    write_pair(root, 'training', 0, mask_of(), orientation)
    info = dict(
        img_path=str(root / 'images/training/0.jpg'),
        seg_map_path=str(root / 'annotations/training/0.png'),
        reduce_zero_label=False,
        label_map=None,
        seg_fields=[],
    )
    results = CheckSegmentation(2)(LoadSegmentationMask()(LoadSegmentationImage()(info)))
    assert ((results['img'][..., 0] > 128) == (results['gt_seg_map'] == 1)).all()
    preflight.check(config(root))
    assert check(config(root))[0] is None


def test_a_pipeline_that_turns_the_image_alone_is_refused(root, check):
    write_pair(root, 'training', 0, mask_of(), orientation=3)
    refused(config(root, MMSEGS), check, r'0\.jpg has the EXIF orientation 3')
    unturned = [dict(type='LoadImageFromFile', color_type='color_ignore_orientation'), MMSEGS[1]]
    preflight.check(config(root, unturned))


@pytest.mark.parametrize('pipeline', [OWN, MMSEGS], ids=['own', "mmsegmentation's"])
@pytest.mark.parametrize('stray', [257, 65535])
def test_a_value_beyond_8_bits_is_named_and_never_another_class(root, check, pipeline, stray):
    mask = mask_of(dtype=np.uint16)
    mask[0, 0] = stray
    write_pair(root, 'training', 0, mask)
    cfg = config(root, pipeline, classes=[str(i) for i in range(10)])
    refused(cfg, check, rf'training/0\.png has values {stray}')
    path = str(root / 'annotations/training/0.png')
    with pytest.raises(UserError, match=rf'{path} has values {stray}'):
        LoadSegmentationMask()(dict(seg_map_path=path, reduce_zero_label=False, seg_fields=[]))


def test_a_class_that_no_training_mask_has_is_refused(root, check):
    """Masks of 0 and 255: mIoU would be 100."""
    for split in ('training', 'validation'):
        for index in range(3):
            write_pair(root, split, index, mask_of(255))
    refused(config(root), check, r'no pixel of class 1 \(object\).*255 is unlabelled')


def test_validation_may_lack_a_class(root, check):
    for index in range(3):
        write_pair(root, 'validation', index, mask_of(0))
    preflight.check(config(root))
    end, text = check(config(root))
    assert end is None
    assert 'no pixel of class 1' in text


@pytest.mark.parametrize('split', ['training', 'validation'])
@pytest.mark.parametrize('reduced', [False, True])
def test_a_mask_without_a_labelled_pixel_is_named(root, check, split, reduced):
    if reduced:
        for one in ('training', 'validation'):
            for index in range(3):
                write_pair(root, one, index, mask_of() + 1)
    write_pair(root, split, 1, np.full(SHAPE, 0 if reduced else 255, np.uint8))
    cfg = config(root, reduce_zero_label=reduced)
    refused(cfg, check, rf'1 of 3 masks have no labelled pixel, such as .*{split}/1\.png')


def test_a_part_of_a_public_data_set_need_not_hold_all_classes(root, check):
    for split in ('training', 'validation'):
        for index in range(3):
            write_pair(root, split, index, mask_of(150))
    cfg = config(root)
    for phase in ('train', 'val'):
        cfg[f'{phase}_dataloader'].dataset.type = 'ADE20KDataset'
        del cfg[f'{phase}_dataloader'].dataset['metainfo']
    cfg.model.decode_head.num_classes = 150
    preflight.check(cfg)
    text = check(cfg)[1]
    assert 'train: the masks in' in text
    assert 'error: the mask ' not in text


@pytest.mark.parametrize('mode', ['L', 'P', '1', 'I;16'])
@pytest.mark.parametrize('reduce_zero_label', [False, True])
def test_masks_are_read_as_mmsegmentation_reads_them(tmp_path, mode, reduce_zero_label):
    import mmseg.datasets  # noqa: F401

    path = tmp_path / 'mask.png'
    values = mask_of(dtype=np.uint16 if mode == 'I;16' else np.uint8)
    if mode not in ('1', 'P'):
        values[0, 0] = 255
    image = Image.fromarray(values.astype(bool) if mode == '1' else values)
    if mode == 'P':
        image.putpalette([9, 8, 7] * 256)
    image.save(path)

    def load(transform):
        results = dict(seg_map_path=str(path), reduce_zero_label=reduce_zero_label, seg_fields=[])
        return transform(results | dict(label_map={0: 1, 1: 0}))['gt_seg_map']

    with DefaultScope.overwrite_default_scope('mmseg'):
        peer = TRANSFORMS.build(dict(type='LoadAnnotations'))
    found = load(LoadSegmentationMask())
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, load(peer))


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (Image.new('RGB', SHAPE[::-1]), r'has shape \(20, 30, 3\)'),
        (Image.new('F', SHAPE[::-1]), 'holds float32 numbers'),
    ],
)
def test_masks_of_colours_or_fractions_are_refused(root, image, message):
    path = root / 'annotations/training/0.tiff'
    image.save(path)
    with pytest.raises(UserError, match=message):
        LoadSegmentationMask()(dict(seg_map_path=str(path), reduce_zero_label=False))


def test_an_image_without_a_mask_passes():
    results = dict(img_path='photo.jpg')
    assert LoadSegmentationMask()(results) is results


def test_predictions_are_drawn_over_the_stored_pixels(root):
    """A turned image would be 30 × 20 pixels under a map of 20 × 30."""
    write_pair(root, 'validation', 0, mask_of(), orientation=6)
    sample = BaseDataElement(metainfo=dict(img_path=str(root / 'images/validation/0.jpg')))
    drawn = []
    visualizer = SimpleNamespace(add_datasample=lambda name, image, **_: drawn.append(image))
    runner = SimpleNamespace(iter=0, visualizer=visualizer)
    SegmentationPictureHook(draw=True).after_test_iter(runner, 0, outputs=[sample])
    SegmentationPictureHook(draw=True).after_val_iter(runner, 0, outputs=[sample])
    SegmentationPictureHook().after_test_iter(runner, 0, outputs=[sample])
    assert [image.shape for image in drawn] == [(*SHAPE, 3)] * 2
