"""Augmentations of fine-tuning: mmpretrain's operations and timm's rectangles, on uint8 crops."""

import random

import numpy as np
import pytest
import timm.data.random_erasing
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


def blank(rows=32, columns=48):
    return torch.zeros(3, rows, columns, dtype=torch.uint8)


def rectangle(mask):
    """Top, left, height and width of what is True in any channel."""
    rows, columns = (mask.any(0).any(dim).nonzero() for dim in (1, 0))
    top, left = rows.min().item(), columns.min().item()
    return top, left, rows.max().item() - top + 1, columns.max().item() - left + 1


class TestRandomErasing:
    recipe = dict(erase_prob=0.25, min_area_ratio=0.02, max_area_ratio=1 / 3)

    @pytest.fixture
    def ours(self):
        return RandomErasing(1.0, 0.02, 1 / 3, fill_color=[200] * 3, fill_std=[1] * 3)

    def test_rectangles_have_timms_distribution(self, ours):
        """Means and spreads of place and size, within what chance explains."""
        timms = timm.data.random_erasing.RandomErasing(
            1.0, 0.02, 1 / 3, min_aspect=0.3, mode='const', device='cpu'
        )
        np.random.seed(0)
        random.seed(0)
        found = [rectangle(ours(dict(img=blank()))['img'] > 0) for _ in range(2000)]
        expected = [rectangle(timms(torch.ones(3, 32, 48)) == 0) for _ in range(2000)]
        for a, b in zip(np.transpose(found), np.transpose(expected), strict=True):
            assert abs(a.mean() - b.mean()) < 4 * np.sqrt((a.var() + b.var()) / 2000)
            assert a.std() == pytest.approx(b.std(), rel=0.1)

    def test_every_row_and_column_is_reached(self, ours):
        np.random.seed(0)
        reached = torch.stack([ours(dict(img=blank()))['img'][0] > 0 for _ in range(300)])
        assert reached.any(0).any(0).all()
        assert reached.any(0).any(1).all()

    def test_a_share_of_the_images_is_erased(self):
        np.random.seed(0)
        erase = RandomErasing(**self.recipe, fill_color=[200] * 3, fill_std=[1] * 3)
        erased = sum(bool(erase(dict(img=blank()))['img'].any()) for _ in range(300))
        assert 50 <= erased <= 100

    def test_noise_has_mmpretrains_distribution(self):
        """Frequency of every level in every channel, within what chance explains."""
        size = 700
        # A rectangle is smaller than its image.
        share = (size / (size + 1)) ** 2
        ours = RandomErasing(
            1.0, share, share, fill_color=MEAN, fill_std=STD, aspect_range=(1.0, 1.0)
        )
        np.random.seed(0)
        erased = ours(dict(img=blank(size + 1, size + 1)))['img'].numpy()
        top, left, *_ = rectangle(torch.from_numpy(erased) > 0)
        found = erased[:, top : top + size, left : left + size]
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


def test_without_a_deviation_every_magnitude_is_the_mean_as_mmpretrains(crops):
    options = dict(num_policies=2, magnitude_level=9, magnitude_std=0)
    ours = RandAugment(**options, pad_val=PAD)
    peer = TRANSFORMS.build(
        dict(
            type='RandAugment',
            policies='timm_increasing',
            hparams=dict(pad_val=PAD[::-1], interpolation='bicubic'),
            **options,
        )
    )
    for seed in range(20):
        np.random.seed(seed)
        found = ours(dict(img=crops[0].clone()))['img']
        np.random.seed(seed)
        assert torch.equal(found, rgb(peer(dict(img=bgr(crops[0])))['img']))


def test_negative_deviation_is_refused():
    with pytest.raises(ValueError, match='magnitude_std is -1, but must be a number of at least 0'):
        RandAugment(2, 9, -1, pad_val=PAD)
