"""Workers fit the cores; too few open files or too little shared memory is one line before work."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch.utils.data import DataLoader

from mmbeitv2.launch import loaders
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.loaders import (
    check_loaders,
    cores_of_process,
    processes_of_node,
    settle_workers,
)

ROOT = Path(__file__).parents[2]
FINE_TUNING = 'mmbeitv2::finetune/beitv2_vit-b16_300e_in1k-224.py'


def training(num_workers, **settings):
    return Config(dict(train_dataloader=dict(batch_size=8, num_workers=num_workers, **settings)))


@pytest.mark.parametrize(
    ('asked', 'cores', 'workers'), [(10, 16, 10), (10, 6, 5), (10, 1, 1), (1, 64, 1), (0, 8, 0)]
)
def test_workers_are_lowered_to_the_cores_but_one_and_never_raised(asked, cores, workers):
    cfg = training(asked)
    said = settle_workers(cfg, cores)
    assert cfg.train_dataloader.num_workers == workers
    assert f'which has {cores} cores: train {workers}' in said
    assert (f'(the config allows {asked})' in said) == (workers < asked)


def test_what_the_user_sets_is_left_alone():
    cfg = load_config(FINE_TUNING, {'train_dataloader.num_workers': 7})
    said = settle_workers(cfg, 2, {'train_dataloader.num_workers': 7})
    assert (cfg.train_dataloader.num_workers, cfg.val_dataloader.num_workers) == (7, 1)
    assert said.endswith('train 7, val 1 (the config allows 10), test 1 (the config allows 10)')


def test_without_workers_nothing_persists_or_is_prefetched(monkeypatch):
    """torch would refuse it."""
    cfg = training(0, persistent_workers=True, prefetch_factor=4, pin_memory=True)
    settle_workers(cfg, 8)
    settings = cfg.train_dataloader.to_dict()
    assert len(list(DataLoader(range(8), **settings))) == 1


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_memory_is_pinned_for_gpus_alone(monkeypatch, device):
    monkeypatch.setattr(loaders, 'get_device', lambda: device)
    cfg = training(2, pin_memory=True)
    settle_workers(cfg, 8)
    assert cfg.train_dataloader.pin_memory == (device == 'cuda')


@pytest.mark.parametrize(
    ('launcher', 'environment', 'processes', 'cores'),
    [
        ('none', {'LOCAL_WORLD_SIZE': '4'}, 1, 16),
        ('pytorch', {'LOCAL_WORLD_SIZE': '4'}, 4, 4),
        ('pytorch', {'LOCAL_WORLD_SIZE': '32'}, 32, 1),
        ('slurm', {'SLURM_NTASKS_PER_NODE': '8(x2)'}, 8, 2),
        ('slurm', {'SLURM_NTASKS_PER_NODE': '8', 'SLURM_CPUS_PER_TASK': '5'}, 8, 5),
        ('slurm', {'SLURM_NTASKS_PER_NODE': '8', 'SLURM_CPUS_PER_TASK': '24'}, 8, 16),
        ('mpi', {'OMPI_COMM_WORLD_LOCAL_SIZE': '2'}, 2, 8),
    ],
)
def test_cores_are_shared_by_the_processes_of_a_node(
    monkeypatch, launcher, environment, processes, cores
):
    for name in (*loaders.NODE_VARIABLES.values(), 'SLURM_CPUS_PER_TASK'):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(16)), raising=False)
    assert processes_of_node(launcher) == processes
    assert cores_of_process(launcher) == cores


def limited(files, workers):
    """Settings of ``check_loaders`` in a process whose hard limit of open files is low."""
    code = (
        'import resource, sys;'
        'from mmengine.config import Config;'
        'from mmbeitv2.launch.loaders import check_loaders;'
        f'resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}));'
        f'check_loaders(Config(dict(train_dataloader=dict(num_workers={workers}))), 1)'
    )
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)


def test_too_few_open_files_are_refused():
    result = limited(files=64, workers=20)
    message = result.stderr.splitlines()[-1]
    assert message.startswith(
        'mmbeitv2.errors.InputError: train_dataloader.num_workers=20 needs at least '
    )
    assert 'this process may have 64: raise the hard limit (`ulimit -Hn`)' in message
    assert limited(files=200, workers=20).returncode == 0


class Images(torch.utils.data.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        return torch.zeros(8, dtype=torch.uint8)


def open_files() -> set[tuple[str, str]]:
    """Descriptors of this process with what each stands for."""
    found = set()
    for descriptor in os.listdir('/proc/self/fd'):
        with contextlib.suppress(FileNotFoundError):  # that of the list itself
            found.add((descriptor, os.readlink(f'/proc/self/fd/{descriptor}')))
    return found


@pytest.mark.skipif(not Path('/proc/self/fd').is_dir(), reason='counts open files in /proc')
def test_open_files_are_estimated_from_below():
    """A loader that waits with all its batches has at least as many as were counted."""
    # Not their number: what earlier tests have left to be closed would be taken from this one's.
    before = open_files()
    iterator = iter(DataLoader(Images(), batch_size=4, num_workers=3, prefetch_factor=2))
    held = [next(iterator) for _ in range(6)]
    assert len(held) == 6
    assert len(open_files() - before) >= 3 * (loaders.DESCRIPTORS_A_WORKER + 2)


@pytest.mark.parametrize(
    ('pinned', 'processes', 'needed'), [(True, 1, 193), (False, 1, 385), (True, 8, 1541)]
)
def test_too_little_shared_memory_is_refused(monkeypatch, tmp_path, pinned, processes, needed):
    cfg = load_config(FINE_TUNING)
    cfg.train_dataloader.pin_memory = pinned
    monkeypatch.setattr(loaders, 'SHARED_MEMORY', tmp_path)

    def free(megabytes):
        usage = type('Usage', (), dict(free=int(megabytes * 1e6)))
        monkeypatch.setattr(loaders.shutil, 'disk_usage', lambda path: usage)

    free(needed + 1)
    check_loaders(cfg, processes)
    free(64)
    with pytest.raises(ValueError, match=rf'train_dataloader: {processes} processes × ') as error:
        check_loaders(cfg, processes)
    message = str(error.value)
    assert f'at least {needed} MB of shared memory, but'.replace('1541', '1,541') in message
    assert 'has 64 MB free: enlarge it (docker run --shm-size=' in message
    workers = int(message.split('num_workers=')[1].rstrip('`'))
    cfg.train_dataloader.num_workers = cfg.val_dataloader.num_workers = workers
    check_loaders(cfg, processes)


@pytest.mark.parametrize('config', ['segmentation', 'demo', 'example'])
def test_every_kind_of_config_can_be_checked(config):
    for path in sorted((ROOT / 'configs' / config).glob('*.py')):
        cfg = load_config(path)
        settle_workers(cfg, 2)
        if 'tta_pipeline' in cfg:
            cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        check_loaders(cfg, 1, ('train', 'val', 'test'))
