import random

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS

from mmbeitv2.datasets import BlockMask, RandomMask


def draw(transform, count, seed=0):
    random.seed(seed)
    return np.stack([transform({})['mask'].numpy() for _ in range(count)])


def adjacent_pairs(masks):
    vertical = (masks[:, 1:] & masks[:, :-1]).sum(axis=(1, 2))
    return vertical + (masks[:, :, 1:] & masks[:, :, :-1]).sum(axis=(1, 2))


@pytest.mark.parametrize('cls', [BlockMask, RandomMask])
@pytest.mark.parametrize(
    ('grid_size', 'num_masked'), [(8, 30), ((6, 10), 24), (14, 196), (5, 16), (24, 216)]
)
def test_count_is_exact_and_every_position_can_be_masked(cls, grid_size, num_masked):
    masks = draw(cls(grid_size=grid_size, num_masked=num_masked), 400)
    height, width = (grid_size, grid_size) if isinstance(grid_size, int) else grid_size
    assert masks.shape == (400, height, width)
    assert masks.dtype == bool
    assert set(masks.sum(axis=(1, 2))) == {num_masked}
    assert masks.any(axis=0).all()


def test_block_masks_are_more_compact_than_random_ones():
    blocks = adjacent_pairs(draw(BlockMask(grid_size=8, num_masked=30), 200)).mean()
    scattered = adjacent_pairs(draw(RandomMask(grid_size=8, num_masked=30), 200)).mean()
    assert blocks > 1.4 * scattered


def test_random_mask_is_uniform():
    frequency = draw(RandomMask(grid_size=6, num_masked=9), 4000).mean(axis=0)
    np.testing.assert_allclose(frequency, 0.25, atol=4 * np.sqrt(0.25 * 0.75 / 4000))


def test_max_block_bounds_the_first_block():
    small = adjacent_pairs(draw(BlockMask(14, 75, min_block=4, max_block=4), 100)).mean()
    large = adjacent_pairs(draw(BlockMask(14, 75, min_block=4), 100)).mean()
    assert small < large


@pytest.mark.parametrize('num_masked', [1, 2, 3])
def test_few_masked_patches(num_masked):
    masks = draw(BlockMask(grid_size=4, num_masked=num_masked, min_block=1), 100)
    assert set(masks.sum(axis=(1, 2))) == {num_masked}


@pytest.mark.parametrize('cls', [BlockMask, RandomMask])
def test_same_seed_gives_the_same_masks(cls):
    transform = cls(grid_size=8, num_masked=30)
    np.testing.assert_array_equal(draw(transform, 20, seed=3), draw(transform, 20, seed=3))
    assert (draw(transform, 20, seed=3) != draw(transform, 20, seed=4)).any()


@pytest.mark.parametrize('cls', [BlockMask, RandomMask])
@pytest.mark.parametrize('num_masked', [0, -1, 65, 30.0])
def test_impossible_count_is_refused(cls, num_masked):
    with pytest.raises(ValueError, match=rf'num_masked={num_masked} .* 1 to 64.*Lower'):
        cls(grid_size=8, num_masked=num_masked)


@pytest.mark.parametrize('grid_size', [0, (3,), (3, 0), (2.5, 3), (2, 3, 4)])
def test_impossible_grid_is_refused(grid_size):
    with pytest.raises(ValueError, match='grid_size='):
        RandomMask(grid_size=grid_size, num_masked=1)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'num_masked': 12}, r'min_block=16 must be from 1 to 12'),
        ({'min_block': 0}, r'min_block=0 must be from 1 to 30'),
        ({'max_block': 15}, r'max_block=15 must be at least min_block=16'),
        ({'aspect': (2.0, 0.5)}, r'aspect is \(2.0, 0.5\)'),
        ({'aspect': (0.0, 1.0)}, r'aspect is \(0.0, 1.0\)'),
        ({'tries': 0}, r'tries is 0'),
        ({'grid_size': (1, 64)}, r'RandomMask'),
    ],
)
def test_impossible_blocks_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        BlockMask(**{'grid_size': 8, 'num_masked': 30, **arguments})


@pytest.mark.parametrize('algorithm_keys', [(), ('mask',)])
def test_mask_is_packed_as_bool_tensor(mmpretrain_scope, algorithm_keys):
    mask = TRANSFORMS.build({'type': 'mmbeitv2.BlockMask', 'grid_size': 8, 'num_masked': 30})
    pack = TRANSFORMS.build({'type': 'PackInputs', 'algorithm_keys': algorithm_keys})
    packed = pack(mask({}))['data_samples'].mask
    assert packed.shape == (8, 8)
    assert packed.dtype == torch.bool
