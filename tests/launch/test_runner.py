"""The end of a distributed run."""

import contextlib
import importlib
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_runs
import torch.distributed as dist
from torch.utils.data import DataLoader

from mmbeitv2.errors import InputError
from mmbeitv2.launch.runner import leave_processes

PRINT_THREADS = """
import sys
from pathlib import Path
sys.path.insert(0, {tools!r})
import {tool}
{tool}.main()
print('threads:', *(p.read_text().strip() for p in Path('/proc/self/task').glob('*/comm')))
"""
needs_proc = pytest.mark.skipif(not Path('/proc/self/task').is_dir(), reason='threads in /proc')


names_of_threads = pytest.mark.needs_torch('2.14', "names of gloo's threads")


@pytest.fixture(autouse=True)
def no_group_is_left():
    """A failed test must not fail the next."""
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def threads() -> set[str]:
    """Numbers of this process's threads, those of other tests among them."""
    return set(os.listdir('/proc/self/task'))


def test_a_finished_process_leaves_the_group(tmp_path):
    store = f'file://{tmp_path / "store"}'
    dist.init_process_group('gloo', init_method=store, rank=0, world_size=1)
    dist.new_group([0])
    leave_processes()
    assert not dist.is_initialized()


@needs_proc
def test_no_thread_outlives_a_group_that_a_finished_runner_refers_to(tmp_path):
    before = threads()
    store = f'file://{tmp_path / "store"}'
    dist.init_process_group('gloo', init_method=store, rank=0, world_size=1)
    dist.barrier()
    model = SimpleNamespace(process_group=dist.group.WORLD)
    model.runner = SimpleNamespace(model=model)
    del model
    assert threads() - before
    leave_processes()
    assert not threads() - before


def threads_at_the_end(tool: str, *arguments: str, folder: Path) -> str:
    """Names of the threads when the tool has done its work as a launched process."""
    launched = dict(RANK='0', WORLD_SIZE='1', LOCAL_RANK='0', MASTER_ADDR='127.0.0.1')
    result = subprocess.run(
        [sys.executable, '-c', PRINT_THREADS.format(tools=str(tiny_runs.ROOT / 'tools'), tool=tool)]
        + ['segment.py', *arguments],
        cwd=folder,
        env={**os.environ, **launched, 'MASTER_PORT': '0', 'CUDA_VISIBLE_DEVICES': ''},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


@names_of_threads
@needs_proc
def test_the_tools_end_without_a_thread_of_the_group(tmp_path, demo_data):
    tiny_runs.write_project(tmp_path, demo_data)
    launch = ['--launcher', 'pytorch', '--work-dir', 'run']
    short = ['--cfg-options', 'train_cfg.max_iters=1', 'train_cfg.val_interval=1']
    for tool, arguments in (('train', [*launch, *short]), ('test', ['run/iter_1.pth', *launch])):
        left = threads_at_the_end(tool, *arguments, folder=tmp_path)
        assert left.startswith('threads: ')
        assert 'gloo' not in left


@pytest.mark.parametrize('tool', ['train', 'test'])
@pytest.mark.parametrize('error', [None, InputError('a bad value'), RuntimeError('a bug')])
def test_a_run_leaves_no_worker_however_it_ends(monkeypatch, tool, error):
    monkeypatch.syspath_prepend(str(tiny_runs.ROOT / 'tools'))
    module = importlib.import_module(tool)
    # Something still refers to the loader, as tracebacks do, so that nothing else ends them.
    loader = DataLoader(range(4), num_workers=2, persistent_workers=True)
    workers = []

    def read(args) -> None:
        next(iter(loader))
        workers.extend(multiprocessing.active_children())
        if error is not None:
            raise error

    monkeypatch.setattr(module, tool, read)
    monkeypatch.setattr(
        sys, 'argv', [f'{tool}.py', 'config.py', *['weights.pth'] * (tool == 'test')]
    )
    with pytest.raises((SystemExit, RuntimeError)) if error else contextlib.nullcontext():
        module.main()
    assert len(workers) == 2
    assert all(worker.exitcode is not None for worker in workers)
    # No worker that ended is taken for one that has crashed.
    subprocess.run([sys.executable, '-c', ''], check=True)


def test_a_run_of_one_process_has_none_to_leave():
    assert not dist.is_initialized()
    leave_processes()
