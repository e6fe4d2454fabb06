"""The quick start's own work: which runs a stage has, which are finished, how far they are."""

import importlib.util
import shlex
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest
from mmengine.config import DictAction

import mmbeitv2
from mmbeitv2.launch.config import load_config

ROOT = Path(mmbeitv2.__file__).resolve().parents[1]


def load(name):
    """A tool as a module, which finds its neighbours as when it is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / 'tools')
        spec = importlib.util.spec_from_file_location(name, ROOT / f'tools/{name}.py')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def quickstart():
    return load('quickstart')


@pytest.fixture(scope='module')
def demo_runs(quickstart):
    return sys.modules['demo_runs']


@pytest.fixture
def trained(tmp_path):
    """Arguments of a work directory in which tokenizer and three seeds are pretrained."""
    for folder in ('vqkd', *(f'seed{i}/pretrain' for i in range(3))):
        stage = tmp_path / folder
        stage.mkdir(parents=True)
        (stage / 'last_checkpoint').write_text(str(stage / 'epoch_1.pth'))
    return Namespace(work_dir=tmp_path, long=False)


def all_jobs(quickstart, args):
    stages = ('tokenizer', 'pretrain', 'probe', 'finetune', 'segment')
    return [job for stage in stages for jobs in quickstart.jobs_of(stage, args) for job in jobs]


@pytest.mark.parametrize('long', [False, True])
@pytest.mark.parametrize('mixed_precision', [False, True])
def test_every_job_trains_as_long_as_it_says(
    quickstart, trained, long, mixed_precision, monkeypatch
):
    monkeypatch.setattr(quickstart, 'MIXED_PRECISION', mixed_precision)
    trained.long = long
    for job in all_jobs(quickstart, trained):
        cfg = load_config(ROOT / job.config)
        full = dict(cfg.train_cfg)
        cfg.merge_from_dict(options_of(job))
        schedules = cfg.param_scheduler
        last = schedules[-1] if isinstance(schedules, list) else schedules
        unit = 'max_iters' if 'max_iters' in full else 'max_epochs'
        # Half of the training where a step takes twice the time; the schedule ends with it.
        halved = not (long or mixed_precision or 'upernet' in job.config)
        share = 0.5 if halved else 1.0
        assert cfg.train_cfg[unit] == last.end == round(full[unit] * share)
        assert job.epochs == cfg.train_cfg.get('max_epochs')
        assert (job.epochs is None) == ('max_iters' in cfg.train_cfg)


def options_of(job):
    """The job's options as ``--cfg-options`` reads them."""
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args(['--cfg-options', *job.options]).cfg_options


def test_every_evaluation_runs_from_random_weights_too(quickstart, trained):
    (jobs,) = quickstart.jobs_of('probe', trained)
    pretrained, random = (job.command() for job in jobs)
    assert pretrained[-1].endswith('seed0/pretrain/epoch_1.pth')
    assert random[-1] == 'model.backbone.init_cfg=None'
    assert pretrained[: pretrained.index('--work-dir')] == random[: random.index('--work-dir')]


@pytest.mark.parametrize(('long', 'count'), [(False, 2), (True, 6)])
def test_few_shot_asks_both_validation_sets_of_every_seed(quickstart, trained, long, count):
    trained.long = long
    commands = list(quickstart.few_shot_commands(trained))
    assert len({command[2:4][0] + command[-1] for command in commands}) == count
    for command in commands:
        assert command[1].endswith('pretrain/epoch_1.pth')
        assert Path(command[-1]).parent.name == 'few_shot'


def test_long_has_three_seeds_on_one_tokenizer(quickstart, trained):
    trained.long = True
    assert len(list(quickstart.jobs_of('tokenizer', trained))) == 1
    jobs = [job for jobs in quickstart.jobs_of('pretrain', trained) for job in jobs]
    assert len(jobs) == 3
    for seed, job in enumerate(jobs):
        assert f'randomness.seed={seed}' in job.options


def test_a_stage_before_its_input_names_the_stage_to_run(quickstart, tmp_path):
    with pytest.raises(FileNotFoundError, match="run the stage 'tokenizer' first"):
        list(quickstart.jobs_of('pretrain', Namespace(work_dir=tmp_path, long=False)))


def test_a_job_is_finished_only_by_its_own_command(demo_runs, tmp_path):
    job = demo_runs.Job('configs/demo/vqkd_demo.py', tmp_path, 1, ('randomness.seed=0',), 3)
    other = demo_runs.Job('configs/demo/vqkd_demo.py', tmp_path, 1, ('randomness.seed=1',), 3)
    assert not job.is_finished()
    job.finished.write_text(shlex.join(job.command()))
    assert job.is_finished()
    assert not other.is_finished()


def test_progress_is_read_off_the_log_of_this_start(demo_runs, tmp_path):
    job = demo_runs.Job('configs/demo/vqkd_demo.py', tmp_path, 1, (), 4)
    earlier = 'INFO - Epoch(train) [1][20/50]  lr: 1e-3  loss: 9.0\n'
    now = 'INFO - Epoch(train) [3][25/50]  lr: 1e-3  loss: 0.5  loss_rec: 0.4\n'
    (tmp_path / 'log.txt').write_text(earlier + now)
    assert demo_runs.done(job, len(earlier)) == (2.5 / 4, 'loss 0.5')
    assert demo_runs.done(job, len(earlier + now)) == (0.0, '')


def test_progress_of_a_run_that_counts_iterations(demo_runs, tmp_path):
    job = demo_runs.Job('configs/demo/upernet_demo.py', tmp_path, 1, (), None)
    (tmp_path / 'log.txt').write_text('INFO - Iter(train) [ 30/120]  loss: 1.5\n')
    assert demo_runs.done(job, 0) == (0.25, 'loss 1.5')


def test_a_failed_run_shows_its_log_and_ends_the_quick_start(demo_runs, tmp_path, capsys):
    class Broken(demo_runs.Job):
        def command(self):
            return [sys.executable, '-c', 'raise SystemExit("no such thing")']

    job = Broken('configs/demo/vqkd_demo.py', tmp_path, 1, (), 1)
    with pytest.raises(SystemExit, match=r'failed; the whole output is in .*log\.txt'):
        demo_runs.run_together([job])
    assert 'no such thing' in capsys.readouterr().err
    assert not job.is_finished()


def test_unknown_stage_lists_the_stages():
    result = subprocess.run(
        [sys.executable, ROOT / 'tools/quickstart.py', 'paint'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "unknown stage 'paint', allowed: data, tokenizer, pretrain" in result.stderr
