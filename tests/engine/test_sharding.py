"""Sharding refuses what it cannot do; what it does is tested by two processes."""

import pytest
import torch

from mmbeitv2.models import BEiTV2


@pytest.fixture
def alone(beitv2_config, make_runner):
    """Makes a sharded run of one process."""
    strategy = dict(type='mmbeitv2.ShardedStrategy')
    return lambda: make_runner(
        BEiTV2(**beitv2_config), runner_type='FlexibleRunner', strategy=strategy
    )


@pytest.mark.needs_torch('2.7', 'sharding')
def test_one_process_is_refused(alone):
    with pytest.raises(ValueError, match=r'nothing to shard over: start the run with .*dist_train'):
        alone().train()


def test_an_old_torch_is_refused(alone, monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.4.1')
    with pytest.raises(ImportError, match=r'sharding needs torch 2\.7 or later, this is 2\.4\.1'):
        alone()
