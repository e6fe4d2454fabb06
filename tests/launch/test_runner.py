"""The end of a distributed run."""

import torch.distributed as dist

from mmbeitv2.launch.runner import leave_processes


def test_a_finished_process_leaves_the_group(tmp_path):
    store = f'file://{tmp_path / "store"}'
    dist.init_process_group('gloo', init_method=store, rank=0, world_size=1)
    dist.new_group([0])
    leave_processes()
    assert not dist.is_initialized()


def test_a_run_of_one_process_has_none_to_leave():
    assert not dist.is_initialized()
    leave_processes()
