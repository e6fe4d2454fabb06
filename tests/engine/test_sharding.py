"""Sharding refuses what it cannot do; what it does is tested by two processes."""

import pytest

from mmbeitv2.models import BEiTV2


@pytest.fixture
def alone(beitv2_config, make_runner):
    """Sharded run of one process."""
    strategy = dict(type='mmbeitv2.ShardedStrategy')
    return make_runner(BEiTV2(**beitv2_config), runner_type='FlexibleRunner', strategy=strategy)


def test_one_process_is_refused(alone):
    with pytest.raises(ValueError, match=r'nothing to shard over: start the run with .*dist_train'):
        alone.train()
