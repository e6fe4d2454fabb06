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
from mmbeitv2.engine.precision import PRECISIONS
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
    return Namespace(work_dir=tmp_path, long=False, stages=[], precision='auto')


def all_jobs(quickstart, args):
    stages = ('tokenizer', 'pretrain', 'probe', 'finetune', 'segment')
    return [job for stage in stages for job in quickstart.jobs_of(stage, args)]


@pytest.mark.parametrize('long', [False, True])
@pytest.mark.parametrize('precision', ['bfloat16', 'float32'])
def test_every_job_trains_as_long_as_it_says(quickstart, trained, long, precision):
    trained.long, trained.precision = long, precision
    for job in all_jobs(quickstart, trained):
        cfg = load_config(ROOT / job.config)
        full = dict(cfg.train_cfg)
        cfg.merge_from_dict(options_of(job))
        schedules = cfg.param_scheduler
        last = schedules[-1] if isinstance(schedules, list) else schedules
        unit = 'max_iters' if 'max_iters' in full else 'max_epochs'
        # Half of the training where a step takes twice the time; the schedule ends with it.
        halved = not (long or precision == 'bfloat16' or 'upernet' in job.config)
        share = 0.5 if halved else 1.0
        assert cfg.train_cfg[unit] == last.end == round(full[unit] * share)
        assert job.epochs == cfg.train_cfg.get('max_epochs')
        assert (job.epochs is None) == ('max_iters' in cfg.train_cfg)


def test_every_job_trains_in_the_precision_that_was_asked_for(quickstart, trained):
    assert not any('--precision' in job.command() for job in all_jobs(quickstart, trained))
    trained.precision = 'float32'
    for job in all_jobs(quickstart, trained):
        command = job.command()
        assert command[command.index('--precision') + 1] == 'float32'
        assert command.index('--precision') < command.index('--cfg-options')


def test_a_precision_has_a_folder_of_its_own(quickstart, monkeypatch):
    options = sys.modules['quickstart_options']
    for given, folder in (
        ([], 'quickstart'),
        (['--precision', 'float32'], 'quickstart_float32'),
        (['--long', '--precision', 'bfloat16'], 'quickstart_long_bfloat16'),
    ):
        monkeypatch.setattr(sys, 'argv', ['quickstart.py', *given])
        assert options.parse_args().work_dir == Path('work_dirs') / folder


def test_precisions_are_those_of_training(quickstart):
    assert sys.modules['quickstart_options'].PRECISIONS == PRECISIONS


def options_of(job):
    """The job's options as ``--cfg-options`` reads them."""
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args(['--cfg-options', *job.options]).cfg_options


def test_every_evaluation_runs_from_random_weights_too(quickstart, trained):
    pretrained, random = (job.command() for job in quickstart.jobs_of('probe', trained))
    assert pretrained[-1].endswith('seed0/pretrain/epoch_1.pth')
    assert random[-1] == 'model.backbone.init_cfg=None'
    assert pretrained[: pretrained.index('--work-dir')] == random[: random.index('--work-dir')]


@pytest.fixture
def labelled_runs(quickstart, trained, demo_data, monkeypatch):
    """Runs with few labels by seed, number of labels and start, of the tests' own demo photos."""
    labels = sys.modules['demo_labels']
    monkeypatch.setattr(labels, 'SOURCES', demo_data / 'sources.csv')
    monkeypatch.setattr(labels, 'load_config', lambda path: with_data(load_config(path), demo_data))

    def jobs(**changes):
        args = Namespace(**{**vars(trained), **changes})
        return list(quickstart.jobs_of('labels', args))

    return jobs


def with_data(cfg, folder):
    cfg.train_dataloader.dataset.data_root = str(folder / 'imagenet')
    return cfg


def test_few_labels_are_those_of_the_seed_and_the_same_for_both_starts(labelled_runs, demo_data):
    drawn = {}
    for job in labelled_runs(long=True):
        _, count, start = job.work_dir.name.split('_')
        seed = job.work_dir.parent.name
        assert f'randomness.seed={seed[4:]}' in job.options
        ends = dict(pretrained=f'{seed}/pretrain/epoch_1.pth', random='init_cfg=None')
        assert job.options[-1].endswith(ends[start])
        drawn[seed, int(count), start] = options_of(job)['train_dataloader.dataset.indices']
    seeds = [f'seed{i}' for i in range(3)]
    assert {key[:2] for key in drawn} == {(seed, k) for seed in seeds for k in (1, 4, 16)}
    for seed in seeds:
        one, four, all_eight = (drawn[seed, k, 'random'] for k in (1, 4, 16))
        assert [drawn[seed, k, 'pretrained'] for k in (1, 4, 16)] == [one, four, all_eight]
        assert set(one) < set(four) < set(all_eight)
        # The tests' own photos are eight of each class.
        assert [len(x) for x in (one, four, all_eight)] == [8, 32, 64]
    assert drawn['seed0', 1, 'random'] != drawn['seed1', 1, 'random']


