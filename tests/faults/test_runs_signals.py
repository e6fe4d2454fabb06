"""Signals, the end of a launcher and stopped processes: a run ends, and has saved."""

import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_runs
from PIL import Image

# A run that would take hours, on eight small pictures.
CONFIG = """
_base_ = {runtime!r}
pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=32), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=2, num_workers=1, persistent_workers=True,
    dataset=dict(type='CustomDataset', data_root={data!r}, pipeline=pipeline),
    sampler=dict(type='mmbeitv2.EpochSampler', shuffle=True))
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=2, mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        type='mmbeitv2.BEiTViT', arch=dict(embed_dim=16, depth=1, num_heads=2), img_size=32,
        patch_size=16, out_type='avg_featmap', final_norm='fc_norm'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=16))
optim_wrapper = dict(
    type='mmbeitv2.MixedPrecisionOptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
train_cfg = dict(by_epoch=True, max_epochs=100000)
default_hooks = dict(logger=dict(interval=1))
env_cfg = dict(dist_cfg=dict(timeout=10))
"""


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp('signals')
    generator = np.random.default_rng(0)
    for index in range(8):
        path = folder / 'data' / 'ab'[index % 2] / f'{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    runtime = str(tiny_runs.ROOT / 'configs/_base_/default_runtime.py')
    text = CONFIG.format(data=str(folder / 'data'), runtime=runtime)
    (folder / 'tiny.py').write_text(text)
    return folder


@pytest.fixture
def training(project, tmp_path):
    """Start a run and wait until it trains: the process, its folder, and what it has said."""
    started = []

    def start(*options, processes=1):
        name = f'{tmp_path.name}_{len(started)}'
        process = tiny_runs.train(project, 'tiny', name, *options, processes=processes)
        started.append(process)
        log = project / f'{name}.log'
        assert tiny_runs.wait_for(lambda: 'Epoch(train)' in log.read_text(), process), (
            log.read_text()[-3000:]
        )
        return process, project / name, log.read_text

    yield start
    for process in started:
        tiny_runs.end(process)


def is_running(pid: int) -> bool:
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


def saved_iteration(work_dir: Path) -> int:
    name = (work_dir / 'last_checkpoint').read_text().split('/')[-1]
    assert (work_dir / name).is_file()
    return int(re.fullmatch(r'iter_(\d+)\.pth', name)[1])


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    'name', ['SIGTERM', pytest.param('SIGINT', marks=SLOW), pytest.param('SIGUSR1', marks=SLOW)]
)
def test_a_signal_to_all_processes_saves_and_says_so(training, name):
    process, work_dir, log = training()
    os.killpg(process.pid, getattr(signal, name))
    assert process.wait(timeout=60) == 75, log()[-3000:]
    iteration = saved_iteration(work_dir)
    assert f'stopped by {name} after iteration {iteration}, saved' in log()
    assert 'Traceback' not in log()


@pytest.mark.slow
def test_a_second_signal_ends_at_once(training):
    process, work_dir, _ = training('--cfg-options', 'optim_wrapper.accumulative_counts=99999')
    process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert process.poll() is None  # the update goes on
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == -signal.SIGTERM
    assert not (work_dir / 'last_checkpoint').exists()


@pytest.mark.slow
@pytest.mark.parametrize('name', ['SIGTERM', 'SIGUSR1'])
def test_two_processes_stop_after_the_same_step(training, name):
    process, work_dir, log = training(processes=2)
    process.send_signal(getattr(signal, name))
    assert process.wait(timeout=90) == 75, log()[-3000:]
    said = re.findall(r'stopped by .* after iteration (\d+)', log())
    assert set(said) == {str(saved_iteration(work_dir))}
    assert 'Traceback' not in log()


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_stops_both(training):
    process, work_dir, log = training(processes=2)
    os.kill(max(tiny_runs.children(process.pid)), signal.SIGTERM)
    assert process.wait(timeout=90) == 75, log()[-3000:]
    assert saved_iteration(work_dir) > 0


@pytest.mark.slow
def test_the_end_of_the_launcher_ends_its_processes(training):
    process, work_dir, _ = training(processes=2)
    trainers = tiny_runs.children(process.pid)
    assert len(trainers) == 2
    process.kill()
    process.wait()
    assert tiny_runs.wait_for(lambda: not any(map(is_running, trainers)), seconds=60)
    assert saved_iteration(work_dir) > 0


@pytest.mark.slow
def test_a_stopped_process_ends_the_others(training):
    """Within ``env_cfg.dist_cfg.timeout``, 10 s here, and torchrun's two minutes of grace."""
    process, _, _ = training(processes=2)
    os.kill(tiny_runs.children(process.pid)[-1], signal.SIGSTOP)
    assert process.wait(timeout=180) not in (0, 75)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on(project, training):
    process, work_dir, _ = training()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75
    iteration = saved_iteration(work_dir)
    epochs = iteration // 4 + 1
    options = ['--resume', '--cfg-options', f'train_cfg.max_epochs={epochs}']
    process = tiny_runs.train(project, 'tiny', work_dir.name, *options)
    try:
        assert process.wait(timeout=90) == 0
    finally:
        tiny_runs.end(process)
    # The regular checkpoint has taken its place.
    assert tiny_runs.checkpoints(work_dir) == {f'epoch_{epochs}.pth'}
    assert tiny_runs.final_state(work_dir)['place'].tolist() == [4 * epochs, epochs]
