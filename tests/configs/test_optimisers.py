"""Every recipe updates its weights in one kernel, also under dynamic loss scaling."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from mmbeitv2.launch.config import load_config

CONFIGS = Path(__file__).parents[2] / 'configs'
RECIPES = sorted(p for p in CONFIGS.rglob('*.py') if '_base_' not in p.parts)


def test_every_recipe_has_the_fused_optimiser():
    plain = [
        str(path.relative_to(CONFIGS))
        for path in RECIPES
        if not load_config(path).optim_wrapper.optimizer.get('fused')
    ]
    assert len(RECIPES) > 50
    assert plain == []


def trained(fused, clip):
    """Weights after a step, a step that overflows, and a step, with float16's loss scaling."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler('cpu', init_scale=1024.0)
    weights = []
    for factor in (1.0, float('inf'), 2.0):
        optimizer.zero_grad()
        scaler.scale(model(torch.ones(2, 4)).square().mean() * factor).backward()
        if clip:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        scaler.step(optimizer)
        scaler.update()
        weights.append(model.weight.detach().clone())
    return weights, scaler.get_scale()


@pytest.mark.needs_torch('2.4', 'fused AdamW on CPUs')
@pytest.mark.parametrize('clip', [False, True])
def test_fused_steps_are_scaled_and_skipped_as_plain_ones(clip):
    weights, scale = trained(fused=True, clip=clip)
    expected, expected_scale = trained(fused=False, clip=clip)
    assert_close(weights, expected)
    assert scale == expected_scale == 512
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
