"""Block masks have the official generator's statistics, each over 20,000 masks."""

import json
import random
from pathlib import Path

import pytest
import torch
from mmengine.registry import TRANSFORMS

from mmbeitv2.launch.config import load_config

pytestmark = pytest.mark.equality
OFFICIAL = 'official, 20,000 masks'
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def golden():
    return json.loads((ROOT / 'tests/data/mask_statistics.json').read_text())


@pytest.fixture(scope='module')
def masks(golden):
    """Masks of the paper's config, bool (20000, 14, 14)."""
    random.seed(0)
    transform = TRANSFORMS.build(load_config(ROOT / 'configs/beitv2_vit-b16_300e.py').block_mask)
    return torch.stack([transform({})['mask'] for _ in range(golden['masks'])])


def test_count_is_exact(masks, assert_equal_within):
    counts = masks.sum(dim=(1, 2))
    assert_equal_within(
        'masked patches of every mask', '75 of 196', counts, torch.full_like(counts, 75), atol=0
    )


def test_frequency_of_every_cell(masks, golden, assert_equal_within):
    expected = torch.tensor(golden['frequency'], dtype=torch.float64)
    frequency = masks.double().mean(dim=0)
    # Both are estimates from as many masks, hence the factor 2.
    standard_error = (2 * expected * (1 - expected) / golden['masks']).sqrt()
    assert_equal_within(
        'masking frequency of every cell, in standard errors',
        OFFICIAL,
        frequency / standard_error,
        expected / standard_error,
        # Of 196 normal deviates the largest is rarely above.
        atol=4,
    )
    # A slight shift of the whole map would show here; by chance alone it is about 1, and not much
    # less widely spread, since neighbouring cells are masked together.
    assert_equal_within(
        'masking frequency, root mean square of standard errors',
        OFFICIAL,
        ((frequency - expected) / standard_error).square().mean().sqrt(),
        torch.tensor(0.0),
        atol=1.5,
    )


def test_adjacency(masks, golden, assert_equal_within):
    vertical = (masks[:, 1:] & masks[:, :-1]).sum(dim=(1, 2))
    pairs = (vertical + (masks[:, :, 1:] & masks[:, :, :-1]).sum(dim=(1, 2))).double()
    for what, found in (('mean', pairs.mean()), ('std', pairs.std(correction=0))):
        assert_equal_within(
            f'adjacent masked pairs, {what}',
            OFFICIAL,
            found,
            torch.tensor(golden[f'adjacent_masked_pairs_{what}'], dtype=torch.float64),
            rtol=0.02,
        )
