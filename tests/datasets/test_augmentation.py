"""Augmentations of fine-tuning: mmpretrain's, with the same seed, on crops that stay uint8."""

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS
from mmpretrain.datasets.transforms.auto_augment import RANDAUG_POLICIES

from mmbeitv2.datasets import LoadRandomCrop, RandAugment, RandomErasing
from mmbeitv2.launch.config import load_config

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
PAD = [124, 116, 104]
pytestmark = pytest.mark.usefixtures('mmpretrain_scope')


@pytest.fixture
def crops(photos):
    np.random.seed(0)
    load = LoadRandomCrop(224, (0.08, 1))
    return [load(dict(img_path=str(path)))['img'] for path in sorted(photos.glob('*.jpg'))]


@pytest.fixture
def ours():
    return RandAugment(num_policies=2, magnitude_level=9, magnitude_std=0.5, pad_val=PAD)


@pytest.fixture
def theirs():
    return TRANSFORMS.build(
        dict(
            type='RandAugment',
            policies='timm_increasing',
            num_policies=2,
            magnitude_level=9,
            magnitude_std=0.5,
            hparams=dict(pad_val=PAD[::-1], interpolation='bicubic'),
        )
    )


def bgr(crop):
    """As mmpretrain's transforms have it."""
    return np.ascontiguousarray(crop.permute(1, 2, 0).numpy()[..., ::-1])


def rgb(pixels):
    return torch.from_numpy(np.ascontiguousarray(pixels[..., ::-1])).permute(2, 0, 1)


@pytest.mark.parametrize(
    'index', range(15), ids=lambda i: RANDAUG_POLICIES['timm_increasing'][i]['type']
)
def test_operation_is_mmpretrains(crops, ours, theirs, index):
    """Its pixels for the same seed, over the whole range of magnitudes."""
    policy = theirs.transforms[index]
    policy.prob = 1
    policy.magnitude_level, policy.magnitude_std = 5, 5
    ours.magnitude_level, ours.magnitude_std = 5, 5
    for seed, crop in enumerate(crops * 3):
        np.random.seed(seed)
        expected = rgb(policy(dict(img=bgr(crop)))['img'])
        np.random.seed(seed)
        np.random.rand()  # by which mmpretrain decides whether to apply it
        pixels = ours._apply(crop.permute(1, 2, 0).numpy(), *ours.operations[index])
        assert torch.equal(torch.from_numpy(pixels).permute(2, 0, 1), expected)


def test_same_seed_gives_mmpretrains_augmentation(crops, ours, theirs):
    """Choice, chance, order, magnitudes and pixels."""
    changed = 0
    for seed in range(400):
        crop = crops[seed % len(crops)]
        np.random.seed(seed)
        expected = rgb(theirs(dict(img=bgr(crop)))['img'])
        np.random.seed(seed)
        found = ours(dict(img=crop))['img']
        assert torch.equal(found, expected)
        changed += not torch.equal(found, crop)
    # Two operations, each left out by half: three of four crops change.
    assert 260 <= changed <= 340


def test_augmented_crop_is_contiguous_and_the_given_one_is_left_alone(crops, ours):
    before = [crop.clone() for crop in crops]
    np.random.seed(0)
    for crop in crops:
        found = ours(dict(img=crop))['img']
        assert found.is_contiguous()
        assert found.dtype == torch.uint8
    assert all(map(torch.equal, crops, before))


def test_flat_crops_are_augmented(ours):
    """One level has no histogram to stretch."""
    for index, operation in enumerate(ours.operations):
        pixels = np.full((32, 32, 3), 77, np.uint8)
        assert ours._apply(pixels, *operation).shape == (32, 32, 3), index


def test_level_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r'magnitude_level is 11, but must be in \[0, 10\]'):
        RandAugment(num_policies=2, magnitude_level=11, magnitude_std=0.5, pad_val=PAD)


class TestRandomErasing:
    recipe = dict(erase_prob=0.25, min_area_ratio=0.02, max_area_ratio=1 / 3)

    def test_rectangles_are_mmpretrains_for_the_same_seed(self):
        ours = RandomErasing(**self.recipe, fill_color=[200] * 3, fill_std=[1] * 3)
        theirs = TRANSFORMS.build(
            dict(
                type='RandomErasing',
                mode='rand',
                fill_color=[200] * 3,
                fill_std=[1] * 3,
                **self.recipe,
            )
        )
        erased = 0
        for seed in range(300):
            np.random.seed(seed)
            found = ours(dict(img=torch.zeros(3, 224, 224, dtype=torch.uint8)))['img'] > 0
            np.random.seed(seed)
            expected = theirs(dict(img=np.zeros((224, 224, 3), np.uint8)))['img'] > 0
            assert np.array_equal(found.permute(1, 2, 0).numpy(), expected)
            erased += bool(found.any())
        assert 50 <= erased <= 100

    def test_noise_has_mmpretrains_distribution(self):
        """Frequency of every level in every channel, within what chance explains."""
        whole = dict(erase_prob=1.0, min_area_ratio=1.0, max_area_ratio=1.0)
        ours = RandomErasing(**whole, fill_color=MEAN, fill_std=STD, aspect_range=(1.0, 1.0))
        np.random.seed(0)
        size = 700
        found = ours(dict(img=torch.zeros(3, size, size, dtype=torch.uint8)))['img'].numpy()
        noise = np.random.normal(MEAN, STD, (size, size, 3)).astype(np.int32)
        expected = np.clip(noise, 0, 255).transpose(2, 0, 1)
        for channel in range(3):
            counts = [np.bincount(x[channel].ravel(), minlength=256) for x in (found, expected)]
            deviations = (counts[0] - counts[1]) / np.sqrt(np.maximum(sum(counts), 1))
            assert np.abs(deviations).max() < 4.5
            assert np.mean(deviations**2) < 1.5
        # Every pixel and channel by itself.
        a, b = found[:, :, 1:].astype(float) - 120, found[:, :, :-1].astype(float) - 120
        assert abs(np.mean(a * b) / np.mean(a * a)) < 0.05
        assert abs(np.corrcoef(found[0].ravel(), found[1].ravel())[0, 1]) < 0.01


def test_fine_tuning_augments_as_the_recipe_has_it():
    """Operations and their ranges are timm's by mmpretrain's table; noise is standard normal."""
    cfg = load_config('mmbeitv2::finetune/beitv2_vit-b16_300e_in1k-224.py')
    augment, erase = (TRANSFORMS.build(t) for t in cfg.train_pipeline[0]['transforms'][1:])
    expected = RANDAUG_POLICIES['timm_increasing']
    assert [ends for _, ends, _ in augment.operations] == [
        policy.get('magnitude_range') for policy in expected
    ]
    assert list(augment.pad_val) == PAD
    assert list(erase.fill_color) == cfg.data_preprocessor.mean
    assert list(erase.fill_std) == cfg.data_preprocessor.std
