"""Runs that are killed at random points, also while they save, end as if they had not been."""

import random
import shutil

import pytest
import tiny_runs

from mmbeitv2.checkpoints.run_folder import damage

pytestmark = pytest.mark.slow

# Kind, processes, kills of one run, one after another.
RUNS = [
    ('vqkd', 1, 5),
    ('pretrain', 1, 4),
    ('finetune', 1, 4),
    ('segment', 1, 4),
    ('vqkd', 2, 3),
    ('pretrain', 2, 3),
    ('segment', 2, 2),
]
# Updates of three iterations, so that checkpoints are saved within them.
ACCUMULATED = ['--cfg-options', 'optim_wrapper.accumulative_counts=3']


@pytest.fixture(scope='module')
def project(demo_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp('kills')
    tiny_runs.write_project(folder, demo_data)
    finish(folder, 'vqkd', 'vqkd_1_whole', 1)
    shutil.copy(newest(folder / 'vqkd_1_whole'), folder / 'tokenizer.pth')
    return folder


def newest(work_dir):
    return work_dir / (work_dir / 'last_checkpoint').read_text().split('/')[-1]


def finish(folder, kind, name, processes, *options):
    process = tiny_runs.train(folder, kind, name, *options, processes=processes)
    try:
        assert process.wait(timeout=120) == 0, (folder / f'{name}.log').read_text()[-4000:]
    finally:
        tiny_runs.end(process)


def kill(folder, kind, name, processes, chance, number, options=()):
    """Resume a run and kill it, every other time while it writes a checkpoint; what it had saved.

    The point is drawn as a number of checkpoints from here and a part of the time between two.
    """
    work_dir = folder / name
    before = tiny_runs.checkpoints(work_dir)
    process = tiny_runs.train(folder, kind, name, '--resume', *options, processes=processes)
    try:
        for _ in range(chance.randint(1, 3)):
            seen = tiny_runs.checkpoints(work_dir)
            assert tiny_runs.wait_for(lambda s=seen: tiny_runs.checkpoints(work_dir) - s, process)
        if number % 2:
            tiny_runs.wait_for(lambda: any(work_dir.glob('.*.partial')), process)
        else:
            tiny_runs.time.sleep(chance.random() * 0.3)
        assert process.poll() is None, 'ended before it was killed'
    finally:
        tiny_runs.end(process)
    assert tiny_runs.checkpoints(work_dir) - before


@pytest.mark.parametrize(('kind', 'processes', 'kills'), RUNS)
def test_a_killed_run_ends_bit_equal(project, kind, processes, kills):
    whole = f'{kind}_{processes}_whole'
    if not (project / whole).exists():
        finish(project, kind, whole, processes)
    name = f'{kind}_{processes}_killed'
    chance = random.Random(f'{kind}{processes}')
    for number in range(kills):
        kill(project, kind, name, processes, chance, number)
        assert any(damage(path) is None for path in (project / name).glob('*.pth'))
    finish(project, kind, name, processes, '--resume')
    log = (project / f'{name}.log').read_text()
    assert log.count('resumed epoch: ') == kills
    states = [tiny_runs.final_state(project / run) for run in (whole, name)]
    assert tiny_runs.differing(*states) == []


def test_kills_within_an_update_of_two_processes(project):
    finish(project, 'finetune', 'accumulated_whole', 2, *ACCUMULATED)
    chance = random.Random(0)
    for number in range(3):
        kill(project, 'finetune', 'accumulated_killed', 2, chance, number, ACCUMULATED)
    finish(project, 'finetune', 'accumulated_killed', 2, '--resume', *ACCUMULATED)
    runs = ('accumulated_whole', 'accumulated_killed')
    assert tiny_runs.differing(*(tiny_runs.final_state(project / run) for run in runs)) == []


def test_half_the_processes_go_on_as_a_run_of_their_own(project):
    """Two processes for an epoch, then one that accumulates the same total batch."""
    base = ['--cfg-options', 'auto_scale_lr.base_batch_size=16']
    finish(project, 'finetune', 'halved', 2, *base, 'train_cfg.max_epochs=1')
    finish(project, 'finetune', 'halved', 1, '--resume', '--accumulate', *base)
    finish(project, 'finetune', 'alone', 1, '--accumulate', *base)
    halved, alone = (tiny_runs.final_state(project / run) for run in ('halved', 'alone'))
    for name in ('place', 'rates'):
        assert halved[name].tolist() == alone[name].tolist()
