"""Values of a config that would make a run other than it was meant."""

import pytest
from mmengine.config import Config

from mmbeitv2.launch import config_values

COSINE = dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=False, begin=1, end=10)


@pytest.mark.parametrize(
    ('warm_up', 'warned'),
    [
        (dict(start_factor=1e-9, by_epoch=False, begin=0, end=1), True),
        # By epochs it would be a whole epoch at next to nothing, and the run after it.
        (dict(start_factor=1e-9, begin=0, end=1), True),
        (dict(start_factor=1e-9, by_epoch=False, begin=0, end=2), False),
        (dict(start_factor=1e-9, begin=0, end=1, convert_to_iter_based=True), False),
        (dict(start_factor=1.0, by_epoch=False, begin=0, end=1), False),
    ],
)
def test_a_warm_up_that_never_rises_is_said(monkeypatch, warm_up, warned):
    said = []
    monkeypatch.setattr(config_values, 'print_log', lambda text, **options: said.append(text))
    schedule = [dict(type='LinearLR', **warm_up), COSINE]
    config_values._check_ends(
        Config(dict(param_scheduler=schedule, train_cfg=dict(max_iters=10, max_epochs=10)))
    )
    found = [text for text in said if 'param_scheduler.0 warms up over one step' in text]
    assert bool(found) == warned