def test_few_labels_train_sixty_steps_are_evaluated_and_saved_once(
    labelled_runs, demo_data, monkeypatch
):
    monkeypatch.setitem(sys.modules['demo_labels'].EPOCHS, 16, 60)
    for job in labelled_runs():
        options = options_of(job)
        cfg = load_config(ROOT / job.config, options)
        dataset = cfg.train_dataloader.dataset
        assert len(dataset.indices) // cfg.train_dataloader.batch_size * job.epochs == 60
        warm_up, cosine = cfg.param_scheduler
        assert warm_up.end == cosine.begin == 15
        assert cfg.train_cfg.val_interval == cfg.train_cfg.max_epochs == cosine.end == job.epochs
        assert cfg.default_hooks.checkpoint.interval == -1


def test_few_labels_before_the_photos_name_the_stage_to_run(quickstart, trained, tmp_path):
    config = with_data(load_config(ROOT / 'configs/demo/finetune_demo.py'), tmp_path)
    with pytest.raises(FileNotFoundError, match="run the stage 'data' first"):
        sys.modules['demo_labels'].labelled_photos(config)


@pytest.mark.parametrize(('long', 'count'), [(False, 1), (True, 3)])
def test_labels_of_training_photos_are_probed_on_both_sets_at_once(
    quickstart, trained, long, count
):
    trained.long = long
    commands = list(quickstart.label_probe_commands(trained))
    assert len(commands) == count
    for seed, command in enumerate(commands):
        text = shlex.join(command)
        assert f'seed{seed}/pretrain/epoch_1.pth data/demo/imagenet/val data/demo/' in text
        assert '--train data/demo/imagenet/train' in text
        assert '--shots 1 4 16' in text
        assert f'--json {trained.work_dir}/seed{seed}/labels/probe.json' in text


def test_all_that_is_compared_leaves_what_was_right_on_each_photo(quickstart, trained):
    hook = 'default_hooks.outcomes.type=mmbeitv2.PhotoOutcomesHook'
    for stage in ('tokenizer', 'pretrain', 'probe', 'finetune', 'segment'):
        for job in quickstart.jobs_of(stage, trained):
            assert (hook in job.command()) == (stage != 'tokenizer')


@pytest.mark.parametrize(('long', 'count'), [(False, 2), (True, 6)])
def test_frozen_features_are_asked_about_both_validation_sets(quickstart, trained, long, count):
    trained.long = long
    commands = list(quickstart.frozen_commands(trained))
    for tool in ('few_shot', 'dense_probe'):
        found = [command for command in commands if command[0] == f'tools/{tool}.py']
        assert len({command[-1] for command in found}) == count
        for command in found:
            assert command[1].endswith('pretrain/epoch_1.pth')
            assert Path(command[-1]).parent.name == tool


def test_long_has_three_seeds_on_one_tokenizer(quickstart, trained):
    trained.long = True
    assert len(list(quickstart.jobs_of('tokenizer', trained))) == 1
    jobs = list(quickstart.jobs_of('pretrain', trained))
    assert len(jobs) == 3
    for seed, job in enumerate(jobs):
        assert f'randomness.seed={seed}' in job.options


def test_comparisons_from_random_weights_run_beside_pretraining(quickstart, trained):
    trained.stages = ['pretrain', 'probe', 'segment']
    first, *beside = quickstart.jobs_of('pretrain', trained)
    assert first.work_dir.name == 'pretrain'
    assert [job.work_dir.name for job in beside] == ['segment_random', 'probe_random']
    # Later they are found finished, by the same commands.
    later = [job for stage in ('probe', 'segment') for job in quickstart.jobs_of(stage, trained)]
    assert {shlex.join(job.command()) for job in beside} == {
        shlex.join(job.command()) for job in later if job.work_dir.name.endswith('random')
    }


def test_evaluations_that_follow_one_another_are_one_step(quickstart):
    stages = ['data', 'probe', 'segment', 'report', 'labels']
    steps = [['data'], ['segment', 'probe'], ['report'], ['labels']]
    assert quickstart.together(stages) == steps


def test_a_stage_before_its_input_names_the_stage_to_run(quickstart, tmp_path):
    with pytest.raises(FileNotFoundError, match="run the stage 'tokenizer' first"):
        list(quickstart.jobs_of('pretrain', Namespace(work_dir=tmp_path, long=False, stages=[])))


def test_unknown_stage_lists_the_stages():
    result = subprocess.run(
        [sys.executable, ROOT / 'tools/quickstart.py', 'paint'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "unknown stage 'paint', allowed: data, tokenizer, pretrain" in result.stderr
